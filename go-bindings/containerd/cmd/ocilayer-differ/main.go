// SPDX-License-Identifier: Apache-2.0

// Command ocilayer-differ applies image layers for a containerd that nobody changed.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	ocilayer "github.com/ocilayer/ocilayer/go-bindings"
	"github.com/ocilayer/ocilayer/go-bindings/containerd/internal/differ"
)

// Exit statuses. Those of check, audit and verify are those of the commands of ocilayer of that name.
const (
	exitFailed = 1
	exitUsage  = 2
	// exitUnknown is a kernel that could not be asked.
	exitUnknown = 3
	// exitSuspects is an audit that found nothing but suspects.
	exitSuspects = 3
)

const usage = `Usage: ocilayer-differ [serve] [FLAGS]   serve containerd's diff service
       ocilayer-differ check [FLAGS]     check the kernel and containerd's configuration
       ocilayer-differ audit [FLAGS]     compare snapshots with the layers that they were made of
       ocilayer-differ verify [FLAGS]    the same for what a power cut leaves, with figures for Prometheus
       ocilayer-differ --version         print the version, the commit, and what decompresses gzip

ocilayer-differ COMMAND --help tells the flags of a command.
`

// commit is set by the linker: scripts/build-differ.
var commit string

func main() {
	// The first signal finishes what runs; the second is the default one, which does not wait.
	ctx, restore := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	go func() {
		<-ctx.Done()
		restore()
	}()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	command, rest := "serve", args
	if len(args) > 0 {
		command, rest = args[0], args[1:]
	}
	switch command {
	case "help", "-h", "-help", "--help":
		fmt.Fprint(stdout, usage)
		return 0
	case "version", "-V", "-version", "--version":
		fmt.Fprintln(stdout, versionLine())
		return 0
	case "serve":
		return serve(ctx, rest, stderr)
	case "check":
		return check(ctx, rest, stdout, stderr)
	case "audit":
		return auditSnapshots(ctx, rest, stdout, stderr)
	case "verify":
		return verifySnapshots(ctx, rest, stdout, stderr)
	}
	// Flags without a command are those of serve.
	if command == "" || command[0] == '-' {
		return serve(ctx, args, stderr)
	}
	fmt.Fprintf(stderr, "ocilayer-differ: no command %q\n%s", command, usage)
	return exitUsage
}

func versionLine() string {
	line := "ocilayer-differ " + ocilayer.Version()
	if commit != "" {
		line += " (" + commit + ")"
	}
	return line + ", gzip by " + ocilayer.GzipBackend()
}

func serve(ctx context.Context, args []string, stderr io.Writer) int {
	config, err := differ.ReadConfig("ocilayer-differ serve", args)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil {
		fmt.Fprintln(stderr, "ocilayer-differ:", err)
		return exitUsage
	}
	if err := differ.Run(ctx, config, stderr); err != nil {
		fmt.Fprintln(stderr, "ocilayer-differ:", err)
		return exitFailed
	}
	return 0
}

// parse reads the flags of a command that takes no other arguments. If the command is done with that, it
// says so and with which status.
func parse(flags *flag.FlagSet, args []string, stderr io.Writer) (status int, done bool) {
	flags.SetOutput(stderr)
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return 0, true
	case err != nil:
		return exitUsage, true
	case flags.NArg() > 0:
		fmt.Fprintf(stderr, "ocilayer-differ: unexpected argument %q\n", flags.Arg(0))
		return exitUsage, true
	}
	return 0, false
}
