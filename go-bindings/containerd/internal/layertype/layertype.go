// SPDX-License-Identifier: Apache-2.0

// Package layertype knows the media types of layers.
package layertype

import (
	"github.com/containerd/containerd/v2/core/images"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// IsPlain says whether ocilayer reads blobs of a media type as they are: tar, or tar in gzip or zstd, and
// not encrypted.
func IsPlain(mediaType string) bool { return plain[mediaType] }

// plain are the media types that ocilayer reads as they are. How such a blob is compressed
// is told by its bytes, as containerd does: the names of docker's types have been wrong before.
var plain = map[string]bool{
	ocispec.MediaTypeImageLayer:                     true,
	ocispec.MediaTypeImageLayerGzip:                 true,
	ocispec.MediaTypeImageLayerZstd:                 true,
	ocispec.MediaTypeImageLayerNonDistributable:     true, //nolint:staticcheck // old images have them
	ocispec.MediaTypeImageLayerNonDistributableGzip: true, //nolint:staticcheck // old images have them
	ocispec.MediaTypeImageLayerNonDistributableZstd: true, //nolint:staticcheck // old images have them
	images.MediaTypeDockerSchema2Layer:              true,
	images.MediaTypeDockerSchema2LayerGzip:          true,
	images.MediaTypeDockerSchema2LayerZstd:          true,
	images.MediaTypeDockerSchema2LayerForeign:       true,
	images.MediaTypeDockerSchema2LayerForeignGzip:   true,
}
