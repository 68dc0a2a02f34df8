// SPDX-License-Identifier: Apache-2.0

//go:build linux

package ocilayer

// #include "bridge.h"
import "C"

import (
	"context"
	"io"
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
// [*PanicError] for a reader or callback that panicked. Every error is an [*Error].
//
// On error root may hold a part of the layer. The report then says what had been done; it is nil if
// nothing was begun.
func Unpack(ctx context.Context, root string, r io.Reader, opts ...Option) (*Report, error) {
	call, err := begin(ctx, opUnpack, r, opts)
	if err != nil {
		return nil, err
	}
	defer call.end()
	directory, options := call.native.text(root), call.nativeOptions()
	if call.native.err != nil {
		return nil, refused(call.op, call.native.err)
	}
	var report *C.ocilayer_report
	var failed *C.ocilayer_error
	code := C.unpack_layer(call.source, directory, options, &report, &failed)
	defer C.ocilayer_report_free(report)
	return newReport(report), call.result(code, failed)
}

// Version is that of the native library that runs.
func Version() string { return C.GoString(C.ocilayer_version()) }

// GzipBackend is what decompresses gzip in the native library: "isa-l", or "zlib-rs" where that was not
// built in.
func GzipBackend() string { return C.GoString(C.ocilayer_gzip_backend()) }
