// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"path/filepath"
	"slices"
	"strings"

	"github.com/ocilayer/ocilayer/go-bindings/containerd/internal/tree"
)

// rule is a point of docs/layer-semantics.md on which containerd's own applier is wrong.
type rule struct {
	name   string
	covers func(d tree.Difference, below under) bool
}

// under are the layers below the one that is compared, as either applier made them.
type under struct {
	stock, ours []tree.Tree
}

var rules = []rule{
	{"overlay's own xattrs are not taken from a layer", func(d tree.Difference, _ under) bool {
		return strings.HasPrefix(d.Property, "xattr user.overlay.") && d.Ours == ""
	}},
	{"no whiteout of what no parent has", func(d tree.Difference, below under) bool {
		return d.Property == "entry" && d.Stock == "whiteout" && d.Ours == "" && !has(below.stock, d.Path)
	}},
	{"a directory that replaces another is opaque", func(d tree.Difference, below under) bool {
		return d.Property == "xattr trusted.overlay.opaque" && d.Stock == "" && has(below.stock, d.Path)
	}},
	{"times before 1970 are exact", func(d tree.Difference, _ under) bool {
		return d.Property == "mtime" && strings.HasPrefix(d.Ours, "-")
	}},
	{"a directory that no entry describes keeps its time", func(d tree.Difference, below under) bool {
		return d.Property == "mtime" && d.Ours == nearest(below.ours, d.Path)["mtime"]
	}},
	{"a hard link's header is not the file's", func(d tree.Difference, _ under) bool {
		return d.Linked && (d.Property == "mode" || d.Property == "owner" || d.Property == "mtime")
	}},
	{"the entry ./ is for the root", func(d tree.Difference, _ under) bool {
		return d.Path == "."
	}},
	{"a parent that is a symlink below leads where it points", func(d tree.Difference, below under) bool {
		link := filepath.Dir(d.Path)
		return d.Property == "entry" && (isSymlink(below.stock, d.Path) || isSymlink(below.stock, link) || isTarget(below.stock, d.Path))
	}},
}

func explain(d tree.Difference, below under) string {
	for _, rule := range rules {
		if rule.covers(d, below) {
			return rule.name
		}
	}
	return ""
}

// nearest are the facts of a path in the topmost layer that has it.
func nearest(below []tree.Tree, path string) map[string]string {
	for _, read := range slices.Backward(below) {
		if read[path] != nil {
			return read[path]
		}
	}
	return nil
}

func has(below []tree.Tree, path string) bool {
	for _, read := range below {
		if read[path] != nil {
			return true
		}
	}
	return false
}

func isSymlink(below []tree.Tree, path string) bool {
	for _, read := range below {
		if read[path]["target"] != "" {
			return true
		}
	}
	return false
}

// isTarget says whether path is, or is in, a directory that a symlink below points to.
func isTarget(below []tree.Tree, path string) bool {
	for _, read := range below {
		for name, facts := range read {
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
