// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// imageName is what an imported image is called.
const imageName = "ocilayer.test/image:demo"

// debianImage is an OCI archive of three Debian layers with whiteouts and an opaque directory.
// The first caller has scripts/demo-image make it.
func debianImage(t testing.TB, compression string) string {
	t.Helper()
	dir := target(t, "image")
	archive := filepath.Join(dir, compression+".tar")
	if _, err := os.Stat(archive); err == nil {
		return archive
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	// What an earlier run left half-made would be in the way.
	for _, name := range []string{"storage", "run", "gzip", "zstd"} {
		if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	t.Log("making a Debian image of three layers")
	run(t, filepath.Join(repository(t), "scripts", "demo-image"), dir)
	for _, name := range []string{"gzip", "zstd"} {
		part := filepath.Join(dir, name+".part")
		run(t, "tar", "-C", filepath.Join(dir, name), "-cf", part, ".")
		if err := os.Rename(part, filepath.Join(dir, name+".tar")); err != nil {
			t.Fatal(err)
		}
	}
	unmountBelow(t, dir)
	if err := os.RemoveAll(filepath.Join(dir, "storage")); err != nil {
		t.Fatal(err)
	}
	return archive
}

// run runs a command to its good end, and returns what it printed.
func run(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", name, err, out)
	}
	return string(out)
}
