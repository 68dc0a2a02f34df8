// SPDX-License-Identifier: Apache-2.0

//go:build linux

package ocilayer

// #include "bridge.h"
import "C"

import (
	"io"
	"runtime/cgo"
	"runtime/debug"
	"time"
	"unsafe"
)

func find(handle C.uintptr_t) *call { return cgo.Handle(handle).Value().(*call) }

// guard turns a panic into an error: unwinding through the frames of C ends the process.
func (c *call) guard(result *C.int) {
	if value := recover(); value != nil {
		*result = c.fail(ErrCallback, newPanic(value))
		// Progress and warning have no result that would end the call.
		C.ocilayer_cancel_now(c.token)
	}
}

func newPanic(value any) error { return &PanicError{Value: value, Stack: debug.Stack()} }

//export ocilayerGoRead
func ocilayerGoRead(handle C.uintptr_t, buffer *C.uint8_t, length C.size_t, got *C.size_t) (result C.int) {
	c := find(handle)
	n, err := c.pump.read(c.ctx, unsafe.Slice((*byte)(buffer), int(length)))
	*got = C.size_t(n)
	if err == nil || err == io.EOF {
		return 0
	}
	return c.fail(ErrSource, err)
}

//export ocilayerGoFilter
func ocilayerGoFilter(handle C.uintptr_t, entry *C.ocilayer_entry) (result C.int) {
	c := find(handle)
	defer c.guard(&result)
	wanted, err := c.options.filter(newEntry(entry))
	if err != nil {
		return c.fail(ErrCallback, err)
	}
	if wanted {
		return 1
	}
	return 0
}

//export ocilayerGoLowers
func ocilayerGoLowers(handle C.uintptr_t, lowers ***C.char, count *C.size_t) (result C.int) {
	c := find(handle)
	defer c.guard(&result)
	directories, err := c.options.lowersLater(c.ctx)
	if err == nil {
		*lowers, *count = c.native.texts(directories), C.size_t(len(directories))
		err = c.native.err
	}
	if err != nil {
		return c.fail(ErrCallback, err)
	}
	return 0
}

//export ocilayerGoProgress
func ocilayerGoProgress(handle C.uintptr_t, p *C.ocilayer_progress) {
	c, ignored := find(handle), C.int(0)
	if c.err != nil {
		return
	}
	defer c.guard(&ignored)
	c.options.progress(Progress{
		BlobBytes: uint64(p.blob_bytes), BlobSize: uint64(p.blob_size), LayerBytes: uint64(p.layer_bytes),
		Entries: EntryCounts{
			Total: uint64(p.entries), Files: uint64(p.files), Directories: uint64(p.directories),
			Symlinks: uint64(p.symlinks), Hardlinks: uint64(p.hardlinks), FIFOs: uint64(p.fifos),
			Devices: uint64(p.devices),
		},
		Layers: uint64(p.layers), LayersComplete: uint64(p.layers_complete),
	})
}

//export ocilayerGoWarning
func ocilayerGoWarning(handle C.uintptr_t, w *C.ocilayer_warning) {
	c, ignored := find(handle), C.int(0)
	if c.err != nil {
		return
	}
	defer c.guard(&ignored)
	c.options.warning(Warning{
		Reason: SkipReason(w.reason), Text: C.GoString(w.text), Entry: uint64(w.entry),
		Path: text(w.path, w.path_length), Detail: text(w.detail, w.detail_length),
		Layer: uint32(w.layer),
	})
}

func newEntry(e *C.ocilayer_entry) *Entry {
	return &Entry{
		Index: uint64(e.index), Offset: uint64(e.offset),
		Path: text(e.path, e.path_length), Link: text(e.link, e.link_length),
		Kind: EntryKind(e.kind), Size: uint64(e.file_size),
		ModTime: time.Unix(int64(e.mtime_seconds), int64(e.mtime_nanoseconds)),
		Mode:    uint32(e.mode), UID: uint32(e.uid), GID: uint32(e.gid),
		DeviceMajor: uint32(e.device_major), DeviceMinor: uint32(e.device_minor),
		Layer: uint32(e.layer),
	}
}
