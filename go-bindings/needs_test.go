// SPDX-License-Identifier: Apache-2.0

//go:build linux && cgo

package ocilayer_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"os"
	"os/exec"
	"testing"
)

// needs skips aloud where something is missing, and fails where everything must run.
func needs(t testing.TB, there bool, what string) {
	t.Helper()
	if there {
		return
	}
	if os.Getenv("CI") != "" {
		t.Fatalf("needs %s", what)
	}
	// Not only by Skip, which says nothing without -v.
	fmt.Fprintf(os.Stderr, "SKIPPED %s: needs %s\n", t.Name(), what)
	t.SkipNow()
}

func needsRoot(t testing.TB) {
	t.Helper()
	needs(t, os.Geteuid() == 0, "root")
}

func needsTools(t testing.TB, names ...string) {
	t.Helper()
	for _, name := range names {
		_, err := exec.LookPath(name)
		needs(t, err == nil, name)
	}
}

// run runs a program to its success.
func run(t testing.TB, name string, arguments ...string) {
	t.Helper()
	if output, err := exec.Command(name, arguments...).CombinedOutput(); err != nil {
		t.Fatalf("%s %q: %v\n%s", name, arguments, err, output)
	}
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

// incompressible is what a layer does not get smaller by.
func incompressible(length int) string {
	content, state := make([]byte, length), uint32(1)
	for i := range content {
		state = state*1664525 + 1013904223
		content[i] = byte(state >> 24)
	}
	return string(content)
}

// large is a layer of many chunks.
func large(t testing.TB) []byte {
	t.Helper()
	return layer(t, file{"large", incompressible(3 << 20)}, file{"last", "end"})
}
