// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"os"

	"github.com/klauspost/compress/zstd"
	"github.com/klauspost/pgzip"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/opencontainers/umoci/oci/layer"
)

// umoci is what its `unpack` does for each layer, with the decompressors that it has.
func umoci(_ context.Context, root, blob string) (string, error) {
	file, err := os.Open(blob)
	if err != nil {
		return "", err
	}
	defer file.Close()
	mediaType, err := mediaTypeOf(blob)
	if err != nil {
		return "", err
	}
	var stream io.Reader = file
	switch mediaType {
	case ocispec.MediaTypeImageLayerGzip:
		if stream, err = pgzip.NewReader(file); err != nil {
			return "", err
		}
	case ocispec.MediaTypeImageLayerZstd:
		if stream, err = zstd.NewReader(file); err != nil {
			return "", err
		}
	}
	hash := sha256.New()
	tee := io.TeeReader(stream, hash)
	if err := layer.UnpackLayer(root, tee, nil); err != nil {
		return "", err
	}
	if _, err := io.Copy(io.Discard, tee); err != nil {
		return "", err
	}
	return fmt.Sprintf("sha256:%x", hash.Sum(nil)), nil
}
