// SPDX-License-Identifier: Apache-2.0

package containerd

import (
	"context"
	"errors"
	"fmt"

	"github.com/containerd/errdefs"

	ocilayer "github.com/ocilayer/ocilayer/go-bindings"
)

// classes says which of containerd's error classes a kind of ocilayer's errors belongs to. None is
// NotImplemented: the diff service would apply the layer once more, on top of what is there.
var classes = []struct {
	kind  error
	class error
}{
	{ocilayer.ErrInvalidArgument, errdefs.ErrInvalidArgument},
	{ocilayer.ErrArchive, errdefs.ErrInvalidArgument},
	{ocilayer.ErrLayer, errdefs.ErrInvalidArgument},
	{ocilayer.ErrCorrupt, errdefs.ErrDataLoss},
	{ocilayer.ErrDigest, errdefs.ErrDataLoss},
	{ocilayer.ErrLimit, errdefs.ErrResourceExhausted},
	{ocilayer.ErrUnsupported, errdefs.ErrFailedPrecondition},
	{ocilayer.ErrPanic, errdefs.ErrInternal},
}

// asContainerdError gives err a class that survives gRPC. It stays what it was as well.
func asContainerdError(ctx context.Context, err error) error {
	if err == nil || ctx.Err() != nil {
		return err
	}
	for _, c := range classes {
		if errors.Is(err, c.kind) {
			return fmt.Errorf("%w: %w", err, c.class)
		}
	}
	return err
}
