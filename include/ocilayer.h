/* SPDX-License-Identifier: Apache-2.0 */

#ifndef OCILAYER_H
#define OCILAYER_H

/* Generated from src/capi by `make header`: edit there.
 *
 * ocilayer applies OCI image layers to directories. Rules that hold for all of it:
 *
 * A function that can fail returns 0, or a negative errno with *error set; error may be NULL. NULL
 * where it is not allowed is -EINVAL. Free functions and accessors take NULL.
 *
 * A `const T *` may be shared between threads, a `T *` not.
 *
 * The library prints nothing, handles no signal, and leaves working directory, umask and root of
 * the process alone. A defect in it is an error of its own kind, not the end of the process. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The version that this header belongs to; the library may be newer, see ocilayer_version. */
#define OCILAYER_VERSION_MAJOR 0
#define OCILAYER_VERSION_MINOR 1
#define OCILAYER_VERSION_PATCH 0
#define OCILAYER_VERSION_NUMBER \
  (OCILAYER_VERSION_MAJOR * 10000 + OCILAYER_VERSION_MINOR * 100 + OCILAYER_VERSION_PATCH)
#define OCILAYER_VERSION_STRING "0.1.0"
/* Options with every field at its default. */
#define OCILAYER_OPTIONS_INIT \
  { sizeof(ocilayer_options), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, \
    0, 0, 0, 0, 0, 0, 0, 0 }

/**
 * Values of ocilayer_options.compare: what an audit reads of the files in a directory.
 */
typedef enum ocilayer_compare {
  /**
   * All of it.
   */
  OCILAYER_COMPARE_CONTENT = 0,
  /**
   * Only files that have holes (lseek(2), SEEK_HOLE): for all others the size is enough. That finds
   * what a power cut leaves behind, files without content or with zeros that were never written, and
   * not bytes that somebody changed. A restore reads all nevertheless.
   */
  OCILAYER_COMPARE_SIZES = 1,
} ocilayer_compare;

/**
 * Values of ocilayer_report_compression.
 */
typedef enum ocilayer_compression {
  OCILAYER_COMPRESSION_NONE = 0,
  OCILAYER_COMPRESSION_GZIP = 1,
  OCILAYER_COMPRESSION_ZSTD = 2,
} ocilayer_compression;

/**
 * What makes overlayfs copy a directory up.
 */
typedef enum ocilayer_copy_up {
  /**
   * A file is created in it.
   */
  OCILAYER_COPY_UP_CREATE = 1,
  /**
   * Its mode changes.
   */
  OCILAYER_COPY_UP_METADATA = 2,
  /**
   * It is renamed.
   */
  OCILAYER_COPY_UP_RENAME = 3,
} ocilayer_copy_up;

/**
 * Values of ocilayer_damage.kind: how a directory is not what its layer makes it. More may come.
 */
typedef enum ocilayer_damage_kind {
  /**
   * The directory is opaque and should not be: what the lower layers have in it is hidden.
   */
  OCILAYER_DAMAGE_WRONGLY_OPAQUE = 1,
  /**
   * A name of a lower layer, whose directory is the detail, that a wrong mark hides.
   */
  OCILAYER_DAMAGE_LOST = 2,
  /**
   * The directory should be opaque and is not: what the lower layers have in it shows.
   */
  OCILAYER_DAMAGE_NOT_OPAQUE = 3,
  /**
   * A name that the layer deletes is not deleted.
   */
  OCILAYER_DAMAGE_MISSING_WHITEOUT = 4,
  /**
   * A name is deleted that the layer does not delete.
   */
  OCILAYER_DAMAGE_UNEXPECTED_WHITEOUT = 5,
  /**
   * The layer has an entry of this name, the directory does not.
   */
  OCILAYER_DAMAGE_MISSING = 6,
  /**
   * The directory has this name, the layer does not.
   */
  OCILAYER_DAMAGE_UNEXPECTED = 7,
  /**
   * The entry is another one than the layer's; the detail says in what.
   */
  OCILAYER_DAMAGE_DIFFERS = 8,
  /**
   * Without layers to compare with: an opaque mark where a lower layer, whose directory is the
   * detail, has one as well. The defect makes such marks, but so does deleting and making a
   * directory twice.
   */
  OCILAYER_DAMAGE_SUSPECT = 9,
} ocilayer_damage_kind;

/**
 * Values of ocilayer_options.devices: what becomes of block and character devices.
 */
typedef enum ocilayer_devices {
  /**
   * Made where the kernel allows it; skipped and reported in a user namespace.
   */
  OCILAYER_DEVICES_CREATE = 0,
  /**
   * Skipped and reported.
   */
  OCILAYER_DEVICES_SKIP = 1,
} ocilayer_devices;

/**
 * Values of ocilayer_entry.kind.
 */
typedef enum ocilayer_entry_kind {
  OCILAYER_ENTRY_FILE = 1,
  OCILAYER_ENTRY_DIRECTORY = 2,
  OCILAYER_ENTRY_SYMLINK = 3,
  OCILAYER_ENTRY_HARDLINK = 4,
  OCILAYER_ENTRY_FIFO = 5,
  OCILAYER_ENTRY_CHAR_DEVICE = 6,
  OCILAYER_ENTRY_BLOCK_DEVICE = 7,
} ocilayer_entry_kind;

/**
 * What went wrong, for a program. More kinds may come: treat an unknown one as a failure.
 */
typedef enum ocilayer_error_kinds {
  /**
   * No error: what ocilayer_error_kind says of NULL.
   */
  OCILAYER_ERROR_NONE = 0,
  /**
   * An argument, the options, the root or a lower directory make no sense.
   */
  OCILAYER_ERROR_INVALID_ARGUMENT = 1,
  /**
   * Reading the layer failed.
   */
  OCILAYER_ERROR_SOURCE = 2,
  /**
   * The compressed stream is damaged or cut short.
   */
  OCILAYER_ERROR_CORRUPT = 3,
  /**
   * The tar archive is malformed or cut short.
   */
  OCILAYER_ERROR_ARCHIVE = 4,
  /**
   * The archive is well-formed but asks for what no layer may.
   */
  OCILAYER_ERROR_LAYER = 5,
  /**
   * The blob or its content is not the expected one.
   */
  OCILAYER_ERROR_DIGEST = 6,
  /**
   * A limit was exceeded.
   */
  OCILAYER_ERROR_LIMIT = 7,
  /**
   * The file system refused an operation.
   */
  OCILAYER_ERROR_FILESYSTEM = 8,
  /**
   * The caller cancelled.
   */
  OCILAYER_ERROR_CANCELLED = 9,
  /**
   * A callback of the caller failed.
   */
  OCILAYER_ERROR_CALLBACK = 10,
  /**
   * A defect in this library. The call is over, the process goes on.
   */
  OCILAYER_ERROR_PANIC = 11,
  /**
   * This kernel, file system or combination of options cannot do what was asked.
   */
  OCILAYER_ERROR_UNSUPPORTED = 12,
} ocilayer_error_kinds;

/**
 * Values of ocilayer_finding.kind. More may come.
 */
