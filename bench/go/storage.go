// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"go.podman.io/storage"
	"go.podman.io/storage/pkg/archive"
)

// storageLayers makes layers of a store below root, one upon the other, as podman and CRI-O do. The tree
// of the first, layer0, is in overlay/layer0/diff.
func storageLayers(_ context.Context, root string, layers []string) ([]string, error) {
	store, err := storage.GetStore(storage.StoreOptions{
		GraphRoot: root, RunRoot: filepath.Join(root, "run"), GraphDriverName: "overlay",
	})
	if err != nil {
		return nil, err
	}
	var diffIDs []string
	parent := ""
	for number, layer := range layers {
		id := fmt.Sprintf("layer%d", number)
		diffID, err := putLayer(store, id, parent, layer)
		if err != nil {
			return nil, err
		}
		diffIDs = append(diffIDs, diffID)
		parent = id
	}
	_, err = store.Shutdown(true)
	return diffIDs, err
}

func putLayer(store storage.Store, id, parent, layer string) (string, error) {
	file, err := os.Open(layer)
	if err != nil {
		return "", err
	}
	defer file.Close()
	put, _, err := store.PutLayer(id, parent, nil, "", false, nil, file)
	if err != nil {
		return "", err
	}
	return put.UncompressedDigest.String(), nil
}

// storageArchive is the package below that only: no store, no chroot, no metadata for later.
func storageArchive(_ context.Context, root, layer string) (string, error) {
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
