// SPDX-License-Identifier: Apache-2.0

package snapshotaudit

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	imagesapi "github.com/containerd/containerd/api/services/images/v1"
	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ocilayer/ocilayer/go-bindings/containerd/internal/lowerdir"
)

// manifests finds an image's manifests, one for each platform that is here.
func manifests(ctx context.Context, store content.Provider, image *imagesapi.Image) ([]ocispec.Manifest, error) {
	if image.Target == nil {
		return nil, fmt.Errorf("no target: %w", errdefs.ErrInvalidArgument)
	}
	return manifestsBelow(ctx, store, ocispec.Descriptor{
		MediaType: image.Target.MediaType, Digest: digest.Digest(image.Target.Digest), Size: image.Target.Size,
	}, 0)
}

// maxNesting is more than any image has: an index in an index in an index.
const maxNesting = 8

func manifestsBelow(ctx context.Context, store content.Provider, target ocispec.Descriptor, depth int) ([]ocispec.Manifest, error) {
	isIndex := images.IsIndexType(target.MediaType)
	if !isIndex && !images.IsManifestType(target.MediaType) || depth > maxNesting {
		return nil, nil
	}
	blob, err := content.ReadBlob(ctx, store, target)
	if errdefs.IsNotFound(err) && depth > 0 {
		// Another platform's, which was not pulled.
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if !isIndex {
		var manifest ocispec.Manifest
		if err := json.Unmarshal(blob, &manifest); err != nil {
			return nil, fmt.Errorf("manifest %s: %w", target.Digest, err)
		}
		return []ocispec.Manifest{manifest}, nil
	}
	var index ocispec.Index
	if err := json.Unmarshal(blob, &index); err != nil {
		return nil, fmt.Errorf("index %s: %w", target.Digest, err)
	}
	var all []ocispec.Manifest
	for _, child := range index.Manifests {
		below, err := manifestsBelow(ctx, store, child, depth+1)
		if err != nil {
			return nil, err
		}
		all = append(all, below...)
	}
	return all, nil
}

// directories are those of a manifest's layers, bottom first; none if it is not unpacked here.
func directories(ctx context.Context, store content.Provider, snapshotter snapshots.Snapshotter, manifest ocispec.Manifest) (dirs []string, userxattr bool, err error) {
	diffIDs, err := images.RootFS(ctx, store, manifest.Config)
	if errdefs.IsNotFound(err) || err == nil && len(diffIDs) == 0 {
		// Not pulled, or no image but an attestation.
		return nil, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("config %s: %w", manifest.Config.Digest, err)
	}
	chain := identity.ChainID(diffIDs).String()
	if _, err := snapshotter.Stat(ctx, chain); errdefs.IsNotFound(err) {
		return nil, false, nil
	} else if err != nil {
		return nil, false, err
	}
	// Only a view has mounts that name the directories. Nothing is mounted. It has no lease: if this
	// process is killed here, containerd's garbage collection takes it away. One that runs now may be
	// faster than this process.
	key := fmt.Sprintf("ocilayer-audit-%d-%s", time.Now().UnixNano(), chain)
	mounts, err := snapshotter.View(ctx, key, chain)
	if err != nil {
		return nil, false, fmt.Errorf("view of %s: %w", chain, err)
	}
	if err := snapshotter.Remove(ctx, key); err != nil && !errdefs.IsNotFound(err) {
		return nil, false, fmt.Errorf("remove the view %s: %w", key, err)
	}
	if dirs, userxattr, err = layersOf(mounts); err != nil {
		return nil, false, err
	}
	if len(dirs) != len(diffIDs) || len(manifest.Layers) != len(diffIDs) {
		return nil, false, fmt.Errorf("%d directories and %d blobs for %d layers", len(dirs), len(manifest.Layers), len(diffIDs))
	}
	return dirs, userxattr, nil
}

// layersOf are the directories that a view's mount shows, bottom first.
func layersOf(mounts []mount.Mount) (dirs []string, userxattr bool, err error) {
	if len(mounts) != 1 {
		return nil, false, fmt.Errorf("a snapshot of %d mounts: %w", len(mounts), errdefs.ErrNotImplemented)
	}
	switch m := mounts[0]; m.Type {
	case "bind":
		return []string{m.Source}, false, nil
	case "overlay":
		for _, option := range m.Options {
			if option == "userxattr" {
				userxattr = true
			}
			if value, found := strings.CutPrefix(option, "lowerdir="); found {
				dirs = lowerdir.Split(value)
			}
		}
		slices.Reverse(dirs)
		return dirs, userxattr, nil
	default:
		return nil, false, fmt.Errorf("a snapshot of type %q: %w", m.Type, errdefs.ErrNotImplemented)
	}
}
