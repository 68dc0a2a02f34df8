// SPDX-License-Identifier: Apache-2.0

//go:build linux && cgo

package ocilayer_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"os"
	"testing"
)

// needsRoot skips aloud, and fails where everything must run.
func needsRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("CI") != "" {
		t.Fatal("needs root")
	}
	t.Skip("SKIPPED: needs root")
}

// file is an entry of a layer; a name that ends with / is a directory.
type file struct{ name, content string }

// layer is a real archive, compressed as a registry would have it.
func layer(t testing.TB, files ...file) []byte {
	t.Helper()
	var blob bytes.Buffer
	zip := gzip.NewWriter(&blob)
	archive := tar.NewWriter(zip)
	for _, f := range files {
		header := &tar.Header{Name: f.name, Mode: 0o644, Size: int64(len(f.content)), Typeflag: tar.TypeReg}
		if f.name[len(f.name)-1] == '/' {
			header.Typeflag, header.Mode = tar.TypeDir, 0o755
		}
		if err := archive.WriteHeader(header); err != nil {
			t.Fatal(err)
		}
		if _, err := archive.Write([]byte(f.content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := archive.Close(); err != nil {
		t.Fatal(err)
	}
	if err := zip.Close(); err != nil {
		t.Fatal(err)
	}
	return blob.Bytes()
}

// large is a layer of many chunks that does not compress away.
func large(t testing.TB) []byte {
	t.Helper()
	content, state := make([]byte, 3<<20), uint32(1)
	for i := range content {
		state = state*1664525 + 1013904223
		content[i] = byte(state >> 24)
	}
	return layer(t, file{"large", string(content)}, file{"last", "end"})
}
