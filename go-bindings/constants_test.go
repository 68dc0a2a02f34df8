// SPDX-License-Identifier: Apache-2.0

//go:build linux && cgo

package ocilayer_test

import (
	"os"
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

	"MODE_DIRECTORY": uint32(ocilayer.ModeDirectory), "MODE_OVERLAY": uint32(ocilayer.ModeOverlay),
	"MODE_OVERLAY_USERXATTR": uint32(ocilayer.ModeOverlayUserXattr),

	"OWNERS_KEEP": 0, "OWNERS_MAP": 1, "OWNERS_IGNORE": 2,

	"SKIP_TRUSTED_XATTR": uint32(ocilayer.SkipTrustedXattr), "SKIP_OVERLAY_XATTR": uint32(ocilayer.SkipOverlayXattr),
	"SKIP_XATTR_ON_SPECIAL":  uint32(ocilayer.SkipXattrOnSpecial),
	"SKIP_XATTR_UNSUPPORTED": uint32(ocilayer.SkipXattrUnsupported),
	"SKIP_AUFS_METADATA":     uint32(ocilayer.SkipAUFSMetadata), "SKIP_DEVICE": uint32(ocilayer.SkipDevice),
	"SKIP_FILTERED": uint32(ocilayer.SkipFiltered), "SKIP_UNNEEDED_WHITEOUT": uint32(ocilayer.SkipUnneededWhiteout),

	"SYNC_NONE": uint32(ocilayer.SyncNone), "SYNC_FILES": uint32(ocilayer.SyncFiles),
	"SYNC_FILESYSTEM": uint32(ocilayer.SyncFilesystem),

	"VERDICT_UNKNOWN": uint32(ocilayer.VerdictUnknown), "VERDICT_AFFECTED": uint32(ocilayer.VerdictAffected),
	"VERDICT_NOT_AFFECTED": uint32(ocilayer.VerdictNotAffected),
}

func TestConstantsAreTheHeaders(t *testing.T) {
	header, err := os.ReadFile("../include/ocilayer.h")
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	for _, match := range regexp.MustCompile(`(?m)^\s+OCILAYER_(\w+) = (\d+),`).FindAllStringSubmatch(string(header), -1) {
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
	version := regexp.MustCompile(`OCILAYER_VERSION_STRING "(.*)"`).FindStringSubmatch(string(header))
	if version == nil || version[1] != ocilayer.Version() {
		t.Errorf("the library is %s, the header %v", ocilayer.Version(), version)
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
