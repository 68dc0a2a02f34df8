// SPDX-License-Identifier: Apache-2.0

//go:build linux && cgo

package ocilayer_test

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"strings"
	"testing"
	"testing/iotest"

	ocilayer "github.com/ocilayer/ocilayer/go-bindings"
)

// doubtful has one of each thing that a scan tells of.
func doubtful(t *testing.T) []byte {
	t.Helper()
	var blob bytes.Buffer
	archive := tar.NewWriter(&blob)
	xattr := func(name, value string) map[string]string { return map[string]string{"SCHILY.xattr." + name: value} }
	// Version 2 of it, CAP_NET_RAW permitted and effective.
	capability := xattr("security.capability", "\x01\x00\x00\x02\x00\x20\x00\x00"+strings.Repeat("\x00", 12))
	for _, header := range []tar.Header{
		{Name: "d/", Typeflag: tar.TypeDir, Mode: 0o755},
		{Name: "d/.wh.gone", Typeflag: tar.TypeReg},
		{Name: "d/.wh..wh..opq", Typeflag: tar.TypeReg},
		{Name: ".wh..wh.aufs", Typeflag: tar.TypeReg},
		{Name: "trusted", Typeflag: tar.TypeReg, PAXRecords: xattr("trusted.x", "y")},
		{Name: "opaque", Typeflag: tar.TypeReg, PAXRecords: xattr("user.overlay.opaque", "y")},
		{Name: "link", Typeflag: tar.TypeSymlink, Linkname: "../../out", PAXRecords: xattr("user.x", "y")},
		{Name: "null", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 3},
		{Name: "su", Typeflag: tar.TypeReg, Mode: 0o4755},
		{Name: "wall", Typeflag: tar.TypeReg, Mode: 0o2755},
		{Name: "ping", Typeflag: tar.TypeReg, Mode: 0o755, PAXRecords: capability},
		{Name: "ping", Typeflag: tar.TypeReg, Mode: 0o755},
		{Name: "../esc\x1bape", Typeflag: tar.TypeReg},
	} {
		if err := archive.WriteHeader(&header); err != nil {
			t.Fatal(err)
		}
	}
	if err := archive.Close(); err != nil {
		t.Fatal(err)
	}
	return blob.Bytes()
}

func TestScanFindsEachKind(t *testing.T) {
	blob := doubtful(t)
	var findings []ocilayer.Finding
	report, err := ocilayer.Scan(context.Background(), struct{ io.Reader }{bytes.NewReader(blob)},
		func(f ocilayer.Finding) error { findings = append(findings, f); return nil })
	if err != nil {
		t.Fatal(err)
	}
	counted := map[ocilayer.FindingKind]uint64{}
	for _, f := range findings {
		counted[f.Kind]++
	}
	if !maps.Equal(counted, report.Findings) {
		t.Errorf("found %v, report %v", counted, report.Findings)
	}
	for kind := ocilayer.FindingWhiteout; kind <= ocilayer.FindingRefused; kind++ {
		if counted[kind] == 0 {
			t.Errorf("kind %d was not found", kind)
		}
	}
	if !report.Refused || report.Partial || report.NamesLost || report.Entries != 13 ||
		report.BlobDigest != digest(blob) || report.DiffID != digest(blob) || !json.Valid([]byte(report.JSON)) {
		t.Errorf("report: %+v", report)
	}
	first := findings[0]
	if first.Kind != ocilayer.FindingWhiteout || first.Entry != 1 || first.Offset != 512 ||
		first.Path != "d/.wh.gone" || first.Detail != "d/gone" || first.Err != nil {
		t.Errorf("first: %+v", first)
	}
	last := findings[len(findings)-1]
	if last.Kind != ocilayer.FindingRefused || last.Path != "../esc\x1bape" || last.Err == nil {
		t.Fatalf("last: %+v", last)
	}
	if strings.ContainsRune(last.String(), '\x1b') {
		t.Errorf("a name reaches the terminal: %q", last.String())
	}
	// What it says is what Unpack says.
	needsRoot(t)
	_, err = unpackTo(t.TempDir(), bytes.NewReader(blob))
	if err == nil || err.Error() != last.Err.Error() || !errors.Is(last.Err, ocilayer.ErrLayer) {
		t.Errorf("unpack says %v, scan %v", err, last.Err)
	}
}

func TestDamagedOrUnexpectedBlobIsAFinding(t *testing.T) {
	blob := layer(t, file{"a", "1"})
	for name, c := range map[string]struct {
		blob   []byte
		option ocilayer.Option
		kind   ocilayer.Kind
	}{
		"cut":    {blob[:len(blob)-9], ocilayer.WithThreads(0), ocilayer.ErrCorrupt},
		"digest": {blob, ocilayer.WithExpectedBlobDigest("sha256:" + strings.Repeat("0", 64)), ocilayer.ErrDigest},
	} {
		var refused []*ocilayer.Error
		report, err := ocilayer.Scan(context.Background(), bytes.NewReader(c.blob), func(f ocilayer.Finding) error {
			refused = append(refused, f.Err)
			return nil
		}, c.option)
		if err != nil || !report.Refused || len(refused) != 1 || !errors.Is(refused[0], c.kind) {
			t.Errorf("%s: %v, %+v, %v", name, err, report, refused)
		}
	}
}

func TestScanEndsWithTheCallersOwnError(t *testing.T) {
	own := errors.New("own")
	blob := doubtful(t)
	ctx, cancel := context.WithCancelCause(context.Background())
	release := make(chan struct{})
	defer close(release)
	for name, scan := range map[string]func() (*ocilayer.ScanReport, error){
		"reader": func() (*ocilayer.ScanReport, error) {
			return ocilayer.Scan(context.Background(), iotest.ErrReader(own), nil)
		},
		"finding": func() (*ocilayer.ScanReport, error) {
			return ocilayer.Scan(context.Background(), bytes.NewReader(blob), func(ocilayer.Finding) error { return own })
		},
		"panic": func() (*ocilayer.ScanReport, error) {
			return ocilayer.Scan(context.Background(), bytes.NewReader(blob), func(ocilayer.Finding) error { panic(own) })
		},
		"context": func() (*ocilayer.ScanReport, error) {
			return ocilayer.Scan(ctx, readerFunc(func([]byte) (int, error) { cancel(own); <-release; return 0, io.EOF }), nil)
		},
	} {
		report, err := scan()
		var native *ocilayer.Error
		if report != nil || !errors.Is(err, own) || !errors.As(err, &native) || native.Op != "scan" {
			t.Errorf("%s: %v, %+v", name, err, report)
		}
	}
}
