// SPDX-License-Identifier: Apache-2.0

package snapshotaudit

import (
	"bytes"
	"context"
	"encoding/json"
	"slices"
	"testing"

	imagesapi "github.com/containerd/containerd/api/services/images/v1"
	"github.com/containerd/containerd/api/types"
	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

func TestLayersOfAViewAreThoseThatItsMountShows(t *testing.T) {
	for name, c := range map[string]struct {
		mounts    []mount.Mount
		dirs      []string
		userxattr bool
	}{
		"one layer":   {[]mount.Mount{{Type: "bind", Source: "/s/1/fs", Options: []string{"ro", "rbind"}}}, []string{"/s/1/fs"}, false},
		"some":        {[]mount.Mount{{Type: "overlay", Options: []string{"index=off", "lowerdir=/s/2/fs:/s/1/fs"}}}, []string{"/s/1/fs", "/s/2/fs"}, false},
		"a colon":     {[]mount.Mount{{Type: "overlay", Options: []string{`lowerdir=/a\:b:/c`}}}, []string{"/c", "/a:b"}, false},
		"rootless":    {[]mount.Mount{{Type: "overlay", Options: []string{"userxattr", "lowerdir=/b:/a"}}}, []string{"/a", "/b"}, true},
		"other kinds": {[]mount.Mount{{Type: "erofs", Source: "/x"}}, nil, false},
		"more mounts": {make([]mount.Mount, 2), nil, false},
	} {
		dirs, userxattr, err := layersOf(c.mounts)
		if !slices.Equal(dirs, c.dirs) || userxattr != c.userxattr || (err == nil) != (c.dirs != nil) {
			t.Errorf("%s: %v, %v, %v", name, dirs, userxattr, err)
		}
	}
}

// memory has blobs by digest.
type memory map[digest.Digest][]byte

func (m memory) add(t *testing.T, mediaType string, value any) ocispec.Descriptor {
	t.Helper()
	blob, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	desc := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(blob), Size: int64(len(blob))}
	m[desc.Digest] = blob
	return desc
}

func (m memory) ReaderAt(_ context.Context, desc ocispec.Descriptor) (content.ReaderAt, error) {
	blob, found := m[desc.Digest]
	if !found {
		return nil, errdefs.ErrNotFound
	}
	return reader{bytes.NewReader(blob)}, nil
}

type reader struct{ *bytes.Reader }

func (reader) Close() error { return nil }

func TestManifestsOfOtherPlatformsThatWereNotPulledAreLeftOut(t *testing.T) {
	store := memory{}
	config := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageConfig, Digest: digest.FromString("config")}
	here := store.add(t, ocispec.MediaTypeImageManifest, ocispec.Manifest{Config: config})
	elsewhere := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: digest.FromString("elsewhere"), Size: 9}
	inner := store.add(t, ocispec.MediaTypeImageIndex, ocispec.Index{Manifests: []ocispec.Descriptor{here, elsewhere}})
	outer := store.add(t, ocispec.MediaTypeImageIndex, ocispec.Index{Manifests: []ocispec.Descriptor{inner}})

	image := func(desc ocispec.Descriptor) *imagesapi.Image {
		return &imagesapi.Image{Target: &types.Descriptor{MediaType: desc.MediaType, Digest: desc.Digest.String(), Size: desc.Size}}
	}
	all, err := manifests(context.Background(), store, image(outer))
	if err != nil || len(all) != 1 || all[0].Config.Digest != config.Digest {
		t.Errorf("%v, %v", all, err)
	}
	if _, err := manifests(context.Background(), store, image(elsewhere)); !errdefs.IsNotFound(err) {
		t.Errorf("an image that is not here: %v", err)
	}
	if _, err := manifests(context.Background(), store, &imagesapi.Image{}); err == nil {
		t.Error("an image without a target was taken")
	}
}

// collected is a snapshotter whose views containerd's garbage collection has taken away by the time they
// are removed.
type collected struct {
	snapshots.Snapshotter
	removal error
}

func (collected) Stat(context.Context, string) (snapshots.Info, error) { return snapshots.Info{}, nil }

func (collected) View(context.Context, string, string, ...snapshots.Opt) ([]mount.Mount, error) {
	return []mount.Mount{{Type: "bind", Source: "/s/1/fs", Options: []string{"ro", "rbind"}}}, nil
}

func (c collected) Remove(context.Context, string) error { return c.removal }

func TestViewThatWasCollectedIsNoFailure(t *testing.T) {
	store := memory{}
	config := store.add(t, ocispec.MediaTypeImageConfig, ocispec.Image{
		RootFS: ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{digest.FromString("layer")}},
	})
	manifest := ocispec.Manifest{Config: config, Layers: make([]ocispec.Descriptor, 1)}
	for removal, fails := range map[error]bool{nil: false, errdefs.ErrNotFound: false, errdefs.ErrUnavailable: true} {
		dirs, _, err := directories(context.Background(), store, collected{removal: removal}, manifest)
		if (err != nil) != fails || !fails && !slices.Equal(dirs, []string{"/s/1/fs"}) {
			t.Errorf("%v: %v, %v", removal, dirs, err)
		}
	}
}
