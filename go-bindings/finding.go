// SPDX-License-Identifier: Apache-2.0

package ocilayer

import (
	"fmt"
	"syscall"
)

// FindingKind says what a scan found. More kinds may come.
type FindingKind uint32

const (
	// FindingWhiteout is a whiteout; Detail is what it hides.
	FindingWhiteout FindingKind = 1
	// FindingOpaque is an opaque marker; Detail is the directory, empty for the root.
	FindingOpaque FindingKind = 2
	// FindingTrustedXattr is a trusted.* xattr, whose name is Detail. Unpack drops it.
	FindingTrustedXattr FindingKind = 3
	// FindingOverlayXattr is an xattr of overlayfs, whose name is Detail. Unpack drops it.
	FindingOverlayXattr FindingKind = 4
	// FindingXattrOnSpecial is a user.* xattr on a symlink, device or FIFO, whose name is Detail.
	// Unpack drops it.
	FindingXattrOnSpecial FindingKind = 5
	// FindingNameLeavesRoot is a name with more .. than components before them. Unpack refuses it.
	FindingNameLeavesRoot FindingKind = 6
	// FindingLinkLeavesRoot is a link whose target, Detail, has more .. than there are directories
	// above it. Unpack keeps such a link inside the root; not every program does.
	FindingLinkLeavesRoot FindingKind = 7
	// FindingDevice is a device, whose Detail is such as "c 1:3" or "b 8:0".
	FindingDevice FindingKind = 8
	// FindingSetuid is a file that runs as its owner; Detail is the mode in octal.
	FindingSetuid FindingKind = 9
	// FindingSetgid is a file that runs with its group; Detail is the mode in octal.
	FindingSetgid FindingKind = 10
	// FindingFileCapability is a file with capabilities.
	FindingFileCapability FindingKind = 11
	// FindingDuplicate is an entry of a name that the layer has already; the last one wins.
	FindingDuplicate FindingKind = 12
	// FindingAUFSMetadata is aufs's own bookkeeping. Unpack leaves it out.
	FindingAUFSMetadata FindingKind = 13
	// FindingRefused is where Unpack fails; Err says how.
	FindingRefused FindingKind = 14
	// FindingIgnoredRecord is a PAX record of the entry, whose key is the detail, that unpack does
	// not apply, such as SCHILY.acl.access.
	FindingIgnoredRecord FindingKind = 15
	// FindingGlobalRecord is a record of a global PAX header, whose key is the detail, that unpack
	// does not apply, such as uid.
	FindingGlobalRecord FindingKind = 16
	// FindingNoEndMarker is an archive that ends without an end marker; unpack takes it where something
	// else proves it whole.
	FindingNoEndMarker FindingKind = 17
	// FindingDataAfterEnd stands for bytes other than zeros behind the archive's end marker. Unpack does not
	// look at them.
	FindingDataAfterEnd FindingKind = 18
	// FindingLinkToSkipped is a hardlink to something that unpack leaves out. Unpack leaves it out as
	// well.
	FindingLinkToSkipped FindingKind = 19
)

// The last of them that this package knows, to ask the library how many there were of each.
const lastFinding = FindingLinkToSkipped

// Finding is one thing that a scan found. Names are bytes as they stand in the archive: not yet safe
// to use as a path.
type Finding struct {
	Kind FindingKind
	// Entry counts entries from 0; -1 if the finding is about the whole blob, such as an unexpected
	// digest.
	Entry int64
	// Offset is where that entry starts, in bytes of the uncompressed archive; -1 if there is none.
	Offset int64
	// Path is the entry's name; empty if it could not be read.
	Path string
	// Detail is as the kind says, else empty; cut at 4,096 bytes.
	Detail string
	// Message is for people: the kind in a few words, or the whole line of an error, names escaped.
	Message string
	// Err is what Unpack would return, for FindingRefused, else nil.
	Err *Error
}

// String has the place and the message, with names escaped for a terminal.
func (f Finding) String() string {
	if f.Entry < 0 || f.Err != nil {
		return f.Message
	}
	text := fmt.Sprintf("entry %d %q at %d: %s", f.Entry, f.Path, f.Offset, f.Message)
	if f.Detail != "" {
		text += fmt.Sprintf(": %q", f.Detail)
	}
	return text
}

// refusal is the error that Unpack would return for a finding.
func (f Finding) refusal(kind Kind, errno syscall.Errno) *Error {
	return &Error{
		Op: opUnpack, Kind: kind, Errno: errno, message: f.Message,
		Path: f.Path, Entry: f.Entry, Offset: f.Offset,
	}
}

// ScanReport is what a scan comes to.
type ScanReport struct {
	// Refused says that Unpack would fail.
	Refused bool
	// Partial says that the archive could not be read to its end, so that there may be more in it.
	Partial bool
	// Findings has the number of each kind that there was.
	Findings map[FindingKind]uint64
	// Entries counts all in the archive, whiteouts, markers and refused ones included.
	Entries uint64
	// NamesLost says that the layer has more names than are kept: from the entry NamesLostAt on neither
	// duplicates were told of, nor refusals that depend on the entries before.
	NamesLost   bool
	NamesLostAt uint64
	// BlobDigest is that of the blob as read; empty if it was not read to its end, or is skipped.
	BlobDigest string
	// DiffID is the digest of the uncompressed archive; empty if it was not read to its end.
	DiffID string
	// JSON is all of it as one object.
	JSON string
}
