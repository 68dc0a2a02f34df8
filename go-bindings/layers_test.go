// SPDX-License-Identifier: Apache-2.0

//go:build linux && cgo

package ocilayer_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	ocilayer "github.com/ocilayer/ocilayer/go-bindings"
)

// target is where cargo builds, and what is slow to make is kept.
func target() string {
	if dir := os.Getenv("OCILAYER_TARGET"); dir != "" {
		return dir
	}
	return "../target"
}

// same compares two trees by all that a layer can set.
func same(t *testing.T, left, right string) {
	t.Helper()
	run(t, filepath.Join(target(), "debug/examples/compare_trees"), left, right)
}

func TestDebianLayerIsWhatGNUTarExtracts(t *testing.T) {
	needsRoot(t)
	needsTools(t, "tar", "gzip", "zstd", "debootstrap")
	// The one of the Rust tests, wherever they have made it.
	cache := filepath.Join(target(), "tmp/real-layers")
	run(t, "../scripts/debian-layer", cache)
	theirs := t.TempDir()
	run(t, "tar", "--xattrs", "--xattrs-include=*", "--numeric-owner", "-xpf", filepath.Join(cache, "debian.tar"), "-C", theirs)

	for name, read := range map[string]func(*os.File) io.Reader{
		"debian.tar":     func(f *os.File) io.Reader { return f },
		"debian.tar.gz":  func(f *os.File) io.Reader { return f },
		"debian.tar.zst": func(f *os.File) io.Reader { return struct{ io.Reader }{f} },
	} {
		t.Run(name, func(t *testing.T) {
			for _, options := range [][]ocilayer.Option{
				{ocilayer.WithSync(ocilayer.SyncFilesystem)},
				{ocilayer.WithMode(ocilayer.ModeOverlay), ocilayer.WithLowers()},
			} {
				blob, err := os.Open(filepath.Join(cache, name))
				if err != nil {
					t.Fatal(err)
				}
				defer blob.Close()
				ours := t.TempDir()
				report, err := ocilayer.Unpack(context.Background(), ours, read(blob), options...)
				if err != nil {
					t.Fatal(err)
				}
				// A whole Debian, not an empty archive.
				if report.Entries.Total < 5000 || len(report.Skipped) != 0 {
					t.Errorf("report: %s", report.JSON)
				}
				same(t, ours, theirs)
			}
		})
	}
}

// mounted is a read-only overlay of layers, topmost first.
func mounted(t *testing.T, options, layers string) string {
	t.Helper()
	merged := t.TempDir()
	if err := syscall.Mount("overlay", merged, "overlay", syscall.MS_RDONLY, options+"lowerdir="+layers); err != nil {
		needs(t, false, "overlay mounts: "+err.Error())
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(merged, 0); err != nil {
			t.Error(err)
		}
	})
	return merged
}

func TestMountedOverlayOfLayersIsThePlainRoot(t *testing.T) {
	needsRoot(t)
	layers := [][]byte{
		// Each describes the root, which otherwise keeps the time of its directory.
		layer(t, file{"./", ""}, file{"d/", ""}, file{"d/gone", "1"}, file{"d/kept", "1"}, file{"o/", ""},
			file{"o/old", "1"}, file{"o/sub/", ""}, file{"o/sub/old", "1"}),
		layer(t, file{"./", ""}, file{"d/.wh.gone", ""}, file{"o/", ""}, file{"o/.wh..wh..opq", ""}, file{"o/new", "2"}),
		layer(t, file{"./", ""}, file{"o/newer", "3"}, file{"d/.wh.kept", ""}, file{"d/kept/", ""}, file{"d/kept/inside", "3"}),
	}
	plain := t.TempDir()
	for _, blob := range layers {
		if _, err := unpackTo(plain, bytes.NewReader(blob)); err != nil {
			t.Fatal(err)
		}
	}
	for mode, options := range map[ocilayer.Mode]string{
		ocilayer.ModeOverlay:          "",
		ocilayer.ModeOverlayUserXattr: "userxattr,",
	} {
		var lowers []string
		stack := ""
		for _, blob := range layers {
			upper := t.TempDir()
			if _, err := unpackTo(upper, bytes.NewReader(blob), ocilayer.WithMode(mode), ocilayer.WithLowers(lowers...)); err != nil {
				t.Fatal(err)
			}
			lowers = append([]string{upper}, lowers...)
			stack = upper + ":" + stack
		}
		same(t, plain, mounted(t, options, stack[:len(stack)-1]))
	}
}

func TestUpperDirectoryIsNamedToTheLibrary(t *testing.T) {
	needsRoot(t)
	blob := layer(t, file{"a", "1"})
	lower, both, merged := t.TempDir(), t.TempDir(), t.TempDir()
	upper, work := filepath.Join(both, "upper"), filepath.Join(both, "work")
	for _, dir := range []string{upper, work} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	options := "lowerdir=" + lower + ",upperdir=" + upper + ",workdir=" + work
	if err := syscall.Mount("overlay", merged, "overlay", 0, options); err != nil {
		needs(t, false, "overlay mounts: "+err.Error())
	}
	defer func() {
		if err := syscall.Unmount(merged, 0); err != nil {
			t.Error(err)
		}
	}()
	if _, err := unpackTo(merged, bytes.NewReader(blob), ocilayer.WithUpper(upper)); err != nil {
		t.Error(err)
	}
	if _, err := unpackTo(merged, bytes.NewReader(blob), ocilayer.WithUpper(lower)); !errors.Is(err, ocilayer.ErrInvalidArgument) {
		t.Errorf("a directory that is not the upper one: %v", err)
	}
}

// A parent that is told when it is needed gives its attributes to what a layer implies.
func TestLowersThatAreToldLater(t *testing.T) {
	lower, upper := t.TempDir(), t.TempDir()
	if err := os.Mkdir(filepath.Join(lower, "srv"), 0o750); err != nil {
		t.Fatal(err)
	}
	calls := 0
	later := func(context.Context) ([]string, error) {
		calls++
		return []string{lower}, nil
	}
	blob := layer(t, file{"srv/one", "1"})
	mode := ocilayer.WithMode(ocilayer.ModeOverlayUserXattr)
	if _, err := unpackTo(upper, bytes.NewReader(blob), ocilayer.WithoutOwners(), mode, ocilayer.WithLowersLater(later)); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(filepath.Join(upper, "srv"))
	if err != nil || info.Mode().Perm() != 0o750 || calls != 1 {
		t.Errorf("srv: %v, %v, after %d calls", info, err, calls)
	}
	failed := errors.New("never")
	fail := func(context.Context) ([]string, error) { return nil, failed }
	_, err = unpackTo(t.TempDir(), bytes.NewReader(blob), ocilayer.WithoutOwners(), mode, ocilayer.WithLowersLater(fail))
	if !errors.Is(err, failed) || !errors.Is(err, ocilayer.ErrCallback) {
		t.Errorf("%v", err)
	}
	_, err = unpackTo(t.TempDir(), bytes.NewReader(blob), ocilayer.WithoutOwners(), mode,
		ocilayer.WithLowersLater(func(context.Context) ([]string, error) { panic("oh") }))
	if !errors.Is(err, ocilayer.ErrCallback) {
		t.Errorf("a panic: %v", err)
	}
}