typedef enum ocilayer_finding_kind {
  /**
   * A whiteout: what it hides is the detail.
   */
  OCILAYER_FINDING_WHITEOUT = 1,
  /**
   * An opaque marker: the directory is the detail, empty for the root.
   */
  OCILAYER_FINDING_OPAQUE = 2,
  /**
   * A `trusted.*` xattr, whose name is the detail. Unpack drops it.
   */
  OCILAYER_FINDING_TRUSTED_XATTR = 3,
  /**
   * An xattr that overlayfs keeps for itself, whose name is the detail. Unpack drops it.
   */
  OCILAYER_FINDING_OVERLAY_XATTR = 4,
  /**
   * A `user.*` xattr on a symlink, device or FIFO, whose name is the detail. Unpack drops it.
   */
  OCILAYER_FINDING_XATTR_ON_SPECIAL = 5,
  /**
   * A name that has more `..` than components before them. Unpack refuses it.
   */
  OCILAYER_FINDING_NAME_LEAVES_ROOT = 6,
  /**
   * A link whose target, the detail, has more `..` than there are directories above it. Unpack
   * keeps such a link inside the root; not every program does.
   */
  OCILAYER_FINDING_LINK_LEAVES_ROOT = 7,
  /**
   * A block or character device; `c 1:3` or `b 8:0` is the detail.
   */
  OCILAYER_FINDING_DEVICE = 8,
  /**
   * A file that runs as its owner; the mode in octal is the detail.
   */
  OCILAYER_FINDING_SETUID = 9,
  /**
   * A file that runs with its group; the mode in octal is the detail.
   */
  OCILAYER_FINDING_SETGID = 10,
  /**
   * A file with capabilities, by `security.capability`.
   */
  OCILAYER_FINDING_FILE_CAPABILITY = 11,
  /**
   * The layer has an entry of this name already; the last one wins.
   */
  OCILAYER_FINDING_DUPLICATE = 12,
  /**
   * aufs's own bookkeeping. Unpack leaves it out.
   */
  OCILAYER_FINDING_AUFS_METADATA = 13,
  /**
   * Unpack fails here: the error's kind, errno and message tell how.
   */
  OCILAYER_FINDING_REFUSED = 14,
  /**
   * A PAX record of the entry, whose key is the detail, that unpack does not apply, such as
   * `SCHILY.acl.access`.
   */
  OCILAYER_FINDING_IGNORED_RECORD = 15,
  /**
   * A record of a global PAX header, whose key is the detail, that unpack does not apply, such
   * as `uid`.
   */
  OCILAYER_FINDING_GLOBAL_RECORD = 16,
  /**
   * The archive ends without an end marker; unpack takes it where something else proves it
   * whole.
   */
  OCILAYER_FINDING_NO_END_MARKER = 17,
  /**
   * Bytes other than zeros behind the archive's end marker. Unpack does not look at them.
   */
  OCILAYER_FINDING_DATA_AFTER_END = 18,
  /**
   * A hardlink to something that unpack leaves out. Unpack leaves it out as well.
   */
  OCILAYER_FINDING_LINK_TO_SKIPPED = 19,
} ocilayer_finding_kind;

/**
 * Values of ocilayer_options.mode: how whiteouts and opaque directories become visible.
 */
typedef enum ocilayer_mode {
  /**
   * Whiteouts delete from the directory: a plain root file system, or a mount of the parents.
   */
  OCILAYER_MODE_DIRECTORY = 0,
  /**
   * The root is an overlay upper directory: 0:0 devices and `trusted.overlay.opaque`.
   */
  OCILAYER_MODE_OVERLAY = 1,
  /**
   * The same with `user.overlay.opaque`, for overlay mounts in a user namespace.
   */
  OCILAYER_MODE_OVERLAY_USERXATTR = 2,
} ocilayer_mode;

/**
 * Values of ocilayer_options.owners: what becomes of the owners in the archive.
 */
typedef enum ocilayer_owners {
  /**
   * As they are in the archive.
   */
  OCILAYER_OWNERS_KEEP = 0,
  /**
   * Shifted through uid_ranges and gid_ranges; an id outside of all ranges fails the unpack.
   */
  OCILAYER_OWNERS_MAP = 1,
  /**
   * No chown: everything belongs to the calling process.
   */
  OCILAYER_OWNERS_IGNORE = 2,
} ocilayer_owners;

/**
 * What an audit does about what it finds.
 */
typedef enum ocilayer_repair {
  /**
   * Nothing: the findings are what a repair would act on.
   */
  OCILAYER_REPAIR_NONE = 0,
  /**
   * Removes opaque marks that are wrong after all was looked at, and writes the whiteouts that are
   * missing below them, since what the layer deletes would show again; -EBUSY, with nothing removed, if
   * an overlay mount of this machine uses one of the directories. No file is removed or changed.
   */
  OCILAYER_REPAIR_MARKS = 1,
  /**
   * Removes them also below live mounts, which show it when they are mounted anew.
   */
  OCILAYER_REPAIR_LIVE = 2,
  /**
   * Writes again, from the layer, all that its directory does not have as the layer has it: content,
   * attributes, links, whiteouts and marks. Each layer is restored when it was looked at and before the
   * one above it is. What the layer has no name for is told of and stays. All of it is on disk on
   * return, as with OCILAYER_SYNC_FILES. -EBUSY as above, and -EINVAL from
   * ocilayer_audit_directories.
   *
   * A file whose content differs is replaced: whoever has it open keeps the old one. Attributes change
   * in place. Content that is to be restored takes its size on disk twice for a moment.
   */
  OCILAYER_REPAIR_RESTORE = 3,
  /**
   * The same also below live mounts.
   */
  OCILAYER_REPAIR_RESTORE_LIVE = 4,
} ocilayer_repair;

/**
 * Why something in the layer was left out. More reasons may come.
 */
typedef enum ocilayer_skip_reason {
  /**
   * A `trusted.*` xattr: an archive must not set what the kernel trusts.
   */
  OCILAYER_SKIP_TRUSTED_XATTR = 1,
  /**
   * An xattr that overlayfs keeps for itself, such as `user.overlay.opaque`.
   */
  OCILAYER_SKIP_OVERLAY_XATTR = 2,
  /**
   * A `user.*` xattr on a symlink, device or FIFO, which xattr(7) rules out.
   */
  OCILAYER_SKIP_XATTR_ON_SPECIAL = 3,
  /**
   * An xattr that this file system or namespace does not support.
   */
  OCILAYER_SKIP_XATTR_UNSUPPORTED = 4,
  /**
   * A `.wh..wh.*` name that is aufs's own bookkeeping.
   */
  OCILAYER_SKIP_AUFS_METADATA = 5,
  /**
   * A device, in a user namespace or by OCILAYER_DEVICES_SKIP.
   */
  OCILAYER_SKIP_DEVICE = 6,
  /**
   * An entry that the filter callback declined.
   */
  OCILAYER_SKIP_FILTERED = 7,
  /**
   * A whiteout of a name that no parent has.
   */
  OCILAYER_SKIP_UNNEEDED_WHITEOUT = 8,
  /**
   * Not of the layer, but of this kernel: a directory's opaque mark that overlayfs copied up
   * and that was removed from the upper directory. The path is the directory's, below the root.
   */
  OCILAYER_SKIP_PROPAGATED_MARK = 9,
  /**
   * A hardlink to something of this layer that was itself left out.
   */
  OCILAYER_SKIP_LINK_TO_SKIPPED = 10,
  /**
   * An xattr that takes more privilege than the caller has: `security.*` for a plain user or in
   * a user namespace.
   */
  OCILAYER_SKIP_XATTR_NOT_PERMITTED = 11,
  /**
   * A PAX record that says something of its entry that is not applied, such as
   * `SCHILY.acl.access`; its key is the detail.
   */
  OCILAYER_SKIP_IGNORED_RECORD = 12,
  /**
   * A record of a global PAX header that no entry takes, such as `uid`; its key is the detail.
   */
  OCILAYER_SKIP_GLOBAL_RECORD = 13,
  /**
   * Not of an entry: the archive ends without an end marker, and was proven whole by other
   * means.
   */
  OCILAYER_SKIP_NO_END_MARKER = 14,
  /**
   * Not of an entry: bytes other than zeros behind the archive's end marker.
   */
  OCILAYER_SKIP_DATA_AFTER_END = 15,
} ocilayer_skip_reason;

/**
 * Values of ocilayer_options.sync: what is on disk when unpack_layer returns.
 */
typedef enum ocilayer_sync {
  /**
   * Whatever the kernel has written by then.
   */
  OCILAYER_SYNC_NONE = 0,
  /**
   * All that this layer made, the root included, and nothing of others: the data of each file
   * are waited for, then one commit of the journal brings all metadata (ext4, XFS); on other file
   * systems fsync(2) of each file and each directory.
   */
  OCILAYER_SYNC_FILES = 1,
  /**
   * One syncfs(2) of the root's file system.
   */
  OCILAYER_SYNC_FILESYSTEM = 2,
} ocilayer_sync;

/**
 * Values of ocilayer_options.read_to: how far the blob is read.
 */
