// SPDX-License-Identifier: Apache-2.0

package containerd

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/errdefs"
	"github.com/containerd/log"
	"github.com/moby/sys/userns"

	ocilayer "github.com/ocilayer/ocilayer/go-bindings"
	"github.com/ocilayer/ocilayer/go-bindings/containerd/internal/lowerdir"
)

// target is where a layer goes, and how its whiteouts become visible there.
type target struct {
	root string
	mode ocilayer.Mode
	// lowers is nil where the parents are not known, as in containerd's parallel unpack.
	lowers []string
	// upper is where a mounted overlay writes to, empty for other mounts.
	upper string
	// later finds the parents that lowers does not have, and waits until they are complete; nil if nobody
	// knows them.
	later func(context.Context) ([]string, error)
}

func (t target) options() []ocilayer.Option {
	options := []ocilayer.Option{ocilayer.WithMode(t.mode)}
	if t.lowers != nil {
		options = append(options, ocilayer.WithLowers(t.lowers...))
	}
	if t.later != nil {
		options = append(options, ocilayer.WithLowersLater(t.later))
	}
	if t.upper != "" {
		// Else a faulty kernel's copies of opaque marks would stay there.
		options = append(options, ocilayer.WithUpper(t.upper))
	}
	return options
}

// withTarget finds out where mounts lead, calls apply with that, and undoes what it had to mount.
func (a *applier) withTarget(ctx context.Context, mounts []mount.Mount, apply func(target) error) (err error) {
	if at, ok := directTarget(mounts); ok {
		return a.applyAbove(ctx, at, apply)
	}
	mounts, deactivate, err := a.activate(ctx, mounts)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, deactivate()) }()
	return mount.WithTempMount(ctx, mounts, func(root string) error {
		return apply(target{root: root, mode: ocilayer.ModeDirectory, upper: upperOf(mounts)})
	})
}

// applyAbove calls apply with the parents that the mount does not tell, if somebody else does.
func (a *applier) applyAbove(ctx context.Context, at target, apply func(target) error) error {
	if a.parents == nil {
		return apply(at)
	}
	end := a.parents.begin(at.root)
	if at.mode == ocilayer.ModeOverlay && at.lowers == nil {
		later, err := a.parents.below(ctx, at.root)
		if err != nil {
			// As good as before.
			log.G(ctx).WithError(err).WithField("directory", at.root).Warn("parents of a layer are not known")
		}
		at.later = later
	}
	err := apply(at)
	end(err)
	return err
}

// directTarget is the directory behind a mount that need not be mounted.
func directTarget(mounts []mount.Mount) (target, bool) {
	if len(mounts) != 1 {
		return target{}, false
	}
	m := mounts[0]
	// Read-only is for mount(2) to refuse, a subdirectory for mount to find.
	if slices.Contains(m.Options, "ro") || m.Target != "" {
		return target{}, false
	}
	switch m.Type {
	case "bind":
		return target{root: m.Source, mode: ocilayer.ModeDirectory}, filepath.IsAbs(m.Source)
	case "overlay":
		// In a user namespace the mount itself knows what is allowed, and which xattrs to use.
		if userns.RunningInUserNS() {
			return target{}, false
		}
		return overlayTarget(m.Options)
	}
	return target{}, false
}

func overlayTarget(options []string) (target, bool) {
	at := target{mode: ocilayer.ModeOverlay}
	for _, option := range options {
		key, value, _ := strings.Cut(option, "=")
		switch key {
		case "upperdir":
			at.root = lowerdir.Unescape(value)
		case "lowerdir":
			at.lowers = lowerdir.Split(value)
		case "userxattr":
			at.mode = ocilayer.ModeOverlayUserXattr
		case "lowerdir+", "datadir+", "redirect_dir", "metacopy":
			// Layers that refer to each other by xattrs are the kernel's to read.
			return target{}, false
		}
	}
	// Also the empty one that announces data-only layers.
	for _, directory := range append([]string{at.root}, at.lowers...) {
		if !filepath.IsAbs(directory) {
			return target{}, false
		}
	}
	return at, true
}

// upperOf is the upper directory of what is on top of mounts, empty if that is no overlay.
func upperOf(mounts []mount.Mount) string {
	if len(mounts) == 0 || mounts[len(mounts)-1].Type != "overlay" {
		return ""
	}
	for _, option := range mounts[len(mounts)-1].Options {
		if upper, ok := strings.CutPrefix(option, "upperdir="); ok {
			return lowerdir.Unescape(upper)
		}
	}
	return ""
}

// activate hands mounts that mount(2) does not know to the mount manager, if there is one.
func (a *applier) activate(ctx context.Context, mounts []mount.Mount) ([]mount.Mount, func() error, error) {
	nothing := func() error { return nil }
	if a.mounts == nil {
		return mounts, nothing, nil
	}
	name := "ocilayer-apply-" + rand.Text()
	info, err := a.mounts.Activate(ctx, name, mounts)
	switch {
	case errdefs.IsNotImplemented(err):
		return mounts, nothing, nil
	case err != nil:
		return nil, nil, fmt.Errorf("activate mounts: %w", err)
	}
	return info.System, func() error {
		// Also when the apply was cancelled: the mounts stay otherwise.
		if err := a.mounts.Deactivate(context.WithoutCancel(ctx), name); err != nil {
			log.G(ctx).WithError(err).WithField("name", name).Error("mounts of an apply stay active")
			return fmt.Errorf("deactivate mounts: %w", err)
		}
		return nil
	}, nil
}
