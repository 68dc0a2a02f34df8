// SPDX-License-Identifier: Apache-2.0
//! `ocilayer_options`.

use std::ffi::{CStr, c_char, c_void};
use std::mem::{MaybeUninit, offset_of, size_of};

use super::argument::{ArgumentError, array, optional_path, paths};
use super::cancel::ocilayer_cancel;
use super::observer::{Callbacks, ocilayer_filter_fn, ocilayer_lowers_fn};
use super::observer::{ocilayer_progress_fn, ocilayer_warning_fn};
use crate::audit::Compare;
use crate::digest::Digest;
use crate::limits::Limits;
use crate::options::{Devices, Expect, IdRange, Lowers, Mode, Options, Owners, ReadTo, Sync};

/// Values of ocilayer_options.mode: how whiteouts and opaque directories become visible.
#[repr(C)]
pub enum ocilayer_mode {
    /// Whiteouts delete from the directory: a plain root file system, or a mount of the parents.
    OCILAYER_MODE_DIRECTORY = 0,
    /// The root is an overlay upper directory: 0:0 devices and `trusted.overlay.opaque`.
    OCILAYER_MODE_OVERLAY = 1,
    /// The same with `user.overlay.opaque`, for overlay mounts in a user namespace.
    OCILAYER_MODE_OVERLAY_USERXATTR = 2,
}

/// Values of ocilayer_options.owners: what becomes of the owners in the archive.
#[repr(C)]
pub enum ocilayer_owners {
    /// As they are in the archive.
    OCILAYER_OWNERS_KEEP = 0,
    /// Shifted through uid_ranges and gid_ranges; an id outside of all ranges fails the unpack.
    OCILAYER_OWNERS_MAP = 1,
    /// No chown: everything belongs to the calling process.
    OCILAYER_OWNERS_IGNORE = 2,
}

/// Values of ocilayer_options.devices: what becomes of block and character devices.
#[repr(C)]
pub enum ocilayer_devices {
    /// Made where the kernel allows it; skipped and reported in a user namespace.
    OCILAYER_DEVICES_CREATE = 0,
    /// Skipped and reported.
    OCILAYER_DEVICES_SKIP = 1,
}

/// Values of ocilayer_options.sync: what is on disk when unpack_layer returns.
#[repr(C)]
pub enum ocilayer_sync {
    /// Whatever the kernel has written by then.
    OCILAYER_SYNC_NONE = 0,
    /// All that this layer made, the root included, and nothing of others: the data of each file
    /// are waited for, then one commit of the journal brings all metadata (ext4, XFS); on other file
    /// systems fsync(2) of each file and each directory.
    OCILAYER_SYNC_FILES = 1,
    /// One syncfs(2) of the root's file system.
    OCILAYER_SYNC_FILESYSTEM = 2,
}

/// Values of ocilayer_options.read_to: how far the blob is read.
#[repr(C)]
pub enum ocilayer_read_to {
    /// To its end, so that both digests are of the whole and a cut blob fails.
    OCILAYER_READ_TO_END_OF_BLOB = 0,
    /// To the end of the archive in it and no further: for a caller that reads the rest itself, checks
    /// the digests and knows whether the blob was whole. The report has no digests, none can be
    /// expected, and an archive without an end marker is taken. Of unpack_layer only.
    OCILAYER_READ_TO_END_OF_ARCHIVE = 1,
}

/// Values of ocilayer_options.compare: what an audit reads of the files in a directory.
#[repr(C)]
pub enum ocilayer_compare {
    /// All of it.
    OCILAYER_COMPARE_CONTENT = 0,
    /// Only files that have holes (lseek(2), SEEK_HOLE): for all others the size is enough. That finds
    /// what a power cut leaves behind, files without content or with zeros that were never written, and
    /// not bytes that somebody changed. A restore reads all nevertheless.
    OCILAYER_COMPARE_SIZES = 1,
}

/// @count ids of the archive from @container on become those from @host on.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ocilayer_id_range {
    pub container: u32,
    pub host: u32,
    pub count: u32,
}

