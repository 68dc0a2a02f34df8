// SPDX-License-Identifier: Apache-2.0

// Package tree reads directories and tells in what they differ.
package tree

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Tree is a directory as facts: what stands at each path, each property under its name.
type Tree map[string]map[string]string

// Read reads a layer's directory, overlay's markers included. It follows no symlink and expects that
// nobody writes.
func Read(root string) (Tree, error) {
	read := Tree{}
	firstName := map[uint64]string{}
	err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		read[name], err = facts(path, name, firstName)
		return err
	})
	// When the directory itself was made is nothing that an applier decides.
	delete(read["."], "mtime")
	return read, err
}

func facts(path, name string, firstName map[uint64]string) (map[string]string, error) {
	var stat unix.Stat_t
	if err := unix.Lstat(path, &stat); err != nil {
		return nil, err
	}
	facts := map[string]string{
		"mode":  fmt.Sprintf("%06o", stat.Mode),
		"owner": fmt.Sprintf("%d:%d", stat.Uid, stat.Gid),
		"mtime": fmt.Sprintf("%d.%09d", stat.Mtim.Sec, stat.Mtim.Nsec),
	}
	switch stat.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		digest, err := digestFile(path)
		if err != nil {
			return nil, err
		}
		facts["content"] = fmt.Sprintf("%d bytes %s", stat.Size, digest)
	case unix.S_IFLNK:
		to, err := os.Readlink(path)
		if err != nil {
			return nil, err
		}
		facts["target"] = to
	case unix.S_IFCHR, unix.S_IFBLK:
		facts["device"] = fmt.Sprintf("%d:%d", unix.Major(stat.Rdev), unix.Minor(stat.Rdev))
		if facts["device"] == "0:0" {
			// A whiteout has no other property that anyone could see.
			return map[string]string{"whiteout": "yes"}, nil
		}
	}
	if stat.Mode&unix.S_IFMT != unix.S_IFDIR && stat.Nlink > 1 {
		first, known := firstName[stat.Ino]
		if !known {
			first = name
			firstName[stat.Ino] = name
		}
		facts["links"] = fmt.Sprintf("%d, first %s", stat.Nlink, first)
	}
	return facts, readXattrs(path, facts)
}

func digestFile(path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	hash := sha256.New()
	_, err = io.Copy(hash, file)
	return hex.EncodeToString(hash.Sum(nil)), err
}

// xattrRoom is what the kernel lets a file have at most, names and each value.
const xattrRoom = 64 << 10

func readXattrs(path string, facts map[string]string) error {
	buffer := make([]byte, xattrRoom)
	n, err := unix.Llistxattr(path, buffer)
	if err != nil {
		return fmt.Errorf("llistxattr %s: %w", path, err)
	}
	for _, name := range strings.Split(strings.TrimSuffix(string(buffer[:n]), "\x00"), "\x00") {
		if name == "" {
			continue
		}
		value := make([]byte, xattrRoom)
		n, err := unix.Lgetxattr(path, name, value)
		if err != nil {
			return fmt.Errorf("lgetxattr %s %s: %w", path, name, err)
		}
		facts["xattr "+name] = hex.EncodeToString(value[:n])
	}
	return nil
}

// Difference is one property in which two trees differ; an empty one is missing there.
type Difference struct {
	Path, Property, Stock, Ours string
	// Linked says that the file has several names.
	Linked bool
}

func (d Difference) String() string {
	return fmt.Sprintf("%s: %s: stock %q, ocilayer %q", d.Path, d.Property, d.Stock, d.Ours)
}

// Compare tells in what the tree that containerd's own applier made and ours differ.
func Compare(stock, ours Tree) []Difference {
	var found []Difference
	for _, path := range union(stock, ours) {
		a, b := stock[path], ours[path]
		if a == nil || b == nil {
			found = append(found, Difference{Path: path, Property: "entry", Stock: describe(a), Ours: describe(b)})
			continue
		}
		for _, property := range union(a, b) {
			if a[property] != b[property] {
				found = append(found, Difference{path, property, a[property], b[property], a["links"] != "" && b["links"] != ""})
			}
		}
	}
	return found
}

func describe(facts map[string]string) string {
	switch {
	case facts == nil:
		return ""
	case facts["whiteout"] != "":
		return "whiteout"
	}
	return "mode " + facts["mode"]
}

func union[V any](a, b map[string]V) []string {
	all := slices.Concat(slices.Collect(maps.Keys(a)), slices.Collect(maps.Keys(b)))
	slices.Sort(all)
	return slices.Compact(all)
}
