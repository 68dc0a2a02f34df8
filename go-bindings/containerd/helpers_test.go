// SPDX-License-Identifier: Apache-2.0

package containerd_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/plugins/content/local"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// blobs is containerd's local content store in a directory.
type blobs struct {
	content.Store
	root string
}

func newBlobs(t testing.TB) blobs {
	t.Helper()
	root := t.TempDir()
	store, err := local.NewStore(root)
	if err != nil {
		t.Fatal(err)
	}
	return blobs{store, root}
}

func (b blobs) add(t testing.TB, mediaType string, blob []byte) ocispec.Descriptor {
	t.Helper()
	desc := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(blob), Size: int64(len(blob))}
	if err := content.WriteBlob(context.Background(), b, desc.Digest.String(), bytes.NewReader(blob), desc); err != nil {
		t.Fatal(err)
	}
	return desc
}

type entry struct {
	name, content string
}

// layerOf is an archive of files, and of directories where the name ends in a slash.
func layerOf(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, e := range entries {
		header := &tar.Header{Name: e.name, Mode: 0o755, Typeflag: tar.TypeReg, Size: int64(len(e.content))}
		if e.name[len(e.name)-1] == '/' {
			header.Typeflag = tar.TypeDir
		}
		err := w.WriteHeader(header)
		if err == nil {
			_, err = w.Write([]byte(e.content))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func gzipped(t testing.TB, data []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// bind is what a snapshotter gives for a first layer.
func bind(dir string) []mount.Mount {
	return []mount.Mount{{Type: "bind", Source: dir, Options: []string{"rw", "rbind"}}}
}

// overlay is what it gives for a layer over lowers, topmost first.
func overlay(t testing.TB, upper string, lowers ...string) []mount.Mount {
	t.Helper()
	options := []string{"index=off", "workdir=" + t.TempDir(), "upperdir=" + upper}
	if len(lowers) > 0 {
		list := lowers[0]
		for _, lower := range lowers[1:] {
			list += ":" + lower
		}
		options = append(options, "lowerdir="+list)
	}
	return []mount.Mount{{Type: "overlay", Source: "overlay", Options: options}}
}

func expectFile(t testing.TB, want string, path ...string) {
	t.Helper()
	got, err := os.ReadFile(filepath.Join(path...))
	if err != nil || string(got) != want {
		t.Errorf("%s: %q, %v", filepath.Join(path...), got, err)
	}
}