/// What unpack_layer, ocilayer_scan and ocilayer_audit are told. Start with OCILAYER_OPTIONS_INIT,
/// or with zeros and @size: zero is the safe default of every field.
///
/// Later versions add fields at the end only, and @size tells which ones the caller knows: a
/// shorter struct is as good as one with zeros behind. A longer one, from a program that is newer
/// than the library, works as long as what the library does not know is zero, and is -E2BIG
/// otherwise.
///
/// All that it points to is borrowed until the call returns. One struct may serve several
/// threads at once, if its callbacks may.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ocilayer_options {
    /// sizeof(ocilayer_options).
    pub size: usize,
    /// One of OCILAYER_MODE_*.
    pub mode: u32,
    /// One of OCILAYER_OWNERS_*.
    pub owners: u32,
    /// One of OCILAYER_DEVICES_*.
    pub devices: u32,
    /// One of OCILAYER_SYNC_*.
    pub sync: u32,
    /// Worker threads: 0 chooses by the number of CPUs, 1 decompresses and writes on one thread.
    /// With more, one that is not counted may read a compressed file ahead. With 4 or more, on as many
    /// CPUs, up to 8 others decompress a gzip blob of 16 MiB or more from a file or from memory.
    pub threads: u32,
    /// 1: no digest of a compressed blob, unless expected_blob_digest says which: for a caller that
    /// checked it when the blob came in, as content stores do. It is a tenth of the work. 0: made.
    pub skip_blob_digest: u32,
    /// Overlay modes: the directories of the parent layers, topmost first as in overlay's
    /// lowerdir. NULL if they are not known; not NULL with lowers_count 0 for a bottom layer.
    pub lowers: *const *const c_char,
    pub lowers_count: usize,
    /// `sha256:HEX` or `sha512:HEX` that the blob must have as it is read; NULL to expect none.
    pub expected_blob_digest: *const c_char,
    /// The same of the uncompressed archive: the layer's diffID.
    pub expected_diff_id: *const c_char,
    /// For OCILAYER_OWNERS_MAP.
    pub uid_ranges: *const ocilayer_id_range,
    pub uid_ranges_count: usize,
    /// For OCILAYER_OWNERS_MAP.
    pub gid_ranges: *const ocilayer_id_range,
    pub gid_ranges_count: usize,
    /// Ends the unpack when cancelled, from any thread. May be NULL.
    pub cancel: *const ocilayer_cancel,
    /// Handed to the three callbacks below.
    pub userdata: *mut c_void,
    /// Asked about each entry. May be NULL, which is faster.
    pub filter: ocilayer_filter_fn,
    /// Told some ten times a second how far it is. May be NULL.
    pub progress: ocilayer_progress_fn,
    /// Told what was left out. May be NULL.
    pub warning: ocilayer_warning_fn,
    /// Limits: 0 stands for the default, which no real image meets. Entries: 10,000,000.
    pub limit_entries: u64,
    /// Uncompressed bytes of the archive, and of all files together with their holes: 2^40.
    pub limit_bytes: u64,
    /// Uncompressed bytes for each compressed one, looked at from 2^30 bytes on: by default there is
    /// no such limit, since real layers reach any ratio.
    pub limit_ratio: u64,
    /// Bytes in a name or a link target: 4,096.
    pub limit_path_bytes: u64,
    /// Components in a name: 512.
    pub limit_path_depth: u64,
    /// Bytes of all xattrs of one entry: 2^20.
    pub limit_xattr_bytes: u64,
    /// Window that a zstd frame may ask for, as a power of two: 10 to 31, by default 29. The unpack
    /// takes as much memory.
    pub limit_zstd_window_log: u64,
    /// OCILAYER_MODE_DIRECTORY, where the root is an overlay mount: the mount's upper directory.
    /// Marks of opaque directories that a faulty kernel copies up are then removed there, and
    /// counted by ocilayer_report_propagated_marks. NULL to leave them.
    pub upper: *const c_char,
    /// Bytes of memory for what has to be remembered of the layer until its end, its directories
    /// above all: some 500 for each. 2^30 by default.
    pub limit_memory: u64,
    /// One of OCILAYER_READ_TO_*: how far the blob is read.
    pub read_to: u32,
    /// ocilayer_audit: one of OCILAYER_COMPARE_*, what is read of the files.
    pub compare: u32,
    /// Overlay modes of unpack_layer: tells the directories of the parent layers when they are needed, in place
    /// of @lowers, which is NULL then: somebody is still making them. Until then only entries are applied that
    /// mean the same whatever the parents have, which are most. May be NULL.
    pub lowers_later: ocilayer_lowers_fn,
}

/// What the first callers could not do without: a smaller size is a mistake.
const LEAST: usize = offset_of!(ocilayer_options, lowers);

/// No version comes near; more is a size that was never set, and must not be looked at.
const MOST: usize = 4096;

