// SPDX-License-Identifier: Apache-2.0

// Builders packs one archive again by the libraries of image builders: builders ARCHIVE DIRECTORY.
package main

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/containerd/stargz-snapshotter/estargz"
	"github.com/containerd/stargz-snapshotter/estargz/zstdchunked"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/stream"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/klauspost/compress/zstd"
)

func main() {
	if len(os.Args) != 3 {
		fail(fmt.Errorf("usage: builders ARCHIVE DIRECTORY"))
	}
	archive, err := os.ReadFile(os.Args[1])
	fail(err)
	plain := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(archive)), nil }

	for _, chunk := range []int{0, 4096} {
		blob, err := estargz.Build(io.NewSectionReader(bytes.NewReader(archive), 0, int64(len(archive))),
			estargz.WithChunkSize(chunk))
		fail(err)
		write(fmt.Sprintf("estargz, chunks of %d.tar.gz", chunk), blob)
		metadata := map[string]string{}
		chunked, err := estargz.Build(io.NewSectionReader(bytes.NewReader(archive), 0, int64(len(archive))),
			estargz.WithChunkSize(chunk), estargz.WithCompression(&zstdchunkedCompression{
				&zstdchunked.Compressor{CompressionLevel: zstd.SpeedDefault, Metadata: metadata},
				&zstdchunked.Decompressor{},
			}))
		fail(err)
		write(fmt.Sprintf("zstd:chunked, chunks of %d.tar.zst", chunk), chunked)
	}

	// As crane append and ko do.
	layer, err := tarball.LayerFromOpener(plain)
	fail(err)
	layers("crane append", layer)
	image, err := mutate.AppendLayers(empty.Image, layer)
	fail(err)
	dated, err := mutate.Time(image, time.Unix(1_000_000_000, 0))
	fail(err)
	all, err := dated.Layers()
	fail(err)
	layers("crane mutate", all...)
	write("crane export.tar", mutate.Extract(image))
	streamed := stream.NewLayer(io.NopCloser(bytes.NewReader(archive)))
	compressed, err := streamed.Compressed()
	fail(err)
	write("crane, streamed.tar.gz", compressed)

	// Go's own writer, which most builders use, in each of its formats.
	for _, format := range []tar.Format{tar.FormatUSTAR, tar.FormatPAX, tar.FormatGNU} {
		var out bytes.Buffer
		writer, reader := tar.NewWriter(&out), tar.NewReader(bytes.NewReader(archive))
		for {
			header, err := reader.Next()
			if err == io.EOF {
				break
			}
			fail(err)
			header.Format, header.PAXRecords = format, nil
			header.ModTime = header.ModTime.Truncate(time.Second)
			header.AccessTime, header.ChangeTime = time.Time{}, time.Time{}
			fail(writer.WriteHeader(header))
			_, err = io.Copy(writer, reader)
			fail(err)
		}
		fail(writer.Close())
		write(fmt.Sprintf("archive::tar, %v.tar", format), io.NopCloser(&out))
	}
}

// zstdchunkedCompression is both halves of it.
type zstdchunkedCompression struct {
	*zstdchunked.Compressor
	*zstdchunked.Decompressor
}

func layers(name string, layers ...v1.Layer) {
	for number, layer := range layers {
		blob, err := layer.Compressed()
		fail(err)
		write(fmt.Sprintf("%s, %d.tar.gz", name, number+1), blob)
	}
}

func write(name string, blob io.ReadCloser) {
	out, err := os.Create(filepath.Join(os.Args[2], name))
	fail(err)
	_, err = io.Copy(out, blob)
	fail(err)
	fail(blob.Close())
	fail(out.Close())
}

func fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "builders:", err)
		os.Exit(1)
	}
}
