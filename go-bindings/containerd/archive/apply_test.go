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

func TestReaderIsReadToItsEnd(t *testing.T) {
	r := io.MultiReader(layerOf(t, file("a", 1)), strings.NewReader("what follows"))
	if _, err := archive.Apply(context.Background(), t.TempDir(), r); err != nil {
		t.Fatal(err)
	}
	if left, err := io.ReadAll(r); err != nil || len(left) > 0 {
		t.Errorf("left %q, %v", left, err)
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
