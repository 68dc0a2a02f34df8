// SPDX-License-Identifier: Apache-2.0

// Package testneeds says what tests need of the machine.
package testneeds

import (
	"fmt"
	"os"
	"testing"
)

// Root is for tests that need root: without it, it skips loudly, or fails where CI is set.
func Root(t testing.TB) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("CI") == "true" {
		t.Fatal("CI needs root, which is missing")
	}
	fmt.Fprintf(os.Stderr, "SKIPPED %s: needs root\n", t.Name())
	t.SkipNow()
}

// Missing is for the part of a test that needs something: without it, that part is left out loudly, or the
// test fails where CI is set.
func Missing(t testing.TB, what string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf("CI needs %s", what)
	}
	fmt.Fprintf(os.Stderr, "SKIPPED part of %s: needs %s\n", t.Name(), what)
}
