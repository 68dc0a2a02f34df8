// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"io"
	"os"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/diff/apply"
	"github.com/containerd/containerd/v2/core/mount"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// containerd is what its daemon does for a snapshot without parents: the applier over a content store,
// into a bind mount. Which decompressor it takes, its environment says.
func containerd(ctx context.Context, root, layer string) (string, error) {
	mediaType, err := mediaTypeOf(layer)
	if err != nil {
		return "", err
	}
	desc := ocispec.Descriptor{MediaType: mediaType}
	bind := []mount.Mount{{Type: "bind", Source: root, Options: []string{"rbind", "rw"}}}
	applied, err := apply.NewFileSystemApplier(oneBlob(layer)).Apply(ctx, desc, bind)
	return applied.Digest.String(), err
}

func mediaTypeOf(layer string) (string, error) {
	file, err := os.Open(layer)
	if err != nil {
		return "", err
	}
	defer file.Close()
	var magic [4]byte
	if _, err := io.ReadFull(file, magic[:]); err != nil {
		return "", err
	}
	switch {
	case magic[0] == 0x1f && magic[1] == 0x8b:
		return ocispec.MediaTypeImageLayerGzip, nil
	case magic == [4]byte{0x28, 0xb5, 0x2f, 0xfd}:
		return ocispec.MediaTypeImageLayerZstd, nil
	}
	return ocispec.MediaTypeImageLayer, nil
}

// oneBlob is a content store with one blob, whatever it is asked for: this file.
type oneBlob string

func (b oneBlob) ReaderAt(context.Context, ocispec.Descriptor) (content.ReaderAt, error) {
	file, err := os.Open(string(b))
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err != nil {
		file.Close()
		return nil, err
	}
	return blob{file, info.Size()}, nil
}

type blob struct {
	*os.File
	size int64
}

func (b blob) Size() int64 { return b.size }