typedef enum ocilayer_read_to {
  /**
   * To its end, so that both digests are of the whole and a cut blob fails.
   */
  OCILAYER_READ_TO_END_OF_BLOB = 0,
  /**
   * To the end of the archive in it and no further: for a caller that reads the rest itself, checks
   * the digests and knows whether the blob was whole. The report has no digests, none can be
   * expected, and an archive without an end marker is taken. Of unpack_layer only.
   */
  OCILAYER_READ_TO_END_OF_ARCHIVE = 1,
} ocilayer_read_to;

/**
 * Values of ocilayer_check_verdict.
 */
typedef enum ocilayer_verdict {
  /**
   * The check cannot tell; ocilayer_check_reason says why.
   */
  OCILAYER_VERDICT_UNKNOWN = 0,
  /**
   * Copying up carries the opaque mark along.
   */
  OCILAYER_VERDICT_AFFECTED = 1,
  /**
   * It does not.
   */
  OCILAYER_VERDICT_NOT_AFFECTED = 2,
} ocilayer_verdict;

/**
 * What an audit comes to. All accessors take NULL for "nothing was found". Threads may share one.
 * Strings belong to the report and live as long.
 */
typedef struct ocilayer_audit_report ocilayer_audit_report;

/**
 * A token that ends every unpack whose options name it, once and for good.
 */
typedef struct ocilayer_cancel ocilayer_cancel;

/**
 * What check_overlay_opaque_propagation found. All accessors take NULL for "cannot tell". Threads
 * may share one. Strings belong to the check and live as long.
 */
typedef struct ocilayer_check ocilayer_check;

/**
 * Why a call failed. All accessors take NULL for "no error".
 */
typedef struct ocilayer_error ocilayer_error;

/**
 * The writer's end of a file that is unpacked while it is being written: says how far it is.
 */
typedef struct ocilayer_growth ocilayer_growth;

/**
 * The layers of one image, bottom first, and where their blobs come from: an image layout, an archive,
 * or sources of the caller.
 *
 * One thread at a time may use it.
 */
typedef struct ocilayer_image ocilayer_image;

/**
 * What became of an image and each of its layers. All accessors take NULL for "nothing was done".
 * Threads may share one. What they return belongs to the report and lives as long.
 */
typedef struct ocilayer_image_report ocilayer_image_report;

/**
 * What an unpack did and left out. All accessors take NULL for "nothing was done". Threads may
 * share one. Strings belong to the report and live as long.
 */
typedef struct ocilayer_report ocilayer_report;

/**
 * What a scan comes to. All accessors take NULL for "nothing was found". Threads may share one.
 * Strings belong to the report and live as long.
 */
typedef struct ocilayer_scan_report ocilayer_scan_report;

/**
 * What was skipped for one reason. All accessors take NULL. It is a part of its report.
 */
typedef struct ocilayer_skipped ocilayer_skipped;

/**
 * Where the bytes of one layer come from, compressed or not. It serves one unpack or scan: a
 * second with the same source is -EINVAL.
 */
typedef struct ocilayer_source ocilayer_source;

/**
 * Put up to @length bytes of the layer into @buffer and say in *got how many, 0 at the end.
 *
 * Returns 0, or a negative errno, which becomes the result of the unpack. A read that may block
 * polls ocilayer_cancel_fd too, and returns -ECANCELED when that is readable.
 *
 * @buffer is borrowed until return and its content is undefined before. It runs only on the
 * thread that called unpack_layer or ocilayer_scan. It must return: no longjmp, no C++ exception.
 */
typedef int (*ocilayer_read_fn)(void *userdata, uint8_t *buffer, size_t length, size_t *got);

/**
 * @count ids of the archive from @container on become those from @host on.
 */
typedef struct ocilayer_id_range {
  uint32_t container;
  uint32_t host;
  uint32_t count;
} ocilayer_id_range;

/**
 * One entry of the archive, as a filter callback sees it. Names are bytes as they stand in the
 * archive: not yet safe to use as a path. A NUL follows them.
 *
 * Later versions add fields at the end; @size tells which ones this library fills.
 */
typedef struct ocilayer_entry {
  size_t size;
  /**
   * Counted from 0.
   */
  uint64_t index;
  /**
   * Where the entry starts, in bytes of the uncompressed archive.
   */
  uint64_t offset;
  const char *path;
  size_t path_length;
  /**
   * Target of a symlink or hardlink, else empty.
   */
  const char *link;
  size_t link_length;
  /**
   * Size of a file, holes included.
   */
  uint64_t file_size;
  int64_t mtime_seconds;
  /**
   * 0 to 999,999,999, counted forward from mtime_seconds also where that is negative.
   */
  uint32_t mtime_nanoseconds;
  /**
   * One of OCILAYER_ENTRY_*. More may come.
   */
  uint32_t kind;
  /**
   * Permission bits, setuid, setgid and sticky: 0 to 07777.
   */
  uint32_t mode;
  uint32_t uid;
  uint32_t gid;
  /**
   * Of a device, else 0.
   */
  uint32_t device_major;
  /**
   * Of a device, else 0.
   */
  uint32_t device_minor;
  /**
   * The layer of an image, counted from 0, bottom first; 0 for a layer by itself.
   */
  uint32_t layer;
} ocilayer_entry;

/**
 * Whether to apply an entry; whiteouts and opaque markers are asked about too.
 *
 * Returns 1 to apply it, 0 to leave it out, or a negative errno, which becomes the result of the
 * unpack. Anything else is -EINVAL.
 *
 * @entry and all it points to are borrowed until return. It runs only on the thread that called
 * unpack_layer. It must return: no longjmp, no C++ exception.
 */
typedef int (*ocilayer_filter_fn)(void *userdata, const struct ocilayer_entry *entry);

/**
 * How far an unpack of a layer or image has come.
 *
 * Later versions add fields at the end; @size tells which ones this library fills.
 */
typedef struct ocilayer_progress {
  size_t size;
  /**
   * Bytes of the blob that were read.
   */
  uint64_t blob_bytes;
  /**
   * Size of the blob; 0 where the source does not tell.
   */
  uint64_t blob_size;
  /**
   * Bytes that came out of the decompressor.
   */
  uint64_t layer_bytes;
  /**
   * Entries applied so far: all of them, and by kind.
   */
  uint64_t entries;
  uint64_t files;
  uint64_t directories;
  uint64_t symlinks;
  uint64_t hardlinks;
  uint64_t fifos;
  uint64_t devices;
  /**
   * Layers of an image, of which all else here is the sum; 0 for a layer by itself.
   */
  uint64_t layers;
  /**
   * Those that are complete, or were there before.
   */
  uint64_t layers_complete;
} ocilayer_progress;

/**
 * Called some ten times a second, and once at the end.
 *
 * @progress is borrowed until return. It runs only on the thread that called unpack_layer. It
 * must return: no longjmp, no C++ exception.
 */
typedef void (*ocilayer_progress_fn)(void *userdata, const struct ocilayer_progress *progress);

/**
 * One thing that was left out. Names are bytes as they stand in the archive; a NUL follows them.
 *
 * Later versions add fields at the end; @size tells which ones this library fills.
 */
typedef struct ocilayer_warning {
  size_t size;
  /**
   * Number of the entry, counted from 0.
   */
  uint64_t entry;
  /**
   * The entry's name.
   */
  const char *path;
  size_t path_length;
  /**
   * The xattr's name, where the reason is about one, else empty.
   */
  const char *detail;
  size_t detail_length;
  /**
   * The reason in a few words for people.
   */
  const char *text;
  /**
   * One of OCILAYER_SKIP_*. More may come.
   */
  uint32_t reason;
  /**
   * The layer of an image, counted from 0, bottom first; 0 for a layer by itself.
   */
  uint32_t layer;
} ocilayer_warning;

/**
 * Called for each thing that was left out.
 *
 * @warning and all it points to are borrowed until return. It runs only on the thread that called
 * unpack_layer. It must return: no longjmp, no C++ exception.
 */
typedef void (*ocilayer_warning_fn)(void *userdata, const struct ocilayer_warning *warning);

/**
 * With ocilayer_options.lowers_later: the directories of the parent layers, topmost first, once they are
 * complete. Asked once at most, when they are needed.
 *
 * Returns 0 with *lowers and *count set, for a bottom layer to NULL and 0, or a negative errno, which
 * becomes the result of the unpack. Anything else is -EINVAL. The paths are borrowed until unpack_layer
 * returns.
 *
 * It may wait: for that long all other callbacks wait, and a source that is a read function. It runs only
 * on the thread that called unpack_layer. It must return: no longjmp, no C++ exception.
 */
