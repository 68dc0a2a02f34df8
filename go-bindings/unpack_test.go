// SPDX-License-Identifier: Apache-2.0

//go:build linux && cgo

package ocilayer_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"testing/iotest"

	ocilayer "github.com/ocilayer/ocilayer/go-bindings"
)

func digest(blob []byte) string {
	sum := sha256.Sum256(blob)
	return "sha256:" + hex.EncodeToString(sum[:])
}

func TestEveryKindOfReaderGivesTheSameReport(t *testing.T) {
	needsRoot(t)
	blob := large(t)
	path := filepath.Join(t.TempDir(), "layer.tar.gz")
	if err := os.WriteFile(path, append([]byte("prefix"), blob...), 0o600); err != nil {
		t.Fatal(err)
	}
	regular, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer regular.Close()
	// From its position on, not from its begin.
	if _, err := regular.Seek(int64(len("prefix")), io.SeekStart); err != nil {
		t.Fatal(err)
	}
	pipe, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer pipe.Close()
	go func() {
		defer write.Close()
		_, _ = write.Write(blob)
	}()
	half := bytes.NewReader(append([]byte("prefix"), blob...))
	_, _ = half.Seek(int64(len("prefix")), io.SeekStart)
	for name, c := range map[string]struct {
		reader io.Reader
		// The library knows the size of what it reads by itself, and of nothing that comes from a callback.
		direct bool
	}{
		"regular file":       {regular, true},
		"pipe":               {pipe, false},
		"bytes.Reader":       {half, true},
		"bytes.Buffer":       {bytes.NewBuffer(bytes.Clone(blob)), true},
		"one byte at a time": {iotest.OneByteReader(bytes.NewReader(blob)), false},
		"data with the end":  {iotest.DataErrReader(bytes.NewReader(blob)), false},
		"any reader":         {struct{ io.Reader }{bytes.NewReader(blob)}, false},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			var last ocilayer.Progress
			report, err := ocilayer.Unpack(context.Background(), root, c.reader,
				ocilayer.WithExpectedBlobDigest(digest(blob)),
				ocilayer.WithProgress(func(p ocilayer.Progress) { last = p }))
			if err != nil {
				t.Fatal(err)
			}
			if c.direct != (last.BlobSize == uint64(len(blob))) || last.BlobBytes != uint64(len(blob)) {
				t.Errorf("progress: %+v", last)
			}
			if report.Partial || report.Entries.Total != 2 || report.Entries.Files != 2 ||
				report.FileBytes != 3<<20+3 || report.BlobBytes != uint64(len(blob)) ||
				report.Compression != ocilayer.CompressionGzip || report.BlobDigest != digest(blob) ||
				!strings.HasPrefix(report.DiffID, "sha256:") || report.Wall <= 0 {
				t.Errorf("report: %+v", report)
			}
			if !json.Valid([]byte(report.JSON)) {
				t.Errorf("not JSON: %s", report.JSON)
			}
			if last, err := os.ReadFile(filepath.Join(root, "last")); err != nil || string(last) != "end" {
				t.Errorf("last: %q, %v", last, err)
			}
		})
	}
}

func TestWhiteoutsDeleteOrBecomeOverlayMarks(t *testing.T) {
	needsRoot(t)
	base := layer(t, file{"d/", ""}, file{"d/gone", "1"}, file{"o/", ""}, file{"o/old", "1"})
	change := layer(t, file{"d/.wh.gone", ""}, file{"o/", ""}, file{"o/.wh..wh..opq", ""}, file{"o/new", "2"})
	unpack := func(root string, blob []byte, opts ...ocilayer.Option) *ocilayer.Report {
		t.Helper()
		report, err := ocilayer.Unpack(context.Background(), root, bytes.NewReader(blob), opts...)
		if err != nil {
			t.Fatal(err)
		}
		return report
	}

	plain := t.TempDir()
	unpack(plain, base)
	report := unpack(plain, change)
	if report.Whiteouts != 1 || report.OpaqueDirectories != 1 {
		t.Errorf("report: %+v", report)
	}
	for _, name := range []string{"d/gone", "o/old"} {
		if _, err := os.Lstat(filepath.Join(plain, name)); !os.IsNotExist(err) {
			t.Errorf("%s: %v", name, err)
		}
	}

	for mode, xattr := range map[ocilayer.Mode]string{
		ocilayer.ModeOverlay:          "trusted.overlay.opaque",
		ocilayer.ModeOverlayUserXattr: "user.overlay.opaque",
	} {
		lower, upper := t.TempDir(), t.TempDir()
		unpack(lower, base, ocilayer.WithMode(mode), ocilayer.WithLowers())
		unpack(upper, change, ocilayer.WithMode(mode), ocilayer.WithLowers(lower))
		var stat syscall.Stat_t
		if err := syscall.Lstat(filepath.Join(upper, "d/gone"), &stat); err != nil ||
			stat.Mode&syscall.S_IFMT != syscall.S_IFCHR || stat.Rdev != 0 {
			t.Errorf("whiteout: %+v, %v", stat, err)
		}
		value := make([]byte, 8)
		n, err := syscall.Getxattr(filepath.Join(upper, "o"), xattr, value)
		if err != nil || string(value[:max(n, 0)]) != "y" {
			t.Errorf("%s: %q, %v", xattr, value, err)
		}
	}
}

