// SPDX-License-Identifier: Apache-2.0

package containerd

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/diff"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ocilayer/ocilayer/go-bindings/containerd/internal/layertype"
)

// remoteChunk is how much one read of the provider asks for. The content service opens a stream
// for each read: small reads would spend their time on that.
const remoteChunk = 1 << 20

// open gives the blob as ocilayer takes it: tar, or tar in gzip or zstd. What has another media
// type, such as an encrypted layer, goes through containerd's stream processors until it is that.
func (a *applier) open(ctx context.Context, desc ocispec.Descriptor, config *diff.ApplyConfig) (_ *layer, err error) {
	// Methods of a malformed digest panic. An algorithm that is only unknown here is the provider's business.
	if err := desc.Digest.Validate(); err != nil && !errors.Is(err, digest.ErrDigestUnsupported) {
		return nil, fmt.Errorf("layer %q: %w: %w", desc.Digest, err, errdefs.ErrInvalidArgument)
	}
	// Asked first also where the blob has a file: the provider knows who may read it.
	ra, err := a.provider.ReaderAt(ctx, desc)
	if err != nil {
		return nil, fmt.Errorf("layer %s: %w", desc.Digest, err)
	}
	l := &layer{closer: []io.Closer{ra}}
	defer func() {
		if err != nil {
			l.Close()
		}
	}()
	if file := a.file(ctx, desc, ra.Size()); file != nil {
		l.closer = append(l.closer, file)
		l.reader = file
	} else {
		l.reader = bufio.NewReaderSize(content.NewReader(ra), remoteChunk)
	}

	if layertype.IsPlain(desc.MediaType) {
		// Only what can be checked is asked for: a store may know further algorithms.
		if algorithm := desc.Digest.Algorithm(); algorithm == digest.SHA256 || algorithm == digest.SHA512 {
			l.digest = desc.Digest
		}
		return l, nil
	}
	return l, l.process(ctx, desc.MediaType, config)
}

// file is the blob's own file, or nil. One of another size is a store that is not the provider's.
func (a *applier) file(ctx context.Context, desc ocispec.Descriptor, size int64) *os.File {
	if a.blobFile == nil {
		return nil
	}
	file, err := a.blobFile(ctx, desc)
	if err != nil {
		return nil
	}
	if info, err := file.Stat(); err != nil || !info.Mode().IsRegular() || info.Size() != size {
		file.Close()
		return nil
	}
	return file
}

func (l *layer) process(ctx context.Context, mediaType string, config *diff.ApplyConfig) error {
	stream := diff.NewProcessorChain(mediaType, l.reader)
	for !layertype.IsPlain(stream.MediaType()) {
		next, err := diff.GetProcessor(ctx, stream, config.ProcessorPayloads)
		if err != nil {
			return fmt.Errorf("stream processor for %s: %w", stream.MediaType(), err)
		}
		l.processors = append(l.processors, next)
		l.closer = append(l.closer, next)
		stream = next
	}
	l.reader = stream
	return nil
}

// finish asks what the processors say in the end: one that failed may have looked like one that
// had no more to give.
func (l *layer) finish() error {
	for _, processor := range l.processors {
		if failing, ok := processor.(interface{ Err() error }); ok {
			if err := failing.Err(); err != nil {
				return fmt.Errorf("stream processor: %w", err)
			}
		}
	}
	return nil
}
