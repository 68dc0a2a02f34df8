// SPDX-License-Identifier: Apache-2.0

//go:build linux

package ocilayer

// #include "bridge.h"
import "C"

import "context"

// CheckOverlayOpaquePropagation asks the running kernel whether its overlayfs copies the opaque mark
// of a lower directory up, which hides the files of all layers below. It mounts a small overlay in a
// new directory below dir and looks; the file system of dir matters, so name the directory that holds
// the layers, or "" for a temporary one. Nothing is left behind.
//
// What stands in the way, such as no privilege, is not an error but [VerdictUnknown]. The check is
// short: ctx is looked at before it begins.
func CheckOverlayOpaquePropagation(ctx context.Context, dir string) (*Check, error) {
	const op = "check overlay"
	if err := ended(ctx, op); err != nil {
		return nil, err
	}
	var native arena
	defer native.free()
	directory := native.optional(dir)
	if native.err != nil {
		return nil, refused(op, native.err)
	}
	var found *C.ocilayer_check
	var failed *C.ocilayer_error
	if C.check_overlay_opaque_propagation(directory, &found, &failed) != 0 {
		return nil, newError(op, failed)
	}
	defer C.ocilayer_check_free(found)
	check := &Check{
		Verdict: Verdict(C.ocilayer_check_verdict(found)),
		Summary: C.GoString(C.ocilayer_check_summary(found)),
		Reason:  C.GoString(C.ocilayer_check_reason(found)),
		Advice:  C.GoString(C.ocilayer_check_advice(found)),
		JSON:    C.GoString(C.ocilayer_check_json(found)),
	}
	for _, way := range []CopyUp{CopyUpCreate, CopyUpMetadata, CopyUpRename} {
		if C.ocilayer_check_propagates(found, C.uint32_t(way)) {
			check.Propagates = append(check.Propagates, way)
		}
	}
	return check, nil
}
