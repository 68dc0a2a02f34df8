// SPDX-License-Identifier: Apache-2.0

package archive

import (
	"archive/tar"
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"strings"

	ocilayer "github.com/ocilayer/ocilayer/go-bindings"
)

// ApplyOptions is what the ApplyOpts of one call add up to.
type ApplyOptions struct {
	// Filter is asked about every entry; nil takes all of them.
	Filter Filter
	// ConvertWhiteout says what a whiteout becomes: nil deletes, OverlayConvertWhiteout marks.
	ConvertWhiteout ConvertWhiteout
	// Parents are the directories of the layers below, the nearest first.
	Parents []string
	// NoSameOwner leaves everything to the calling process instead of the archive's owners.
	NoSameOwner bool
	// Limits bound what the layer may ask for; zeros stand for the defaults. containerd has none.
	Limits ocilayer.Limits
}

// ApplyOpt sets one of ApplyOptions.
type ApplyOpt func(options *ApplyOptions) error

// Filter says whether an entry is applied. What it changes in the header is what gets applied.
type Filter func(*tar.Header) (bool, error)

// ConvertWhiteout is the type of OverlayConvertWhiteout, the only value that Apply takes.
type ConvertWhiteout func(*tar.Header, string) (bool, error)

// WithFilter has f decide which entries are applied.
//
// The archive is read and written once more in Go for it: only a call with a filter pays that.
func WithFilter(f Filter) ApplyOpt {
	return func(options *ApplyOptions) error {
		options.Filter = f
		return nil
	}
}

// WithConvertWhiteout has Apply write overlay's markers where c is OverlayConvertWhiteout, this
// package's or containerd's. Any other function makes Apply fail with errors.ErrUnsupported: it
// would be handed a path to do as it likes with, and paths are what this library does not trust.
func WithConvertWhiteout(c ConvertWhiteout) ApplyOpt {
	return func(options *ApplyOptions) error {
		options.ConvertWhiteout = c
		return nil
	}
}

// WithNoSameOwner ignores the owners in the archive.
func WithNoSameOwner() ApplyOpt {
	return func(options *ApplyOptions) error {
		options.NoSameOwner = true
		return nil
	}
}

// WithLimits replaces the limits that are not zero.
func WithLimits(limits ocilayer.Limits) ApplyOpt {
	return func(options *ApplyOptions) error {
		options.Limits = limits
		return nil
	}
}

// WithParents names the directories of the layers below, the nearest first. A directory that no
// entry describes takes its attributes from there, symlinked parents resolve through them, and a
// whiteout that none of them needs is not written.
//
// It belongs to OverlayConvertWhiteout. An overlay mount of the parents needs no such help.
func WithParents(p []string) ApplyOpt {
	return func(options *ApplyOptions) error {
		options.Parents = p
		return nil
	}
}

// OverlayConvertWhiteout stands for overlay's own markers in WithConvertWhiteout. A call of it
// fails with errors.ErrUnsupported: the markers are made by Apply, below a directory that it holds
// open, and not by a path that may have become another one.
func OverlayConvertWhiteout(*tar.Header, string) (bool, error) {
	return false, fmt.Errorf("archive.OverlayConvertWhiteout is for WithConvertWhiteout only: %w", errors.ErrUnsupported)
}

// AufsConvertWhiteout is here because containerd 1.7 names it beside OverlayConvertWhiteout. Linux
// has had no aufs for long: Apply fails with errors.ErrUnsupported where it is asked for.
func AufsConvertWhiteout(*tar.Header, string) (bool, error) {
	return false, fmt.Errorf("archive.AufsConvertWhiteout: %w", errors.ErrUnsupported)
}

// marksForOverlay tells a deleting applier from a marking one, or refuses a third kind.
func (o *ApplyOptions) marksForOverlay() (bool, error) {
	if o.ConvertWhiteout == nil {
		if len(o.Parents) > 0 {
			return false, fmt.Errorf("archive.WithParents without OverlayConvertWhiteout: %w", errors.ErrUnsupported)
		}
		return false, nil
	}
	function := runtime.FuncForPC(reflect.ValueOf(o.ConvertWhiteout).Pointer())
	// By name, so that a caller who still imports containerd's package for the option is understood.
	if function != nil && strings.HasSuffix(function.Name(), "/archive.OverlayConvertWhiteout") {
		return true, nil
	}
	return false, fmt.Errorf("archive.WithConvertWhiteout of another function: %w", errors.ErrUnsupported)
}
