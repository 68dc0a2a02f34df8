// SPDX-License-Identifier: Apache-2.0

package ocilayer

import (
	"context"
	"time"
)

// Mode says how whiteouts and opaque directories become visible.
type Mode uint32

const (
	// ModeDirectory deletes what a whiteout names: a plain root file system.
	ModeDirectory Mode = 0
	// ModeOverlay writes an overlay upper directory: 0:0 devices and trusted.overlay.opaque.
	ModeOverlay Mode = 1
	// ModeOverlayUserXattr is the same with user.overlay.opaque, for mounts in user namespaces.
	ModeOverlayUserXattr Mode = 2
)

// Devices says what becomes of block and character devices.
type Devices uint32

const (
	// DevicesCreate makes them where the kernel allows it; in a user namespace they are skipped.
	DevicesCreate Devices = 0
	// DevicesSkip leaves them out and reports them.
	DevicesSkip Devices = 1
)

// Sync says what is on disk when Unpack returns.
type Sync uint32

const (
	// SyncNone waits for nothing.
	SyncNone Sync = 0
	// SyncFiles: all that this layer made, the root included, and nothing of others. The data of
	// each file are waited for, then one commit of the journal brings all metadata (ext4, XFS); on
	// other file systems fsync(2) of each file and each directory.
	SyncFiles Sync = 1
	// SyncFilesystem calls syncfs(2) once, for the root's file system.
	SyncFilesystem Sync = 2
)

// Repair says what an audit does about what it finds.
type Repair uint32

const (
	// RepairNone changes nothing: the findings are what a repair would act on.
	RepairNone Repair = 0
	// RepairMarks removes opaque marks that are wrong after all was looked at, and writes the whiteouts
	// that are missing below them, since what the layer deletes would show again; EBUSY, with nothing
	// removed, if an overlay mount of this machine uses one of the directories. No file is removed or
	// changed.
	RepairMarks Repair = 1
	// RepairLive removes them also below live mounts, which show it when they are mounted anew.
	RepairLive Repair = 2
	// RepairRestore writes again, from the layer, all that its directory does not have as the layer has
	// it: content, attributes, links, whiteouts and marks. Each layer is restored when it was looked at and
	// before the one above it is. What the layer has no name for is told of and stays. All of it is on disk
	// when [Audit] returns, as with [SyncFiles]. EBUSY as above, and EINVAL from [AuditDirectories].
	//
	// A file whose content differs is replaced: whoever has it open keeps the old one. Attributes change in
	// place. Content that is to be restored takes its size on disk twice for a moment.
	RepairRestore Repair = 3
	// RepairRestoreLive does so also below live mounts.
	RepairRestoreLive Repair = 4
)

// Compare says what an audit reads of the files in a directory.
type Compare uint32

const (
	// CompareContent reads all of it.
	CompareContent Compare = 0
	// CompareSizes reads only files that have holes (lseek(2), SEEK_HOLE): for all others the size is
	// enough. That finds what a power cut leaves behind, files without content or with zeros that were never
	// written, and not bytes that somebody changed. A restore reads all nevertheless.
	CompareSizes Compare = 1
)

type owners uint32

const (
	ownersKeep   owners = 0
	ownersMap    owners = 1
	ownersIgnore owners = 2
)

// ReadTo says how far a layer is read.
type ReadTo uint32

const (
	// ReadToEndOfBlob is to its end, so that both digests are of the whole and a cut layer fails.
	ReadToEndOfBlob ReadTo = 0
	// ReadToEndOfArchive is to the end of the archive in it and no further: for a caller that reads the
	// rest itself, checks the digests and knows whether the layer was whole. The reader is asked for
	// more only when what came was used up, so that it may stay open. The report has no digests, none
	// can be expected, and an archive without an end marker is taken.
	ReadToEndOfArchive ReadTo = 1
)

// IDRange makes Count ids of the archive, from Container on, those from Host on.
type IDRange struct {
	Container, Host, Count uint32
}

// Limits bound what one layer may ask for. Zero stands for the default, which no real image meets.
// Exceeding one fails the unpack with [ErrLimit], whose message names it as configuration files do.
type Limits struct {
	// Entries of the archive: 10,000,000.
	Entries uint64 `toml:"entries"`
	// Bytes of the uncompressed archive, and of all files together with their holes: 1 << 40.
	Bytes uint64 `toml:"bytes"`
	// Ratio of uncompressed to compressed bytes, looked at from 1 GiB on; there is no such limit by
	// default, since real layers reach any ratio.
	Ratio uint64 `toml:"ratio"`
	// PathBytes in a name or a link target.
	PathBytes uint64 `toml:"path_bytes"`
	// PathDepth is the number of components in a name.
	PathDepth uint64 `toml:"path_depth"`
	// XattrBytes of all names and values of one entry.
	XattrBytes uint64 `toml:"xattr_bytes"`
	// Memory is the number of bytes for what has to be remembered of the layer until its end, its
	// directories above all: some 500 for each.
	Memory uint64 `toml:"memory"`
	// ZstdWindowLog is the window that a zstd frame may ask for, as a power of two: 10 to 31, by default
	// 29. The unpack takes as much memory.
	ZstdWindowLog uint64 `toml:"zstd_window_log"`
}

