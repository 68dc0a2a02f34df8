// SPDX-License-Identifier: Apache-2.0

package differ

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/errdefs"

	"github.com/ocilayer/ocilayer/go-bindings/containerd/internal/lowerdir"
)

// roots are the directories that a request's paths must be below. Who may connect is root anyway:
// this stops mistakes, such as a second containerd's, not an attacker who can rename directories.
type roots []string

func newRoots(directories []string) (roots, error) {
	var r roots
	for _, directory := range directories {
		resolved, err := filepath.EvalSymlinks(directory)
		if err != nil {
			return nil, fmt.Errorf("root: %w", err)
		}
		r = append(r, resolved)
	}
	return r, nil
}

// check refuses mounts with a path that is not below one of the roots.
func (r roots) check(mounts []mount.Mount) error {
	if len(mounts) == 0 {
		return fmt.Errorf("no mounts to apply to: %w", errdefs.ErrInvalidArgument)
	}
	for _, m := range mounts {
		for _, path := range pathsOf(m) {
			if err := r.checkPath(path); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r roots) checkPath(path string) error {
	if !filepath.IsAbs(path) {
		return fmt.Errorf("path %q is not absolute: %w", path, errdefs.ErrPermissionDenied)
	}
	resolved, err := filepath.EvalSymlinks(path)
	if err != nil {
		return fmt.Errorf("%w: %w", err, errdefs.ErrNotFound)
	}
	for _, root := range r {
		if below, err := filepath.Rel(root, resolved); err == nil && filepath.IsLocal(below) {
			return nil
		}
	}
	return fmt.Errorf("path %q is not below %s: %w", path, strings.Join(r, " or "), errdefs.ErrPermissionDenied)
}

// sourceless are the types whose source is a mere label.
var sourceless = map[string]bool{"overlay": true, "tmpfs": true}

// pathsOf are the paths that a mount would touch: its source, and every option that names some.
func pathsOf(m mount.Mount) []string {
	var paths []string
	if !sourceless[m.Type] {
		paths = append(paths, m.Source)
	}
	for _, option := range m.Options {
		key, value, _ := strings.Cut(option, "=")
		switch key {
		case "upperdir", "workdir", "lowerdir+", "datadir+":
			paths = append(paths, lowerdir.Unescape(value))
		case "lowerdir":
			for _, lower := range lowerdir.Split(value) {
				// An empty one separates data-only layers.
				if lower != "" {
					paths = append(paths, lower)
				}
			}
		default:
			if strings.HasPrefix(value, "/") {
				paths = append(paths, value)
			}
		}
	}
	return paths
}
