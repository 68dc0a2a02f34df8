// SPDX-License-Identifier: Apache-2.0

//go:build linux

package ocilayer

// #include "bridge.h"
import "C"

import (
	"context"
	"errors"
	"io"
	"runtime"
	"runtime/cgo"
	"syscall"
)

// call is one call into the native library that reads a layer, as its callbacks find it.
type call struct {
	ctx     context.Context
	op      string
	options options
	found   func(Finding) error
	damaged func(Damage) error

	native arena
	token  *C.ocilayer_cancel
	source *C.ocilayer_source
	handle cgo.Handle
	pump   *pump
	reader io.Reader
	pins   runtime.Pinner
	// Ends the watch on ctx.
	unwatch func()

	// The first failure of the caller's own code. Only the calling thread touches it.
	err  error
	kind Kind
}

// begin has all of a call ready but its native options; a call that it returns must be ended.
func begin(ctx context.Context, op string, r io.Reader, opts []Option) (*call, error) {
	c, err := prepare(ctx, op, opts)
	if err != nil {
		return nil, err
	}
	if err := c.open(r); err != nil {
		c.end()
		return nil, err
	}
	return c, nil
}

// prepare is begin for a call that reads nothing itself.
func prepare(ctx context.Context, op string, opts []Option) (*call, error) {
	if err := ended(ctx, op); err != nil {
		return nil, err
	}
	c := &call{ctx: ctx, op: op}
	for _, option := range opts {
		option(&c.options)
	}
	var failed *C.ocilayer_error
	if C.ocilayer_cancel_new(&c.token, &failed) != 0 {
		return nil, newError(op, failed)
	}
	c.handle = cgo.NewHandle(c)
	c.watch()
	return c, nil
}

// forReaders has calls that only read, for a native call that reads more than one layer. That one's
// token cancels them; each must be ended.
func (c *call) forReaders(count int) []*call {
	readers := make([]*call, count)
	for i := range readers {
		readers[i] = &call{ctx: c.ctx, op: c.op, unwatch: func() {}}
		readers[i].handle = cgo.NewHandle(readers[i])
	}
	return readers
}

// watch cancels the native call when ctx ends.
func (c *call) watch() {
	done := make(chan struct{})
	stop := context.AfterFunc(c.ctx, func() {
		C.ocilayer_cancel_now(c.token)
		close(done)
	})
	c.unwatch = func() {
		if !stop() {
			// The token is about to be freed.
			<-done
		}
	}
}

// end waits until nothing reads from the reader any more, or the context has ended.
func (c *call) end() {
	C.ocilayer_source_free(c.source)
	if c.pump != nil {
		c.pump.close(c.ctx)
	}
	c.unwatch()
	C.ocilayer_cancel_free(c.token)
	c.pins.Unpin()
	c.handle.Delete()
	c.native.free()
	runtime.KeepAlive(c.reader)
}

// fail remembers the caller's own error, and is the errno that the native library gets to see.
func (c *call) fail(kind Kind, err error) C.int {
	if c.ctx.Err() != nil {
		return -C.int(syscall.ECANCELED)
	}
	if c.err == nil {
		c.err, c.kind = err, kind
	}
	if errno := errnoOf(err); errno != 0 {
		return -C.int(errno)
	}
	return -C.int(syscall.EIO)
}

// result is the error of a native call, with the caller's own inside where there is one.
func (c *call) result(code C.int, failed *C.ocilayer_error) error {
	if code == 0 && c.err == nil {
		return nil
	}
	err := newError(c.op, failed)
	switch cause := context.Cause(c.ctx); {
	case c.err != nil:
		// Not what the native library says of the kind: it calls a panic cancelled, or, after the
		// last entry, a success.
		err.Kind, err.Errno, err.Err = c.kind, errnoOf(c.err), c.err
	case err.Errno == syscall.ECANCELED && cause != nil:
		err.Kind, err.Err = ErrCancelled, cause
	}
	return err
}

// ended is the error of a context that is over already.
func ended(ctx context.Context, op string) error {
	cause := context.Cause(ctx)
	if cause == nil {
		return nil
	}
	return &Error{Op: op, Kind: ErrCancelled, Errno: syscall.ECANCELED, Entry: -1, Offset: -1, Err: cause}
}

// refused is the error of an argument that does not reach the native library.
func refused(op string, err error) error {
	return &Error{Op: op, Kind: ErrInvalidArgument, Errno: syscall.EINVAL, Entry: -1, Offset: -1, Err: err}
}

// errnoOf is the errno inside of a Go error, 0 if there is none that the native library takes.
func errnoOf(err error) syscall.Errno {
	var errno syscall.Errno
	if errors.As(err, &errno) && errno < 4096 {
		return errno
	}
	return 0
}
