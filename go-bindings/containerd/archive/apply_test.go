// SPDX-License-Identifier: Apache-2.0

package archive_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	ocilayer "github.com/ocilayer/ocilayer/go-bindings"
	"github.com/ocilayer/ocilayer/go-bindings/containerd/archive"
)

func layerOf(t *testing.T, headers ...tar.Header) *bytes.Buffer {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, header := range headers {
		content := strings.Repeat("x", int(header.Size))
		err := w.WriteHeader(&header)
		if err == nil {
			_, err = io.WriteString(w, content)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return &out
}

func file(name string, size int64) tar.Header {
	return tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: size, Uid: os.Geteuid(), Gid: os.Getegid()}
}

func exists(t *testing.T, path ...string) bool {
	t.Helper()
	_, err := os.Lstat(filepath.Join(path...))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return err == nil
}

func TestSizeIsThatOfTheFiles(t *testing.T) {
	root := t.TempDir()
	size, err := archive.Apply(context.Background(), root, layerOf(t, file("a", 3), file("b", 4)))
	if err != nil || size != 7 {
		t.Errorf("size %d, %v", size, err)
	}
}

// open gives its content, in pieces, and must not be asked for more: it would wait, or fail.
type open struct {
	t     *testing.T
	rest  []byte
	piece int
}

func (o *open) Read(p []byte) (int, error) {
	if len(o.rest) == 0 {
		o.t.Error("read behind the archive's end")
		return 0, errors.New("nothing more")
	}
	n := copy(p, o.rest[:min(o.piece, len(o.rest))])
	o.rest = o.rest[n:]
	return n, nil
}

func TestReaderMayStayOpenBehindTheArchive(t *testing.T) {
	for _, piece := range []int{1, 512, 1000, 32 << 10, 1 << 20} {
		size := int64(600 << 10)
		if piece == 1 {
			size = 700
		}
		root := t.TempDir()
		r := &open{t, layerOf(t, file("a", 1), file("b", size)).Bytes(), piece}
		written, err := archive.Apply(context.Background(), root, r)
		if err != nil || written != size+1 || !exists(t, root, "b") {
			t.Errorf("pieces of %d: %d bytes, %v", piece, written, err)
		}
	}
}

func TestPipeMayStayOpenBehindTheArchive(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	if _, err := w.Write(layerOf(t, file("a", 1)).Bytes()); err != nil {
		t.Fatal(err)
	}
	root := t.TempDir()
	if _, err := archive.Apply(context.Background(), root, r); err != nil || !exists(t, root, "a") {
		t.Error(err)
	}
}

func TestHostileEntryEndsApplyThoughTheReaderStaysOpen(t *testing.T) {
	first := layerOf(t, file("../up", 1)).Bytes()[:1024]
	if _, err := archive.Apply(context.Background(), t.TempDir(), &open{t, first, 512}); !errors.Is(err, ocilayer.ErrLayer) {
		t.Errorf("error %v", err)
	}
}

func TestWhatFollowsTheArchiveIsTheCallers(t *testing.T) {
	for _, piece := range []int{512, 1 << 20} {
		blob := append(layerOf(t, file("a", 1)).Bytes(), strings.Repeat("what follows", 1000)...)
		r := &open{t, blob, piece}
		if _, err := archive.Apply(context.Background(), t.TempDir(), r); err != nil {
			t.Fatal(err)
		}
		if piece == 512 && len(r.rest) < 11_000 {
			t.Errorf("only %d bytes are left", len(r.rest))
		}
	}
}

func TestArchiveWithoutAnEndMarkerIsTakenAndACutOneIsNot(t *testing.T) {
	blob := layerOf(t, file("a", 600)).Bytes()
	whole := blob[:len(blob)-1024]
	root := t.TempDir()
	if _, err := archive.Apply(context.Background(), root, bytes.NewReader(whole)); err != nil || !exists(t, root, "a") {
		t.Error(err)
	}
	if _, err := archive.Apply(context.Background(), t.TempDir(), bytes.NewReader(whole[:1000])); !errors.Is(err, ocilayer.ErrArchive) {
		t.Errorf("error %v", err)
	}
}

func TestLimitsHold(t *testing.T) {
	_, err := archive.Apply(context.Background(), t.TempDir(), layerOf(t, file("a", 1), file("b", 1)),
		archive.WithLimits(ocilayer.Limits{Entries: 1}))
	if !errors.Is(err, ocilayer.ErrLimit) || !strings.Contains(err.Error(), "limit entries is 1") {
		t.Errorf("error %v", err)
	}
}

func TestFilterLeavesOutWhatItDeclines(t *testing.T) {
	root := t.TempDir()
	var asked []string
	_, err := archive.Apply(context.Background(), root, layerOf(t, file("./a", 1), file("d//b", 600<<10), file("c", 1)),
		archive.WithFilter(func(h *tar.Header) (bool, error) {
			asked = append(asked, h.Name)
			return h.Name != "c", nil
		}))
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(asked); got != "[a d/b c]" {
		t.Errorf("asked about %s", got)
	}
	if !exists(t, root, "a") || !exists(t, root, "d", "b") || exists(t, root, "c") {
		t.Error("not what the filter said")
	}
	if info, err := os.Stat(filepath.Join(root, "d", "b")); err != nil || info.Size() != 600<<10 {
		t.Errorf("d/b: %v, %v", info, err)
	}
}

func TestFilterMayChangeTheHeader(t *testing.T) {
	root := t.TempDir()
	_, err := archive.Apply(context.Background(), root, layerOf(t, file("bin/tool", 5)),
		archive.WithFilter(func(h *tar.Header) (bool, error) {
			h.Name, h.Mode, h.ModTime = "opt/"+filepath.Base(h.Name), 0o700, time.Unix(1e9, 5)
			return true, nil
		}))
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(filepath.Join(root, "opt", "tool"))
	if err != nil || info.Mode() != 0o700 || !info.ModTime().Equal(time.Unix(1e9, 5)) || info.Size() != 5 {
		t.Errorf("%v, %v", info, err)
	}
	if exists(t, root, "bin") {
		t.Error("the old name is there too")
	}
}

func TestFiltersErrorComesBack(t *testing.T) {
	mine := errors.New("mine")
	_, err := archive.Apply(context.Background(), t.TempDir(), layerOf(t, file("a", 1)),
		archive.WithFilter(func(*tar.Header) (bool, error) { return false, mine }))
	if !errors.Is(err, mine) {
		t.Errorf("error %v", err)
	}
}

func TestFilterDoesNotHideADamagedArchive(t *testing.T) {
	whole := layerOf(t, file("a", 4096)).Bytes()
	_, err := archive.Apply(context.Background(), t.TempDir(), bytes.NewReader(whole[:2000]),
		archive.WithFilter(func(*tar.Header) (bool, error) { return true, nil }))
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("error %v", err)
	}
}

