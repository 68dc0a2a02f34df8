// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	snapshotsapi "github.com/containerd/containerd/api/services/snapshots/v1"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// namespace is where ctr works in these tests.
const namespace = "tests"

// layerDirectories asks the snapshotter how it would mount the only image that was unpacked, and
// returns the directories of its layers, bottom first.
func (m *machine) layerDirectories(t testing.TB) []string {
	t.Helper()
	conn, err := grpc.NewClient("unix://"+m.socket(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx := namespaces.WithNamespace(context.Background(), namespace)
	client := snapshotsapi.NewSnapshotsClient(conn)
	const name = "overlayfs"
	view, err := client.View(ctx, &snapshotsapi.ViewSnapshotRequest{
		Snapshotter: name, Key: "look", Parent: topSnapshot(t, ctx, client, name),
		// Else the garbage collector may take it at once.
		Labels: map[string]string{"containerd.io/gc.root": "look"},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if _, err := client.Remove(ctx, &snapshotsapi.RemoveSnapshotRequest{Snapshotter: name, Key: "look"}); err != nil {
			t.Error(err)
		}
	}()
	if len(view.Mounts) != 1 {
		t.Fatalf("not one mount: %v", view.Mounts)
	}
	// A single layer is bound.
	directories := []string{view.Mounts[0].Source}
	for _, option := range view.Mounts[0].Options {
		if lowers, ok := strings.CutPrefix(option, "lowerdir="); ok {
			directories = strings.Split(lowers, ":")
			slices.Reverse(directories)
		}
	}
	return directories
}

// topSnapshot is the one that is no other's parent.
func topSnapshot(t testing.TB, ctx context.Context, client snapshotsapi.SnapshotsClient, snapshotter string) string {
	t.Helper()
	list, err := client.List(ctx, &snapshotsapi.ListSnapshotsRequest{Snapshotter: snapshotter})
	if err != nil {
		t.Fatal(err)
	}
	isTop := map[string]bool{}
	for {
		answer, err := list.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, info := range answer.Info {
			if _, known := isTop[info.Name]; !known {
				isTop[info.Name] = true
			}
			isTop[info.Parent] = false
		}
	}
	var tops []string
	for name, top := range isTop {
		if top {
			tops = append(tops, name)
		}
	}
	if len(tops) != 1 {
		t.Fatalf("%d top snapshots, not one: %v", len(tops), tops)
	}
	return tops[0]
}