// EntryKind is the type of an entry. More kinds may come.
type EntryKind uint32

const (
	EntryFile        EntryKind = 1
	EntryDirectory   EntryKind = 2
	EntrySymlink     EntryKind = 3
	EntryHardlink    EntryKind = 4
	EntryFIFO        EntryKind = 5
	EntryCharDevice  EntryKind = 6
	EntryBlockDevice EntryKind = 7
)

// Entry is one entry of the archive, as a filter sees it. Names are bytes as they stand in the
// archive: not yet safe to use as a path.
type Entry struct {
	// Index counts entries from 0.
	Index uint64
	// Offset is where the entry starts, in bytes of the uncompressed archive.
	Offset uint64
	Path   string
	// Link is the target of a symlink or hardlink, else empty.
	Link    string
	Kind    EntryKind
	Size    uint64
	ModTime time.Time
	// Mode has the permission bits, setuid, setgid and sticky: 0 to 07777.
	Mode     uint32
	UID, GID uint32
	// DeviceMajor and DeviceMinor are those of a device, else 0.
	DeviceMajor, DeviceMinor uint32
	// Layer of an image, counted from 0, bottom first; 0 for a layer by itself.
	Layer uint32
}

// Progress tells how far an unpack has come.
type Progress struct {
	// BlobBytes of the blob were read, of BlobSize or, where that is 0, of an unknown number.
	BlobBytes, BlobSize uint64
	// LayerBytes came out of the decompressor.
	LayerBytes uint64
	Entries    EntryCounts
	// Layers of an image, of which all else is the sum, and how many of them are complete or were there
	// before; 0 for a layer by itself.
	Layers, LayersComplete uint64
}

// SkipReason says why something in the layer was left out. More reasons may come.
type SkipReason uint32

const (
	// SkipTrustedXattr is a trusted.* xattr: an archive must not set what the kernel trusts.
	SkipTrustedXattr SkipReason = 1
	// SkipOverlayXattr is an xattr that overlayfs keeps for itself.
	SkipOverlayXattr SkipReason = 2
	// SkipXattrOnSpecial is a user.* xattr on a symlink, device or FIFO; see xattr(7).
	SkipXattrOnSpecial SkipReason = 3
	// SkipXattrUnsupported is an xattr that this file system or namespace does not support.
	SkipXattrUnsupported SkipReason = 4
	// SkipAUFSMetadata is a .wh..wh.* name that is aufs's own bookkeeping.
	SkipAUFSMetadata SkipReason = 5
	// SkipDevice is a device, in a user namespace or by DevicesSkip.
	SkipDevice SkipReason = 6
	// SkipFiltered is an entry that the filter declined.
	SkipFiltered SkipReason = 7
	// SkipUnneededWhiteout is a whiteout of a name that no parent has.
	SkipUnneededWhiteout SkipReason = 8
	// SkipPropagatedMark is not of the layer but of this kernel: a directory's opaque mark that
	// overlayfs copied up, removed again as WithUpper asks. The path is the directory's, below root.
	SkipPropagatedMark SkipReason = 9
	// SkipLinkToSkipped is a hardlink to something of this layer that was itself left out.
	SkipLinkToSkipped SkipReason = 10
	// SkipXattrNotPermitted is an xattr that takes more privilege than the caller has: security.* for
	// a plain user or in a user namespace.
	SkipXattrNotPermitted SkipReason = 11
	// SkipIgnoredRecord is a PAX record that says something of its entry that is not applied, such as
	// SCHILY.acl.access; its key is the detail.
	SkipIgnoredRecord SkipReason = 12
	// SkipGlobalRecord is a record of a global PAX header that no entry takes, such as uid; its key
	// is the detail.
	SkipGlobalRecord SkipReason = 13
	// SkipNoEndMarker is not of an entry: the archive ends without an end marker, and was proven
	// whole by other means.
	SkipNoEndMarker SkipReason = 14
	// SkipDataAfterEnd is not of an entry: bytes other than zeros behind the archive's end marker.
	SkipDataAfterEnd SkipReason = 15
)

// Warning tells of one thing that was left out.
type Warning struct {
	Reason SkipReason
	// Text is the reason in a few words.
	Text string
	// Entry counts entries from 0.
	Entry uint64
	// Path is the entry's name: bytes, as they stand in the archive.
	Path string
	// Detail is the name of the xattr, where the reason is about one.
	Detail string
	// Layer of an image, counted from 0, bottom first; 0 for a layer by itself.
	Layer uint32
}

