// SPDX-License-Identifier: Apache-2.0

//go:build linux && cgo

package ocilayer_test

import (
	"bytes"
	"context"
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

func unpackTo(root string, r io.Reader, opts ...ocilayer.Option) (*ocilayer.Report, error) {
	return ocilayer.Unpack(context.Background(), root, r, opts...)
}

func TestErrorsHaveKindErrnoAndPlace(t *testing.T) {
	needsRoot(t)
	missing := filepath.Join(t.TempDir(), "missing")
	good := layer(t, file{"a", "1"})
	climbs := layer(t, file{"a", "1"}, file{"../b", "2"})
	for _, c := range []struct {
		name  string
		root  string
		blob  []byte
		opts  []ocilayer.Option
		want  []error
		entry int64
	}{
		{"missing root", missing, good, nil,
			[]error{ocilayer.ErrInvalidArgument, syscall.ENOENT, fs.ErrNotExist}, -1},
		{"digest", "", good, []ocilayer.Option{ocilayer.WithExpectedBlobDigest("sha256:" + strings.Repeat("0", 64))},
			[]error{ocilayer.ErrDigest, syscall.EBADMSG}, -1},
		{"no digest at all", "", good, []ocilayer.Option{ocilayer.WithExpectedDiffID("md5")},
			[]error{ocilayer.ErrInvalidArgument, syscall.EINVAL}, -1},
		{"climbs", "", climbs, nil, []error{ocilayer.ErrLayer}, 1},
		{"limit", "", climbs, []ocilayer.Option{ocilayer.WithLimits(ocilayer.Limits{Entries: 1})},
			[]error{ocilayer.ErrLimit, syscall.EFBIG}, 1},
		{"memory", "", layer(t, file{"a/b/c/d/e", "1"}), []ocilayer.Option{ocilayer.WithLimits(ocilayer.Limits{Memory: 512})},
			[]error{ocilayer.ErrLimit, syscall.EFBIG}, 0},
		{"memory by default", "", layer(t, file{"a/b/c/d/e", "1"}, file{"../b", "2"}), []ocilayer.Option{ocilayer.WithLimits(ocilayer.Limits{})},
			[]error{ocilayer.ErrLayer}, 1},
		{"cut", "", good[:len(good)-9], nil, []error{ocilayer.ErrCorrupt}, -2},
		{"unsupported", "", layer(t, file{".wh..wh..opq", ""}), []ocilayer.Option{ocilayer.WithMode(ocilayer.ModeOverlay)},
			[]error{ocilayer.ErrUnsupported, errors.ErrUnsupported}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.root == "" {
				c.root = t.TempDir()
			}
			report, err := unpackTo(c.root, bytes.NewReader(c.blob), c.opts...)
			for _, want := range c.want {
				if !errors.Is(err, want) {
					t.Errorf("%v is not %v", err, want)
				}
			}
			var native *ocilayer.Error
			if !errors.As(err, &native) || native.Op != "unpack" {
				t.Fatalf("no *Error: %v", err)
			}
			if c.entry != -2 && native.Entry != c.entry {
				t.Errorf("entry %d, want %d: %v", native.Entry, c.entry, err)
			}
			if c.name == "climbs" && (native.Path != "../b" || native.Offset != 1024) {
				t.Errorf("place: %q at %d", native.Path, native.Offset)
			}
			if report != nil && !report.Partial {
				t.Errorf("a failure that is not partial: %+v", report)
			}
		})
	}
}

