// SPDX-License-Identifier: Apache-2.0

//go:build linux

package ocilayer

// #include <stdlib.h>
// #include "bridge.h"
import "C"

import (
	"fmt"
	"strings"
	"syscall"
	"time"
	"unsafe"
)

// arena is native memory that lives as long as one call.
type arena struct {
	blocks []unsafe.Pointer
	// What cannot be said in C.
	err error
}

func (a *arena) free() {
	for _, block := range a.blocks {
		C.free(block)
	}
}

// zeroed never returns nil: cgo's allocations end the process when memory is out, as Go's do.
func (a *arena) zeroed(count, size int) unsafe.Pointer {
	bytes := max(count, 1) * size
	block := C.malloc(C.size_t(bytes))
	clear(unsafe.Slice((*byte)(block), bytes))
	a.blocks = append(a.blocks, block)
	return block
}

func (a *arena) text(s string) *C.char {
	// C would take what stands before it, which is another directory.
	if strings.IndexByte(s, 0) >= 0 {
		a.err = fmt.Errorf("%q has a NUL", s)
	}
	text := C.CString(s)
	a.blocks = append(a.blocks, unsafe.Pointer(text))
	return text
}

func (a *arena) optional(s string) *C.char {
	if s == "" {
		return nil
	}
	return a.text(s)
}

func (a *arena) texts(all []string) **C.char {
	texts := (**C.char)(a.zeroed(len(all), int(unsafe.Sizeof((*C.char)(nil)))))
	for i, s := range all {
		unsafe.Slice(texts, len(all))[i] = a.text(s)
	}
	return texts
}

func (a *arena) ranges(all []IDRange) (*C.ocilayer_id_range, C.size_t) {
	ranges := (*C.ocilayer_id_range)(a.zeroed(len(all), C.sizeof_ocilayer_id_range))
	for i, r := range all {
		unsafe.Slice(ranges, len(all))[i] = C.ocilayer_id_range{
			container: C.uint32_t(r.Container), host: C.uint32_t(r.Host), count: C.uint32_t(r.Count),
		}
	}
	return ranges, C.size_t(len(all))
}

func (c *call) nativeOptions() *C.ocilayer_options {
	from, a := &c.options, &c.native
	to := (*C.ocilayer_options)(a.zeroed(1, C.sizeof_ocilayer_options))
	to.size = C.sizeof_ocilayer_options
	to.mode, to.owners = C.uint32_t(from.mode), C.uint32_t(from.owners)
	to.devices, to.sync = C.uint32_t(from.devices), C.uint32_t(from.sync)
	to.threads = C.uint32_t(from.threads)
	if from.lowersKnown {
		to.lowers, to.lowers_count = a.texts(from.lowers), C.size_t(len(from.lowers))
	}
	to.upper = a.optional(from.upper)
	to.expected_blob_digest = a.optional(from.blobDigest)
	if from.skipBlob {
		to.skip_blob_digest = 1
	}
	to.expected_diff_id = a.optional(from.diffID)
	if from.owners == ownersMap {
		to.uid_ranges, to.uid_ranges_count = a.ranges(from.uids)
		to.gid_ranges, to.gid_ranges_count = a.ranges(from.gids)
	}
	to.read_to = C.uint32_t(from.readTo)
	to.compare = C.uint32_t(from.compare)
	to.cancel = c.token
	to.limit_entries, to.limit_bytes = C.uint64_t(from.limits.Entries), C.uint64_t(from.limits.Bytes)
	to.limit_ratio = C.uint64_t(from.limits.Ratio)
	to.limit_path_bytes = C.uint64_t(from.limits.PathBytes)
	to.limit_path_depth = C.uint64_t(from.limits.PathDepth)
	to.limit_xattr_bytes = C.uint64_t(from.limits.XattrBytes)
	to.limit_memory = C.uint64_t(from.limits.Memory)
	to.limit_zstd_window_log = C.uint64_t(from.limits.ZstdWindowLog)
	C.ocilayer_go_callbacks(to, C.uintptr_t(c.handle),
		from.filter != nil, from.progress != nil, from.warning != nil, from.lowersLater != nil)
	return to
}

