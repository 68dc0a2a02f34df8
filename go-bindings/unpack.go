// SPDX-License-Identifier: Apache-2.0

//go:build linux

package ocilayer

// #include "bridge.h"
import "C"

import (
	"context"
	"io"
	"runtime"
	"runtime/cgo"
)

// Unpack applies the layer that r gives to the existing directory root, and below it only.
//
// The layer may be compressed with gzip or zstd or not at all; its content tells. An [os.File] that
// is a regular file is read by its descriptor from its current position on, which is the fast way;
// afterwards the position is undefined. A [bytes.Reader] or [bytes.Buffer] is read where it is,
// without a copy. Any other reader is read from a goroutine of its own.
//
// When ctx ends, Unpack returns an error that wraps [context.Cause], also while r is stuck: a Read
// may then still be under way when Unpack returns, and r must not be used until that has ended. In
// all other cases nothing reads from r any more.
//
// A reader's or filter's own error is wrapped by the error that comes back, and so is a
// [*PanicError] for one that panicked.
//
// On error root may hold a part of the layer. The report then says what had been done; it is nil if
// nothing was begun.
func Unpack(ctx context.Context, root string, r io.Reader, opts ...Option) (*Report, error) {
	const op = "unpack"
	if cause := context.Cause(ctx); cause != nil {
		return nil, &Error{Op: op, Kind: ErrCancelled, Errno: errnoCancelled, Entry: -1, Offset: -1, Err: cause}
	}
	call := &call{ctx: ctx}
	for _, option := range opts {
		option(&call.options)
	}
	var native arena
	defer native.free()
	handle := cgo.NewHandle(call)
	defer handle.Delete()

	if err := newToken(&call.token); err != nil {
		return nil, wrap(op, err)
	}
	defer C.ocilayer_cancel_free(call.token)
	defer call.cancelWith(ctx)()

	source, err := call.open(r, handle)
	if err != nil {
		return nil, wrap(op, err)
	}
	defer call.close()
	defer C.ocilayer_source_free(source)

	var report *C.ocilayer_report
	var failed *C.ocilayer_error
	options := native.options(call, handle)
	result := C.unpack_layer(source, native.text(root), options, &report, &failed)
	runtime.KeepAlive(r)
	defer C.ocilayer_report_free(report)
	if result == 0 {
		return newReport(report), nil
	}
	return newReport(report), call.failure(op, failed)
}

// call is one Unpack, as its callbacks find it.
type call struct {
	ctx     context.Context
	options options
	token   *C.ocilayer_cancel
	pump    *pump
	pins    runtime.Pinner
	// The first error of a reader or callback.
	err error
}

// cancelWith cancels the native call when ctx ends, until the function that it returns was called.
func (c *call) cancelWith(ctx context.Context) func() {
	done := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		C.ocilayer_cancel_now(c.token)
		close(done)
	})
	return func() {
		if !stop() {
			// The token is about to be freed.
			<-done
		}
	}
}

// failure is the error of a native call, with the caller's own inside where there is one.
func (c *call) failure(op string, failed *C.ocilayer_error) error {
	err := newError(op, failed)
	switch cause := context.Cause(c.ctx); {
	case c.err != nil:
		err.Err = c.err
	case err.Kind == ErrCancelled && cause != nil:
		err.Err = cause
	}
	return err
}

// Version is that of the native library that runs.
func Version() string { return C.GoString(C.ocilayer_version()) }
