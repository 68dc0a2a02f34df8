// SPDX-License-Identifier: Apache-2.0

// Package archive has Apply with the names and types of containerd's archive package: a fork that
// applies layers through it changes one import line, and its go.mod.
//
// It depends on no version of containerd, so that it fits all of them. Decompression stays with
// the caller, as it always was here; containerd.NewApplier in the directory above does both in one
// go, which is faster.
package archive

import (
	"context"
	"fmt"
	"io"

	ocilayer "github.com/ocilayer/ocilayer/go-bindings"
)

// Apply applies the uncompressed layer that r reads to the directory root, and returns how many
// bytes of file content it wrote. It reads r to the archive's end, as containerd's Apply does: r may
// stay open, what follows is the caller's, and so is the question whether r was whole. Apply has then
// read at most what one Read of 256 KiB gave behind the end; a bytes.Reader or bytes.Buffer is used up.
//
// Names, links and whiteouts of the layer never reach outside of root. When ctx is done it
// returns the cause. On error root may hold a part of the layer.
func Apply(ctx context.Context, root string, r io.Reader, opts ...ApplyOpt) (int64, error) {
	var options ApplyOptions
	for _, opt := range opts {
		if err := opt(&options); err != nil {
			return 0, fmt.Errorf("archive option: %w", err)
		}
	}
	overlay, err := options.marksForOverlay()
	if err != nil {
		return 0, err
	}
	if options.Filter != nil {
		r = newFiltered(r, options.Filter)
	}
	report, err := ocilayer.Unpack(ctx, root, r, options.forLibrary(overlay)...)
	if err != nil {
		return 0, err
	}
	return int64(report.FileBytes), nil
}

func (o *ApplyOptions) forLibrary(overlay bool) []ocilayer.Option {
	options := []ocilayer.Option{ocilayer.WithReadTo(ocilayer.ReadToEndOfArchive), ocilayer.WithLimits(o.Limits)}
	if overlay {
		options = append(options, ocilayer.WithMode(ocilayer.ModeOverlay))
	}
	if len(o.Parents) > 0 {
		options = append(options, ocilayer.WithLowers(o.Parents...))
	}
	if o.NoSameOwner {
		options = append(options, ocilayer.WithoutOwners())
	}
	return options
}