type options struct {
	mode        Mode
	lowers      []string
	lowersKnown bool
	lowersLater func(context.Context) ([]string, error)
	upper       string
	blobDigest  string
	diffID      string
	skipBlob    bool
	threads     uint32
	repair      Repair
	compare     Compare
	limits      Limits
	owners      owners
	uids, gids  []IDRange
	devices     Devices
	sync        Sync
	readTo      ReadTo
	filter      func(*Entry) (bool, error)
	progress    func(Progress)
	warning     func(Warning)
}

// Option changes one default of [Unpack] or [Scan].
type Option func(*options)

// WithMode chooses how whiteouts become visible; ModeDirectory is the default.
func WithMode(mode Mode) Option { return func(o *options) { o.mode = mode } }

// WithLowers names the directories of the parent layers for the overlay modes, topmost first as in
// overlay's lowerdir; none for a bottom layer. Without this option the parents are not known: every
// whiteout is written, and parent directories that the layer does not describe are root's, 0755.
func WithLowers(lowers ...string) Option {
	return func(o *options) { o.lowers, o.lowersKnown = lowers, true }
}

// WithLowersLater has lowers told when they are needed, in place of [WithLowers]: somebody is still making them.
// Until then only entries are applied that mean the same whatever the parents have, which are most. lowers is
// called once at most, on the goroutine that called [Unpack], and may wait until the directories are complete,
// or the context is done; for that long all other callbacks wait, and a reader that is no file. An error ends
// the unpack and comes back from it. It may panic, but must not call [runtime.Goexit]. Of [Unpack] only.
func WithLowersLater(lowers func(context.Context) ([]string, error)) Option {
	return func(o *options) { o.lowersLater = lowers }
}

// WithUpper names, in ModeDirectory and where root is an overlay mount, the mount's upper directory.
// Marks of opaque directories that a faulty kernel copies up are then removed there, and counted in
// the report's PropagatedMarks.
func WithUpper(upper string) Option { return func(o *options) { o.upper = upper } }

// WithExpectedBlobDigest fails the unpack with [ErrDigest] if the blob, as it is read, has another
// digest than this, sha256:HEX or sha512:HEX.
func WithExpectedBlobDigest(digest string) Option { return func(o *options) { o.blobDigest = digest } }

// WithExpectedDiffID is the same for the uncompressed archive.
func WithExpectedDiffID(digest string) Option { return func(o *options) { o.diffID = digest } }

// WithoutBlobDigest makes no digest of a compressed blob, unless one is expected: for a caller that
// checked it when the blob came in, as content stores do. It is a tenth of the work.
func WithoutBlobDigest() Option { return func(o *options) { o.skipBlob = true } }

// WithThreads sets the number of worker threads: 1 decompresses and writes on one. The default, 0,
// takes one for each CPU that the process may use. With more than 1, one that
// is not counted may read a compressed file ahead. With 4 or more, on as many CPUs, up to 8 others
// decompress a gzip blob of 16 MiB or more from a file or from memory.
func WithThreads(threads uint32) Option { return func(o *options) { o.threads = threads } }

// WithLimits replaces the limits that are not zero.
func WithLimits(limits Limits) Option { return func(o *options) { o.limits = limits } }

// WithOwnerMap shifts owners through ranges. An id outside of all ranges fails the unpack.
func WithOwnerMap(uids, gids []IDRange) Option {
	return func(o *options) { o.owners, o.uids, o.gids = ownersMap, uids, gids }
}

// WithoutOwners changes no owner: everything belongs to the process.
func WithoutOwners() Option { return func(o *options) { o.owners = ownersIgnore } }

// WithDevices says what becomes of devices.
func WithDevices(devices Devices) Option { return func(o *options) { o.devices = devices } }

// WithSync says what is on disk when Unpack returns; SyncNone is the default.
func WithSync(sync Sync) Option { return func(o *options) { o.sync = sync } }

// WithReadTo says how far the layer is read; ReadToEndOfBlob is the default. Of [Unpack] only.
func WithReadTo(to ReadTo) Option { return func(o *options) { o.readTo = to } }

// WithRepair says what [Audit] and [AuditDirectories] do about what they find.
func WithRepair(repair Repair) Option { return func(o *options) { o.repair = repair } }

// WithCompare says what [Audit] reads of the files; CompareContent is the default.
func WithCompare(compare Compare) Option { return func(o *options) { o.compare = compare } }

// WithFilter asks about each entry, whiteouts and opaque markers too, whether to apply it. An error
// ends the unpack and comes back from it. The filter runs on the goroutine that called Unpack; it may
// panic, but must not call [runtime.Goexit], as a test's FailNow does.
func WithFilter(filter func(*Entry) (bool, error)) Option {
	return func(o *options) { o.filter = filter }
}

// WithProgress is told some ten times a second how far the unpack is, and once at its end, on the
// goroutine that called Unpack.
func WithProgress(progress func(Progress)) Option { return func(o *options) { o.progress = progress } }

// WithWarning is told of each thing that is left out, on the goroutine that called Unpack.
func WithWarning(warning func(Warning)) Option { return func(o *options) { o.warning = warning } }
