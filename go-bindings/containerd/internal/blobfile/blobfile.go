// SPDX-License-Identifier: Apache-2.0

// Package blobfile knows where containerd's content store keeps a blob.
package blobfile

import (
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"
)

// Open opens the file of a whole blob in the store at root.
func Open(root string, blob digest.Digest) (*os.File, error) {
	// The digest becomes a path below.
	if err := blob.Validate(); err != nil {
		return nil, err
	}
	return os.Open(filepath.Join(root, "blobs", blob.Algorithm().String(), blob.Encoded()))
}