typedef int (*ocilayer_lowers_fn)(void *userdata, const char *const **lowers, size_t *count);

/**
 * What unpack_layer, ocilayer_scan and ocilayer_audit are told. Start with OCILAYER_OPTIONS_INIT,
 * or with zeros and @size: zero is the safe default of every field.
 *
 * Later versions add fields at the end only, and @size tells which ones the caller knows: a
 * shorter struct is as good as one with zeros behind. A longer one, from a program that is newer
 * than the library, works as long as what the library does not know is zero, and is -E2BIG
 * otherwise.
 *
 * All that it points to is borrowed until the call returns. One struct may serve several
 * threads at once, if its callbacks may.
 */
typedef struct ocilayer_options {
  /**
   * sizeof(ocilayer_options).
   */
  size_t size;
  /**
   * One of OCILAYER_MODE_*.
   */
  uint32_t mode;
  /**
   * One of OCILAYER_OWNERS_*.
   */
  uint32_t owners;
  /**
   * One of OCILAYER_DEVICES_*.
   */
  uint32_t devices;
  /**
   * One of OCILAYER_SYNC_*.
   */
  uint32_t sync;
  /**
   * Worker threads: 0 chooses by the number of CPUs, 1 decompresses and writes on one thread.
   * With more, one that is not counted may read a compressed file ahead. With 4 or more, on as many
   * CPUs, up to 8 others decompress a gzip blob of 16 MiB or more from a file or from memory.
   */
  uint32_t threads;
  /**
   * 1: no digest of a compressed blob, unless expected_blob_digest says which: for a caller that
   * checked it when the blob came in, as content stores do. It is a tenth of the work. 0: made.
   */
  uint32_t skip_blob_digest;
  /**
   * Overlay modes: the directories of the parent layers, topmost first as in overlay's
   * lowerdir. NULL if they are not known; not NULL with lowers_count 0 for a bottom layer.
   */
  const char *const *lowers;
  size_t lowers_count;
  /**
   * `sha256:HEX` or `sha512:HEX` that the blob must have as it is read; NULL to expect none.
   */
  const char *expected_blob_digest;
  /**
   * The same of the uncompressed archive: the layer's diffID.
   */
  const char *expected_diff_id;
  /**
   * For OCILAYER_OWNERS_MAP.
   */
  const struct ocilayer_id_range *uid_ranges;
  size_t uid_ranges_count;
  /**
   * For OCILAYER_OWNERS_MAP.
   */
  const struct ocilayer_id_range *gid_ranges;
  size_t gid_ranges_count;
  /**
   * Ends the unpack when cancelled, from any thread. May be NULL.
   */
  const struct ocilayer_cancel *cancel;
  /**
   * Handed to the three callbacks below.
   */
  void *userdata;
  /**
   * Asked about each entry. May be NULL, which is faster.
   */
  ocilayer_filter_fn filter;
  /**
   * Told some ten times a second how far it is. May be NULL.
   */
  ocilayer_progress_fn progress;
  /**
   * Told what was left out. May be NULL.
   */
  ocilayer_warning_fn warning;
  /**
   * Limits: 0 stands for the default, which no real image meets. Entries: 10,000,000.
   */
  uint64_t limit_entries;
  /**
   * Uncompressed bytes of the archive, and of all files together with their holes: 2^40.
   */
  uint64_t limit_bytes;
  /**
   * Uncompressed bytes for each compressed one, looked at from 2^30 bytes on: by default there is
   * no such limit, since real layers reach any ratio.
   */
  uint64_t limit_ratio;
  /**
   * Bytes in a name or a link target: 4,096.
   */
  uint64_t limit_path_bytes;
  /**
   * Components in a name: 512.
   */
  uint64_t limit_path_depth;
  /**
   * Bytes of all xattrs of one entry: 2^20.
   */
  uint64_t limit_xattr_bytes;
  /**
   * Window that a zstd frame may ask for, as a power of two: 10 to 31, by default 29. The unpack
   * takes as much memory.
   */
  uint64_t limit_zstd_window_log;
  /**
   * OCILAYER_MODE_DIRECTORY, where the root is an overlay mount: the mount's upper directory.
   * Marks of opaque directories that a faulty kernel copies up are then removed there, and
   * counted by ocilayer_report_propagated_marks. NULL to leave them.
   */
  const char *upper;
  /**
   * Bytes of memory for what has to be remembered of the layer until its end, its directories
   * above all: some 500 for each. 2^30 by default.
   */
  uint64_t limit_memory;
  /**
   * One of OCILAYER_READ_TO_*: how far the blob is read.
   */
  uint32_t read_to;
  /**
   * ocilayer_audit: one of OCILAYER_COMPARE_*, what is read of the files.
   */
  uint32_t compare;
  /**
   * Overlay modes of unpack_layer: tells the directories of the parent layers when they are needed, in place
   * of @lowers, which is NULL then: somebody is still making them. Until then only entries are applied that
   * mean the same whatever the parents have, which are most. May be NULL.
   */
  ocilayer_lowers_fn lowers_later;
} ocilayer_options;

/**
 * One thing that a scan found. Names are bytes as they stand in the archive: not yet safe to use
 * as a path. A NUL follows them.
 *
 * Later versions add fields at the end; @size tells which ones this library fills.
 */
typedef struct ocilayer_finding {
  size_t size;
  /**
   * Number of the entry, counted from 0; 0 if there is no place.
   */
  uint64_t entry;
  /**
   * Where the entry starts, in bytes of the uncompressed archive; 0 if there is no place.
   */
  uint64_t offset;
  /**
   * The entry's name; empty if it could not be read, or if there is no place.
   */
  const char *path;
  size_t path_length;
  /**
   * As the kind says, else empty; cut at 4,096 bytes.
   */
  const char *detail;
  size_t detail_length;
  /**
   * For people: the kind in a few words, or the whole line of an error, names escaped.
   */
  const char *message;
  /**
   * One of OCILAYER_FINDING_*. More may come.
   */
  uint32_t kind;
  /**
   * One of OCILAYER_ERROR_*: that of unpack for OCILAYER_FINDING_REFUSED, else 0.
   */
  uint32_t error_kind;
  /**
   * The error's errno, positive, else 0.
   */
  int error_errno;
  /**
   * 1 if the finding is about an entry, 0 if it is about the whole blob, such as a digest that
   * is not the expected one.
   */
  uint32_t has_place;
} ocilayer_finding;

/**
 * Called for each finding, in the order of the archive.
 *
 * Returns 0 to go on, or a negative errno, which ends the scan and becomes its result. Anything
 * else is -EINVAL.
 *
 * @finding and all it points to are borrowed until return. It runs only on the thread that called
 * ocilayer_scan. It must return: no longjmp, no C++ exception.
 */
typedef int (*ocilayer_finding_fn)(void *userdata, const struct ocilayer_finding *finding);

/**
 * A layer and the directory that it was unpacked to.
 */
typedef struct ocilayer_audit_layer {
  struct ocilayer_source *source;
  const char *directory;
} ocilayer_audit_layer;

/**
 * One thing that an audit found. Names are bytes as they stand on disk; a NUL follows them.
 *
 * Later versions add fields at the end; @size tells which ones this library fills.
 */
typedef struct ocilayer_damage {
  size_t size;
  /**
   * The layer's directory, as the caller named it.
   */
  const char *directory;
  size_t directory_length;
  /**
   * Below that directory; empty for the directory itself.
   */
  const char *path;
  size_t path_length;
  /**
   * As the kind says, else empty.
   */
  const char *detail;
  size_t detail_length;
  /**
   * The kind in a few words, for people.
   */
  const char *message;
  /**
   * One of OCILAYER_DAMAGE_*. More may come.
   */
  uint32_t kind;
  /**
   * 0.
   */
  uint32_t reserved;
} ocilayer_damage;

/**
 * Called for each finding, layer by layer from the bottom.
 *
 * Returns 0 to go on, or a negative errno, which ends the audit before anything is repaired and before
 * anything of this layer is restored, and becomes its result. Anything else is -EINVAL.
 *
 * @damage and all it points to are borrowed until return. It runs only on the thread that called.
 * It must return: no longjmp, no C++ exception.
 */
