// SPDX-License-Identifier: Apache-2.0

// Command peers applies a layer with one of the appliers that there are in Go, and prints the diffID.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/containers/storage/pkg/reexec"
)

// appliers unpack the layer in a file to a directory and return its diffID.
var appliers = map[string]func(ctx context.Context, layer, root string) (string, error){
	"containerd":                 containerd,
	"containers-storage":         storageLayer,
	"containers-storage-archive": storageArchive,
	"ocilayer":                   bindings,
	"umoci":                      umoci,
}

func main() {
	// containers/storage runs this program again, in the new root.
	if reexec.Init() {
		return
	}
	if len(os.Args) != 4 || appliers[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "usage: peers APPLIER LAYER ROOT")
		os.Exit(2)
	}
	diffID, err := appliers[os.Args[1]](context.Background(), os.Args[2], os.Args[3])
	if err != nil {
		fmt.Fprintln(os.Stderr, "peers:", err)
		os.Exit(1)
	}
	fmt.Println(diffID)
}
