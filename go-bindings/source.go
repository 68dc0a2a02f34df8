// SPDX-License-Identifier: Apache-2.0

//go:build linux

package ocilayer

// #include "bridge.h"
import "C"

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"unsafe"
)

// open makes the native source that suits r best.
func (c *call) open(r io.Reader) error {
	if opened, err := c.openDirectly(r); opened || err != nil {
		return err
	}
	var failed *C.ocilayer_error
	if C.ocilayer_go_source(C.uintptr_t(c.handle), &c.source, &failed) != 0 {
		return newError(c.op, failed)
	}
	c.pump = startPump(r, c.options.readTo == ReadToEndOfArchive)
	return nil
}

// openDirectly makes a native source that needs no goroutine, if that can be done.
func (c *call) openDirectly(r io.Reader) (opened bool, err error) {
	if r == nil {
		return false, refused(c.op, errors.New("no reader"))
	}
	c.reader = r
	if content, ok := inMemory(r); ok {
		return true, c.openMemory(content)
	}
	if file, ok := r.(*os.File); ok {
		return c.openRegular(file)
	}
	return false, nil
}

func (c *call) openMemory(content []byte) error {
	var failed *C.ocilayer_error
	data := unsafe.SliceData(content)
	if len(content) > 0 {
		// The native library keeps the pointer until it has read the layer.
		c.pins.Pin(data)
	}
	if C.ocilayer_source_from_memory((*C.uint8_t)(data), C.size_t(len(content)), &c.source, &failed) != 0 {
		return newError(c.op, failed)
	}
	return nil
}

// openRegular opens regular files only: a read of a pipe, say, ends when somebody closes the os.File,
// and that would not be seen through a descriptor.
func (c *call) openRegular(file *os.File) (opened bool, err error) {
	info, err := file.Stat()
	if err != nil {
		return false, c.unreadable(err)
	}
	if !info.Mode().IsRegular() {
		return false, nil
	}
	// Not Fd, which would take the file away from Go's poller.
	conn, err := file.SyscallConn()
	if err != nil {
		return false, c.unreadable(err)
	}
	var failed *C.ocilayer_error
	code := C.int(0)
	// The descriptor is duplicated inside: whoever closes the file meanwhile does no harm.
	err = conn.Control(func(fd uintptr) {
		code = C.ocilayer_source_from_fd(C.int(fd), &c.source, &failed)
	})
	if err != nil {
		return false, c.unreadable(err)
	}
	if code != 0 {
		return false, newError(c.op, failed)
	}
	return true, nil
}

func (c *call) unreadable(err error) error {
	return &Error{Op: c.op, Kind: ErrSource, Errno: errnoOf(err), Entry: -1, Offset: -1, Err: err}
}

// inMemory is what r has left, if that lies in memory; r is then at its end.
func inMemory(r io.Reader) ([]byte, bool) {
	switch r := r.(type) {
	case *bytes.Buffer:
		return r.Next(r.Len()), true
	case *bytes.Reader:
		var rest taker
		_, err := r.WriteTo(&rest)
		return rest, err == nil
	}
	return nil, false
}

// taker keeps the slice that a bytes.Reader writes: nobody changes it while the reader lives.
type taker []byte

func (t *taker) Write(content []byte) (int, error) {
	*t = content
	return len(content), nil
}

// chunkSize is what one crossing between C and Go carries, so that crossings don't count.
const chunkSize = 256 << 10

// pump reads ahead on a goroutine of its own, so that a stuck Read holds up nobody else. Not straight
// into the native buffer, which saves a copy: a Read that outlives a cancelled call, or a reader that
// keeps the slice, would write into freed memory.
type pump struct {
	// enough bytes in a chunk hand it on.
	enough int
	full   chan chunk
	free   chan []byte
	stop   chan struct{}
	now    chunk
}

type chunk struct {
	buffer []byte
	// The part of it that was read and not yet taken.
	rest []byte
	// Why there is nothing more, if so; io.EOF at the end.
	err error
}

// startPump begins to read ahead; on demand it reads nothing before it is asked, and hands on what one
// Read gave: the next one may never return.
func startPump(r io.Reader, onDemand bool) *pump {
	p := &pump{enough: chunkSize, full: make(chan chunk), free: make(chan []byte, 2), stop: make(chan struct{})}
	if onDemand {
		p.enough = 1
		p.now.buffer = make([]byte, chunkSize)
	} else {
		p.free <- make([]byte, chunkSize)
		p.free <- make([]byte, chunkSize)
	}
	go p.run(r)
	return p
}

func (p *pump) run(r io.Reader) {
	defer close(p.full)
	for {
		select {
		case <-p.stop:
			return
		case buffer := <-p.free:
			length, err := fill(r, buffer, p.enough)
			select {
			case <-p.stop:
				return
			case p.full <- chunk{buffer, buffer[:length], err}:
			}
			if err != nil {
				return
			}
		}
	}
}

var errGoexit = errors.New("reader ended its goroutine")

// fill reads until there is enough or nothing more can be had.
func fill(r io.Reader, buffer []byte, enough int) (length int, err error) {
	returned := false
	defer func() {
		if value := recover(); value != nil {
			err = newPanic(value)
		} else if !returned {
			err = errGoexit
		}
	}()
	for empty := 0; length < enough; {
		n, err := r.Read(buffer[length:])
		if n < 0 || n > len(buffer)-length {
			panic(errors.New("reader returned an impossible count"))
		}
		length += n
		if err != nil {
			returned = true
			return length, err
		}
		// As bufio does: a reader that gives nothing for so long is broken.
		if empty++; n > 0 {
			empty = 0
		} else if empty == 100 {
			returned = true
			return length, io.ErrNoProgress
		}
	}
	returned = true
	return length, nil
}

// read copies what is there, and waits for it unless the context ends; io.EOF at the end.
func (p *pump) read(ctx context.Context, into []byte) (int, error) {
	for len(p.now.rest) == 0 {
		if p.now.err != nil {
			return 0, p.now.err
		}
		if p.now.buffer != nil {
			p.free <- p.now.buffer
			p.now = chunk{}
		}
		select {
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		case next, open := <-p.full:
			if !open {
				next.err = errGoexit
			}
			p.now = next
		}
	}
	n := copy(into, p.now.rest)
	p.now.rest = p.now.rest[n:]
	return n, nil
}

// close ends the goroutine. A Read that is under way is waited for, unless the context has ended.
func (p *pump) close(ctx context.Context) {
	close(p.stop)
	for {
		select {
		case <-ctx.Done():
			return
		case _, open := <-p.full:
			if !open {
				return
			}
		}
	}
}
