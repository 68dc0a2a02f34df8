// SPDX-License-Identifier: Apache-2.0

// Package containerd applies image layers for containerd with ocilayer: from the compressed blob
// to files in one go, straight into the snapshot's directory.
//
// NewApplier is a diff.Applier for a client or a fork. Package plugin below makes it a built-in
// differ by a blank import, package archive replaces containerd's own by one import line and go.mod, and the
// command ocilayer-differ serves it to a containerd that nobody changed.
package containerd

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/diff"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	ocilayer "github.com/ocilayer/ocilayer/go-bindings"
	"github.com/ocilayer/ocilayer/go-bindings/containerd/internal/blobfile"
)

// Option changes how NewApplier's applier works.
type Option func(*applier)

// WithContentRoot names the root of the local content store: the directory that has blobs/ below
// it. Blobs are then read from their files there, which is about twice as fast as through the
// content service. A blob without a file is read from the provider.
func WithContentRoot(root string) Option {
	return WithBlobFile(func(_ context.Context, desc ocispec.Descriptor) (*os.File, error) {
		return blobfile.Open(root, desc.Digest)
	})
}

// WithBlobFile is WithContentRoot for other stores: open gives a blob's file, which the applier
// closes, or an error, and then the provider is read.
func WithBlobFile(open func(context.Context, ocispec.Descriptor) (*os.File, error)) Option {
	return func(a *applier) { a.blobFile = open }
}

// WithSync has every layer on disk before Apply returns, also where the request does not ask:
// containerd's transfer service does not pass its sync_fs on.
func WithSync(sync ocilayer.Sync) Option {
	return func(a *applier) { a.sync = sync }
}

// WithThreads sets the worker threads of one Apply; 0, the default, goes by the number of CPUs.
func WithThreads(threads uint32) Option {
	return func(a *applier) { a.threads = threads }
}

// WithLimits replaces the limits on one layer that are not zero.
func WithLimits(limits ocilayer.Limits) Option {
	return func(a *applier) { a.limits = limits }
}

// WithMountManager has mounts that are more than mount(2) can do activated by manager first.
func WithMountManager(manager mount.Manager) Option {
	return func(a *applier) { a.mounts = manager }
}

// WithObserver has observe called at the end of each Apply, from the goroutine that called it.
// The report is nil where nothing was begun.
func WithObserver(observe func(ocispec.Descriptor, *ocilayer.Report, error)) Option {
	return func(a *applier) { a.observe = observe }
}

// WithSnapshotter has layers exact that containerd unpacks several at once (max_concurrent_unpacks, from 2.3
// on): it fills their snapshots without a word about parents, but says in a label what they are going to lie
// on, and snapshotter, which is the one that they belong to, knows the directories. Each layer is applied as
// far as it goes without its parents, and waits for their applies in this applier for the rest. wait, which
// may be nil, is called around each of these waits.
func WithSnapshotter(snapshotter snapshots.Snapshotter, wait func(ctx context.Context, wait func() error) error) Option {
	return func(a *applier) {
		a.parents = &parents{snapshotter: snapshotter, around: wait, applies: map[string]*running{}}
	}
}

type applier struct {
	provider content.Provider
	blobFile func(context.Context, ocispec.Descriptor) (*os.File, error)
	sync     ocilayer.Sync
	threads  uint32
	limits   ocilayer.Limits
	mounts   mount.Manager
	observe  func(ocispec.Descriptor, *ocilayer.Report, error)
	// parents is nil where they are taken as the mounts say.
	parents *parents
}

// NewApplier returns an applier of the layers in provider.
//
// One overlay mount is applied to its upper directory with its lower directories as parents, known
// or not, and one bind mount to its source: neither is mounted. Everything else is mounted on a
// temporary directory. Any number of goroutines may use it.
func NewApplier(provider content.Provider, opts ...Option) diff.Applier {
	a := &applier{provider: provider}
	for _, opt := range opts {
		opt(a)
	}
	return a
}

// Apply applies the layer that desc names to mounts and returns the descriptor of the uncompressed
// layer: its digest is the diffID. On error the mounts may hold a part of the layer.
func (a *applier) Apply(ctx context.Context, desc ocispec.Descriptor, mounts []mount.Mount, opts ...diff.ApplyOpt) (ocispec.Descriptor, error) {
	var config diff.ApplyConfig
	for _, opt := range opts {
		if err := opt(ctx, desc, &config); err != nil {
			return ocispec.Descriptor{}, fmt.Errorf("apply option: %w", err)
		}
	}
	applied, report, err := a.apply(ctx, desc, mounts, &config)
	if a.observe != nil {
		a.observe(desc, report, err)
	}
	return applied, err
}

func (a *applier) apply(ctx context.Context, desc ocispec.Descriptor, mounts []mount.Mount, config *diff.ApplyConfig) (ocispec.Descriptor, *ocilayer.Report, error) {
	layer, err := a.open(ctx, desc, config)
	if err != nil {
		return ocispec.Descriptor{}, nil, err
	}
	defer layer.Close()

	var report *ocilayer.Report
	err = a.withTarget(ctx, mounts, func(at target) error {
		var err error
		report, err = ocilayer.Unpack(ctx, at.root, layer.reader, a.options(at, layer, config)...)
		if err != nil {
			return asContainerdError(ctx, err)
		}
		return layer.finish()
	})
	if err != nil {
		return ocispec.Descriptor{}, report, fmt.Errorf("apply layer %s: %w", desc.Digest, err)
	}
	if config.Progress != nil {
		config.Progress(desc.Size)
	}
	return ocispec.Descriptor{
		MediaType: ocispec.MediaTypeImageLayer,
		Digest:    digest.Digest(report.DiffID),
		Size:      int64(report.LayerBytes),
	}, report, nil
}

func (a *applier) options(at target, layer *layer, config *diff.ApplyConfig) []ocilayer.Option {
	options := append(at.options(), ocilayer.WithThreads(a.threads), ocilayer.WithLimits(a.limits))
	switch {
	case a.sync != ocilayer.SyncNone:
		options = append(options, ocilayer.WithSync(a.sync))
	case config.SyncFs:
		options = append(options, ocilayer.WithSync(ocilayer.SyncFilesystem))
	}
	if layer.digest != "" {
		options = append(options, ocilayer.WithExpectedBlobDigest(layer.digest.String()))
	}
	if progress := config.Progress; progress != nil {
		progress(0)
		options = append(options, ocilayer.WithProgress(func(p ocilayer.Progress) {
			progress(int64(p.BlobBytes))
		}))
	}
	return options
}

// layer is one blob, open.
type layer struct {
	reader io.Reader
	// digest is what the bytes of reader must have; empty if something stands between them and
	// the blob.
	digest digest.Digest
	closer []io.Closer
	// processors have to say, after the end of what they gave, whether they came to a good end.
	processors []diff.StreamProcessor
}

func (l *layer) Close() error {
	for i := len(l.closer) - 1; i >= 0; i-- {
		l.closer[i].Close()
	}
	return nil
}