func TestOptionsReachTheLibrary(t *testing.T) {
	needsRoot(t)
	blob := layer(t, file{"a", "aaaa"}, file{"b/", ""}, file{"b/c", "c"})
	unpack := func(opts ...ocilayer.Option) (string, *ocilayer.Report, error) {
		root := t.TempDir()
		report, err := ocilayer.Unpack(context.Background(), root, bytes.NewReader(blob), opts...)
		return root, report, err
	}
	ids := []ocilayer.IDRange{{Container: 0, Host: 1234, Count: 1}}
	root, _, err := unpack(ocilayer.WithOwnerMap(ids, ids), ocilayer.WithThreads(1),
		ocilayer.WithSync(ocilayer.SyncFiles), ocilayer.WithDevices(ocilayer.DevicesSkip))
	if err != nil {
		t.Fatal(err)
	}
	var stat syscall.Stat_t
	if err := syscall.Lstat(filepath.Join(root, "a"), &stat); err != nil || stat.Uid != 1234 || stat.Gid != 1234 {
		t.Errorf("owner: %d:%d, %v", stat.Uid, stat.Gid, err)
	}
	if _, _, err := unpack(ocilayer.WithoutOwners(), ocilayer.WithSync(ocilayer.SyncFilesystem)); err != nil {
		t.Error(err)
	}

	var asked []string
	var progress ocilayer.Progress
	var warnings []ocilayer.Warning
	root, report, err := unpack(
		ocilayer.WithFilter(func(e *ocilayer.Entry) (bool, error) {
			asked = append(asked, e.Path)
			return e.Path != "a" || e.Kind != ocilayer.EntryFile || e.Size != 4, nil
		}),
		ocilayer.WithProgress(func(p ocilayer.Progress) { progress = p }),
		ocilayer.WithWarning(func(w ocilayer.Warning) { warnings = append(warnings, w) }))
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(asked, " "); got != "a b/ b/c" {
		t.Errorf("asked for %s", got)
	}
	if _, err := os.Lstat(filepath.Join(root, "a")); !os.IsNotExist(err) {
		t.Errorf("a: %v", err)
	}
	if progress.Entries.Total != 3 || progress.BlobSize != uint64(len(blob)) {
		t.Errorf("progress: %+v", progress)
	}
	if len(warnings) != 1 || warnings[0].Path != "a" || warnings[0].Reason != ocilayer.SkipFiltered {
		t.Errorf("warnings: %+v", warnings)
	}
	if len(report.Skipped) != 1 || report.Skipped[0].Count != 1 ||
		report.Skipped[0].Examples[0].Path != "a" || report.Skipped[0].Text == "" {
		t.Errorf("skipped: %+v", report.Skipped)
	}
}

func TestLayersAreNotCopiedIntoMemory(t *testing.T) {
	needsRoot(t)
	const size = 32 << 20
	blob := layer(t, file{"large", incompressible(size)})
	for name, reader := range map[string]io.Reader{
		"memory": bytes.NewReader(blob),
		"stream": struct{ io.Reader }{bytes.NewReader(blob)},
	} {
		root := t.TempDir()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		if _, err := unpackTo(root, reader); err != nil {
			t.Fatal(err)
		}
		runtime.ReadMemStats(&after)
		if allocated := after.TotalAlloc - before.TotalAlloc; allocated > size/16 {
			t.Errorf("%s: %d bytes allocated for a layer of %d", name, allocated, size)
		}
	}
}

func TestUnpacksNestInCallbacks(t *testing.T) {
	needsRoot(t)
	blob := layer(t, file{"a", "1"})
	inside := t.TempDir()
	_, err := unpackTo(t.TempDir(), bytes.NewReader(blob), ocilayer.WithFilter(func(*ocilayer.Entry) (bool, error) {
		_, err := unpackTo(inside, struct{ io.Reader }{bytes.NewReader(blob)})
		return true, err
	}))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(filepath.Join(inside, "a")); err != nil {
		t.Error(err)
	}
}

func TestCheckAnswersForThisKernel(t *testing.T) {
	needsRoot(t)
	check, err := ocilayer.CheckOverlayOpaquePropagation(context.Background(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if check.Verdict == ocilayer.VerdictUnknown || check.Summary == "" || !json.Valid([]byte(check.JSON)) ||
		(check.Verdict == ocilayer.VerdictAffected) != (len(check.Propagates) > 0) {
		t.Errorf("check: %+v", check)
	}
	if _, err := ocilayer.CheckOverlayOpaquePropagation(context.Background(), "/nowhere"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing directory: %v", err)
	}
}

func TestBlobDigestIsSkippedUnlessItIsExpected(t *testing.T) {
	needsRoot(t)
	blob := large(t)
	for name, c := range map[string]struct {
		options []ocilayer.Option
		want    string
	}{
		"skipped":  {[]ocilayer.Option{ocilayer.WithoutBlobDigest()}, ""},
		"expected": {[]ocilayer.Option{ocilayer.WithoutBlobDigest(), ocilayer.WithExpectedBlobDigest(digest(blob))}, digest(blob)},
	} {
		report, err := ocilayer.Unpack(context.Background(), t.TempDir(), bytes.NewReader(blob), c.options...)
		if err != nil || report.BlobDigest != c.want || !strings.HasPrefix(report.DiffID, "sha256:") {
			t.Errorf("%s: %+v, %v", name, report, err)
		}
	}
}
