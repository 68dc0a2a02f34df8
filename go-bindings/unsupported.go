// SPDX-License-Identifier: Apache-2.0

//go:build !cgo || !linux

package ocilayer

import (
	"context"
	"errors"
	"io"
)

// Unpack needs cgo and Linux; without them it returns [errors.ErrUnsupported].
func Unpack(_ context.Context, _ string, _ io.Reader, _ ...Option) (*Report, error) {
	return nil, errors.ErrUnsupported
}

// UnpackImage needs cgo and Linux; without them it returns [errors.ErrUnsupported].
func UnpackImage(_ context.Context, _ string, _ Image, _ ...Option) (*ImageReport, error) {
	return nil, errors.ErrUnsupported
}

// Scan needs cgo and Linux; without them it returns [errors.ErrUnsupported].
func Scan(_ context.Context, _ io.Reader, _ func(Finding) error, _ ...Option) (*ScanReport, error) {
	return nil, errors.ErrUnsupported
}

// Audit needs cgo and Linux; without them it returns [errors.ErrUnsupported].
func Audit(_ context.Context, _ []AuditLayer, _ func(Damage) error, _ ...Option) (*AuditReport, error) {
	return nil, errors.ErrUnsupported
}

// AuditDirectories needs cgo and Linux; without them it returns [errors.ErrUnsupported].
func AuditDirectories(_ context.Context, _ []string, _ func(Damage) error, _ ...Option) (*AuditReport, error) {
	return nil, errors.ErrUnsupported
}

// CheckOverlayOpaquePropagation needs cgo and Linux; without them it returns [errors.ErrUnsupported].
func CheckOverlayOpaquePropagation(_ context.Context, _ string) (*Check, error) {
	return nil, errors.ErrUnsupported
}

// Version is empty without the native library.
func Version() string { return "" }

// GzipBackend is empty without the native library.
func GzipBackend() string { return "" }
