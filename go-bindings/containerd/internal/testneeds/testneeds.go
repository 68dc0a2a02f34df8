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
