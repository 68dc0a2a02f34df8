// SPDX-License-Identifier: Apache-2.0

//go:build !cgo || !linux

package ocilayer_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	ocilayer "github.com/ocilayer/ocilayer/go-bindings"
)

func TestEveryCallIsUnsupported(t *testing.T) {
	ctx := context.Background()
	if _, err := ocilayer.Unpack(ctx, t.TempDir(), strings.NewReader("")); !errors.Is(err, errors.ErrUnsupported) {
		t.Error(err)
	}
	if _, err := ocilayer.UnpackImage(ctx, t.TempDir(), ocilayer.Image{}); !errors.Is(err, errors.ErrUnsupported) {
		t.Error(err)
	}
	if _, err := ocilayer.Scan(ctx, strings.NewReader(""), nil); !errors.Is(err, errors.ErrUnsupported) {
		t.Error(err)
	}
	if _, err := ocilayer.CheckOverlayOpaquePropagation(ctx, ""); !errors.Is(err, errors.ErrUnsupported) {
		t.Error(err)
	}
}
