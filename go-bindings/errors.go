// SPDX-License-Identifier: Apache-2.0

package ocilayer

import (
	"errors"
	"fmt"
	"syscall"
)

// Kind says what went wrong, for a program: errors.Is(err, ocilayer.ErrDigest). More kinds may
// come; treat an unknown one as a failure.
type Kind uint32

const (
	// ErrInvalidArgument is an argument, root or lower directory that makes no sense.
	ErrInvalidArgument Kind = 1
	// ErrSource is a layer that could not be read; a reader that failed, for one.
	ErrSource Kind = 2
	// ErrCorrupt is a compressed stream that is damaged or cut short.
	ErrCorrupt Kind = 3
	// ErrArchive is a tar archive that is malformed or cut short.
	ErrArchive Kind = 4
	// ErrLayer is a well-formed archive that asks for what no layer may.
	ErrLayer Kind = 5
	// ErrDigest is a blob or content that is not the expected one.
	ErrDigest Kind = 6
	// ErrLimit is a limit that was exceeded.
	ErrLimit Kind = 7
	// ErrFilesystem is an operation that the file system refused.
	ErrFilesystem Kind = 8
	// ErrCancelled is a context that ended.
	ErrCancelled Kind = 9
	// ErrCallback is a callback of the caller that failed.
	ErrCallback Kind = 10
	// ErrPanic is a defect in the library.
	ErrPanic Kind = 11
	// ErrUnsupported is what this kernel, file system or combination of options cannot do.
	ErrUnsupported Kind = 12
)

// Also what a scan says that Unpack would return.
const opUnpack = "unpack"

var kinds = map[Kind]string{
	ErrInvalidArgument: "invalid argument",
	ErrSource:          "layer cannot be read",
	ErrCorrupt:         "damaged compressed stream",
	ErrArchive:         "malformed archive",
	ErrLayer:           "not a valid layer",
	ErrDigest:          "unexpected digest",
	ErrLimit:           "limit exceeded",
	ErrFilesystem:      "file system error",
	ErrCancelled:       "cancelled",
	ErrCallback:        "callback failed",
	ErrPanic:           "internal error",
	ErrUnsupported:     "not supported",
}

// Error describes the kind in a few words.
func (k Kind) Error() string {
	if text, known := kinds[k]; known {
		return text
	}
	return fmt.Sprintf("error of kind %d", uint32(k))
}

// Is makes ErrUnsupported an [errors.ErrUnsupported] as well.
func (k Kind) Is(target error) bool {
	return k == ErrUnsupported && target == errors.ErrUnsupported
}

// Error is what every failed call returns. It wraps its Kind, its Errno and, where the failure came
// from the caller, the caller's own error: errors.Is works with all of them, and with fs.ErrNotExist
// and its like by way of the Errno.
type Error struct {
	// Op is what failed: "unpack", "scan" or "check overlay".
	Op   string
	Kind Kind
	// Errno is 0 where the caller's own error, Err, has none.
	Errno syscall.Errno
	// Path is the name of the entry that the error is about: bytes as they stand in the archive.
	// Empty if it is about none.
	Path string
	// Entry counts entries from 0; -1 if the error is about none.
	Entry int64
	// Offset is where that entry starts, in bytes of the uncompressed archive; -1 if there is none.
	Offset int64
	// Err is the context's cause or the error of a reader or callback, else nil.
	Err error

	message string
}

// Error has entry, path and offset where there are such, with names escaped for a terminal.
func (e *Error) Error() string {
	text := e.message
	if e.Err != nil {
		text = fmt.Sprintf("%v: %v", e.Kind, e.Err)
		if e.Entry >= 0 {
			text = fmt.Sprintf("entry %d %q at %d: %s", e.Entry, e.Path, e.Offset, text)
		}
	}
	return fmt.Sprintf("ocilayer: %s: %s", e.Op, text)
}

// Unwrap gives the kind, the caller's own error and the errno, where there are such.
func (e *Error) Unwrap() []error {
	wrapped := []error{e.Kind}
	if e.Err != nil {
		wrapped = append(wrapped, e.Err)
	}
	if e.Errno != 0 {
		wrapped = append(wrapped, e.Errno)
	}
	return wrapped
}

// PanicError is a panic of a reader or callback, as the error that the call returns instead.
type PanicError struct {
	Value any
	// Stack is the stack of the goroutine that panicked, as text.
	Stack []byte
}

func (p *PanicError) Error() string { return fmt.Sprintf("panic: %v", p.Value) }

// Unwrap gives the value, if it is an error. A list has a way to say that it is none: containerd's
// translation to gRPC looks into what is wrapped, and panics where that is nil.
func (p *PanicError) Unwrap() []error {
	if err, ok := p.Value.(error); ok {
		return []error{err}
	}
	return nil
}