// newError takes the native error over, and frees it; nil gives an error without a kind.
func newError(op string, failed *C.ocilayer_error) *Error {
	defer C.ocilayer_error_free(failed)
	err := &Error{
		Op: op, Kind: Kind(C.ocilayer_error_kind(failed)),
		Errno: syscall.Errno(C.ocilayer_error_errno(failed)),
		Entry: -1, Offset: -1, message: C.GoString(C.ocilayer_error_message(failed)),
	}
	if C.ocilayer_error_has_place(failed) {
		var length C.size_t
		path := C.ocilayer_error_path(failed, &length)
		err.Path = text(path, length)
		err.Entry = int64(C.ocilayer_error_entry(failed))
		err.Offset = int64(C.ocilayer_error_offset(failed))
	}
	return err
}

func text(bytes *C.char, length C.size_t) string {
	return string(unsafe.Slice((*byte)(unsafe.Pointer(bytes)), int(length)))
}

func newReport(r *C.ocilayer_report) *Report {
	if r == nil {
		return nil
	}
	report := &Report{
		Partial: bool(C.ocilayer_report_partial(r)),
		Entries: EntryCounts{
			Total:       uint64(C.ocilayer_report_entries(r)),
			Files:       uint64(C.ocilayer_report_files(r)),
			Directories: uint64(C.ocilayer_report_directories(r)),
			Symlinks:    uint64(C.ocilayer_report_symlinks(r)),
			Hardlinks:   uint64(C.ocilayer_report_hardlinks(r)),
			FIFOs:       uint64(C.ocilayer_report_fifos(r)),
			Devices:     uint64(C.ocilayer_report_devices(r)),
		},
		Whiteouts:          uint64(C.ocilayer_report_whiteouts(r)),
		OpaqueDirectories:  uint64(C.ocilayer_report_opaque_directories(r)),
		ImpliedDirectories: uint64(C.ocilayer_report_implied_directories(r)),
		CopiedUp:           uint64(C.ocilayer_report_copied_up(r)),
		PropagatedMarks:    uint64(C.ocilayer_report_propagated_marks(r)),
		Hidden:             uint64(C.ocilayer_report_hidden(r)),
		BlobBytes:          uint64(C.ocilayer_report_blob_bytes(r)),
		LayerBytes:         uint64(C.ocilayer_report_layer_bytes(r)),
		FileBytes:          uint64(C.ocilayer_report_file_bytes(r)),
		Compression:        Compression(C.ocilayer_report_compression(r)),
		BlobDigest:         C.GoString(C.ocilayer_report_blob_digest(r)),
		DiffID:             C.GoString(C.ocilayer_report_diff_id(r)),
		Wall:               seconds(C.ocilayer_report_wall_seconds(r)),
		Decompress:         seconds(C.ocilayer_report_decompress_seconds(r)),
		Digest:             seconds(C.ocilayer_report_digest_seconds(r)),
		Apply:              seconds(C.ocilayer_report_apply_seconds(r)),
		Sync:               seconds(C.ocilayer_report_sync_seconds(r)),
		JSON:               C.GoString(C.ocilayer_report_json(r)),
	}
	for i := C.size_t(0); ; i++ {
		skipped := C.ocilayer_report_skipped(r, i)
		if skipped == nil {
			return report
		}
		report.Skipped = append(report.Skipped, newSkipped(skipped))
	}
}

func newSkipped(s *C.ocilayer_skipped) Skipped {
	skipped := Skipped{
		Reason: SkipReason(C.ocilayer_skipped_reason(s)),
		Text:   C.GoString(C.ocilayer_skipped_text(s)),
		Count:  uint64(C.ocilayer_skipped_count(s)),
	}
	for i := C.size_t(0); ; i++ {
		var pathLength, detailLength C.size_t
		path := C.ocilayer_skipped_path(s, i, &pathLength)
		if path == nil {
			return skipped
		}
		detail := C.ocilayer_skipped_detail(s, i, &detailLength)
		skipped.Examples = append(skipped.Examples,
			SkipExample{Path: text(path, pathLength), Detail: text(detail, detailLength)})
	}
}

func seconds(s C.double) time.Duration { return time.Duration(float64(s) * float64(time.Second)) }
