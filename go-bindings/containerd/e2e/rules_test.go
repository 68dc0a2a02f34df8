// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"path/filepath"
	"slices"
	"strings"
)

// rule is a point of docs/layer-semantics.md on which containerd's own applier is wrong.
type rule struct {
	name   string
	covers func(d difference, below under) bool
}

// under are the layers below the one that is compared, as either applier made them.
type under struct {
	stock, ours []tree
}

var rules = []rule{
	{"overlay's own xattrs are not taken from a layer", func(d difference, _ under) bool {
		return strings.HasPrefix(d.property, "xattr user.overlay.") && d.ours == ""
	}},
	{"no whiteout of what no parent has", func(d difference, below under) bool {
		return d.property == "entry" && d.stock == "whiteout" && d.ours == "" && !has(below.stock, d.path)
	}},
	{"a directory that replaces another is opaque", func(d difference, below under) bool {
		return d.property == "xattr trusted.overlay.opaque" && d.stock == "" && has(below.stock, d.path)
	}},
	{"times before 1970 are exact", func(d difference, _ under) bool {
		return d.property == "mtime" && strings.HasPrefix(d.ours, "-")
	}},
	{"a directory that no entry describes keeps its time", func(d difference, below under) bool {
		return d.property == "mtime" && d.ours == nearest(below.ours, d.path)["mtime"]
	}},
	{"a hard link's header is not the file's", func(d difference, _ under) bool {
		return d.linked && (d.property == "mode" || d.property == "owner" || d.property == "mtime")
	}},
	{"the entry ./ is for the root", func(d difference, _ under) bool {
		return d.path == "."
	}},
	{"a parent that is a symlink below leads where it points", func(d difference, below under) bool {
		link := filepath.Dir(d.path)
		return d.property == "entry" && (isSymlink(below.stock, d.path) || isSymlink(below.stock, link) || isTarget(below.stock, d.path))
	}},
}

func explain(d difference, below under) string {
	for _, rule := range rules {
		if rule.covers(d, below) {
			return rule.name
		}
	}
	return ""
}

// nearest are the facts of a path in the topmost layer that has it.
func nearest(below []tree, path string) map[string]string {
	for _, tree := range slices.Backward(below) {
		if tree[path] != nil {
			return tree[path]
		}
	}
	return nil
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
