// SPDX-License-Identifier: Apache-2.0

//go:build linux

package ocilayer

// #include "bridge.h"
import "C"

import (
	"context"
	"unsafe"
)

const opAudit = "audit"

// Audit compares unpacked layers, bottom first, with the layers themselves: directories that are
// opaque and should not be, with all that they hide; those that should be and are not; whiteouts
// missing or too many; entries missing, too many, or other ones. A mark that hides nothing is not told
// of.
//
// found, which may be nil, is called for each finding, layer by layer, on the calling goroutine. An
// error of it ends the audit before anything is repaired and before anything of this layer is restored, and
// comes back from it. It may panic, but must not call [runtime.Goexit], as a test's FailNow does.
//
// [WithMode], [WithOwnerMap], [WithoutOwners], [WithDevices], [WithThreads] and [WithLimits] count here, as
// they were said to [Unpack]: the directories are compared with what that would have left; and so do
// [WithRepair], [WithCompare] and, for a single layer, [WithExpectedBlobDigest] and [WithExpectedDiffID].
// With [ModeOverlayUserXattr] the marks are user.overlay.*, else trusted.overlay.*. Damage is no error. The
// report is nil on error.
// Readers are used as by [Unpack], one after the other, but may all be read ahead at once.
func Audit(ctx context.Context, layers []AuditLayer, found func(Damage) error, opts ...Option) (*AuditReport, error) {
	call, err := prepare(ctx, opAudit, opts)
	if err != nil {
		return nil, err
	}
	defer call.end()
	native := (*C.ocilayer_audit_layer)(call.native.zeroed(len(layers), C.sizeof_ocilayer_audit_layer))
	readers := call.forReaders(len(layers))
	defer func() {
		for _, reader := range readers {
			reader.end()
		}
	}()
	for i, layer := range layers {
		reader := readers[i]
		if err := reader.open(layer.Blob); err != nil {
			return nil, err
		}
		unsafe.Slice(native, len(layers))[i] = C.ocilayer_audit_layer{
			source: reader.source, directory: call.native.text(layer.Directory),
		}
	}
	options, err := call.auditOptions(found)
	if err != nil {
		return nil, err
	}
	var report *C.ocilayer_audit_report
	var failed *C.ocilayer_error
	code := C.ocilayer_go_audit(native, C.size_t(len(layers)), options, C.uint32_t(call.options.repair),
		C.uintptr_t(call.handle), found != nil, &report, &failed)
	defer C.ocilayer_audit_report_free(report)
	for _, reader := range readers {
		if call.err == nil {
			call.err, call.kind = reader.err, reader.kind
		}
	}
	if err := call.result(code, failed); err != nil {
		return nil, err
	}
	return newAuditReport(report), nil
}

// AuditDirectories is [Audit] without the layers, of which only suspicion can come: a [DamageSuspect]
// for each opaque mark that repeats one of a lower layer. directories are topmost first, as in
// overlay's lowerdir. A repair removes all marks that are told of.
func AuditDirectories(ctx context.Context, directories []string, found func(Damage) error, opts ...Option) (*AuditReport, error) {
	call, err := prepare(ctx, opAudit, opts)
	if err != nil {
		return nil, err
	}
	defer call.end()
	native := call.native.texts(directories)
	options, err := call.auditOptions(found)
	if err != nil {
		return nil, err
	}
	var report *C.ocilayer_audit_report
	var failed *C.ocilayer_error
	code := C.ocilayer_go_audit_directories(native, C.size_t(len(directories)), options,
		C.uint32_t(call.options.repair), C.uintptr_t(call.handle), found != nil, &report, &failed)
	defer C.ocilayer_audit_report_free(report)
	if err := call.result(code, failed); err != nil {
		return nil, err
	}
	return newAuditReport(report), nil
}

func (c *call) auditOptions(found func(Damage) error) (*C.ocilayer_options, error) {
	c.damaged = found
	c.options.filter, c.options.progress, c.options.warning, c.options.lowersLater = nil, nil, nil, nil
	options := c.nativeOptions()
	if c.native.err != nil {
		return nil, refused(c.op, c.native.err)
	}
	return options, nil
}

//export ocilayerGoDamage
func ocilayerGoDamage(handle C.uintptr_t, d *C.ocilayer_damage) (result C.int) {
	c := find(handle)
	defer c.guard(&result)
	err := c.damaged(Damage{
		Kind: DamageKind(d.kind), Directory: text(d.directory, d.directory_length),
		Path: text(d.path, d.path_length), Detail: text(d.detail, d.detail_length),
		Message: C.GoString(d.message),
	})
	if err != nil {
		return c.fail(ErrCallback, err)
	}
	return 0
}

func newAuditReport(r *C.ocilayer_audit_report) *AuditReport {
	report := &AuditReport{
		Damaged:   bool(C.ocilayer_audit_report_damaged(r)),
		Layers:    uint64(C.ocilayer_audit_report_layers(r)),
		Damage:    map[DamageKind]uint64{},
		Repaired:  uint64(C.ocilayer_audit_report_repaired(r)),
		Whiteouts: uint64(C.ocilayer_audit_report_whiteouts(r)),
		Restored:  uint64(C.ocilayer_audit_report_restored(r)),
		JSON:      C.GoString(C.ocilayer_audit_report_json(r)),
	}
	for _, kind := range DamageKinds() {
		if count := C.ocilayer_audit_report_count(r, C.uint32_t(kind)); count > 0 {
			report.Damage[kind] = uint64(count)
		}
	}
	return report
}