typedef int (*ocilayer_damage_fn)(void *userdata, const struct ocilayer_damage *damage);

/**
 * The name that ocilayer_read_fn had before.
 */
typedef ocilayer_read_fn ocilayer_read;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * Major, minor and patch of the library that runs: 10,203 for 1.2.3. To compare with
 * `OCILAYER_VERSION_NUMBER`, that of the header.
 *
 * Any thread may call this.
 */
uint32_t ocilayer_version_number(void);

/**
 * What decompresses gzip in the library that runs: "isa-l" or "zlib-rs". The first is faster, and the
 * second is what is built without ISA-L's tools.
 *
 * Returns a static string.
 *
 * Any thread may call this.
 */
const char *ocilayer_gzip_backend(void);

/**
 * The version of the library that runs, such as "0.1.0".
 *
 * It can be newer than `OCILAYER_VERSION_STRING`, the version of the header that a program was
 * compiled with, and works the same then.
 *
 * Returns a static string.
 *
 * Any thread may call this.
 */
const char *ocilayer_version(void);

/**
 * The kind of an error: one of OCILAYER_ERROR_*.
 *
 * @error is borrowed until return. Threads may share it.
 */
uint32_t ocilayer_error_kind(const struct ocilayer_error *error);

/**
 * The name of a kind, as it stands in JSON: "filesystem" for OCILAYER_ERROR_FILESYSTEM.
 *
 * Returns a static string, "none" for OCILAYER_ERROR_NONE, "unknown" for what is no kind.
 *
 * Any thread may call this.
 */
const char *ocilayer_error_kind_name(uint32_t kind);

/**
 * The errno of an error, positive; 0 for NULL. The failed call returned it as a negative number.
 *
 * @error is borrowed until return. Threads may share it.
 */
int ocilayer_error_errno(const struct ocilayer_error *error);

/**
 * One line for people, with entry, path and offset where there are such:
 * `entry 412 "usr/bin/su" at 1536000: fchmodat 04755: Operation not permitted`.
 *
 * Returns a string, "no error" for NULL; never NULL. Bytes of names that do not print are escaped,
 * so that a hostile name cannot write to a terminal or forge a line in a log.
 *
 * The string belongs to @error and lives as long. Threads may share it.
 */
const char *ocilayer_error_message(const struct ocilayer_error *error);

/**
 * Whether the error is about an entry of the archive: if not, there is no path, entry or offset.
 *
 * @error is borrowed until return. Threads may share it.
 */
bool ocilayer_error_has_place(const struct ocilayer_error *error);

/**
 * The entry's name as it stands in the archive: bytes, not always UTF-8. *length (may be NULL)
 * gets their number; a NUL follows them.
 *
 * Returns NULL, and 0 in *length, if the error has no place.
 *
 * The bytes belong to @error and live as long. Threads may share it.
 */
const char *ocilayer_error_path(const struct ocilayer_error *error, size_t *length);

/**
 * The entry's number, counted from 0; 0 if the error has no place.
 *
 * @error is borrowed until return. Threads may share it.
 */
uint64_t ocilayer_error_entry(const struct ocilayer_error *error);

/**
 * Where the entry starts, in bytes of the uncompressed archive; 0 if the error has no place.
 *
 * @error is borrowed until return. Threads may share it.
 */
uint64_t ocilayer_error_offset(const struct ocilayer_error *error);

/**
 * Free an error; NULL does nothing.
 *
 * Not while another thread is in a call with it.
 */
void ocilayer_error_free(struct ocilayer_error *error);

/**
 * Make a token in *cancel.
 *
 * Returns 0, or a negative errno with *error set.
 *
 * -EMFILE, -ENFILE: no descriptor is left; a token needs one.
 *
 * The caller owns *cancel and frees it with ocilayer_cancel_free.
 *
 * Any thread may call this.
 */
int ocilayer_cancel_new(struct ocilayer_cancel **cancel, struct ocilayer_error **error);

/**
 * Cancel. What runs ends with -ECANCELED, what starts later does so at once.
 *
 * Reads of a descriptor or a path are woken. A read callback is the caller's code and cannot be:
 * one that may block polls ocilayer_cancel_fd as well. NULL does nothing.
 *
 * @cancel is borrowed until return.
 *
 * Any thread may call this at any time, and also a signal handler.
 */
void ocilayer_cancel_now(const struct ocilayer_cancel *cancel);

/**
 * Whether ocilayer_cancel_now was called; false for NULL.
 *
 * @cancel is borrowed until return.
 *
 * Any thread may call this at any time.
 */
bool ocilayer_cancel_is_set(const struct ocilayer_cancel *cancel);

/**
 * A descriptor that poll(2) finds readable once the token was cancelled; -1 for NULL.
 *
 * It belongs to the token: poll it, but never read, write or close it.
 *
 * Any thread may call this at any time.
 */
int ocilayer_cancel_fd(const struct ocilayer_cancel *cancel);

/**
 * Free a token; NULL does nothing.
 *
 * Not while an unpack still uses it, and not while another thread is in a call with it.
 */
void ocilayer_cancel_free(struct ocilayer_cancel *cancel);

/**
 * The file has its first @bytes bytes, and they will not change. Fewer than were told before change
 * nothing; NULL does nothing.
 *
 * @growth is borrowed until return, which does not wait for anybody.
 *
 * Any thread may call this at any time.
 */
void ocilayer_growth_reached(const struct ocilayer_growth *growth, uint64_t bytes);

/**
 * The file ends where it was told to have come last; NULL does nothing.
 *
 * @growth is borrowed until return.
 *
 * Any thread may call this at any time. Of this and ocilayer_growth_fail the first call counts.
 */
void ocilayer_growth_complete(const struct ocilayer_growth *growth);

/**
 * The file will not be complete: the unpack fails with @failed, a negative errno, behind the bytes that
 * are there. -EIO for those that ask to try again, -EINVAL for what is no errno. NULL does nothing.
 *
 * @growth is borrowed until return.
 *
 * Any thread may call this at any time.
 */
void ocilayer_growth_fail(const struct ocilayer_growth *growth,
                          int failed);

/**
 * Free the writer's end; NULL does nothing. Of a file that is not complete the unpack fails with -EPIPE,
 * so that nobody waits for a writer that is gone.
 *
 * Not while another thread still uses it. The source may be used and freed before or after.
 */
void ocilayer_growth_free(struct ocilayer_growth *growth);

/**
 * Make a source in *source from the file at @path. The unpack opens it, and fails if it cannot.
 *
 * Returns 0, or a negative errno with *error set.
 *
 * The caller owns *source and frees it with ocilayer_source_free. @path is copied.
 *
 * Any thread may call this.
 */
int ocilayer_source_from_path(const char *path,
                              struct ocilayer_source **source,
                              struct ocilayer_error **error);

/**
 * Make a source in *source from a descriptor of a file, pipe or socket, read from its current
 * position to the end. A regular file is the fast way.
 *
 * Returns 0, or a negative errno with *error set.
 *
 * -EBADF: @fd is no open descriptor. -EMFILE: no descriptor is left for the duplicate.
 *
 * The caller owns *source and frees it with ocilayer_source_free. @fd is duplicated: the caller
 * keeps it and may close it at once. Both have one file position, so leave it alone until the
 * unpack returned; where it stands then is undefined.
 *
 * Any thread may call this.
 */
int ocilayer_source_from_fd(int fd, struct ocilayer_source **source, struct ocilayer_error **error);

/**
 * Make a source in *source from a descriptor of a regular file that is still being written, such as a
 * download, and in *growth what the writer tells by how far it is. The file is read from its beginning
 * as far as that, and its position is neither used nor moved.
 *
 * Returns 0, or a negative errno with *error set.
 *
 * -EBADF: @fd is no open descriptor. -EMFILE, -ENFILE: no descriptor is left for the duplicate, or for
 * the wake-up. The unpack fails with -ENODATA where the file has less than was told.
 *
 * The caller owns *source and frees it with ocilayer_source_free, and *growth, which
 * ocilayer_growth_free frees. @fd is duplicated: the caller keeps it and may close it at once.
 *
 * Any thread may call this, and write to the file.
 */
