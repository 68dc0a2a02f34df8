// SPDX-License-Identifier: Apache-2.0

//go:build linux && cgo

package ocilayer_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	ocilayer "github.com/ocilayer/ocilayer/go-bindings"
)

// Go's name of each constant of the header, without OCILAYER_. Owners have options of their own.
var constants = map[string]uint32{
	"COMPRESSION_NONE": uint32(ocilayer.CompressionNone), "COMPRESSION_GZIP": uint32(ocilayer.CompressionGzip),
	"COMPRESSION_ZSTD": uint32(ocilayer.CompressionZstd),

	"COPY_UP_CREATE": uint32(ocilayer.CopyUpCreate), "COPY_UP_METADATA": uint32(ocilayer.CopyUpMetadata),
	"COPY_UP_RENAME": uint32(ocilayer.CopyUpRename),

	"DAMAGE_WRONGLY_OPAQUE": uint32(ocilayer.DamageWronglyOpaque), "DAMAGE_LOST": uint32(ocilayer.DamageLost),
	"DAMAGE_NOT_OPAQUE":          uint32(ocilayer.DamageNotOpaque),
	"DAMAGE_MISSING_WHITEOUT":    uint32(ocilayer.DamageMissingWhiteout),
	"DAMAGE_UNEXPECTED_WHITEOUT": uint32(ocilayer.DamageUnexpectedWhiteout),
	"DAMAGE_MISSING":             uint32(ocilayer.DamageMissing), "DAMAGE_UNEXPECTED": uint32(ocilayer.DamageUnexpected),
	"DAMAGE_DIFFERS": uint32(ocilayer.DamageDiffers), "DAMAGE_SUSPECT": uint32(ocilayer.DamageSuspect),

	"DEVICES_CREATE": uint32(ocilayer.DevicesCreate), "DEVICES_SKIP": uint32(ocilayer.DevicesSkip),

	"ENTRY_FILE": uint32(ocilayer.EntryFile), "ENTRY_DIRECTORY": uint32(ocilayer.EntryDirectory),
	"ENTRY_SYMLINK": uint32(ocilayer.EntrySymlink), "ENTRY_HARDLINK": uint32(ocilayer.EntryHardlink),
	"ENTRY_FIFO": uint32(ocilayer.EntryFIFO), "ENTRY_CHAR_DEVICE": uint32(ocilayer.EntryCharDevice),
	"ENTRY_BLOCK_DEVICE": uint32(ocilayer.EntryBlockDevice),

	"ERROR_NONE": 0, "ERROR_INVALID_ARGUMENT": uint32(ocilayer.ErrInvalidArgument),
	"ERROR_SOURCE": uint32(ocilayer.ErrSource), "ERROR_CORRUPT": uint32(ocilayer.ErrCorrupt),
	"ERROR_ARCHIVE": uint32(ocilayer.ErrArchive), "ERROR_LAYER": uint32(ocilayer.ErrLayer),
	"ERROR_DIGEST": uint32(ocilayer.ErrDigest), "ERROR_LIMIT": uint32(ocilayer.ErrLimit),
	"ERROR_FILESYSTEM": uint32(ocilayer.ErrFilesystem), "ERROR_CANCELLED": uint32(ocilayer.ErrCancelled),
	"ERROR_CALLBACK": uint32(ocilayer.ErrCallback), "ERROR_PANIC": uint32(ocilayer.ErrPanic),
	"ERROR_UNSUPPORTED": uint32(ocilayer.ErrUnsupported),

	"FINDING_WHITEOUT": uint32(ocilayer.FindingWhiteout), "FINDING_OPAQUE": uint32(ocilayer.FindingOpaque),
	"FINDING_TRUSTED_XATTR":    uint32(ocilayer.FindingTrustedXattr),
	"FINDING_OVERLAY_XATTR":    uint32(ocilayer.FindingOverlayXattr),
	"FINDING_XATTR_ON_SPECIAL": uint32(ocilayer.FindingXattrOnSpecial),
	"FINDING_NAME_LEAVES_ROOT": uint32(ocilayer.FindingNameLeavesRoot),
	"FINDING_LINK_LEAVES_ROOT": uint32(ocilayer.FindingLinkLeavesRoot),
	"FINDING_DEVICE":           uint32(ocilayer.FindingDevice), "FINDING_SETUID": uint32(ocilayer.FindingSetuid),
	"FINDING_SETGID": uint32(ocilayer.FindingSetgid), "FINDING_FILE_CAPABILITY": uint32(ocilayer.FindingFileCapability),
	"FINDING_DUPLICATE": uint32(ocilayer.FindingDuplicate), "FINDING_AUFS_METADATA": uint32(ocilayer.FindingAUFSMetadata),
	"FINDING_REFUSED":         uint32(ocilayer.FindingRefused),
	"FINDING_IGNORED_RECORD":  uint32(ocilayer.FindingIgnoredRecord),
	"FINDING_GLOBAL_RECORD":   uint32(ocilayer.FindingGlobalRecord),
	"FINDING_NO_END_MARKER":   uint32(ocilayer.FindingNoEndMarker),
	"FINDING_DATA_AFTER_END":  uint32(ocilayer.FindingDataAfterEnd),
	"FINDING_LINK_TO_SKIPPED": uint32(ocilayer.FindingLinkToSkipped),

	"MODE_DIRECTORY": uint32(ocilayer.ModeDirectory), "MODE_OVERLAY": uint32(ocilayer.ModeOverlay),
	"MODE_OVERLAY_USERXATTR": uint32(ocilayer.ModeOverlayUserXattr),

	"OWNERS_KEEP": 0, "OWNERS_MAP": 1, "OWNERS_IGNORE": 2,

	"REPAIR_NONE": uint32(ocilayer.RepairNone), "REPAIR_MARKS": uint32(ocilayer.RepairMarks),
	"REPAIR_LIVE": uint32(ocilayer.RepairLive), "REPAIR_RESTORE": uint32(ocilayer.RepairRestore),
	"REPAIR_RESTORE_LIVE": uint32(ocilayer.RepairRestoreLive),

	"COMPARE_CONTENT": uint32(ocilayer.CompareContent), "COMPARE_SIZES": uint32(ocilayer.CompareSizes),

	"SKIP_TRUSTED_XATTR": uint32(ocilayer.SkipTrustedXattr), "SKIP_OVERLAY_XATTR": uint32(ocilayer.SkipOverlayXattr),
	"SKIP_XATTR_ON_SPECIAL":  uint32(ocilayer.SkipXattrOnSpecial),
	"SKIP_XATTR_UNSUPPORTED": uint32(ocilayer.SkipXattrUnsupported),
	"SKIP_AUFS_METADATA":     uint32(ocilayer.SkipAUFSMetadata), "SKIP_DEVICE": uint32(ocilayer.SkipDevice),
	"SKIP_PROPAGATED_MARK":     uint32(ocilayer.SkipPropagatedMark),
	"SKIP_LINK_TO_SKIPPED":     uint32(ocilayer.SkipLinkToSkipped),
	"SKIP_XATTR_NOT_PERMITTED": uint32(ocilayer.SkipXattrNotPermitted),
	"SKIP_IGNORED_RECORD":      uint32(ocilayer.SkipIgnoredRecord),
	"SKIP_GLOBAL_RECORD":       uint32(ocilayer.SkipGlobalRecord),
	"SKIP_NO_END_MARKER":       uint32(ocilayer.SkipNoEndMarker),
	"SKIP_DATA_AFTER_END":      uint32(ocilayer.SkipDataAfterEnd),
	"SKIP_FILTERED":            uint32(ocilayer.SkipFiltered), "SKIP_UNNEEDED_WHITEOUT": uint32(ocilayer.SkipUnneededWhiteout),

	"READ_TO_END_OF_BLOB": uint32(ocilayer.ReadToEndOfBlob), "READ_TO_END_OF_ARCHIVE": uint32(ocilayer.ReadToEndOfArchive),

	"SYNC_NONE": uint32(ocilayer.SyncNone), "SYNC_FILES": uint32(ocilayer.SyncFiles),
	"SYNC_FILESYSTEM": uint32(ocilayer.SyncFilesystem),

	"VERDICT_UNKNOWN": uint32(ocilayer.VerdictUnknown), "VERDICT_AFFECTED": uint32(ocilayer.VerdictAffected),
	"VERDICT_NOT_AFFECTED": uint32(ocilayer.VerdictNotAffected),
}

