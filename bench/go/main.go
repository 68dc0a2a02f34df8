// SPDX-License-Identifier: Apache-2.0

// Command peers applies layers, one upon the other, with one of the appliers that there are in Go, and
// prints a diffID for each.
package main

import (
	"context"
	"fmt"
	"os"
	"runtime/debug"

	"go.podman.io/storage/pkg/reexec"
)

// An applier unpacks the layers in these files to a directory, the lowest first, and returns their diffIDs.
type applier func(ctx context.Context, root string, layers []string) ([]string, error)

var appliers = map[string]applier{
	"containerd":                 each(containerd),
	"containers-storage":         storageLayers,
	"containers-storage-archive": each(storageArchive),
	"ocilayer":                   each(bindings),
	"umoci":                      each(umoci),
}

// each is for those who know one layer only.
func each(apply func(ctx context.Context, root, layer string) (string, error)) applier {
	return func(ctx context.Context, root string, layers []string) ([]string, error) {
		var diffIDs []string
		for _, layer := range layers {
			diffID, err := apply(ctx, root, layer)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", layer, err)
			}
			diffIDs = append(diffIDs, diffID)
		}
		return diffIDs, nil
	}
}

func main() {
	// containers/storage runs this program again, in the new root.
	if reexec.Init() {
		return
	}
	if len(os.Args) == 2 && os.Args[1] == "versions" {
		versions()
		return
	}
	if len(os.Args) < 4 || appliers[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "usage: peers APPLIER ROOT LAYER...")
		os.Exit(2)
	}
	diffIDs, err := appliers[os.Args[1]](context.Background(), os.Args[2], os.Args[3:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "peers:", err)
		os.Exit(1)
	}
	for _, diffID := range diffIDs {
		fmt.Println(diffID)
	}
}

// versions prints the modules that have the appliers, each with its version.
func versions() {
	appliers := map[string]bool{
		"github.com/containerd/containerd/v2": true,
		"github.com/opencontainers/umoci":     true,
		"go.podman.io/storage":                true,
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return
	}
	for _, module := range info.Deps {
		if appliers[module.Path] {
			fmt.Println(module.Path, module.Version)
		}
	}
}
