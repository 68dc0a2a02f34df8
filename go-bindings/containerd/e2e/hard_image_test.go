// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// hardLayers are about what appliers disagree on. Debian's own packages have little of it.
var hardLayers = [][]tar.Header{
	{
		directory("a/"), file("a/f1"), file("a/f2"),
		directory("swap/"), file("swap/old"),
		directory("opaque/"), file("opaque/x"),
		directory("real/"), file("real/kept"),
		{Typeflag: tar.TypeSymlink, Name: "link", Linkname: "real", Mode: 0o777, ModTime: aDay},
		{Typeflag: tar.TypeDir, Name: "private/", Mode: 0o700, Uid: 1000, Gid: 1000, ModTime: aDay},
		file("private/f"),
	},
	{
		file(".wh.ghost"),
		file(".wh.swap"), directory("swap/"), file("swap/new"),
		directory("opaque/"), file("opaque/.wh..wh..opq"), file("opaque/y"),
		file("link/added"),
		file("private/g"),
		file("a/.wh.f1"),
		{Typeflag: tar.TypeReg, Name: "marked", Mode: 0o644, ModTime: aDay, PAXRecords: map[string]string{
			"SCHILY.xattr.user.overlay.opaque":    "y",
			"SCHILY.xattr.trusted.overlay.opaque": "y",
			"SCHILY.xattr.user.kept":              "yes",
		}},
		{Typeflag: tar.TypeReg, Name: "old", Mode: 0o644, ModTime: time.Unix(-86400, 0)},
		{Typeflag: tar.TypeReg, Name: "setuid", Mode: 0o4755, Uid: 1000, ModTime: aDay},
		{Typeflag: tar.TypeLink, Name: "hardlink", Linkname: "setuid"},
	},
	{
		{Typeflag: tar.TypeDir, Name: "./", Mode: 0o711, Uid: 7, Gid: 7, ModTime: aDay},
		file("a/f3"),
		file("opaque/z"),
		file(".wh.real"),
	},
}

var aDay = time.Date(2020, 2, 29, 12, 0, 0, 0, time.UTC)

func directory(name string) tar.Header {
	return tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: 0o755, ModTime: aDay}
}

func file(name string) tar.Header {
	return tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, ModTime: aDay}
}

func tarOf(t testing.TB, entries []tar.Header) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, header := range entries {
		header.Format = tar.FormatPAX
		if err := w.WriteHeader(&header); err != nil {
			t.Fatalf("%s: %v", header.Name, err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// hardImage writes an OCI archive of hardLayers.
func hardImage(t testing.TB) string {
	t.Helper()
	var layers [][]byte
	for _, entries := range hardLayers {
		layers = append(layers, tarOf(t, entries))
	}
	return writeImage(t, layers)
}

// writeImage writes an OCI archive of uncompressed layers, called imageName.
func writeImage(t testing.TB, layers [][]byte) string {
	t.Helper()
	archive := filepath.Join(t.TempDir(), "image.tar")
	out, err := os.Create(archive)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	w := tar.NewWriter(out)
	add := func(name string, content []byte) {
		err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(content))})
		if err == nil {
			_, err = w.Write(content)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	blob := func(mediaType string, content []byte) ocispec.Descriptor {
		of := digest.FromBytes(content)
		add("blobs/sha256/"+of.Encoded(), content)
		return ocispec.Descriptor{MediaType: mediaType, Digest: of, Size: int64(len(content))}
	}
	var image ocispec.Image
	image.Architecture, image.OS, image.RootFS.Type = goarch, "linux", "layers"
	manifest := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest}
	for _, layer := range layers {
		descriptor := blob(ocispec.MediaTypeImageLayer, layer)
		manifest.Layers = append(manifest.Layers, descriptor)
		image.RootFS.DiffIDs = append(image.RootFS.DiffIDs, descriptor.Digest)
	}
	manifest.Config = blob(ocispec.MediaTypeImageConfig, jsonOf(t, image))
	named := blob(ocispec.MediaTypeImageManifest, jsonOf(t, manifest))
	named.Annotations = map[string]string{"io.containerd.image.name": imageName, ocispec.AnnotationRefName: "demo"}
	add(ocispec.ImageLayoutFile, jsonOf(t, ocispec.ImageLayout{Version: ocispec.ImageLayoutVersion}))
	add(ocispec.ImageIndexFile, jsonOf(t, ocispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, Manifests: []ocispec.Descriptor{named},
	}))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return archive
}

func jsonOf(t testing.TB, value any) []byte {
	t.Helper()
	text, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return text
}
