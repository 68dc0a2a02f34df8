// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"time"

	ocilayer "github.com/ocilayer/ocilayer/go-bindings"
	"github.com/ocilayer/ocilayer/go-bindings/containerd/internal/blobs"
	"github.com/ocilayer/ocilayer/go-bindings/containerd/internal/snapshotaudit"
)

// verifySnapshots prints which files of containerd's snapshots were cut, zeroed or lost, and writes figures
// of it for Prometheus.
func verifySnapshots(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("ocilayer-differ verify", flag.ContinueOnError)
	config := snapshotaudit.Config{Compare: ocilayer.CompareSizes, OnlyExact: true}
	socket := flags.String("containerd", "/run/containerd/containerd.sock", "containerd's socket")
	root := flags.String("content-root", "", "root of the content store; containerd is asked if it is empty")
	flags.StringVar(&config.Snapshotter, "snapshotter", "overlayfs", "whose snapshots to look at")
	flags.StringVar(&config.Namespace, "namespace", "", "containerd's namespace; all of them if it is empty")
	content := flags.Bool("content", false, "compare the content of every file, not only the sizes and what has holes")
	figures := flags.String("figures", "", "file that is replaced by figures for Prometheus, in its text format")
	asJSON := flags.Bool("json", false, "print a line of JSON for each finding and each image")
	if status, done := parse(flags, args, stderr); done {
		return status
	}
	if *content {
		config.Compare = ocilayer.CompareContent
	}

	conn, err := blobs.Dial(*socket)
	if err != nil {
		fmt.Fprintln(stderr, "ocilayer-differ:", err)
		return exitFailed
	}
	defer conn.Close()
	log := slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	printer := &printer{out: stdout, failures: stderr, json: *asJSON}
	counts := snapshotaudit.NewFigures(printer)
	begin := time.Now()
	if err := snapshotaudit.Run(ctx, conn, blobs.New(conn, *root, log), config, counts); err != nil {
		fmt.Fprintln(stderr, "ocilayer-differ:", err)
		return exitFailed
	}
	if *figures != "" {
		if err := counts.Write(*figures, time.Since(begin)); err != nil {
			fmt.Fprintln(stderr, "ocilayer-differ:", err)
			return exitFailed
		}
	}
	return printer.status()
}