func TestOptionsThatCannotBeKeptAreRefused(t *testing.T) {
	other := func(*tar.Header, string) (bool, error) { return true, nil }
	for _, c := range []struct {
		name string
		opt  archive.ApplyOpt
	}{
		{"another conversion", archive.WithConvertWhiteout(other)},
		{"aufs", archive.WithConvertWhiteout(archive.AufsConvertWhiteout)},
		{"parents of a plain directory", archive.WithParents([]string{"/lower"})},
	} {
		t.Run(c.name, func(t *testing.T) {
			root := t.TempDir()
			_, err := archive.Apply(context.Background(), root, layerOf(t, file("a", 1)), c.opt)
			if !errors.Is(err, errors.ErrUnsupported) || exists(t, root, "a") {
				t.Errorf("error %v", err)
			}
		})
	}
}

func TestOptionsErrorComesBack(t *testing.T) {
	mine := errors.New("mine")
	_, err := archive.Apply(context.Background(), t.TempDir(), layerOf(t), func(*archive.ApplyOptions) error { return mine })
	if !errors.Is(err, mine) {
		t.Errorf("error %v", err)
	}
}

func TestWhiteoutsDeleteOrMark(t *testing.T) {
	if os.Geteuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("CI needs root, which is missing")
		}
		fmt.Fprintf(os.Stderr, "SKIPPED %s: needs root\n", t.Name())
		t.SkipNow()
	}
	directory := t.TempDir()
	if err := os.WriteFile(filepath.Join(directory, "gone"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	whiteout := layerOf(t, file(".wh.gone", 0)).Bytes()
	if _, err := archive.Apply(context.Background(), directory, bytes.NewReader(whiteout)); err != nil {
		t.Fatal(err)
	}
	if exists(t, directory, "gone") {
		t.Error("not deleted")
	}
	marked := t.TempDir()
	_, err := archive.Apply(context.Background(), marked, bytes.NewReader(whiteout), archive.WithConvertWhiteout(archive.OverlayConvertWhiteout))
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Lstat(filepath.Join(marked, "gone")); err != nil || info.Mode()&os.ModeCharDevice == 0 {
		t.Errorf("no whiteout: %v, %v", info, err)
	}
}

func TestOwnersOfTheArchiveMayBeIgnored(t *testing.T) {
	root := t.TempDir()
	other := file("a", 1)
	other.Uid, other.Gid = 4711, 4711
	if _, err := archive.Apply(context.Background(), root, layerOf(t, other), archive.WithNoSameOwner()); err != nil {
		t.Fatal(err)
	}
	if owner := ownerOf(t, filepath.Join(root, "a")); owner != os.Geteuid() {
		t.Errorf("owner %d", owner)
	}
}
