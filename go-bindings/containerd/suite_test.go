// SPDX-License-Identifier: Apache-2.0

package containerd_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	stock "github.com/containerd/containerd/v2/pkg/archive"
	"github.com/containerd/continuity/fs"
	"github.com/containerd/continuity/fs/fstest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ocilayer/ocilayer/go-bindings/containerd"
	"github.com/ocilayer/ocilayer/go-bindings/containerd/archive"
	"github.com/ocilayer/ocilayer/go-bindings/containerd/internal/testneeds"
)

// unpacked is a stack of layers as one of our ways unpacks it, layer upon layer.
type unpacked interface {
	// add applies one more layer.
	add(ctx context.Context, layer io.Reader) error
	// see calls look with the directory that shows all layers so far.
	see() (dir string, done func(), err error)
}

// asLayers runs continuity's suite: each of its steps changes a directory, which containerd's own
// differ makes a layer of, and the layer is what we get.
type asLayers struct {
	t     *testing.T
	start func(t *testing.T) unpacked
}

type suiteKey struct{}

type suiteState struct {
	changed string
	stack   unpacked
}

func (a asLayers) TestContext(ctx context.Context) (context.Context, func(), error) {
	state := &suiteState{changed: a.t.TempDir(), stack: a.start(a.t)}
	return context.WithValue(ctx, suiteKey{}, state), func() {}, nil
}

func (a asLayers) Apply(ctx context.Context, step fstest.Applier) (string, func(), error) {
	state := ctx.Value(suiteKey{}).(*suiteState)
	before := a.t.TempDir()
	if err := fs.CopyDir(before, state.changed); err != nil {
		return "", nil, err
	}
	if err := step.Apply(state.changed); err != nil {
		return "", nil, err
	}
	layer := stock.Diff(ctx, before, state.changed)
	defer layer.Close()
	if err := state.stack.add(ctx, layer); err != nil {
		return "", nil, err
	}
	return state.stack.see()
}

func TestFileSystemSuite(t *testing.T) {
	testneeds.Root(t)
	for _, way := range []struct {
		name  string
		start func(t *testing.T) unpacked
	}{
		{"archive.Apply to a directory", func(t *testing.T) unpacked { return inDirectory{t.TempDir()} }},
		{"archive.Apply to upper directories", func(t *testing.T) unpacked { return &inOverlay{t: t, apply: applyByArchive} }},
		{"NewApplier to overlay mounts", func(t *testing.T) unpacked { return &inOverlay{t: t, apply: applyByMounts} }},
	} {
		t.Run(way.name, func(t *testing.T) { fstest.FSSuite(t, asLayers{t, way.start}) })
	}
}

type inDirectory struct{ root string }

func (d inDirectory) add(ctx context.Context, layer io.Reader) error {
	_, err := archive.Apply(ctx, d.root, layer)
	return err
}

func (d inDirectory) see() (string, func(), error) { return d.root, func() {}, nil }

// inOverlay has a directory for each layer, topmost first, as a snapshotter has.
type inOverlay struct {
	t      *testing.T
	layers []string
	apply  func(ctx context.Context, t *testing.T, upper string, lowers []string, layer io.Reader) error
}

func (o *inOverlay) add(ctx context.Context, layer io.Reader) error {
	upper := filepath.Join(o.t.TempDir(), fmt.Sprint(len(o.layers)))
	if err := os.Mkdir(upper, 0o755); err != nil {
		return err
	}
	if err := o.apply(ctx, o.t, upper, o.layers, layer); err != nil {
		return err
	}
	o.layers = append([]string{upper}, o.layers...)
	return nil
}

func (o *inOverlay) see() (string, func(), error) {
	merged := o.t.TempDir()
	// Overlayfs wants two layers at least.
	lowers := strings.Join(append(o.layers, o.t.TempDir()), ":")
	if err := syscall.Mount("overlay", merged, "overlay", syscall.MS_RDONLY, "lowerdir="+lowers); err != nil {
		return "", nil, fmt.Errorf("overlay mount: %w", err)
	}
	return merged, func() {
		if err := syscall.Unmount(merged, 0); err != nil {
			o.t.Error(err)
		}
	}, nil
}

func applyByArchive(ctx context.Context, _ *testing.T, upper string, lowers []string, layer io.Reader) error {
	_, err := archive.Apply(ctx, upper, layer, archive.WithConvertWhiteout(archive.OverlayConvertWhiteout), archive.WithParents(lowers))
	return err
}

func applyByMounts(ctx context.Context, t *testing.T, upper string, lowers []string, layer io.Reader) error {
	var blob bytes.Buffer
	if _, err := blob.ReadFrom(layer); err != nil {
		return err
	}
	store := newBlobs(t)
	mounts := bind(upper)
	if len(lowers) > 0 {
		mounts = overlay(t, upper, lowers...)
	}
	_, err := containerd.NewApplier(store).Apply(ctx, store.add(t, ocispec.MediaTypeImageLayer, blob.Bytes()), mounts)
	return err
}
