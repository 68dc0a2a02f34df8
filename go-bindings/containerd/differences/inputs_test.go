// SPDX-License-Identifier: Apache-2.0

package differences

import (
	"archive/tar"
	"bytes"
	"compress/bzip2"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/pkg/archive/compression"

	"github.com/ocilayer/ocilayer/go-bindings/containerd/internal/testneeds"
)

// generated are stacks made at random, from seeds that do not change: OCILAYER_STACKS of them, or some that
// take seconds.
func generated(t *testing.T) []stack {
	t.Helper()
	count := uint64(1500)
	if wanted := os.Getenv("OCILAYER_STACKS"); wanted != "" {
		var err error
		if count, err = strconv.ParseUint(wanted, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	var stacks []stack
	for seed := range count {
		stacks = append(stacks, random(seed))
	}
	return stacks
}

// mostBytes is as much as the files of one archive may have: containerd writes holes as zeros.
const mostBytes = 256 << 20

// found are the archives that scripts/collect-archives and scripts/build-archives have put below
// OCILAYER_ARCHIVES.
func found(t *testing.T, set string) []stack {
	t.Helper()
	directory := os.Getenv("OCILAYER_ARCHIVES")
	if directory == "" {
		testneeds.Missing(t, "the archives that scripts/test-containerd collects: OCILAYER_ARCHIVES")
		return nil
	}
	var stacks []stack
	err := filepath.WalkDir(filepath.Join(directory, set), func(file string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		blob, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(directory, file)
		if err != nil {
			return err
		}
		if strings.HasSuffix(file, ".bz2") {
			if blob, err = io.ReadAll(bzip2.NewReader(bytes.NewReader(blob))); err != nil {
				return nil //nolint:nilerr // Some tests are about that: no archive to apply.
			}
		}
		s := stack{name: name, layers: [][]byte{blob}}
		if plain := decompressed(blob); !bytes.Equal(plain, blob) {
			s.blob, s.layers = blob, [][]byte{plain}
		}
		if sum(s.layers[0]) <= mostBytes {
			stacks = append(stacks, s)
		}
		return nil
	})
	if err != nil || len(stacks) == 0 {
		t.Fatalf("no archives below %s: %v", filepath.Join(directory, set), err)
	}
	return stacks
}

// decompressed is as much of the archive as there is.
func decompressed(blob []byte) []byte {
	stream, err := compression.DecompressStream(bytes.NewReader(blob))
	if err != nil {
		return blob
	}
	defer stream.Close()
	plain, _ := io.ReadAll(stream)
	return plain
}

// sum is what the files of an archive have, holes included.
func sum(archive []byte) int64 {
	var sum int64
	for reader := tar.NewReader(bytes.NewReader(archive)); ; {
		header, err := reader.Next()
		if err != nil {
			return sum
		}
		sum += header.Size
	}
}

// goTestdata are the archives of the tests of archive/tar, which come with Go.
func goTestdata(t *testing.T) []stack {
	t.Helper()
	//nolint:staticcheck // The tests' own Go, which built them.
	directory := filepath.Join(runtime.GOROOT(), "src", "archive", "tar", "testdata")
	files, err := filepath.Glob(filepath.Join(directory, "*.tar*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no archives in %s: %v", directory, err)
	}
	var stacks []stack
	for _, file := range files {
		blob, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case strings.HasSuffix(file, ".bz2"):
			if blob, err = io.ReadAll(bzip2.NewReader(bytes.NewReader(blob))); err != nil {
				t.Fatal(err)
			}
		case strings.HasSuffix(file, ".base64"), strings.Contains(file, "big"), strings.Contains(file, "sparse"):
			// Gigabytes of holes, which containerd writes as zeros.
			continue
		}
		stacks = append(stacks, stack{name: filepath.Base(file), layers: [][]byte{blob}})
	}
	return stacks
}

// raw is an archive byte by byte, for what Go's writer does not write.
type raw struct{ bytes.Buffer }

func (r *raw) header(name string, kind byte, size int, patch func([]byte)) *raw {
	block := make([]byte, 512)
	copy(block, name)
	copy(block[100:], fmt.Sprintf("%07o\x00%07o\x00%07o\x00%011o\x00%011o\x00", 0o644, 0, 0, size, 1_000_000_000))
	block[156] = kind
	copy(block[257:], "ustar\x0000")
	if patch != nil {
		patch(block)
	}
	copy(block[148:], "        ")
	sum := 0
	for _, b := range block {
		sum += int(b)
	}
	copy(block[148:], fmt.Sprintf("%06o\x00 ", sum))
	r.Write(block)
	return r
}

func (r *raw) data(name string, kind byte, content string) *raw {
	r.header(name, kind, len(content), nil)
	r.WriteString(content)
	return r.zeros(-len(content) & 511)
}

func (r *raw) zeros(count int) *raw {
	r.Write(make([]byte, count))
	return r
}

func (r *raw) record(kind byte, key, value string) *raw {
	rest := len(key) + len(value) + 3
	length := rest + len(fmt.Sprint(rest))
	if len(fmt.Sprint(length)) != len(fmt.Sprint(rest)) {
		length++
	}
	return r.data("pax", kind, fmt.Sprintf("%d %s=%s\n", length, key, value))
}

// end is the end marker.
func (r *raw) end() []byte { return r.zeros(1024).Bytes() }

func gnu(prefix string) func([]byte) {
	return func(block []byte) {
		copy(block[257:], "ustar  \x00")
		copy(block[345:], prefix)
	}
}

// oddities are archives that few writers make, one of each kind.
func oddities() []stack {
	archive := func() *raw { return &raw{} }
	long := strings.Repeat("n", 150)
	cut := archive().data("a", '0', "hello").zeros(512).Bytes()
	padding := archive().data("a", '0', "hello").Bytes()
	table := map[string][]byte{
		"no end marker":              archive().data("a", '0', "hello").Bytes(),
		"no padding":                 padding[:517],
		"cut in data":                padding[:515],
		"cut in a header":            cut[:1024+100],
		"half a zero block":          cut[:1024+200],
		"lone zero block at the end": cut,
		"lone zero block":            archive().data("a", '0', "hello").zeros(512).data("b", '0', "").end(),
		"data behind the end":        append(archive().data("a", '0', "1").end(), "junk behind the end"...),
		"record without an entry":    archive().data("a", '0', "1").record('x', "path", "b").Bytes(),
		"record before the end":      archive().data("a", '0', "1").record('x', "path", "b").end(),
		"two long names":             archive().data("L", 'L', "first\x00").data("L", 'L', "second\x00").data("a", '0', "1").end(),
		"two long links":             archive().data("K", 'K', "first\x00").data("K", 'K', "second\x00").header("a", '2', 0, nil).end(),
		"NUL in a long name":         archive().data("L", 'L', long+"\x00dropped\x00").data("a", '0', "1").end(),
		"long name and record":       archive().data("L", 'L', "gnu\x00").record('x', "path", "pax").data("a", '0', "1").end(),
		"two records":                archive().record('x', "path", "b").record('x', "uid", "5").data("a", '0', "1").end(),
		"global owner":               archive().record('g', "uid", "7").record('g', "mtime", "5").data("a", '0', "1").end(),
		"global between":             archive().record('x', "path", "b").record('g', "uid", "7").data("a", '0', "1").end(),
		"prefix of old Go":           archive().header("conf", '0', 0, gnu("opt/one")).header("conf", '0', 0, gnu("opt/two")).end(),
		"times of GNU":               archive().header("conf", '0', 0, gnu("14712251532\x0014712251532\x00")).end(),
		"directory without a name":   archive().header("", '5', 0, nil).data("a", '0', "1").end(),
		"file without a name":        archive().header("", '0', 0, nil).data("a", '0', "1").end(),
		"contiguous file":            archive().data("a", '7', "1").end(),
		"file named as a directory":  archive().header("a/", 0, 0, nil).end(),
		"unknown type":               archive().header("a", 'V', 0, nil).end(),
		"link out of the root":       archive().data("a", '0', "1").header("b", '1', 0, func(b []byte) { copy(b[157:], "../../a") }).end(),
		"absolute names":             archive().data("/a", '0', "1").header("/b", '1', 0, func(b []byte) { copy(b[157:], "/a") }).end(),
		"name above the root":        archive().data("../a", '0', "1").end(),
		"the root as a symlink":      archive().header("./", '2', 0, func(b []byte) { copy(b[157:], "/etc") }).end(),
		"owner -1":                   archive().header("a", '0', 0, func(b []byte) { copy(b[108:], "\xff\xff\xff\xff\xff\xff\xff\xff") }).end(),
		"before 1970":                archive().header("a", '0', 0, func(b []byte) { copy(b[136:], "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x00") }).end(),
		"trusted xattr":              archive().record('x', "SCHILY.xattr.trusted.x", "1").data("a", '0', "1").end(),
		"acl as text":                archive().record('x', "SCHILY.acl.access", "user::rw-").data("a", '0', "1").end(),
		"whiteout of nothing":        archive().data("a", '0', "1").data(".wh.", '0', "").end(),
		"whiteout of the parent":     archive().data("a", '0', "1").data("d/.wh...", '0', "").end(),
		"empty":                      archive().end(),
		"no bytes":                   nil,
		"not an archive":             bytes.Repeat([]byte("no archive "), 200),
	}
	var stacks []stack
	for name, layer := range table {
		stacks = append(stacks, stack{name: name, layers: [][]byte{layer}})
	}
	longest := strings.Repeat("n", 255)
	below := archive().record('x', "path", "d/"+longest).data("a", '0', "1").data("d/keep", '0', "1").end()
	whiteout := archive().record('x', "path", "d/.wh."+longest).data("a", '0', "").end()
	link := archive().header("b", '1', 0, func(b []byte) { copy(b[157:], "d/keep") }).data(".wh.d", '0', "").end()
	return append(stacks, stack{name: "whiteout of a long name", layers: [][]byte{below, whiteout}},
		stack{name: "hardlink to what is deleted", layers: [][]byte{below, link}})
}

// names are so many that most entries of a stack have nothing to do with each other.
var names = strings.Fields("a b c d e f g h i j k l m n o p")

// random makes a stack of layers as Go's writer writes them.
func random(seed uint64) stack {
	r := rand.New(rand.NewPCG(seed, 0))
	pick := func() string { return names[r.IntN(len(names))] }
	name := func() string {
		name := pick()
		for range r.IntN(3) {
			name += "/" + pick()
		}
		return name
	}
	s := stack{name: fmt.Sprintf("seed %d", seed)}
	// What there is to link to, and to go through.
	var files, links, dirs []string
	choose := func(from []string, often int) string {
		if len(from) > 0 && r.IntN(often) > 0 {
			return from[r.IntN(len(from))]
		}
		return name()
	}
	for range 1 + r.IntN(3) {
		var out bytes.Buffer
		w := tar.NewWriter(&out)
		for range 1 + r.IntN(6) {
			h := tar.Header{
				Name: name(), Mode: int64(r.IntN(0o10000)) | 0o400, Uid: r.IntN(3), Gid: r.IntN(3),
				ModTime: time.Unix(int64(r.IntN(2_000_000_000)), 0),
			}
			content := ""
			if len(links) > 0 && r.IntN(12) == 0 {
				h.Name = choose(links, 100) + "/" + pick()
			}
			switch r.IntN(12) {
			case 0, 1, 2:
				if r.IntN(6) == 0 {
					h.Name = choose(dirs, 100)
				}
				dirs = append(dirs, h.Name)
				h.Typeflag, h.Name = tar.TypeDir, h.Name+"/"
			case 3:
				target := choose(dirs, 3)
				h.Typeflag, h.Linkname = tar.TypeSymlink, []string{target, "../" + target, "/" + target}[r.IntN(3)]
				links = append(links, h.Name)
			case 4:
				h.Typeflag, h.Linkname = tar.TypeLink, choose(files, 20)
			case 5:
				h.Name = filepath.Join(filepath.Dir(h.Name), ".wh."+filepath.Base(h.Name))
			case 6:
				h.Name += "/.wh..wh..opq"
			case 7:
				h.Typeflag = tar.TypeFifo
			case 8:
				h.Typeflag, h.Devmajor, h.Devminor = tar.TypeChar, 1, 3
			default:
				files = append(files, h.Name)
				content = strings.Repeat("x", r.IntN(2000))
			}
			h.Size = int64(len(content))
			switch r.IntN(4) {
			case 0:
				h.Format = tar.FormatGNU
			case 1:
				h.Format = tar.FormatPAX
				h.ModTime = h.ModTime.Add(time.Duration(r.IntN(1_000_000_000)))
				if h.Typeflag == 0 || h.Typeflag == tar.TypeDir {
					h.PAXRecords = map[string]string{"SCHILY.xattr.user." + pick(): pick()}
				}
			}
			// Names are short and numbers small, so that every format has room for them.
			if err := w.WriteHeader(&h); err != nil {
				panic(err)
			}
			if _, err := io.WriteString(w, content); err != nil {
				panic(err)
			}
		}
		if err := w.Close(); err != nil {
			panic(err)
		}
		s.layers = append(s.layers, out.Bytes())
	}
	return s
}