int ocilayer_source_growing(int fd,
                            struct ocilayer_source **source,
                            struct ocilayer_growth **growth,
                            struct ocilayer_error **error);

/**
 * Make a source in *source from @length bytes at @data; NULL if @length is 0.
 *
 * Returns 0, or a negative errno with *error set.
 *
 * The caller owns *source and frees it with ocilayer_source_free. @data is borrowed until the
 * unpack returned, and must not change before.
 *
 * Any thread may call this.
 */
int ocilayer_source_from_memory(const uint8_t *data,
                                size_t length,
                                struct ocilayer_source **source,
                                struct ocilayer_error **error);

/**
 * Make a source in *source from a function that is called with @userdata.
 *
 * Returns 0, or a negative errno with *error set.
 *
 * The caller owns *source and frees it with ocilayer_source_free. @userdata is the caller's and
 * must be valid until the unpack returned.
 *
 * Any thread may call this. @read runs only on the thread that unpacks or scans.
 */
int ocilayer_source_from_reader(ocilayer_read_fn read,
                                void *userdata,
                                struct ocilayer_source **source,
                                struct ocilayer_error **error);

/**
 * Free a source, used or not; NULL does nothing.
 *
 * Not while an unpack still uses it.
 */
void ocilayer_source_free(struct ocilayer_source *source);

/**
 * The reason: one of OCILAYER_SKIP_*; 0 for NULL.
 */
uint32_t ocilayer_skipped_reason(const struct ocilayer_skipped *skipped);

/**
 * The reason in a few words for people; NULL for NULL. The string lives as long as the report.
 */
const char *ocilayer_skipped_text(const struct ocilayer_skipped *skipped);

/**
 * How often it happened; 0 for NULL.
 */
uint64_t ocilayer_skipped_count(const struct ocilayer_skipped *skipped);

/**
 * The @index-th example: the entry's name as it stands in the archive. Only the first few are
 * kept. *length (may be NULL) gets the number of bytes; a NUL follows them.
 *
 * Returns NULL, and 0 in *length, past the last example. The bytes live as long as the report.
 */
const char *ocilayer_skipped_path(const struct ocilayer_skipped *skipped,
                                  size_t index,
                                  size_t *length);

/**
 * The same for the xattr's name, where the reason is about one; else it is empty.
 */
const char *ocilayer_skipped_detail(const struct ocilayer_skipped *skipped,
                                    size_t index,
                                    size_t *length);

/**
 * Whether the layer was not applied to its end: the unpack failed or was cancelled, and the root
 * holds only a part of it.
 */
bool ocilayer_report_partial(const struct ocilayer_report *report);

/**
 * Entries in the archive, whiteouts, markers and skipped ones included.
 */
uint64_t ocilayer_report_entries(const struct ocilayer_report *report);

/**
 * Regular files made.
 */
uint64_t ocilayer_report_files(const struct ocilayer_report *report);

/**
 * Directories made or merged.
 */
uint64_t ocilayer_report_directories(const struct ocilayer_report *report);

/**
 * Symbolic links made.
 */
uint64_t ocilayer_report_symlinks(const struct ocilayer_report *report);

/**
 * Hard links made.
 */
uint64_t ocilayer_report_hardlinks(const struct ocilayer_report *report);

/**
 * FIFOs made.
 */
uint64_t ocilayer_report_fifos(const struct ocilayer_report *report);

/**
 * Devices made; those of whiteouts are not counted.
 */
uint64_t ocilayer_report_devices(const struct ocilayer_report *report);

/**
 * Whiteout entries read, needed or not.
 */
uint64_t ocilayer_report_whiteouts(const struct ocilayer_report *report);

/**
 * Directories made opaque by a marker or by a whiteout of the same name.
 */
uint64_t ocilayer_report_opaque_directories(const struct ocilayer_report *report);

/**
 * Parent directories that no entry of the layer describes.
 */
uint64_t ocilayer_report_implied_directories(const struct ocilayer_report *report);

/**
 * Lower files that a hard link brought into the upper directory.
 */
uint64_t ocilayer_report_copied_up(const struct ocilayer_report *report);

/**
 * Opaque marks that a faulty kernel copied to ocilayer_options.upper, and that were removed there.
 */
uint64_t ocilayer_report_propagated_marks(const struct ocilayer_report *report);

/**
 * Entries that were not written, since a layer above replaces or hides them; only of images that are
 * unpacked to one directory, the newest layer first. Among the entries, and none of the files,
 * directories, symbolic and hard links, FIFOs and devices.
 */
uint64_t ocilayer_report_hidden(const struct ocilayer_report *report);

/**
 * Bytes of the blob as read.
 */
uint64_t ocilayer_report_blob_bytes(const struct ocilayer_report *report);

/**
 * Bytes of the uncompressed archive, those after its end marker included.
 */
uint64_t ocilayer_report_layer_bytes(const struct ocilayer_report *report);

/**
 * Bytes written to regular files, holes not counted.
 */
uint64_t ocilayer_report_file_bytes(const struct ocilayer_report *report);

/**
 * Seconds from the call to the return.
 */
double ocilayer_report_wall_seconds(const struct ocilayer_report *report);

/**
 * Seconds spent on reading the source and decompressing it. Stages overlap: their sum may exceed
 * ocilayer_report_wall_seconds.
 */
double ocilayer_report_decompress_seconds(const struct ocilayer_report *report);

/**
 * Seconds spent on hashing the uncompressed archive.
 */
double ocilayer_report_digest_seconds(const struct ocilayer_report *report);

/**
 * Seconds spent on interpreting entries and making files.
 */
double ocilayer_report_apply_seconds(const struct ocilayer_report *report);

/**
 * Seconds spent on waiting for the disk, as ocilayer_options.sync asked.
 */
double ocilayer_report_sync_seconds(const struct ocilayer_report *report);

/**
 * How the blob was compressed: one of OCILAYER_COMPRESSION_*. More may come.
 */
uint32_t ocilayer_report_compression(const struct ocilayer_report *report);

/**
 * Digest of the blob as read, `sha256:HEX`; NULL if it was not read to its end, or is skipped.
 */
const char *ocilayer_report_blob_digest(const struct ocilayer_report *report);

/**
 * Digest of the uncompressed archive, the layer's diffID; NULL if it was not read to its end.
 */
const char *ocilayer_report_diff_id(const struct ocilayer_report *report);

/**
 * All of it as one JSON object, in UTF-8; names that are not UTF-8 appear with replacement
 * characters. NULL for NULL.
 */
const char *ocilayer_report_json(const struct ocilayer_report *report);

/**
 * The @index-th reason for which something was skipped, with count and examples; NULL past the
 * last one. `for (i = 0; (skipped = ocilayer_report_skipped(report, i)) != NULL; i++)`
 *
 * It belongs to the report and lives as long.
 */
const struct ocilayer_skipped *ocilayer_report_skipped(const struct ocilayer_report *report,
                                                       size_t index);

/**
 * Free a report and all that was got from it; NULL does nothing.
 *
 * Not while another thread is in a call with it.
 */
void ocilayer_report_free(struct ocilayer_report *report);

/**
 * Apply the layer that @source gives to the directory @root, and below it only: no name, link or
 * whiteout in the layer reaches anything outside. @root must exist.
 *
 * Returns 0, or a negative errno with *error set. On failure @root may hold a part of the layer.
 *
 * The kind of the error tells more than the errno, see OCILAYER_ERROR_*. Some of the results:
 * -EINVAL and -E2BIG for arguments, -EBADMSG for a damaged blob or an unexpected digest, -EFBIG
 * for a limit, -ECANCELED when cancelled, -ENOTRECOVERABLE for a defect in this library, what a
 * callback returned, and what the file system answered.
 *
 * @source and @options are borrowed until return; @options may be NULL for the defaults. @source
 * is used up as soon as its options are accepted, and stays the caller's to free. *report (may be
 * NULL) belongs to the caller, who frees it with ocilayer_report_free: on failure it tells what
 * had been done, or is NULL if nothing was begun. *error (may be NULL) is written on failure only
 * and freed with ocilayer_error_free.
 *
 * Any number of threads may unpack at once, each with its own source and root. Callbacks run on
 * the calling thread. Worker threads end before this returns and take no signals.
 */