func TestArgumentsThatMakeNoSenseAreRefused(t *testing.T) {
	root := t.TempDir()
	closed, err := os.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	blob := layer(t, file{"a", "1"})
	unpack := func(root string, r io.Reader, opts ...ocilayer.Option) error {
		report, err := unpackTo(root, r, opts...)
		if report != nil {
			t.Errorf("a report of nothing: %+v", report)
		}
		return err
	}
	_, check := ocilayer.CheckOverlayOpaquePropagation(context.Background(), root+"\x00")
	for name, c := range map[string]struct{ err, want error }{
		"no reader":     {unpack(root, nil), ocilayer.ErrInvalidArgument},
		"closed file":   {unpack(root, closed), fs.ErrClosed},
		"NUL in root":   {unpack(root+"\x00/x", bytes.NewReader(blob)), ocilayer.ErrInvalidArgument},
		"NUL in lower":  {unpack(root, bytes.NewReader(blob), ocilayer.WithLowers(root+"\x00")), ocilayer.ErrInvalidArgument},
		"NUL in digest": {unpack(root, bytes.NewReader(blob), ocilayer.WithExpectedDiffID(digest(blob)+"\x00")), ocilayer.ErrInvalidArgument},
		"NUL in check":  {check, ocilayer.ErrInvalidArgument},
		"mode":          {unpack(root, bytes.NewReader(blob), ocilayer.WithMode(99)), ocilayer.ErrInvalidArgument},
	} {
		var native *ocilayer.Error
		if !errors.Is(c.err, c.want) || !errors.As(c.err, &native) || native.Entry != -1 || native.Offset != -1 {
			t.Errorf("%s: %v", name, c.err)
		}
	}
	if left, err := os.ReadDir(root); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestReadersOwnErrorComesBack(t *testing.T) {
	needsRoot(t)
	own := errors.New("connection reset by registry")
	blob := large(t)
	for _, cut := range []int{0, 1, 100_000, len(blob) - 1} {
		reader := io.MultiReader(bytes.NewReader(blob[:cut]), iotest.ErrReader(own))
		_, err := unpackTo(t.TempDir(), reader)
		if !errors.Is(err, own) || !strings.Contains(err.Error(), own.Error()) {
			t.Errorf("cut at %d: %v", cut, err)
		}
	}
	_, err := unpackTo(t.TempDir(), iotest.ErrReader(syscall.ECONNRESET))
	if !errors.Is(err, syscall.ECONNRESET) {
		t.Error(err)
	}
	// A wrapped io.EOF is no end.
	_, err = unpackTo(t.TempDir(), iotest.ErrReader(io.ErrUnexpectedEOF))
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Error(err)
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(b []byte) (int, error) { return f(b) }

func TestBrokenReadersAreErrors(t *testing.T) {
	needsRoot(t)
	_, err := unpackTo(t.TempDir(), readerFunc(func([]byte) (int, error) { return 0, nil }))
	if !errors.Is(err, io.ErrNoProgress) {
		t.Error(err)
	}
	for _, count := range []int{-1, 1 << 30} {
		_, err := unpackTo(t.TempDir(), readerFunc(func([]byte) (int, error) { return count, nil }))
		var panicked *ocilayer.PanicError
		if !errors.As(err, &panicked) {
			t.Error(err)
		}
	}
	_, err = unpackTo(t.TempDir(), readerFunc(func([]byte) (int, error) { runtime.Goexit(); return 0, nil }))
	if err == nil || !strings.Contains(err.Error(), "ended its goroutine") {
		t.Error(err)
	}
}

func TestPanicsComeBackAsErrors(t *testing.T) {
	needsRoot(t)
	blob, own := layer(t, file{"a", "1"}), errors.New("own")
	panics := func() { panic(own) }
	for name, run := range map[string]func() error{
		"reader": func() error {
			_, err := unpackTo(t.TempDir(), readerFunc(func([]byte) (int, error) { panics(); return 0, nil }))
			return err
		},
		"filter": func() error {
			_, err := unpackTo(t.TempDir(), bytes.NewReader(blob),
				ocilayer.WithFilter(func(*ocilayer.Entry) (bool, error) { panics(); return true, nil }))
			return err
		},
		"progress": func() error {
			_, err := unpackTo(t.TempDir(), bytes.NewReader(blob), ocilayer.WithProgress(func(ocilayer.Progress) { panics() }))
			return err
		},
		"warning": func() error {
			_, err := unpackTo(t.TempDir(), bytes.NewReader(layer(t, file{".wh..wh.aufs", ""})),
				ocilayer.WithWarning(func(ocilayer.Warning) { panics() }))
			return err
		},
	} {
		var panicked *ocilayer.PanicError
		if err := run(); !errors.As(err, &panicked) || panicked.Value != own || !errors.Is(err, own) ||
			!bytes.Contains(panicked.Stack, []byte("TestPanicsComeBackAsErrors")) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestFiltersErrorEndsTheUnpack(t *testing.T) {
	needsRoot(t)
	own := errors.New("not this one")
	report, err := unpackTo(t.TempDir(), bytes.NewReader(layer(t, file{"a", "1"}, file{"b", "2"})),
		ocilayer.WithFilter(func(e *ocilayer.Entry) (bool, error) {
			if e.Path == "b" {
				return false, own
			}
			return true, nil
		}))
	var native *ocilayer.Error
	if !errors.Is(err, own) || !errors.As(err, &native) || native.Path != "b" || native.Entry != 1 || native.Errno != 0 {
		t.Errorf("%+v", err)
	}
	if want := `ocilayer: unpack: entry 1 "b" at 1024: callback failed: not this one`; err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
	if report == nil || !report.Partial || report.Entries.Files != 1 {
		t.Errorf("report: %+v", report)
	}
}
