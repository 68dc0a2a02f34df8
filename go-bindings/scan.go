// SPDX-License-Identifier: Apache-2.0

//go:build linux

package ocilayer

// #include "bridge.h"
import "C"

import (
	"context"
	"io"
	"syscall"
)

// Scan reads the layer that r gives, as [Unpack] reads it, and tells what is in it: above all what
// Unpack with the same options would refuse. Nothing is written, and no privilege is needed. It is one
// pass, in memory below a bound of some 100 MB, and goes on after an entry that Unpack refuses.
//
// found, which may be nil, is called for each finding in the order of the archive, on the calling
// goroutine. An error of it ends the scan and comes back from it. It may panic, but must not call
// [runtime.Goexit], as a test's FailNow does.
//
// What is wrong with the layer is not an error but a [FindingRefused], also where the blob is damaged
// or not the expected one. What lies below the layer is not looked at: [WithLowers] without an
// argument says that nothing does, in every mode. [WithFilter], [WithWarning] and [WithSync] mean
// nothing here. The report is nil on error.
func Scan(ctx context.Context, r io.Reader, found func(Finding) error, opts ...Option) (*ScanReport, error) {
	call, err := begin(ctx, "scan", r, opts)
	if err != nil {
		return nil, err
	}
	defer call.end()
	call.found = found
	call.options.filter, call.options.warning = nil, nil
	options := call.nativeOptions()
	if call.native.err != nil {
		return nil, refused(call.op, call.native.err)
	}
	var report *C.ocilayer_scan_report
	var failed *C.ocilayer_error
	code := C.ocilayer_go_scan(call.source, options, C.uintptr_t(call.handle), found != nil, &report, &failed)
	defer C.ocilayer_scan_report_free(report)
	if err := call.result(code, failed); err != nil {
		return nil, err
	}
	return newScanReport(report), nil
}

//export ocilayerGoFinding
func ocilayerGoFinding(handle C.uintptr_t, f *C.ocilayer_finding) (result C.int) {
	c := find(handle)
	if c.err != nil {
		return c.fail(c.kind, c.err)
	}
	defer c.guard(&result)
	if err := c.found(newFinding(f)); err != nil {
		return c.fail(ErrCallback, err)
	}
	return 0
}

func newFinding(f *C.ocilayer_finding) Finding {
	finding := Finding{
		Kind: FindingKind(f.kind), Entry: -1, Offset: -1,
		Path: text(f.path, f.path_length), Detail: text(f.detail, f.detail_length),
		Message: C.GoString(f.message),
	}
	if f.has_place != 0 {
		finding.Entry, finding.Offset = int64(f.entry), int64(f.offset)
	}
	if f.error_kind != 0 {
		finding.Err = finding.refusal(Kind(f.error_kind), syscall.Errno(f.error_errno))
	}
	return finding
}

func newScanReport(r *C.ocilayer_scan_report) *ScanReport {
	report := &ScanReport{
		Refused:    bool(C.ocilayer_scan_report_refused(r)),
		Partial:    bool(C.ocilayer_scan_report_partial(r)),
		Findings:   map[FindingKind]uint64{},
		Entries:    uint64(C.ocilayer_scan_report_entries(r)),
		BlobDigest: C.GoString(C.ocilayer_scan_report_blob_digest(r)),
		DiffID:     C.GoString(C.ocilayer_scan_report_diff_id(r)),
		JSON:       C.GoString(C.ocilayer_scan_report_json(r)),
	}
	var lostAt C.uint64_t
	report.NamesLost = bool(C.ocilayer_scan_report_names_lost(r, &lostAt))
	report.NamesLostAt = uint64(lostAt)
	for kind := FindingKind(1); kind <= lastFinding; kind++ {
		if count := C.ocilayer_scan_report_count(r, C.uint32_t(kind)); count > 0 {
			report.Findings[kind] = uint64(count)
		}
	}
	return report
}
