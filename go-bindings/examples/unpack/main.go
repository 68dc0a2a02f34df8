// SPDX-License-Identifier: Apache-2.0

// Unpack applies the layer LAYER, or standard input for -, to the directory ROOT; ^C ends it cleanly.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"

	ocilayer "github.com/ocilayer/ocilayer/go-bindings"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: unpack LAYER ROOT")
		os.Exit(2)
	}
	if err := unpack(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func unpack(layer, root string) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	blob := os.Stdin
	if layer != "-" {
		var err error
		if blob, err = os.Open(layer); err != nil {
			return err
		}
		defer blob.Close()
	}
	report, err := ocilayer.Unpack(ctx, root, blob)
	if err != nil {
		return err
	}
	fmt.Printf("%d files, %d bytes, %s\n", report.Entries.Files, report.FileBytes, report.DiffID)
	for _, skipped := range report.Skipped {
		// %q: the name comes from the archive, and this may be a terminal.
		fmt.Printf("%d times: %s, such as %q\n", skipped.Count, skipped.Text, skipped.Examples[0].Path)
	}
	return nil
}
