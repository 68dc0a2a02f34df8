// SPDX-License-Identifier: Apache-2.0
//! `ocilayer_report`: one getter for each field, so that a program that asks for a field which its
//! library lacks does not start, instead of reading past the end of a struct.

use std::ffi::c_char;
use std::ptr::null;
use std::sync::OnceLock;

use super::argument::free;
use super::guard::infallible;
use super::skipped::ocilayer_skipped;
use super::text::Text;
use crate::digest::Digest;
use crate::report::{Compression, Report};

/// What an unpack did and left out. All accessors take NULL for "nothing was done". Threads may
/// share one. Strings belong to the report and live as long.
pub struct ocilayer_report {
    report: Report,
    blob_digest: Option<Text>,
    diff_id: Option<Text>,
    skipped: Vec<ocilayer_skipped>,
    json: OnceLock<Text>,
}

/// Values of ocilayer_report_compression.
#[repr(C)]
pub enum ocilayer_compression {
    OCILAYER_COMPRESSION_NONE = 0,
    OCILAYER_COMPRESSION_GZIP = 1,
    OCILAYER_COMPRESSION_ZSTD = 2,
}

impl From<Compression> for ocilayer_compression {
    fn from(compression: Compression) -> Self {
        match compression {
            Compression::None => Self::OCILAYER_COMPRESSION_NONE,
            Compression::Gzip => Self::OCILAYER_COMPRESSION_GZIP,
            Compression::Zstd => Self::OCILAYER_COMPRESSION_ZSTD,
        }
    }
}

impl ocilayer_report {
    pub(super) fn new(report: Report) -> ocilayer_report {
        let text = |digest: &Option<Digest>| digest.as_ref().map(|d| Text::new(d.to_string()));
        ocilayer_report {
            blob_digest: text(&report.blob_digest),
            diff_id: text(&report.diff_id),
            skipped: report.skipped.iter().map(ocilayer_skipped::from).collect(),
            json: OnceLock::new(),
            report,
        }
    }

    fn json(&self) -> &Text {
        self.json.get_or_init(|| Text::new(self.report.to_json()))
    }
}

/// # Safety
/// `report` is NULL or a report that was not freed.
unsafe fn read<T: Copy>(
    report: *const ocilayer_report,
    nothing: T,
    field: impl FnOnce(&Report) -> T,
) -> T {
    // SAFETY: the caller's promise.
    infallible(nothing, || unsafe { report.as_ref() }.map_or(nothing, |own| field(&own.report)))
}

/// # Safety
/// `report` is NULL or a report that was not freed.
unsafe fn string(
    report: *const ocilayer_report,
    field: impl FnOnce(&ocilayer_report) -> Option<&Text>,
) -> *const c_char {
    // SAFETY: the caller's promise.
    infallible(null(), || unsafe { report.as_ref() }.and_then(field).map_or(null(), Text::as_ptr))
}

/// Whether the layer was not applied to its end: the unpack failed or was cancelled, and the root
/// holds only a part of it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ocilayer_report_partial(report: *const ocilayer_report) -> bool {
    // SAFETY: NULL or not freed, as the header asks.
    unsafe { read(report, false, |report| report.partial) }
}

/// Entries in the archive, whiteouts, markers and skipped ones included.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ocilayer_report_entries(report: *const ocilayer_report) -> u64 {
    // SAFETY: NULL or not freed, as the header asks.
    unsafe { read(report, 0, |report| report.entries.total) }
}

/// Regular files made.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ocilayer_report_files(report: *const ocilayer_report) -> u64 {
    // SAFETY: NULL or not freed, as the header asks.
    unsafe { read(report, 0, |report| report.entries.files) }
}

/// Directories made or merged.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ocilayer_report_directories(report: *const ocilayer_report) -> u64 {
    // SAFETY: NULL or not freed, as the header asks.
    unsafe { read(report, 0, |report| report.entries.directories) }
}

/// Symbolic links made.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ocilayer_report_symlinks(report: *const ocilayer_report) -> u64 {
    // SAFETY: NULL or not freed, as the header asks.
    unsafe { read(report, 0, |report| report.entries.symlinks) }
}

/// Hard links made.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ocilayer_report_hardlinks(report: *const ocilayer_report) -> u64 {
    // SAFETY: NULL or not freed, as the header asks.
    unsafe { read(report, 0, |report| report.entries.hardlinks) }
}

/// FIFOs made.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ocilayer_report_fifos(report: *const ocilayer_report) -> u64 {
    // SAFETY: NULL or not freed, as the header asks.
    unsafe { read(report, 0, |report| report.entries.fifos) }
}

/// Devices made; those of whiteouts are not counted.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ocilayer_report_devices(report: *const ocilayer_report) -> u64 {
    // SAFETY: NULL or not freed, as the header asks.
    unsafe { read(report, 0, |report| report.entries.devices) }
}

/// Whiteout entries read, needed or not.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ocilayer_report_whiteouts(report: *const ocilayer_report) -> u64 {
    // SAFETY: NULL or not freed, as the header asks.
    unsafe { read(report, 0, |report| report.whiteouts) }
}

/// Directories made opaque by a marker or by a whiteout of the same name.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ocilayer_report_opaque_directories(report: *const ocilayer_report) -> u64 {
    // SAFETY: NULL or not freed, as the header asks.
    unsafe { read(report, 0, |report| report.opaque_directories) }
}

/// Parent directories that no entry of the layer describes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ocilayer_report_implied_directories(
    report: *const ocilayer_report,
) -> u64 {
    // SAFETY: NULL or not freed, as the header asks.
    unsafe { read(report, 0, |report| report.implied_directories) }
}

