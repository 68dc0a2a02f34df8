// SPDX-License-Identifier: Apache-2.0

package differences

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"path"
	"strings"

	ocilayer "github.com/ocilayer/ocilayer/go-bindings"
	"github.com/ocilayer/ocilayer/go-bindings/containerd/internal/tree"
)

// rule is a reason for a difference, which docs/differences.md has as well.
type rule struct {
	name string
	// verdict says whether it is why one of the two refuses; ours or theirs is nil.
	verdict func(what features, ours, theirs error) bool
	// differs says whether it is why the trees do.
	differs func(what features, d tree.Difference) bool
}

// features are what a stack has that the two appliers are known to take differently.
type features struct {
	entries []string
	// hidesOwn: a layer has a whiteout or marker, and an entry at or below the same name.
	hidesOwn bool
	// twice: two entries of one layer have one name.
	twice bool
	// throughFile: an entry lies below what is no directory.
	throughFile bool
	// throughLink: an entry lies below a symlink, or a hardlink's target does.
	throughLink bool
	// again: a directory is described by two layers.
	again bool
	// links: hardlinks, whose headers containerd applies.
	links bool
	// root: an entry for the root, or one that climbs above it.
	root bool
	// old: a time before 1970.
	old bool
	// unneeded: a whiteout in a directory that there is not.
	unneeded bool
	// overDirectory: something else takes the place of a directory of its layer.
	overDirectory bool
	// setgid: a directory hands its group on.
	setgid bool
	// toItself: a hardlink whose target has its own name.
	toItself bool
	// deletesTarget: a layer deletes what it has a hardlink to.
	deletesTarget bool
	// contiguous: a file of the type that POSIX calls so.
	contiguous bool
	// sparse: a file of GNU's old type for those with holes.
	sparse bool
	// solaris: an extended header of the type that Solaris has for it.
	solaris bool
	// textForDevice: a file whose header has text where a device has its numbers.
	textForDevice bool
	// padded: zeros follow the compressed stream.
	padded bool
	// libarchive: xattrs as libarchive writes them.
	libarchive bool
}

func (f features) String() string {
	type plain features
	entries := strings.Join(f.entries, "\n")
	f.entries = nil
	return fmt.Sprintf("%+v\n%s", plain(f), entries)
}

var rules = []rule{
	{"archives that readers read differently are refused", func(_ features, ours, _ error) bool {
		return errors.Is(ours, ocilayer.ErrArchive)
	}, nil},
	{"a name that climbs above the root, or makes the root something else, is refused", func(f features, ours, _ error) bool {
		return f.root && errors.Is(ours, ocilayer.ErrLayer)
	}, nil},
	{"the entry ./ is the root's metadata", nil, func(_ features, d tree.Difference) bool { return d.Path == "." }},
	{"times before 1970 are exact", nil, func(f features, d tree.Difference) bool { return f.old && d.Property == "mtime" }},
	{"xattrs of a directory that is described again are replaced", nil, func(f features, d tree.Difference) bool {
		return f.again && strings.HasPrefix(d.Property, "xattr ") && d.Ours == ""
	}},
	{"old GNU sparse files are files", func(f features, ours, _ error) bool { return f.sparse && ours == nil }, nil},
	{"extended headers of Solaris are read", func(f features, ours, _ error) bool { return f.solaris && ours == nil }, nil},
	{"zeros behind a compressed stream are padding", func(f features, ours, _ error) bool { return f.padded && ours == nil }, nil},
	{"device numbers of what is no device are ignored", func(f features, ours, _ error) bool { return f.textForDevice && ours == nil }, nil},
	{"xattrs as libarchive writes them are set", nil, func(f features, d tree.Difference) bool {
		return f.libarchive && strings.HasPrefix(d.Property, "xattr ") && d.Stock == ""
	}},
	{"contiguous files are files", func(f features, _, theirs error) bool { return f.contiguous && theirs != nil }, nil},
	{"a whiteout of nothing makes no directory", func(f features, ours, _ error) bool { return f.unneeded && ours == nil },
		func(f features, d tree.Difference) bool {
			return f.unneeded && (d.Property == "entry" && d.Ours == "" || d.Property == "mode" || d.Property == "owner")
		}},
	{"an implied directory is root's, also in a setgid one", nil, func(f features, d tree.Difference) bool {
		return f.setgid && (d.Property == "owner" || d.Property == "mode")
	}},
	{"a hardlink's header is not the inode's", nil, func(f features, d tree.Difference) bool {
		return f.links && d.Property != "entry" && d.Property != "content"
	}},
	{"a hardlink to its own name leaves it", func(f features, _, theirs error) bool { return f.toItself && theirs != nil }, nil},
	{"a hardlink to what its layer deletes is refused", func(f features, ours, theirs error) bool {
		return f.deletesTarget && (theirs == nil || ours == nil)
	}, nil},
	{"whiteouts and markers act on lower layers only", func(f features, _, _ error) bool { return f.hidesOwn },
		func(f features, _ tree.Difference) bool { return f.hidesOwn }},
	{"a parent that is a lower file is replaced, one of this layer is refused", func(f features, _, _ error) bool { return f.throughFile },
		func(f features, _ tree.Difference) bool { return f.throughFile }},
	{"what replaces a directory of its layer replaces all in it", func(f features, _, _ error) bool { return f.overDirectory },
		func(f features, _ tree.Difference) bool { return f.overDirectory }},
	{"of two entries with one name the last counts", func(f features, _, _ error) bool { return f.twice },
		func(f features, _ tree.Difference) bool { return f.twice }},
	{"symlinks in names lead where they lead the kernel", func(f features, _, _ error) bool { return f.throughLink },
		func(f features, _ tree.Difference) bool { return f.throughLink }},
}

