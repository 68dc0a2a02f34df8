// SPDX-License-Identifier: Apache-2.0

package differ

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/errdefs"
)

func TestPathsOutsideOfTheRootsAreRefused(t *testing.T) {
	base := t.TempDir()
	inside, outside := filepath.Join(base, "containerd"), filepath.Join(base, "other")
	if err := errors.Join(os.MkdirAll(filepath.Join(inside, "1"), 0o700), os.MkdirAll(filepath.Join(inside, "2"), 0o700),
		os.Mkdir(outside, 0o700), os.Mkdir(inside+"-2", 0o700), os.Symlink(outside, filepath.Join(inside, "link"))); err != nil {
		t.Fatal(err)
	}
	in := func(name string) string { return filepath.Join(inside, name) }
	roots, err := newRoots([]string{inside})
	if err != nil {
		t.Fatal(err)
	}
	overlay := func(options ...string) []mount.Mount {
		return []mount.Mount{{Type: "overlay", Source: "overlay", Options: options}}
	}
	for _, c := range []struct {
		name   string
		mounts []mount.Mount
		class  error
	}{
		{"a bind mount inside", []mount.Mount{{Type: "bind", Source: in("1")}}, nil},
		{"an overlay inside", overlay("index=off", "upperdir="+in("1"), "lowerdir="+in("2")+":"+inside), nil},
		{"nothing", nil, errdefs.ErrInvalidArgument},
		{"a bind mount outside", []mount.Mount{{Type: "bind", Source: outside}}, errdefs.ErrPermissionDenied},
		{"a name that begins alike", []mount.Mount{{Type: "bind", Source: inside + "-2"}}, errdefs.ErrPermissionDenied},
		{"dots that lead outside", []mount.Mount{{Type: "bind", Source: inside + "/../other"}}, errdefs.ErrPermissionDenied},
		{"a symlink that leads outside", []mount.Mount{{Type: "bind", Source: in("link")}}, errdefs.ErrPermissionDenied},
		{"a relative path", []mount.Mount{{Type: "bind", Source: "1"}}, errdefs.ErrPermissionDenied},
		{"a path that is not there", []mount.Mount{{Type: "bind", Source: in("3")}}, errdefs.ErrNotFound},
		{"an upper directory outside", overlay("upperdir="+outside, "lowerdir="+in("2")), errdefs.ErrPermissionDenied},
		{"a work directory outside", overlay("upperdir="+in("1"), "workdir="+outside), errdefs.ErrPermissionDenied},
		{"one parent of two outside", overlay("upperdir="+in("1"), "lowerdir="+in("2")+":"+outside), errdefs.ErrPermissionDenied},
		{"a parent in an option of its own", overlay("upperdir="+in("1"), "lowerdir+="+outside), errdefs.ErrPermissionDenied},
		{"a relative upper directory", overlay("upperdir=../other"), errdefs.ErrPermissionDenied},
		{"a path in another option", []mount.Mount{{Type: "erofs", Source: in("1"), Options: []string{"device=" + outside}}}, errdefs.ErrPermissionDenied},
		{"a device", []mount.Mount{{Type: "ext4", Source: "/dev/null"}}, errdefs.ErrPermissionDenied},
		{"the second of two mounts", []mount.Mount{{Type: "bind", Source: in("1")}, {Type: "bind", Source: outside}}, errdefs.ErrPermissionDenied},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := roots.check(c.mounts); !errors.Is(err, c.class) {
				t.Errorf("error %v, not %v", err, c.class)
			}
		})
	}
}
