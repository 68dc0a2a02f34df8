// SPDX-License-Identifier: Apache-2.0

package archive

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
)

// copyChunk is how much of a file goes from reader to writer at a time: large enough that a chunk
// costs more than the call, small beside what an apply holds anyway.
const copyChunk = 256 << 10

// filtered is the archive without the entries that its filter declined. Nothing runs in the
// background: it reads on only when it is read.
type filtered struct {
	from   *tar.Reader
	to     *tar.Writer
	filter Filter
	ready  bytes.Buffer
	inFile bool
	err    error
}

func newFiltered(r io.Reader, filter Filter) *filtered {
	f := &filtered{from: tar.NewReader(r), filter: filter}
	f.to = tar.NewWriter(&f.ready)
	return f
}

func (f *filtered) Read(p []byte) (int, error) {
	for f.ready.Len() == 0 && f.err == nil {
		f.err = f.advance()
	}
	if f.ready.Len() > 0 {
		return f.ready.Read(p)
	}
	return 0, f.err
}

func (f *filtered) advance() error {
	if f.inFile {
		_, err := io.CopyN(f.to, f.from, copyChunk)
		f.inFile = err == nil
		if errors.Is(err, io.EOF) {
			return nil
		}
		return err
	}
	return f.nextEntry()
}

func (f *filtered) nextEntry() error {
	header, err := f.from.Next()
	if errors.Is(err, io.EOF) {
		if err := f.to.Close(); err != nil {
			return err
		}
		return io.EOF
	}
	if err != nil {
		return err
	}
	// Filters compare names: they have always been given clean ones.
	header.Name = path.Clean(header.Name)
	take, err := f.filter(header)
	if err != nil || !take || header.Typeflag == tar.TypeXGlobalHeader {
		return err
	}
	if err := f.to.WriteHeader(writable(header)); err != nil {
		return fmt.Errorf("filtered entry %q: %w", header.Name, err)
	}
	f.inFile = true
	return nil
}

// writable is the header as tar.Writer takes it: the reader has expanded sparse files, and says so
// in records that would make the written file sparse once more.
func writable(header *tar.Header) *tar.Header {
	out := *header
	if out.Typeflag == tar.TypeGNUSparse {
		out.Typeflag = tar.TypeReg
	}
	out.Format = tar.FormatPAX
	out.PAXRecords = make(map[string]string, len(header.PAXRecords))
	for key, value := range header.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") || written[key] {
			continue
		}
		out.PAXRecords[key] = value
	}
	return &out
}

// written are the records that tar.Writer makes of the header's fields. The fields are what a
// filter changes, so the archive's own records go.
var written = map[string]bool{
	"path": true, "linkpath": true, "size": true, "uid": true, "gid": true,
	"uname": true, "gname": true, "mtime": true, "atime": true, "ctime": true,
}
