// SPDX-License-Identifier: Apache-2.0

//go:build linux

package ocilayer

// #include "bridge.h"
import "C"

import (
	"context"
	"errors"
	"io"
	"os"
)

const opUnpackImage = "unpack image"

// UnpackImage unpacks all layers of an image, several at once. With [ModeDirectory], the default, they
// become one tree in dir, which must be empty. With the overlay modes dir is a store: it gets a directory
// for each layer that it lacks, by its chain ID, and is made if it is not there. A layer is in its place
// only when all of it was verified, and is on disk as [WithSync] says. Any number of processes may use one
// store.
//
// Each blob's digest and each diffID are held against what the image says; [WithLowers], [WithUpper],
// [WithExpectedBlobDigest], [WithExpectedDiffID] and [WithReadTo] are for one layer and refused here.
// [WithThreads] is for all layers together, and callbacks are told of all: see Entry.Layer, Warning.Layer
// and Progress.Layers. What a filter declines is missing in the layer for all who use the store.
//
// Contexts, readers' errors and panics are as for [Unpack]. On error the layers of a store below the one
// at fault are complete, those above are not there, and a directory holds a part of the image; the report
// is nil.
func UnpackImage(ctx context.Context, dir string, image Image, opts ...Option) (*ImageReport, error) {
	call, err := prepare(ctx, opUnpackImage, opts)
	if err != nil {
		return nil, err
	}
	defer call.end()
	readers := call.forReaders(len(image.Layers))
	var pipes []*pipe
	defer func() {
		// Before the readers are used by somebody else again.
		for _, pipe := range pipes {
			pipe.close(ctx)
		}
		for _, reader := range readers {
			reader.end()
		}
	}()
	native, err := call.image(&image)
	defer C.ocilayer_image_free(native)
	if err != nil {
		return nil, err
	}
	for i, layer := range image.Layers {
		pipe, err := readers[i].addTo(native, layer)
		if err != nil {
			return nil, err
		}
		if pipe != nil {
			pipes = append(pipes, pipe)
		}
	}
	directory, options := call.native.text(dir), call.nativeOptions()
	if call.native.err != nil {
		return nil, refused(call.op, call.native.err)
	}
	var report *C.ocilayer_image_report
	var failed *C.ocilayer_error
	code := C.ocilayer_unpack_image(native, directory, options, &report, &failed)
	defer C.ocilayer_image_report_free(report)
	if code != 0 && call.err == nil {
		// A reader that failed has cut its layer, which is what the native library tells of.
		for _, pipe := range pipes {
			if err := pipe.failure(); err != nil {
				call.err, call.kind = err, ErrSource
				break
			}
		}
	}
	if err := call.result(code, failed); err != nil {
		return nil, err
	}
	return newImageReport(native, report), nil
}

// image is the native image, with the layers of the caller still to come.
func (c *call) image(image *Image) (*C.ocilayer_image, error) {
	if (image.Path == "") == (len(image.Layers) == 0) {
		return nil, refused(c.op, errors.New("an image has either a path or layers"))
	}
	var native *C.ocilayer_image
	var failed *C.ocilayer_error
	code := C.int(0)
	if image.Path == "" {
		code = C.ocilayer_image_new(&native, &failed)
	} else {
		path, name := c.native.text(image.Path), c.native.optional(image.Name)
		digest, platform := c.native.optional(image.Digest), c.native.optional(image.Platform)
		if c.native.err != nil {
			return nil, refused(c.op, c.native.err)
		}
		code = C.ocilayer_image_open(path, name, digest, platform, &native, &failed)
	}
	if code != 0 {
		return nil, newError(c.op, failed)
	}
	return native, nil
}

// addTo puts a layer upon those of the image, through a pipe if nothing better can be done.
func (c *call) addTo(image *C.ocilayer_image, layer ImageLayer) (*pipe, error) {
	digest, diffID := c.native.optional(layer.Digest), c.native.text(layer.DiffID)
	if c.native.err != nil {
		return nil, refused(c.op, c.native.err)
	}
	opened, err := c.openDirectly(layer.Blob)
	if err != nil {
		return nil, err
	}
	var piped *pipe
	if !opened {
		if piped, err = c.openPipe(layer.Blob); err != nil {
			return nil, err
		}
	}
	var failed *C.ocilayer_error
	if C.ocilayer_image_add(image, c.source, digest, diffID, &failed) != 0 {
		if piped != nil {
			piped.close(c.ctx)
		}
		return nil, newError(c.op, failed)
	}
	return piped, nil
}

// pipe carries a reader's bytes to the native library.
type pipe struct {
	write *os.File
	done  chan struct{}
	// Of the goroutine, until done is closed.
	err error
}

func (c *call) openPipe(r io.Reader) (*pipe, error) {
	read, write, err := os.Pipe()
	if err != nil {
		return nil, c.unreadable(err)
	}
	defer read.Close()
	var failed *C.ocilayer_error
	// It is duplicated inside.
	if C.ocilayer_source_from_fd(C.int(read.Fd()), &c.source, &failed) != 0 {
		write.Close()
		return nil, newError(c.op, failed)
	}
	p := &pipe{write: write, done: make(chan struct{})}
	go p.run(r)
	return p, nil
}

func (p *pipe) run(r io.Reader) {
	defer close(p.done)
	defer p.write.Close()
	buffer := make([]byte, chunkSize)
	for {
		length, err := fill(r, buffer, len(buffer))
		// Fails when nobody reads any more, which is no fault of the reader's.
		if _, failed := p.write.Write(buffer[:length]); failed != nil {
			return
		}
		if err != nil {
			if err != io.EOF {
				p.err = err
			}
			return
		}
	}
}

// failure is what the reader failed with, if it has.
func (p *pipe) failure() error {
	select {
	case <-p.done:
		return p.err
	default:
		return nil
	}
}

// close ends the goroutine. A Read that is under way is waited for, unless the context has ended.
func (p *pipe) close(ctx context.Context) {
	p.write.Close()
	select {
	case <-ctx.Done():
	case <-p.done:
	}
}

func newImageReport(image *C.ocilayer_image, r *C.ocilayer_image_report) *ImageReport {
	report := &ImageReport{
		Lowerdir: C.GoString(C.ocilayer_image_report_lowerdir(r)),
		JSON:     C.GoString(C.ocilayer_image_report_json(r)),
	}
	for i := C.size_t(0); i < C.ocilayer_image_report_layers(r); i++ {
		report.Layers = append(report.Layers, LayerReport{
			Digest:  C.GoString(C.ocilayer_image_digest(image, i)),
			DiffID:  C.GoString(C.ocilayer_image_diff_id(image, i)),
			ChainID: C.GoString(C.ocilayer_image_chain_id(image, i)),
			Path:    C.GoString(C.ocilayer_image_report_path(r, i)),
			Report:  newReport(C.ocilayer_image_report_layer(r, i)),
		})
	}
	return report
}