// look finds what rules are about, with Go's own reader: an archive that it cannot read has no features.
func look(s stack) features {
	var f features
	f.padded = bytes.HasSuffix(s.blob, make([]byte, 16))
	kinds, dirs := map[string]byte{}, map[string]bool{"/": true}
	for number, layer := range s.layers {
		if len(layer) >= 512 && layer[156] == '0' {
			f.textForDevice = f.textForDevice || strings.Trim(string(layer[329:345]), "01234567 \x00") != ""
		}
		own := map[string]byte{}
		markers := map[string]bool{}
		var hidden, deleted, targets []string
		reader := tar.NewReader(bytes.NewReader(layer))
		for {
			header, err := reader.Next()
			if err != nil {
				break
			}
			f.entries = append(f.entries, fmt.Sprintf("%d %c %q -> %q", number, header.Typeflag, header.Name, header.Linkname))
			if header.Typeflag == tar.TypeXGlobalHeader {
				continue
			}
			name := path.Clean("/" + header.Name)
			f.root = f.root || name == "/" || strings.HasPrefix(path.Clean(header.Name), "..")
			f.old = f.old || header.ModTime.Unix() < 0
			dir, base := path.Split(name)
			dir = path.Clean(dir)
			if base == ".wh..wh..opq" {
				hidden = append(hidden, dir)
				f.passes(kinds, dir)
				exist(dirs, dir)
				markers[dir] = true
				continue
			}
			if rest, ok := strings.CutPrefix(base, ".wh."); ok {
				hidden = append(hidden, path.Join(dir, rest))
				deleted = append(deleted, path.Join(dir, rest))
				f.passes(kinds, dir)
				f.unneeded = f.unneeded || !dirs[dir]
				continue
			}
			f.passes(kinds, dir)
			exist(dirs, dir)
			if header.Typeflag == tar.TypeDir {
				exist(dirs, name)
			}
			if header.Typeflag == tar.TypeLink {
				f.links = true
				targets = append(targets, path.Clean("/"+header.Linkname))
				f.toItself = f.toItself || path.Clean("/"+header.Linkname) == name
				f.passes(kinds, path.Dir(path.Clean("/"+header.Linkname)))
			}
			f.contiguous = f.contiguous || header.Typeflag == '7'
			f.sparse = f.sparse || header.Typeflag == tar.TypeGNUSparse
			f.solaris = f.solaris || header.Typeflag == 'X'
			for key := range header.PAXRecords {
				f.libarchive = f.libarchive || strings.HasPrefix(key, "LIBARCHIVE.xattr.")
			}
			f.setgid = f.setgid || header.Typeflag == tar.TypeDir && header.Mode&0o2000 != 0
			if header.Typeflag != tar.TypeDir {
				for below := range own {
					f.overDirectory = f.overDirectory || strings.HasPrefix(below, name+"/")
				}
			}
			_, twice := own[name]
			f.twice = f.twice || twice
			f.again = f.again || (kinds[name] == tar.TypeDir && header.Typeflag == tar.TypeDir)
			own[name], kinds[name] = header.Typeflag, header.Typeflag
		}
		for _, at := range deleted {
			f.hidesOwn = f.hidesOwn || markers[at]
			for _, target := range targets {
				f.deletesTarget = f.deletesTarget || strings.HasPrefix(target+"/", at+"/")
			}
		}
		for _, at := range hidden {
			for marked := range markers {
				f.hidesOwn = f.hidesOwn || marked != at && strings.HasPrefix(marked+"/", at+"/")
			}
			for name := range own {
				f.hidesOwn = f.hidesOwn || name == at || at == "/" || strings.HasPrefix(name, at+"/") || strings.HasPrefix(at, name+"/")
			}
		}
	}
	return f
}

func exist(dirs map[string]bool, dir string) {
	for ; dir != "/"; dir = path.Dir(dir) {
		dirs[dir] = true
	}
}

// passes notes what is on the way to a directory and is none.
func (f *features) passes(kinds map[string]byte, dir string) {
	for ; dir != "/"; dir = path.Dir(dir) {
		switch kinds[dir] {
		case 0, tar.TypeDir:
		case tar.TypeSymlink:
			f.throughLink = true
		default:
			f.throughFile = true
		}
	}
}