/// Lower files that a hard link brought into the upper directory.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ocilayer_report_copied_up(report: *const ocilayer_report) -> u64 {
    // SAFETY: NULL or not freed, as the header asks.
    unsafe { read(report, 0, |report| report.copied_up) }
}

/// Opaque marks that a faulty kernel copied to ocilayer_options.upper, and that were removed there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ocilayer_report_propagated_marks(report: *const ocilayer_report) -> u64 {
    // SAFETY: NULL or not freed, as the header asks.
    unsafe { read(report, 0, |report| report.propagated_marks) }
}

/// Entries that were not written, since a layer above replaces or hides them; only of images that are
/// unpacked to one directory, the newest layer first. Among the entries, and none of the files,
/// directories, symbolic and hard links, FIFOs and devices.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ocilayer_report_hidden(report: *const ocilayer_report) -> u64 {
    // SAFETY: NULL or not freed, as the header asks.
    unsafe { read(report, 0, |report| report.hidden) }
}

/// Bytes of the blob as read.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ocilayer_report_blob_bytes(report: *const ocilayer_report) -> u64 {
    // SAFETY: NULL or not freed, as the header asks.
    unsafe { read(report, 0, |report| report.bytes.blob) }
}

/// Bytes of the uncompressed archive, those after its end marker included.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ocilayer_report_layer_bytes(report: *const ocilayer_report) -> u64 {
    // SAFETY: NULL or not freed, as the header asks.
    unsafe { read(report, 0, |report| report.bytes.layer) }
}

/// Bytes written to regular files, holes not counted.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ocilayer_report_file_bytes(report: *const ocilayer_report) -> u64 {
    // SAFETY: NULL or not freed, as the header asks.
    unsafe { read(report, 0, |report| report.bytes.files) }
}

/// Seconds from the call to the return.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ocilayer_report_wall_seconds(report: *const ocilayer_report) -> f64 {
    // SAFETY: NULL or not freed, as the header asks.
    unsafe { read(report, 0.0, |report| report.seconds.wall.as_secs_f64()) }
}

/// Seconds spent on reading the source and decompressing it. Stages overlap: their sum may exceed
/// ocilayer_report_wall_seconds.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ocilayer_report_decompress_seconds(report: *const ocilayer_report) -> f64 {
    // SAFETY: NULL or not freed, as the header asks.
    unsafe { read(report, 0.0, |report| report.seconds.decompress.as_secs_f64()) }
}

/// Seconds spent on hashing the uncompressed archive.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ocilayer_report_digest_seconds(report: *const ocilayer_report) -> f64 {
    // SAFETY: NULL or not freed, as the header asks.
    unsafe { read(report, 0.0, |report| report.seconds.digest.as_secs_f64()) }
}

/// Seconds spent on interpreting entries and making files.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ocilayer_report_apply_seconds(report: *const ocilayer_report) -> f64 {
    // SAFETY: NULL or not freed, as the header asks.
    unsafe { read(report, 0.0, |report| report.seconds.apply.as_secs_f64()) }
}

/// Seconds spent on waiting for the disk, as ocilayer_options.sync asked.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ocilayer_report_sync_seconds(report: *const ocilayer_report) -> f64 {
    // SAFETY: NULL or not freed, as the header asks.
    unsafe { read(report, 0.0, |report| report.seconds.sync.as_secs_f64()) }
}

/// How the blob was compressed: one of OCILAYER_COMPRESSION_*. More may come.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ocilayer_report_compression(report: *const ocilayer_report) -> u32 {
    let number = |report: &Report| ocilayer_compression::from(report.compression) as u32;
    // SAFETY: NULL or not freed, as the header asks.
    unsafe { read(report, 0, number) }
}

/// Digest of the blob as read, `sha256:HEX`; NULL if it was not read to its end, or is skipped.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ocilayer_report_blob_digest(
    report: *const ocilayer_report,
) -> *const c_char {
    // SAFETY: NULL or not freed, as the header asks.
    unsafe { string(report, |report| report.blob_digest.as_ref()) }
}

/// Digest of the uncompressed archive, the layer's diffID; NULL if it was not read to its end.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ocilayer_report_diff_id(report: *const ocilayer_report) -> *const c_char {
    // SAFETY: NULL or not freed, as the header asks.
    unsafe { string(report, |report| report.diff_id.as_ref()) }
}

/// All of it as one JSON object, in UTF-8; names that are not UTF-8 appear with replacement
/// characters. NULL for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ocilayer_report_json(report: *const ocilayer_report) -> *const c_char {
    // SAFETY: NULL or not freed, as the header asks.
    unsafe { string(report, |own| Some(own.json())) }
}

/// The @index-th reason for which something was skipped, with count and examples; NULL past the
/// last one. `for (i = 0; (skipped = ocilayer_report_skipped(report, i)) != NULL; i++)`
///
/// It belongs to the report and lives as long.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ocilayer_report_skipped(
    report: *const ocilayer_report,
    index: usize,
) -> *const ocilayer_skipped {
    // SAFETY: NULL or not freed, as the header asks.
    let skipped = || unsafe { report.as_ref() }.and_then(|report| report.skipped.get(index));
    infallible(null(), || skipped().map_or(null(), std::ptr::from_ref))
}

/// Free a report and all that was got from it; NULL does nothing.
///
/// Not while another thread is in a call with it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ocilayer_report_free(report: *mut ocilayer_report) {
    // SAFETY: NULL or from unpack_layer and not freed before, as the header asks.
    infallible((), || unsafe { free(report) })
}
