// SPDX-License-Identifier: Apache-2.0

//go:build linux && cgo

package ocilayer_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"strings"

	ocilayer "github.com/ocilayer/ocilayer/go-bindings"
)

func ExampleUnpack() {
	blob, err := os.Open("testdata/layer.tar.gz")
	if err != nil {
		log.Fatal(err)
	}
	defer blob.Close()
	root, err := os.MkdirTemp("", "rootfs")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(root)

	report, err := ocilayer.Unpack(context.Background(), root, blob, ocilayer.WithoutOwners())
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(report.Entries.Total, "entries,", report.FileBytes, "bytes in files")
	// Output: 2 entries, 6 bytes in files
}

func ExampleError() {
	_, err := ocilayer.Unpack(context.Background(), os.TempDir(), strings.NewReader("no layer"))
	var failed *ocilayer.Error
	if errors.As(err, &failed) {
		fmt.Println(failed.Op, "failed:", failed.Kind)
	}
	fmt.Println(errors.Is(err, ocilayer.ErrArchive))
	// Output:
	// unpack failed: malformed archive
	// true
}

func ExampleCheckOverlayOpaquePropagation() {
	check, err := ocilayer.CheckOverlayOpaquePropagation(context.Background(), "/var/lib")
	if err != nil {
		log.Fatal(err)
	}
	if check.Verdict == ocilayer.VerdictAffected {
		fmt.Println(check.Advice)
	}
}

func ExampleScan() {
	blob, err := os.Open("testdata/layer.tar.gz")
	if err != nil {
		log.Fatal(err)
	}
	defer blob.Close()
	report, err := ocilayer.Scan(context.Background(), blob, func(f ocilayer.Finding) error {
		fmt.Println(f)
		return nil
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(report.Entries, "entries, refused:", report.Refused)
	// Output: 2 entries, refused: false
}