func header(t *testing.T) string {
	t.Helper()
	header, err := os.ReadFile("../include/ocilayer.h")
	if err != nil {
		t.Fatal(err)
	}
	return string(header)
}

func TestConstantsAreTheHeaders(t *testing.T) {
	header := header(t)
	found := map[string]bool{}
	for _, match := range regexp.MustCompile(`(?m)^\s+OCILAYER_(\w+) = (\d+),`).FindAllStringSubmatch(header, -1) {
		found[match[1]] = true
		want, _ := strconv.ParseUint(match[2], 10, 32)
		if got, known := constants[match[1]]; !known || uint64(got) != want {
			t.Errorf("%s: %d in Go (there at all: %v), %d in the header", match[1], got, known, want)
		}
	}
	for name := range constants {
		if !found[name] {
			t.Errorf("%s is not in the header", name)
		}
	}
	version := regexp.MustCompile(`OCILAYER_VERSION_STRING "(.*)"`).FindStringSubmatch(header)
	if version == nil || version[1] != ocilayer.Version() {
		t.Errorf("the library is %s, the header %v", ocilayer.Version(), version)
	}
}

// What C has and Go says in another way.
var otherwise = map[string]string{
	"ocilayer_cancel_fd":        "the context",
	"ocilayer_cancel_is_set":    "the context",
	"ocilayer_source_from_path": "os.Open",
	"ocilayer_version_number":   "Version",
	"ocilayer_error_kind_name":  "the Kind",
	"ocilayer_unpack_layer":     "unpack_layer, by another name",
	"ocilayer_source_growing":   "an io.Reader that waits for the writer",
	"ocilayer_growth_reached":   "the same",
	"ocilayer_growth_complete":  "the same",
	"ocilayer_growth_fail":      "the same",
	"ocilayer_growth_free":      "the same",
	"ocilayer_image_layers":     "ImageReport.Layers",
	"ocilayer_image_json":       "ImageReport.JSON, which has it inside",

	"ocilayer_check_overlay_opaque_propagation": "check_overlay_opaque_propagation, by another name",
	"size":     "set by its sizeof",
	"reserved": "zero",
}

