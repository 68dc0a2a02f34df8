// SPDX-License-Identifier: Apache-2.0

// Package plugin registers ocilayer as a differ of containerd's own: a fork that imports it blank
// has the plugin io.containerd.differ.v1.ocilayer, and chooses it by configuration.
package plugin

import (
	"errors"
	"fmt"

	"github.com/containerd/containerd/v2/core/diff"
	"github.com/containerd/containerd/v2/core/metadata"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/plugins"
	"github.com/containerd/containerd/v2/plugins/diff/walking"
	"github.com/containerd/platforms"
	"github.com/containerd/plugin"
	"github.com/containerd/plugin/registry"

	ocilayer "github.com/ocilayer/ocilayer/go-bindings"
	applier "github.com/ocilayer/ocilayer/go-bindings/containerd"
)

// ID is the plugin's name in containerd's configuration.
const ID = "ocilayer"

// parallelSnapshotter is the one whose layers containerd unpacks several at once.
const parallelSnapshotter = "overlayfs"

// Config is the plugin's section, [plugins.'io.containerd.differ.v1.ocilayer'].
type Config struct {
	// SyncFs has every layer on disk before its snapshot is committed.
	SyncFs bool `toml:"sync_fs"`
	// Threads works on one layer; 0 goes by the number of CPUs.
	Threads uint32 `toml:"threads"`
	// Limits on one layer; what is not there or 0 is the default.
	Limits ocilayer.Limits `toml:"limits"`
}

func init() {
	registry.Register(&plugin.Registration{
		Type:     plugins.DiffPlugin,
		ID:       ID,
		Requires: []plugin.Type{plugins.MetadataPlugin, plugins.MountManagerPlugin, plugins.ContentPlugin},
		Config:   &Config{},
		InitFn:   newDiffer,
	})
}

type differ struct {
	diff.Applier
	diff.Comparer
}

func newDiffer(ic *plugin.InitContext) (any, error) {
	config, ok := ic.Config.(*Config)
	if !ok {
		return nil, fmt.Errorf("configuration of differ %s is a %T", ID, ic.Config)
	}
	db, err := ic.GetSingle(plugins.MetadataPlugin)
	if err != nil {
		return nil, err
	}
	store := db.(*metadata.DB).ContentStore()
	snapshotter := db.(*metadata.DB).Snapshotter(parallelSnapshotter)
	options := []applier.Option{applier.WithThreads(config.Threads), applier.WithLimits(config.Limits)}
	if snapshotter != nil {
		options = append(options, applier.WithSnapshotter(snapshotter, nil))
	}
	if config.SyncFs {
		options = append(options, applier.WithSync(ocilayer.SyncFilesystem))
	}
	if root := contentRoot(ic); root != "" {
		options = append(options, applier.WithContentRoot(root))
	}
	manager, err := ic.GetSingle(plugins.MountManagerPlugin)
	switch {
	case err == nil:
		options = append(options, applier.WithMountManager(manager.(mount.Manager)))
	case !errors.Is(err, plugin.ErrPluginNotFound):
		return nil, err
	}
	ic.Meta.Platforms = append(ic.Meta.Platforms, platforms.DefaultSpec())
	// Writing layers is not ocilayer's: containerd's own differ does that.
	return differ{applier.NewApplier(store, options...), walking.NewWalkingDiff(store)}, nil
}

// contentRoot is the directory of the local content store, empty if blobs are kept elsewhere.
func contentRoot(ic *plugin.InitContext) string {
	for _, p := range ic.GetAll() {
		if p.Registration.Type == plugins.ContentPlugin {
			return p.Meta.Exports["root"]
		}
	}
	return ""
}
