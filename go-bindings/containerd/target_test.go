// SPDX-License-Identifier: Apache-2.0

package containerd

import (
	"fmt"
	"testing"

	"github.com/containerd/containerd/v2/core/mount"
)

func TestMountsThatNeedNotBeMounted(t *testing.T) {
	overlay := func(options ...string) []mount.Mount {
		return []mount.Mount{{Type: "overlay", Source: "overlay", Options: options}}
	}
	bind := func(source string, options ...string) []mount.Mount {
		return []mount.Mount{{Type: "bind", Source: source, Options: options}}
	}
	for _, c := range []struct {
		name   string
		mounts []mount.Mount
		// want is root, mode and parents; empty where it has to be mounted.
		want string
	}{
		{"a bind mount", bind("/s/1/fs", "rw", "rbind"), "/s/1/fs 0 [] unknown"},
		{"a read-only one", bind("/s/1/fs", "ro", "rbind"), ""},
		{"a relative one", bind("s", "rw"), ""},
		{"an overlay", overlay("index=off", "workdir=/s/2/work", "upperdir=/s/2/fs", "lowerdir=/s/1/fs:/s/0/fs"), "/s/2/fs 1 [/s/1/fs /s/0/fs]"},
		{"one of a parallel unpack", overlay("rw", "upperdir=/s/2/fs"), "/s/2/fs 1 [] unknown"},
		{"one with user xattrs", overlay("userxattr", "upperdir=/u", "lowerdir=/l"), "/u 2 [/l]"},
		{"a colon in a name", overlay(`upperdir=/u\:1`, `lowerdir=/l\:1:/l\:2`), "/u:1 1 [/l:1 /l:2]"},
		{"a read-only overlay", overlay("lowerdir=/s/1/fs:/s/0/fs"), ""},
		{"relative parents", overlay("upperdir=/u", "lowerdir=1:2"), ""},
		{"data-only parents", overlay("upperdir=/u", "lowerdir=/1::/2"), ""},
		{"redirected directories", overlay("upperdir=/u", "lowerdir=/l", "redirect_dir=on"), ""},
		{"parents in options of their own", overlay("upperdir=/u", "lowerdir+=/l"), ""},
		{"a device", []mount.Mount{{Type: "ext4", Source: "/dev/sda", Options: []string{"rw"}}}, ""},
		{"two mounts", append(bind("/a"), bind("/b")...), ""},
		{"none", nil, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := ""
			if at, ok := directTarget(c.mounts); ok {
				got = fmt.Sprint(at.root, " ", uint32(at.mode), " ", at.lowers)
				if at.lowers == nil {
					got += " unknown"
				}
			}
			if got != c.want {
				t.Errorf("%q, not %q", got, c.want)
			}
		})
	}
}