impl ocilayer_options {
    /// The caller's struct, or zeros, in the shape that this library knows.
    ///
    /// # Safety
    /// `options` is NULL or points to as many bytes as its first field says.
    pub(super) unsafe fn read(
        options: *const ocilayer_options,
    ) -> Result<ocilayer_options, ArgumentError> {
        let known = size_of::<ocilayer_options>();
        let mut own = MaybeUninit::<ocilayer_options>::zeroed();
        if !options.is_null() {
            // SAFETY: not NULL, and the first field is there in every version.
            let size = unsafe { options.cast::<usize>().read() };
            if size < LEAST || size % 8 != 0 {
                return Err(ArgumentError::OptionsSize { got: size, least: LEAST });
            }
            let newer = || ArgumentError::OptionsNewer { got: size, known };
            if size > MOST {
                return Err(newer());
            }
            // SAFETY: the struct has `size` bytes, by the caller's promise.
            let theirs = unsafe { std::slice::from_raw_parts(options.cast::<u8>(), size) };
            if theirs.iter().skip(known).any(|byte| *byte != 0) {
                return Err(newer());
            }
            // SAFETY: both have that many bytes, and they are not the same memory.
            unsafe {
                let length = size.min(known);
                own.as_mut_ptr().cast::<u8>().copy_from_nonoverlapping(theirs.as_ptr(), length);
            }
        }
        // SAFETY: every field is an integer, a pointer or an optional function, for all of which
        // zeros are a value.
        Ok(unsafe { own.assume_init() })
    }

    /// The library's own options.
    ///
    /// # Safety
    /// What the fields point to is as the header asks.
    pub(super) unsafe fn parse(&self) -> Result<Options, ArgumentError> {
        // SAFETY: the caller's promise, for all of these.
        unsafe {
            Ok(Options {
                mode: meaning(&MODES, "options.mode", self.mode)?,
                lowers: self.lowers()?,
                upper: optional_path(self.upper),
                expect: Expect {
                    blob: digest(self.expected_blob_digest, "options.expected_blob_digest")?,
                    diff_id: digest(self.expected_diff_id, "options.expected_diff_id")?,
                },
                skip_blob_digest: meaning(
                    &[(0, false), (1, true)],
                    "options.skip_blob_digest",
                    self.skip_blob_digest,
                )?,
                threads: fits("options.threads", self.threads.into())?,
                limits: self.limits()?,
                owners: self.owners()?,
                devices: meaning(&DEVICES, "options.devices", self.devices)?,
                sync: meaning(&SYNCS, "options.sync", self.sync)?,
                read_to: self.read_to()?,
                cancel: self.cancel.as_ref().map(|token| token.0.clone()),
            })
        }
    }

    pub(super) fn compare(&self) -> Result<Compare, ArgumentError> {
        meaning(&COMPARES, "options.compare", self.compare)
    }

    fn read_to(&self) -> Result<ReadTo, ArgumentError> {
        // It counts for audits only, and is wrong for all.
        self.compare()?;
        meaning(&READ_TOS, "options.read_to", self.read_to)
    }

    /// # Safety
    /// The functions are what their types say, and may be called with the userdata.
    pub(super) unsafe fn callbacks(&self) -> Callbacks {
        Callbacks {
            userdata: self.userdata,
            filter: self.filter,
            progress: self.progress,
            warning: self.warning,
            lowers: self.lowers_later,
            layer: 0,
        }
    }

    /// # Safety
    /// As for [`ocilayer_options::parse`].
    unsafe fn lowers(&self) -> Result<Lowers, ArgumentError> {
        // SAFETY: the caller's promise.
        let lowers = unsafe { paths(self.lowers, self.lowers_count, "options.lowers")? };
        match (self.lowers_later, self.lowers.is_null()) {
            (Some(_), true) => Ok(Lowers::Later),
            (Some(_), false) => Err(ArgumentError::LowersTwice),
            (None, true) => Ok(Lowers::Unknown),
            (None, false) => Ok(Lowers::Known(lowers)),
        }
    }

    /// # Safety
    /// As for [`ocilayer_options::parse`].
    unsafe fn owners(&self) -> Result<Owners, ArgumentError> {
        // SAFETY: the caller's promise.
        let (uids, gids) = unsafe {
            (
                array(self.uid_ranges, self.uid_ranges_count, "options.uid_ranges")?,
                array(self.gid_ranges, self.gid_ranges_count, "options.gid_ranges")?,
            )
        };
        let ranges = |ranges: &[ocilayer_id_range]| {
            let range = |r: &ocilayer_id_range| IdRange {
                container: r.container,
                host: r.host,
                count: r.count,
            };
            ranges.iter().map(range).collect()
        };
        let owners = meaning(&OWNERS, "options.owners", self.owners)?;
        match owners {
            Owners::Map { .. } => Ok(Owners::Map { uids: ranges(uids), gids: ranges(gids) }),
            _ if uids.is_empty() && gids.is_empty() => Ok(owners),
            // Whoever gives ranges wants ids shifted: to keep the archive's root would be a gift.
            _ => Err(ArgumentError::RangesWithoutMap),
        }
    }

