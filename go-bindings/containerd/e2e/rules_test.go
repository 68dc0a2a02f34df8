// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"path/filepath"
	"strings"
)

// rule is a point of docs/layer-semantics.md on which containerd's own applier is wrong.
type rule struct {
	name string
	// covers says whether a difference is this rule's; below are the layers under it.
	covers func(d difference, below []tree) bool
}

var rules = []rule{
	{"overlay's own xattrs are not taken from a layer", func(d difference, _ []tree) bool {
		return strings.HasPrefix(d.property, "xattr user.overlay.") && d.ours == ""
	}},
	{"no whiteout of what no parent has", func(d difference, below []tree) bool {
		return d.property == "entry" && d.stock == "whiteout" && d.ours == "" && !has(below, d.path)
	}},
	{"a directory that replaces another is opaque", func(d difference, below []tree) bool {
		return d.property == "xattr trusted.overlay.opaque" && d.stock == "" && has(below, d.path)
	}},
	{"times before 1970 are exact", func(d difference, _ []tree) bool {
		return d.property == "mtime" && strings.HasPrefix(d.ours, "-")
	}},
	{"the entry ./ is for the root", func(d difference, _ []tree) bool {
		return d.path == "."
	}},
	{"a parent that is a symlink below leads where it points", func(d difference, below []tree) bool {
		link := filepath.Dir(d.path)
		return d.property == "entry" && (isSymlink(below, d.path) || isSymlink(below, link) || isTarget(below, d.path))
	}},
}

func explain(d difference, below []tree) string {
	for _, rule := range rules {
		if rule.covers(d, below) {
			return rule.name
		}
	}
	return ""
}

func has(below []tree, path string) bool {
	for _, tree := range below {
		if tree[path] != nil {
			return true
		}
	}
	return false
}

func isSymlink(below []tree, path string) bool {
	for _, tree := range below {
		if tree[path]["target"] != "" {
			return true
		}
	}
	return false
}

// isTarget says whether path is, or is in, a directory that a symlink below points to.
func isTarget(below []tree, path string) bool {
	for _, tree := range below {
		for name, facts := range tree {
			to := facts["target"]
			if to != "" && !strings.HasPrefix(to, "/") {
				to = filepath.Join(filepath.Dir(name), to)
				if to == path || to == filepath.Dir(path) {
					return true
				}
			}
		}
	}
	return false
}
