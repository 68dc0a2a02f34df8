// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"strings"
	"time"

	versionapi "github.com/containerd/containerd/api/services/version/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/emptypb"

	ocilayer "github.com/ocilayer/ocilayer/go-bindings"
	"github.com/ocilayer/ocilayer/go-bindings/containerd/internal/differ"
	"github.com/ocilayer/ocilayer/go-bindings/containerd/internal/setup"
)

// answerTimeout is how long containerd may take to name its version: what is asked for is in its
// memory.
const answerTimeout = 5 * time.Second

// The oldest configuration formats that releases read without converting them.
const (
	formatOf17 = 2
	formatOf20 = 3
)

// check prints whether the kernel is sound and containerd's configuration complete. Its status is 0
// if so, 1 if not, and 3 if the kernel cannot be asked.
func check(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("ocilayer-differ check", flag.ContinueOnError)
	file := flags.String("containerd-config", "/etc/containerd/config.toml", "containerd's configuration")
	socket := flags.String("containerd", "/run/containerd/containerd.sock", "containerd's socket")
	address := flags.String("address", differ.DefaultAddress, "the differ's socket")
	snapshotter := flags.String("snapshotter", "overlayfs", "whose snapshots the differ is to fill")
	only := flags.Bool("missing", false, "print nothing but the lines that containerd's configuration lacks")
	dir := flags.String("dir", "/var/lib/containerd", "directory on the snapshots' file system")
	if status, done := parse(flags, args, stderr); done {
		return status
	}

	config, err := setup.Read(*file)
	if err != nil {
		fmt.Fprintln(stderr, "ocilayer-differ:", err)
		return exitFailed
	}
	missing := config.Missing(setup.Wanted{Address: *address, Snapshotter: *snapshotter, Version: formatFor(ctx, *socket)})
	if *only {
		fmt.Fprint(stdout, missing)
		return 0
	}
	status := checkKernel(ctx, *dir, stdout, stderr)
	if missing == "" {
		fmt.Fprintf(stdout, "containerd: %s uses the differ\n", *file)
		return status
	}
	fmt.Fprintf(stdout, "containerd: %s lacks these lines\n\n%s", *file, missing)
	return exitFailed
}

func checkKernel(ctx context.Context, dir string, stdout, stderr io.Writer) int {
	kernel, err := ocilayer.CheckOverlayOpaquePropagation(ctx, dir)
	if err != nil {
		fmt.Fprintln(stderr, "ocilayer-differ:", err)
		return exitUnknown
	}
	fmt.Fprintln(stdout, "kernel:", kernel.Summary)
	switch kernel.Verdict {
	case ocilayer.VerdictNotAffected:
		return 0
	case ocilayer.VerdictAffected:
		fmt.Fprintln(stdout, kernel.Advice)
		return exitFailed
	}
	return exitUnknown
}

// formatFor is the version of the configuration format for the containerd at socket.
func formatFor(ctx context.Context, socket string) int {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	conn, err := grpc.NewClient("unix://"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return formatOf20
	}
	defer conn.Close()
	answer, err := versionapi.NewVersionClient(conn).Version(ctx, &emptypb.Empty{})
	if err == nil && strings.HasPrefix(strings.TrimPrefix(answer.Version, "v"), "1.") {
		return formatOf17
	}
	return formatOf20
}
