// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"os"
	"runtime"

	ocilayer "github.com/ocilayer/ocilayer/go-bindings"
)

func bindings(ctx context.Context, root, layer string) (string, error) {
	file, err := os.Open(layer)
	if err != nil {
		return "", err
	}
	defer file.Close()
	// containerd's applier makes no digest of the blob either.
	report, err := ocilayer.Unpack(ctx, root, file, ocilayer.WithoutBlobDigest(),
		ocilayer.WithThreads(uint32(runtime.NumCPU())))
	if err != nil {
		return "", err
	}
	return report.DiffID, nil
}
