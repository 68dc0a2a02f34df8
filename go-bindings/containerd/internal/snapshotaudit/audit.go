// SPDX-License-Identifier: Apache-2.0

// Package snapshotaudit audits the images of a running containerd: each snapshot against its blob.
package snapshotaudit

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	imagesapi "github.com/containerd/containerd/api/services/images/v1"
	namespacesapi "github.com/containerd/containerd/api/services/namespaces/v1"
	snapshotsapi "github.com/containerd/containerd/api/services/snapshots/v1"
	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/snapshots"
	snapshotsproxy "github.com/containerd/containerd/v2/core/snapshots/proxy"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"google.golang.org/grpc"

	ocilayer "github.com/ocilayer/ocilayer/go-bindings"
	"github.com/ocilayer/ocilayer/go-bindings/containerd/internal/blobs"
	"github.com/ocilayer/ocilayer/go-bindings/containerd/internal/layertype"
)

// Config says what to audit, and how.
type Config struct {
	// Snapshotter is whose snapshots are looked at.
	Snapshotter string
	// Namespace of containerd; all of them if it is empty.
	Namespace string
	Repair    ocilayer.Repair
	Compare   ocilayer.Compare
	// OnlyExact leaves out images of which not all blobs are there to compare with.
	OnlyExact bool
}

func (c Config) restores() bool {
	return c.Repair == ocilayer.RepairRestore || c.Repair == ocilayer.RepairRestoreLive
}

// Image is an image of one platform, as it is unpacked.
type Image struct {
	Namespace, Name string
	// Exact says that all blobs were there to compare with. Otherwise there are suspects only.
	Exact bool
}

// Observer hears of what is found, image by image. An error ends all.
type Observer interface {
	Damage(Image, ocilayer.Damage) error
	// Done is called at the end of each image, with a report or an error.
	Done(Image, *ocilayer.AuditReport, error) error
}

// remoteChunk is how much one read of the content service asks for: it opens a stream for each.
const remoteChunk = 1 << 20

// Run audits all images of the containerd behind conn that are unpacked. What fails with one image is told
// to the observer; an error is what kept it from looking at the others.
func Run(ctx context.Context, conn *grpc.ClientConn, store *blobs.Store, config Config, observer Observer) error {
	a := &auditor{
		store: store, config: config, observer: observer, seen: map[string]bool{},
		images:      imagesapi.NewImagesClient(conn),
		snapshotter: snapshotsproxy.NewSnapshotter(snapshotsapi.NewSnapshotsClient(conn), config.Snapshotter),
	}
	names := []string{config.Namespace}
	if config.Namespace == "" {
		list, err := namespacesapi.NewNamespacesClient(conn).List(ctx, &namespacesapi.ListNamespacesRequest{})
		if err != nil {
			return fmt.Errorf("list namespaces: %w", err)
		}
		names = names[:0]
		for _, namespace := range list.Namespaces {
			names = append(names, namespace.Name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		if err := a.namespace(namespaces.WithNamespace(ctx, name), name); err != nil {
			return err
		}
	}
	return nil
}

type auditor struct {
	store       *blobs.Store
	config      Config
	observer    Observer
	images      imagesapi.ImagesClient
	snapshotter snapshots.Snapshotter
	// seen has the topmost directories of what was audited: images share layers, and have many names.
	seen map[string]bool
}

func (a *auditor) namespace(ctx context.Context, name string) error {
	list, err := a.images.List(ctx, &imagesapi.ListImagesRequest{})
	if err != nil {
		return fmt.Errorf("list images of %s: %w", name, err)
	}
	for _, listed := range list.Images {
		image := Image{Namespace: name, Name: listed.Name}
		all, err := manifests(ctx, a.store, listed)
		if err != nil {
			if err := a.observer.Done(image, nil, err); err != nil {
				return err
			}
		}
		for _, manifest := range all {
			if err := a.manifest(ctx, image, manifest); err != nil {
				return err
			}
		}
	}
	return nil
}

func (a *auditor) manifest(ctx context.Context, image Image, manifest ocispec.Manifest) error {
	dirs, userxattr, err := directories(ctx, a.store, a.snapshotter, manifest)
	if err != nil {
		return a.observer.Done(image, nil, err)
	}
	if len(dirs) == 0 || a.seen[dirs[len(dirs)-1]] {
		return nil
	}
	a.seen[dirs[len(dirs)-1]] = true
	options := []ocilayer.Option{ocilayer.WithRepair(a.config.Repair), ocilayer.WithCompare(a.config.Compare)}
	if userxattr {
		options = append(options, ocilayer.WithMode(ocilayer.ModeOverlayUserXattr))
	}

	layers, closeAll, err := a.open(ctx, manifest, dirs)
	defer closeAll()
	image.Exact = err == nil
	var told error
	tell := func(damage ocilayer.Damage) error {
		told = a.observer.Damage(image, damage)
		return told
	}
	var report *ocilayer.AuditReport
	switch {
	case err == nil:
		report, err = ocilayer.Audit(ctx, layers, tell, options...)
	case errors.Is(err, errNoBlob) && a.config.OnlyExact:
		report, err = &ocilayer.AuditReport{}, nil
	case errors.Is(err, errNoBlob):
		if a.config.restores() {
			// There is nothing to restore from: what looks wrong is told of.
			options = append(options, ocilayer.WithRepair(ocilayer.RepairNone))
		}
		slices.Reverse(dirs)
		report, err = ocilayer.AuditDirectories(ctx, dirs, tell, options...)
	}
	if told != nil {
		return told
	}
	return a.observer.Done(image, report, err)
}

// errNoBlob is an image of which containerd does not have all blobs, or has them encrypted.
var errNoBlob = errors.New("no blob to compare with")

func (a *auditor) open(ctx context.Context, manifest ocispec.Manifest, dirs []string) (layers []ocilayer.AuditLayer, closeAll func(), err error) {
	var open []io.Closer
	closeAll = func() {
		for _, closer := range open {
			closer.Close()
		}
	}
	for i, desc := range manifest.Layers {
		if !layertype.IsPlain(desc.MediaType) {
			return nil, closeAll, errNoBlob
		}
		// Asked first also where the blob has a file: containerd knows whose it is.
		ra, err := a.store.ReaderAt(ctx, desc)
		if errdefs.IsNotFound(err) {
			return nil, closeAll, errNoBlob
		}
		if err != nil {
			return nil, closeAll, fmt.Errorf("layer %s: %w", desc.Digest, err)
		}
		open = append(open, ra)
		if a.config.restores() {
			if err := check(ra, desc); err != nil {
				return nil, closeAll, err
			}
		}
		layer := ocilayer.AuditLayer{Directory: dirs[i]}
		if file, err := a.store.File(ctx, desc); err == nil {
			open = append(open, file)
			layer.Blob = file
		} else {
			layer.Blob = bufio.NewReaderSize(content.NewReader(ra), remoteChunk)
		}
		layers = append(layers, layer)
	}
	return layers, closeAll, nil
}

// check reads a blob that is to be restored from: what harmed the snapshot may have harmed it, too.
func check(ra content.ReaderAt, desc ocispec.Descriptor) error {
	verifier := desc.Digest.Verifier()
	if _, err := io.Copy(verifier, bufio.NewReaderSize(content.NewReader(ra), remoteChunk)); err != nil {
		return fmt.Errorf("layer %s: %w", desc.Digest, err)
	}
	if !verifier.Verified() {
		return fmt.Errorf("layer %s: its blob in the content store is damaged: pull the image again", desc.Digest)
	}
	return nil
}