    fn limits(&self) -> Result<Limits, ArgumentError> {
        let default = Limits::default();
        let or = |value: u64, default: u64| if value == 0 { default } else { value };
        let or_usize = |field, value, default| match value {
            0 => Ok(default),
            value => fits(field, value),
        };
        Ok(Limits {
            entries: or(self.limit_entries, default.entries),
            bytes: or(self.limit_bytes, default.bytes),
            ratio: or(self.limit_ratio, default.ratio),
            path_bytes: or_usize(
                "options.limit_path_bytes",
                self.limit_path_bytes,
                default.path_bytes,
            )?,
            path_depth: or_usize(
                "options.limit_path_depth",
                self.limit_path_depth,
                default.path_depth,
            )?,
            memory: or(self.limit_memory, default.memory),
            xattr_bytes: or_usize(
                "options.limit_xattr_bytes",
                self.limit_xattr_bytes,
                default.xattr_bytes,
            )?,
            zstd_window_log: match self.limit_zstd_window_log {
                0 => default.zstd_window_log,
                value => fits("options.limit_zstd_window_log", value)?,
            },
        })
    }
}

const MODES: [(u32, Mode); 3] = [
    (ocilayer_mode::OCILAYER_MODE_DIRECTORY as u32, Mode::Directory),
    (ocilayer_mode::OCILAYER_MODE_OVERLAY as u32, Mode::Overlay),
    (ocilayer_mode::OCILAYER_MODE_OVERLAY_USERXATTR as u32, Mode::OverlayUserxattr),
];

const OWNERS: [(u32, Owners); 3] = [
    (ocilayer_owners::OCILAYER_OWNERS_KEEP as u32, Owners::Keep),
    (
        ocilayer_owners::OCILAYER_OWNERS_MAP as u32,
        Owners::Map { uids: Vec::new(), gids: Vec::new() },
    ),
    (ocilayer_owners::OCILAYER_OWNERS_IGNORE as u32, Owners::Ignore),
];

const DEVICES: [(u32, Devices); 2] = [
    (ocilayer_devices::OCILAYER_DEVICES_CREATE as u32, Devices::Create),
    (ocilayer_devices::OCILAYER_DEVICES_SKIP as u32, Devices::Skip),
];

const COMPARES: [(u32, Compare); 2] = [
    (ocilayer_compare::OCILAYER_COMPARE_CONTENT as u32, Compare::Content),
    (ocilayer_compare::OCILAYER_COMPARE_SIZES as u32, Compare::Sizes),
];

const READ_TOS: [(u32, ReadTo); 2] = [
    (ocilayer_read_to::OCILAYER_READ_TO_END_OF_BLOB as u32, ReadTo::EndOfBlob),
    (ocilayer_read_to::OCILAYER_READ_TO_END_OF_ARCHIVE as u32, ReadTo::EndOfArchive),
];

const SYNCS: [(u32, Sync); 3] = [
    (ocilayer_sync::OCILAYER_SYNC_NONE as u32, Sync::None),
    (ocilayer_sync::OCILAYER_SYNC_FILES as u32, Sync::Files),
    (ocilayer_sync::OCILAYER_SYNC_FILESYSTEM as u32, Sync::Filesystem),
];

/// C hands over any number where an enum is meant, so it is looked up and never transmuted.
fn meaning<T: Clone>(
    table: &[(u32, T)],
    field: &'static str,
    value: u32,
) -> Result<T, ArgumentError> {
    let row = table.iter().find(|(number, _)| *number == value);
    row.map(|(_, meaning)| meaning.clone()).ok_or(ArgumentError::Unknown { field, value })
}

fn fits<T: TryFrom<u64>>(field: &'static str, value: u64) -> Result<T, ArgumentError> {
    T::try_from(value).map_err(|_| ArgumentError::TooLarge { field, value })
}

/// # Safety
/// `pointer` is NULL or a string.
pub(super) unsafe fn digest(
    pointer: *const c_char,
    field: &'static str,
) -> Result<Option<Digest>, ArgumentError> {
    if pointer.is_null() {
        return Ok(None);
    }
    // SAFETY: not NULL; the rest is the caller's promise.
    let text = unsafe { CStr::from_ptr(pointer) }.to_string_lossy();
    text.parse().map(Some).map_err(|error| ArgumentError::Digest { field, error })
}
