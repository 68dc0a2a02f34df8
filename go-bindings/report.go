// SPDX-License-Identifier: Apache-2.0

package ocilayer

import "time"

// Compression is how a blob is compressed, as its first bytes tell. More may come.
type Compression uint32

const (
	CompressionNone Compression = 0
	CompressionGzip Compression = 1
	CompressionZstd Compression = 2
)

// EntryCounts are entries applied, by kind.
type EntryCounts struct {
	// Total counts all entries of the archive, whiteouts, markers and skipped ones included.
	Total                                                   uint64
	Files, Directories, Symlinks, Hardlinks, FIFOs, Devices uint64
}

// Report says what an unpack did, and what it left out.
type Report struct {
	// Partial says that the layer was not applied to its end.
	Partial bool
	Entries EntryCounts
	// Whiteouts were read, needed or not.
	Whiteouts uint64
	// OpaqueDirectories by a marker or by a whiteout of the same name.
	OpaqueDirectories uint64
	// ImpliedDirectories are parents that no entry of the layer describes.
	ImpliedDirectories uint64
	// CopiedUp are lower files that a hardlink brought into the upper directory.
	CopiedUp uint64
	// PropagatedMarks are opaque marks that a faulty kernel copied up, removed as WithUpper asked.
	PropagatedMarks uint64
	// Hidden entries were not written, since a layer above replaces or hides them: of images that are
	// unpacked to one directory, the newest layer first. They count among Entries.Total only.
	Hidden uint64
	// BlobBytes of the blob were read.
	BlobBytes uint64
	// LayerBytes is the size of the uncompressed archive, with what follows its end marker.
	LayerBytes uint64
	// FileBytes were written to regular files, holes not counted.
	FileBytes   uint64
	Compression Compression
	// BlobDigest is that of the blob as read; empty if it was not read to its end, or is skipped.
	BlobDigest string
	// DiffID is the digest of the uncompressed archive; empty if it was not read to its end.
	DiffID string
	// Skipped has one element for each reason.
	Skipped []Skipped
	// Wall is the time from the call to the return. Stages overlap: their sum may exceed it.
	Wall, Decompress, Digest, Apply, Sync time.Duration
	// JSON is all of it as one object. Names that are not UTF-8 appear with replacement characters.
	JSON string
}

// Skipped is what was left out for one reason.
type Skipped struct {
	Reason SkipReason
	// Text is the reason in a few words.
	Text  string
	Count uint64
	// Examples are the first few.
	Examples []SkipExample
}

// SkipExample is one thing that was left out.
type SkipExample struct {
	// Path is the entry's name: bytes, as they stand in the archive.
	Path string
	// Detail is the name of the xattr, where the reason is about one.
	Detail string
}

// Verdict answers whether the kernel copies the opaque mark up.
type Verdict uint32

const (
	// VerdictUnknown is an answer that this machine could not give; the check says why.
	VerdictUnknown     Verdict = 0
	VerdictAffected    Verdict = 1
	VerdictNotAffected Verdict = 2
)

// CopyUp is something that makes overlayfs copy a directory up.
type CopyUp uint32

const (
	// CopyUpCreate is a file created in it.
	CopyUpCreate CopyUp = 1
	// CopyUpMetadata is a change of its mode.
	CopyUpMetadata CopyUp = 2
	// CopyUpRename is its renaming, with redirect_dir.
	CopyUpRename CopyUp = 3
)

// Check is what CheckOverlayOpaquePropagation found.
type Check struct {
	Verdict Verdict
	// Propagates are the ways of copying up that carried the mark along.
	Propagates []CopyUp
	// Summary is one line for people.
	Summary string
	// Reason says why the check cannot tell, else it is empty.
	Reason string
	// Advice is what an operator should do, if the kernel is affected.
	Advice string
	// JSON is all of it as one object.
	JSON string
}
