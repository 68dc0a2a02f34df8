// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"

	ocilayer "github.com/ocilayer/ocilayer/go-bindings"
	"github.com/ocilayer/ocilayer/go-bindings/containerd/internal/blobs"
	"github.com/ocilayer/ocilayer/go-bindings/containerd/internal/snapshotaudit"
)

// auditSnapshots prints what the overlayfs defect and other accidents did to containerd's snapshots.
func auditSnapshots(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("ocilayer-differ audit", flag.ContinueOnError)
	var config snapshotaudit.Config
	socket := flags.String("containerd", "/run/containerd/containerd.sock", "containerd's socket")
	root := flags.String("content-root", "", "root of the content store; containerd is asked if it is empty")
	flags.StringVar(&config.Snapshotter, "snapshotter", "overlayfs", "whose snapshots to look at")
	flags.StringVar(&config.Namespace, "namespace", "", "containerd's namespace; all of them if it is empty")
	repair := flags.Bool("repair", false, "remove the marks that were listed as wrong, or as suspect")
	restore := flags.Bool("restore", false, "write again, from the layers, what differs and what is missing")
	live := flags.Bool("live", false, "with -repair or -restore, also what a mount is using; it shows when it is mounted anew")
	asJSON := flags.Bool("json", false, "print a line of JSON for each finding and each image")
	if status, done := parse(flags, args, stderr); done {
		return status
	}
	switch {
	case *repair && *restore:
		fmt.Fprintln(stderr, "ocilayer-differ: -restore does what -repair does: one of them is enough")
		return exitUsage
	case *live && !*repair && !*restore:
		fmt.Fprintln(stderr, "ocilayer-differ: -live is for -repair and -restore")
		return exitUsage
	case *restore && *live:
		config.Repair = ocilayer.RepairRestoreLive
	case *restore:
		config.Repair = ocilayer.RepairRestore
	case *live:
		config.Repair = ocilayer.RepairLive
	case *repair:
		config.Repair = ocilayer.RepairMarks
	}

	conn, err := blobs.Dial(*socket)
	if err != nil {
		fmt.Fprintln(stderr, "ocilayer-differ:", err)
		return exitFailed
	}
	defer conn.Close()
	log := slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	printer := &printer{out: stdout, failures: stderr, json: *asJSON}
	if err := snapshotaudit.Run(ctx, conn, blobs.New(conn, *root, log), config, printer); err != nil {
		fmt.Fprintln(stderr, "ocilayer-differ:", err)
		return exitFailed
	}
	return printer.status()
}

// printer prints findings as they come, like the command ocilayer.
type printer struct {
	out, failures              io.Writer
	json                       bool
	damaged, suspected, failed bool
}

func (p *printer) status() int {
	switch {
	case p.damaged || p.failed:
		return exitFailed
	case p.suspected:
		return exitSuspects
	}
	return 0
}

func title(image snapshotaudit.Image) string { return image.Namespace + " " + image.Name }

func (p *printer) Damage(image snapshotaudit.Image, damage ocilayer.Damage) error {
	if p.json {
		return p.line(map[string]string{
			"namespace": image.Namespace, "image": image.Name, "damage": damage.Kind.String(),
			"directory": damage.Directory, "path": damage.Path, "detail": damage.Detail,
		})
	}
	detail := ""
	if damage.Detail != "" {
		detail = fmt.Sprintf(" %q", damage.Detail)
	}
	_, err := fmt.Fprintf(p.out, "%-20s %q %q%s\n", damage.Message, damage.Directory, damage.Path, detail)
	return err
}

func (p *printer) Done(image snapshotaudit.Image, report *ocilayer.AuditReport, failure error) error {
	if failure != nil {
		p.failed = true
		fmt.Fprintf(p.failures, "ocilayer-differ: %s: %v\n", title(image), failure)
		if p.json {
			return p.line(map[string]string{"namespace": image.Namespace, "image": image.Name, "error": failure.Error()})
		}
		return nil
	}
	p.damaged = p.damaged || report.Damaged
	p.suspected = p.suspected || report.Damage[ocilayer.DamageSuspect] > 0
	if p.json {
		return p.line(map[string]any{
			"namespace": image.Namespace, "image": image.Name, "exact": image.Exact,
			"report": json.RawMessage(report.JSON),
		})
	}
	if report.Layers == 0 {
		_, err := fmt.Fprintf(p.out, "%s: not verified: not all blobs are here\n", title(image))
		return err
	}
	_, err := fmt.Fprintf(p.out, "%s: %d layers: %s\n", title(image), report.Layers, sum(image, report))
	return err
}

func sum(image snapshotaudit.Image, report *ocilayer.AuditReport) string {
	var parts []string
	for kind, count := range report.Damage {
		parts = append(parts, fmt.Sprintf("%s %d", strings.ReplaceAll(kind.String(), "_", " "), count))
	}
	slices.Sort(parts)
	if len(parts) == 0 {
		parts = []string{"clean"}
	}
	if !image.Exact {
		parts = append(parts, "not all blobs are here: suspects only")
	}
	if report.Restored > 0 {
		parts = append(parts, fmt.Sprintf("restored %d names", report.Restored))
	}
	if report.Repaired > 0 {
		parts = append(parts, fmt.Sprintf("removed %d marks, wrote %d whiteouts", report.Repaired, report.Whiteouts))
	}
	return strings.Join(parts, ", ")
}

func (p *printer) line(value any) error {
	text, err := json.Marshal(value)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(p.out, "%s\n", text)
	return err
}