int unpack_layer(struct ocilayer_source *source,
                 const char *root,
                 const struct ocilayer_options *options,
                 struct ocilayer_report **report,
                 struct ocilayer_error **error);

/**
 * The same as unpack_layer, by a name that begins as all others do.
 */
int ocilayer_unpack_layer(struct ocilayer_source *source,
                          const char *root,
                          const struct ocilayer_options *options,
                          struct ocilayer_report **report,
                          struct ocilayer_error **error);

/**
 * How many layers the image has.
 */
size_t ocilayer_image_report_layers(const struct ocilayer_image_report *report);

/**
 * What was done for a layer, counted from 0, bottom first; NULL past the last, and for one that the
 * store had already.
 */
const struct ocilayer_report *ocilayer_image_report_layer(const struct ocilayer_image_report *report,
                                                          size_t layer);

/**
 * The directory of a layer in the store; NULL past the last, and where all layers went to one directory.
 */
const char *ocilayer_image_report_path(const struct ocilayer_image_report *report,
                                       size_t layer);

/**
 * The layers for overlay's option lowerdir, topmost first, with `:` and `\` in names escaped; NULL where
 * all layers went to one directory.
 */
const char *ocilayer_image_report_lowerdir(const struct ocilayer_image_report *report);

/**
 * All of it as one JSON object, in UTF-8; names that are not UTF-8 appear with replacement characters.
 */
const char *ocilayer_image_report_json(const struct ocilayer_image_report *report);

/**
 * Free a report and all that was got from it; NULL does nothing.
 *
 * Not while another thread is in a call with it.
 */
void ocilayer_image_report_free(struct ocilayer_image_report *report);

/**
 * Open the image @path: a directory with an OCI image layout, an archive of one, or one by `docker save`,
 * gzip'd or zstd'd as well: that is decompressed into a file without a name in $TMPDIR.
 *
 * @name chooses by what the layout or archive calls it or by its tag, @digest by the digest of its
 * manifest or of an index that leads to it, @platform by `os/architecture[/variant]`. Each may be NULL;
 * where that leaves several images, the one for this machine is meant.
 *
 * Returns 0, or a negative errno with *error set: -ENOENT if there is no such image, -EINVAL if there
 * are several or @path is none, -EBADMSG if it is not what its digests say, -EFBIG if it is larger than
 * any image.
 *
 * *image belongs to the caller, who frees it with ocilayer_image_free.
 *
 * Any thread may call this.
 */
int ocilayer_image_open(const char *path,
                        const char *name,
                        const char *digest,
                        const char *platform,
                        struct ocilayer_image **image,
                        struct ocilayer_error **error);

/**
 * Make an image without layers, for those of the caller: see ocilayer_image_add.
 *
 * Returns 0, or a negative errno with *error set.
 *
 * *image belongs to the caller, who frees it with ocilayer_image_free.
 *
 * Any thread may call this.
 */
int ocilayer_image_new(struct ocilayer_image **image, struct ocilayer_error **error);

/**
 * Put a layer upon those that @image has, which must be one of ocilayer_image_new.
 *
 * @diff_id is the digest that its archive must have, @digest that of its blob, or NULL. @source is not
 * one with a read function: those are read on the thread that calls, and layers are not. A pipe does
 * what such a function does, also while the blob is still being downloaded; the layers of one image are
 * begun bottom first, and not all of them at once.
 *
 * Returns 0, or a negative errno with *error set.
 *
 * @source belongs to the image from now on: its caller may free it, and nothing else. Memory that it
 * names must stay as it is until the image is freed.
 */
int ocilayer_image_add(struct ocilayer_image *image,
                       struct ocilayer_source *source,
                       const char *digest,
                       const char *diff_id,
                       struct ocilayer_error **error);

/**
 * Unpack all layers of @image, several at once. In OCILAYER_MODE_DIRECTORY they become one tree in
 * @directory, which must be empty. In the overlay modes @directory is a store: it gets a directory for
 * each layer that it lacks, by its chain ID, and is made if it is not there. A layer is put into its
 * place when all of it was verified and is on disk as options.sync says; what a killed process has left
 * is removed. Any number of processes may use one store.
 *
 * Each blob's digest and each diffID are held against what the image says: options.expected_blob_digest,
 * expected_diff_id, lowers, upper and read_to must not be set. options.threads is for all layers together;
 * each takes memory as an unpack of its own, at most eight at a time. The callbacks are told of all
 * layers: see the field layer of what they are shown. What a filter declines is missing in the layer for
 * all who use the store.
 *
 * Returns 0, or a negative errno with *error set, whose message names the layer. The layers of a store
 * below that one are complete then, and those above are not there; a directory holds a part of the
 * image.
 *
 * Everything is borrowed until return. The sources of an image of ocilayer_image_new are used up.
 * *report (may be NULL) belongs to the caller, who frees it with ocilayer_image_report_free; on failure
 * it is NULL.
 *
 * Callbacks run on the calling thread. Worker threads end before this returns and take no signals.
 */
int ocilayer_unpack_image(struct ocilayer_image *image,
                          const char *directory,
                          const struct ocilayer_options *options,
                          struct ocilayer_image_report **report,
                          struct ocilayer_error **error);

/**
 * How many layers the image has; 0 for NULL.
 */
size_t ocilayer_image_layers(const struct ocilayer_image *image);

/**
 * Digest of the blob of a layer, counted from 0, bottom first; NULL if it is not known, or past the last.
 *
 * It belongs to the image and lives until that is freed or gets one more layer.
 */
const char *ocilayer_image_digest(const struct ocilayer_image *image,
                                  size_t layer);

/**
 * The diffID of a layer; NULL past the last. It lives as ocilayer_image_digest.
 */
const char *ocilayer_image_diff_id(const struct ocilayer_image *image, size_t layer);

/**
 * The chain ID of a layer, which stands for it and all below it (OCI image configuration, "Layer
 * ChainID"); NULL past the last. It lives as ocilayer_image_digest.
 */
const char *ocilayer_image_chain_id(const struct ocilayer_image *image, size_t layer);

/**
 * All of it as one JSON object: names, manifest digest, platform, layers. NULL for NULL. It lives as
 * ocilayer_image_digest.
 */
const char *ocilayer_image_json(const struct ocilayer_image *image);

/**
 * Free an image and all that was got from it; NULL does nothing.
 *
 * Not while another thread is in a call with it.
 */
void ocilayer_image_free(struct ocilayer_image *image);

/**
 * Ask the running kernel whether its overlayfs copies the opaque mark of a lower directory up,
 * which hides the files of all layers below ("ovl: don't copy up opaqueness" is missing). It
 * mounts a small overlay in a new directory below @dir and looks. The file system of @dir
 * matters: name the directory that holds the layers, or NULL for a temporary one.
 *
 * Returns 0 with *check set, or a negative errno with *error set. What stands in the way, such as
 * no privilege or no overlayfs, is not an error but the verdict OCILAYER_VERDICT_UNKNOWN.
 *
 * -ENOENT, -ENOTDIR, -EACCES and the like: @dir cannot be opened as a directory.
 *
 * The caller owns *check and frees it with ocilayer_check_free. @dir is borrowed until return.
 * Nothing is left behind in it.
 *
 * Any number of threads may call this at once. Mount namespace, umask and working directory of
 * the process stay as they are.
 */
int check_overlay_opaque_propagation(const char *dir,
                                     struct ocilayer_check **check,
                                     struct ocilayer_error **error);

/**
 * The same as check_overlay_opaque_propagation, by a name that begins as all others do.
 */
int ocilayer_check_overlay_opaque_propagation(const char *dir,
                                              struct ocilayer_check **check,
                                              struct ocilayer_error **error);

/**
 * The answer: one of OCILAYER_VERDICT_*.
 */
uint32_t ocilayer_check_verdict(const struct ocilayer_check *check);

/**
 * Whether this way of copying up, one of OCILAYER_COPY_UP_*, carried the mark along.
 */
bool ocilayer_check_propagates(const struct ocilayer_check *check, uint32_t copy_up);

/**
 * One line for people: the directory, its file system, and the answer. NULL for NULL.
 */
const char *ocilayer_check_summary(const struct ocilayer_check *check);

