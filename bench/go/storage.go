// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/containers/storage"
	"github.com/containers/storage/pkg/archive"
)

// storageLayer makes a layer of a store below root, as podman and CRI-O do. The layer's tree is in
// overlay/layer/diff.
func storageLayer(_ context.Context, layer, root string) (string, error) {
	store, err := storage.GetStore(storage.StoreOptions{
		GraphRoot: root, RunRoot: filepath.Join(root, "run"), GraphDriverName: "overlay",
	})
	if err != nil {
		return "", err
	}
	file, err := os.Open(layer)
	if err != nil {
		return "", err
	}
	defer file.Close()
	put, _, err := store.PutLayer("layer", "", nil, "", false, nil, file)
	if err != nil {
		return "", err
	}
	diffID := put.UncompressedDigest.String()
	if _, err := store.Shutdown(true); err != nil {
		return "", err
	}
	return diffID, nil
}

// storageArchive is the package below that only: no store, no chroot, no metadata for later.
func storageArchive(_ context.Context, layer, root string) (string, error) {
	file, err := os.Open(layer)
	if err != nil {
		return "", err
	}
	defer file.Close()
	stream, err := archive.DecompressStream(file)
	if err != nil {
		return "", err
	}
	defer stream.Close()
	hash := sha256.New()
	tee := io.TeeReader(stream, hash)
	if _, err := archive.UnpackLayer(root, tee, nil); err != nil {
		return "", err
	}
	if _, err := io.Copy(io.Discard, tee); err != nil {
		return "", err
	}
	return fmt.Sprintf("sha256:%x", hash.Sum(nil)), nil
}
