// SPDX-License-Identifier: Apache-2.0

package ocilayer

import "io"

// Image says what [UnpackImage] is to unpack: an image at Path, or the caller's own Layers.
type Image struct {
	// Path of a directory with an OCI image layout, of an archive of one, or of one by docker save.
	Path string
	// Name, Digest and Platform choose one of several images at Path, where they are not empty: what the
	// layout or archive calls it, or its tag; the digest of its manifest or of an index that leads to it;
	// os/architecture[/variant]. Where that leaves several, the one for this machine is meant.
	Name, Digest, Platform string
	// Layers are bottom first; without a Path.
	Layers []ImageLayer
}

// ImageLayer is one layer of an image that the caller has in its own way.
type ImageLayer struct {
	// Blob is used as by [Unpack]. What is neither a regular file nor in memory is read from a goroutine of
	// its own, through a pipe, which is filled while layers below are unpacked: a download may go on as long
	// as it likes.
	Blob io.Reader
	// Digest is what the blob must have; empty to expect none.
	Digest string
	// DiffID is the digest that the uncompressed archive must have.
	DiffID string
}

// ImageReport says what became of an image.
type ImageReport struct {
	// Layers are bottom first.
	Layers []LayerReport
	// Lowerdir is overlay's option of that name, topmost layer first, with : and \ in names escaped; empty
	// where all layers went to one directory.
	Lowerdir string
	// JSON is all of it as one object.
	JSON string
}

// LayerReport says what became of one layer of an image.
type LayerReport struct {
	// Digest is that of the blob; empty if the image does not say it.
	Digest string
	DiffID string
	// ChainID stands for the layer and all below it.
	ChainID string
	// Path is its directory in the store; empty where all layers went to one directory.
	Path string
	// Report is nil for a layer that the store had already.
	Report *Report
}