func TestAllOfTheHeaderIsBound(t *testing.T) {
	header := header(t)
	var sources strings.Builder
	for _, pattern := range []string{"*.go", "bridge.c"} {
		names, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			source, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.HasSuffix(name, "_test.go") {
				sources.Write(source)
			}
		}
	}
	code := sources.String()
	wants := func(name, use string) {
		if otherwise[name] == "" && !regexp.MustCompile(use).MatchString(code) {
			t.Errorf("%s is not bound", name)
		}
	}

	functions := regexp.MustCompile(`(?m)^[a-z][\w ]*[ *](\w+)\([a-z]`).FindAllStringSubmatch(header, -1)
	for _, function := range functions {
		wants(function[1], `(C\.|return )`+function[1]+`\(`)
	}
	structs := regexp.MustCompile(`(?ms)^typedef struct (\w+) \{(.*?)^\}`).FindAllStringSubmatch(header, -1)
	fields := 0
	for _, s := range structs {
		for _, field := range regexp.MustCompile(`(?m)^  [a-z][^;\n]*[ *](\w+);`).FindAllStringSubmatch(s[2], -1) {
			// Of the options, of what callbacks are shown, and of ranges, which are a literal.
			wants(field[1], `(\b(to|e|p|w|f|d)\.|options->)`+field[1]+`\b|\b`+field[1]+`:`)
			fields++
		}
	}
	// So that the patterns find what they look for.
	if len(functions) < 60 || len(structs) < 6 || fields < 60 {
		t.Errorf("only %d functions, %d structs, %d fields in the header", len(functions), len(structs), fields)
	}
}

func TestKindsHaveTexts(t *testing.T) {
	for name, value := range constants {
		if kind := ocilayer.Kind(value); strings.HasPrefix(name, "ERROR_") && value != 0 &&
			strings.HasPrefix(kind.Error(), "error of kind") {
			t.Errorf("%s has no text", name)
		}
	}
}