/**
 * Why the check cannot tell; NULL if it can.
 */
const char *ocilayer_check_reason(const struct ocilayer_check *check);

/**
 * What an operator should do, one paragraph; NULL unless the kernel is affected.
 */
const char *ocilayer_check_advice(const struct ocilayer_check *check);

/**
 * All of it as one JSON object, in UTF-8, with each way that was tried. NULL for NULL.
 */
const char *ocilayer_check_json(const struct ocilayer_check *check);

/**
 * Free a check and all that was got from it; NULL does nothing.
 *
 * Not while another thread is in a call with it.
 */
void ocilayer_check_free(struct ocilayer_check *check);

/**
 * Read the layer that @source gives and tell what is in it, above all what unpack_layer with the
 * same @options would refuse. Nothing is written; it is one pass, and memory stays below a bound
 * of some 100 MB whatever the layer. It goes on after an entry that unpack_layer refuses.
 *
 * What lies below the layer is not looked at. options.lowers that is not NULL with lowers_count 0
 * says that nothing does, here in OCILAYER_MODE_DIRECTORY as well; otherwise what depends on the
 * lower layers is not told of, unless unpack_layer would not know it either. What a file system or
 * a privilege is missing for is not told of. options.filter, warning, sync mean nothing here.
 *
 * Returns 0, or a negative errno with *error set. What is wrong with the layer is not an error but
 * a finding, OCILAYER_FINDING_REFUSED, also where the blob is damaged or not the expected one.
 *
 * -EINVAL and -E2BIG for arguments, -ECANCELED when cancelled, -ENOTRECOVERABLE for a defect in
 * this library, what a callback returned, and what reading the source answered.
 *
 * @source and @options are borrowed until return; @options may be NULL for the defaults. @source
 * is used up as soon as its options are accepted, and stays the caller's to free. @callback may be
 * NULL; @userdata is handed to it. *report (may be NULL) belongs to the caller, who frees it with
 * ocilayer_scan_report_free: it is NULL on failure. *error (may be NULL) is written on failure
 * only and freed with ocilayer_error_free.
 *
 * Any number of threads may scan at once, each with its own source. Callbacks run on the calling
 * thread. Worker threads end before this returns and take no signals.
 */
int ocilayer_scan(struct ocilayer_source *source,
                  const struct ocilayer_options *options,
                  ocilayer_finding_fn callback,
                  void *userdata,
                  struct ocilayer_scan_report **report,
                  struct ocilayer_error **error);

/**
 * Whether unpack_layer would fail: there was an OCILAYER_FINDING_REFUSED.
 */
bool ocilayer_scan_report_refused(const struct ocilayer_scan_report *report);

/**
 * Whether the archive could not be read to its end, so that there may be more in it.
 */
bool ocilayer_scan_report_partial(const struct ocilayer_scan_report *report);

/**
 * How many findings there were of a kind, one of OCILAYER_FINDING_*; 0 for a kind that this
 * library does not know.
 */
uint64_t ocilayer_scan_report_count(const struct ocilayer_scan_report *report, uint32_t kind);

/**
 * Entries in the archive, whiteouts, markers and refused ones included.
 */
uint64_t ocilayer_scan_report_entries(const struct ocilayer_scan_report *report);

/**
 * Whether the layer has more names than are kept: from the entry in *entry (may be NULL) on
 * neither duplicates were told of, nor refusals that depend on the entries before.
 */
bool ocilayer_scan_report_names_lost(const struct ocilayer_scan_report *report, uint64_t *entry);

/**
 * Digest of the blob as read, `sha256:HEX`; expected or not; NULL if it was not read to
 * its end, or is skipped.
 */
const char *ocilayer_scan_report_blob_digest(const struct ocilayer_scan_report *report);

/**
 * Digest of the uncompressed archive, likewise.
 */
const char *ocilayer_scan_report_diff_id(const struct ocilayer_scan_report *report);

/**
 * The report as one JSON object; NULL for NULL.
 */
const char *ocilayer_scan_report_json(const struct ocilayer_scan_report *report);

/**
 * Free a report and all that was got from it; NULL does nothing.
 *
 * Not while another thread is in a call with it.
 */
void ocilayer_scan_report_free(struct ocilayer_scan_report *report);

/**
 * Compare unpacked layers, bottom first, with the layers themselves: directories that are opaque
 * and should not be, with all that they hide; those that should be and are not; whiteouts missing
 * or too many; entries missing, too many, or other ones. A mark that hides nothing is not told of.
 *
 * Of @options (NULL for the defaults) mode, owners with their ranges, devices, threads, cancel, the
 * limits and, for a single layer, the expected digests count: they are those of the unpack, and the directories are compared with what that would
 * have left. With
 * OCILAYER_MODE_OVERLAY_USERXATTR the marks are `user.overlay.*`, else `trusted.overlay.*`.
 * @repair is one of OCILAYER_REPAIR_*.
 *
 * Returns 0, or a negative errno with *error set. Damage is no error. -EINVAL and -E2BIG for
 * arguments, -EBADMSG for another blob than the expected one, -ECANCELED when cancelled, -EBUSY when a repair is refused because of a mount,
 * -ENOTRECOVERABLE for a defect in this library, what a callback returned, what unpack_layer
 * answers to a layer that it refuses, and what reading a source or a directory answered.
 *
 * All pointers are borrowed until return. The sources are used up as soon as the other arguments
 * are accepted, and stay the caller's to free. @callback may be NULL; @userdata is handed to it.
 * *report (may be NULL) belongs to the caller, who frees it with ocilayer_audit_report_free: it is
 * NULL on failure. *error (may be NULL) is written on failure only and freed with
 * ocilayer_error_free.
 *
 * Memory holds the names of one layer at a time, and no content. Any number of threads may audit
 * at once, each with its own sources. The callback runs on the calling thread. Worker threads end
 * before this returns and take no signals.
 */
int ocilayer_audit(const struct ocilayer_audit_layer *layers,
                   size_t layers_count,
                   const struct ocilayer_options *options,
                   uint32_t repair,
                   ocilayer_damage_fn callback,
                   void *userdata,
                   struct ocilayer_audit_report **report,
                   struct ocilayer_error **error);

/**
 * The same without the layers, of which only suspicion can come: OCILAYER_DAMAGE_SUSPECT for each
 * opaque mark that repeats one of a lower layer. @directories are topmost first, as in overlay's
 * lowerdir, paths that end with a NUL. A repair removes all marks that are told of.
 *
 * Everything else is as for ocilayer_audit.
 */
int ocilayer_audit_directories(const char *const *directories,
                               size_t directories_count,
                               const struct ocilayer_options *options,
                               uint32_t repair,
                               ocilayer_damage_fn callback,
                               void *userdata,
                               struct ocilayer_audit_report **report,
                               struct ocilayer_error **error);

/**
 * Whether there is damage: a finding of any kind but OCILAYER_DAMAGE_SUSPECT.
 */
bool ocilayer_audit_report_damaged(const struct ocilayer_audit_report *report);

/**
 * How many findings there were of a kind, one of OCILAYER_DAMAGE_*; 0 for a kind that this library
 * does not know.
 */
uint64_t ocilayer_audit_report_count(const struct ocilayer_audit_report *report, uint32_t kind);

/**
 * Layers that were looked at.
 */
uint64_t ocilayer_audit_report_layers(const struct ocilayer_audit_report *report);

/**
 * Marks that a repair removed.
 */
uint64_t ocilayer_audit_report_repaired(const struct ocilayer_audit_report *report);

/**
 * Whiteouts that a repair wrote where such a mark had hidden what the layer deletes.
 */
uint64_t ocilayer_audit_report_whiteouts(const struct ocilayer_audit_report *report);

/**
 * Names that a restore made anew or mended.
 */
uint64_t ocilayer_audit_report_restored(const struct ocilayer_audit_report *report);

/**
 * The report as one JSON object; NULL for NULL.
 */
const char *ocilayer_audit_report_json(const struct ocilayer_audit_report *report);

/**
 * Free a report and all that was got from it; NULL does nothing.
 *
 * Not while another thread is in a call with it.
 */
void ocilayer_audit_report_free(struct ocilayer_audit_report *report);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* OCILAYER_H */
