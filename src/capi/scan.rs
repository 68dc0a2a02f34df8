// SPDX-License-Identifier: Apache-2.0
//! `ocilayer_scan`, its findings and its report.

use std::ffi::{c_char, c_int, c_void};
use std::mem::size_of;
use std::ptr::null;

use super::argument::{Out, callback_errno, exclusive, free};
use super::error::{ocilayer_error, ocilayer_error_kinds};
use super::guard::{guarded, infallible};
use super::observer::Callbacks;
use super::options::ocilayer_options;
use super::source::ocilayer_source;
use super::text::Text;
use crate::errno::Errno;
use crate::error::Error;
use crate::observer::{Observer, Progress};
use crate::scan::{Finding, FindingKind, ScanObserver, ScanReport, scan};

/// Values of ocilayer_finding.kind. More may come.
#[repr(C)]
pub enum ocilayer_finding_kind {
    /// A whiteout: what it hides is the detail.
    OCILAYER_FINDING_WHITEOUT = 1,
    /// An opaque marker: the directory is the detail, empty for the root.
    OCILAYER_FINDING_OPAQUE = 2,
    /// A `trusted.*` xattr, whose name is the detail. Unpack drops it.
    OCILAYER_FINDING_TRUSTED_XATTR = 3,
    /// An xattr that overlayfs keeps for itself, whose name is the detail. Unpack drops it.
    OCILAYER_FINDING_OVERLAY_XATTR = 4,
    /// A `user.*` xattr on a symlink, device or FIFO, whose name is the detail. Unpack drops it.
    OCILAYER_FINDING_XATTR_ON_SPECIAL = 5,
    /// A name that has more `..` than components before them. Unpack refuses it.
    OCILAYER_FINDING_NAME_LEAVES_ROOT = 6,
    /// A link whose target, the detail, has more `..` than there are directories above it. Unpack
    /// keeps such a link inside the root; not every program does.
    OCILAYER_FINDING_LINK_LEAVES_ROOT = 7,
    /// A block or character device; `c 1:3` or `b 8:0` is the detail.
    OCILAYER_FINDING_DEVICE = 8,
    /// A file that runs as its owner; the mode in octal is the detail.
    OCILAYER_FINDING_SETUID = 9,
    /// A file that runs with its group; the mode in octal is the detail.
    OCILAYER_FINDING_SETGID = 10,
    /// A file with capabilities, by `security.capability`.
    OCILAYER_FINDING_FILE_CAPABILITY = 11,
    /// The layer has an entry of this name already; the last one wins.
    OCILAYER_FINDING_DUPLICATE = 12,
    /// aufs's own bookkeeping. Unpack leaves it out.
    OCILAYER_FINDING_AUFS_METADATA = 13,
    /// Unpack fails here: the error's kind, errno and message tell how.
    OCILAYER_FINDING_REFUSED = 14,
    /// A PAX record of the entry, whose key is the detail, that unpack does not apply, such as
    /// `SCHILY.acl.access`.
    OCILAYER_FINDING_IGNORED_RECORD = 15,
    /// A record of a global PAX header, whose key is the detail, that unpack does not apply, such
    /// as `uid`.
    OCILAYER_FINDING_GLOBAL_RECORD = 16,
    /// The archive ends without an end marker; unpack takes it where something else proves it
    /// whole.
    OCILAYER_FINDING_NO_END_MARKER = 17,
    /// Bytes other than zeros behind the archive's end marker. Unpack does not look at them.
    OCILAYER_FINDING_DATA_AFTER_END = 18,
    /// A hardlink to something that unpack leaves out. Unpack leaves it out as well.
    OCILAYER_FINDING_LINK_TO_SKIPPED = 19,
}

impl From<FindingKind> for ocilayer_finding_kind {
    fn from(kind: FindingKind) -> Self {
        use ocilayer_finding_kind as C;
        match kind {
            FindingKind::Whiteout => C::OCILAYER_FINDING_WHITEOUT,
            FindingKind::Opaque => C::OCILAYER_FINDING_OPAQUE,
            FindingKind::TrustedXattr => C::OCILAYER_FINDING_TRUSTED_XATTR,
            FindingKind::OverlayXattr => C::OCILAYER_FINDING_OVERLAY_XATTR,
            FindingKind::XattrOnSpecial => C::OCILAYER_FINDING_XATTR_ON_SPECIAL,
            FindingKind::NameLeavesRoot => C::OCILAYER_FINDING_NAME_LEAVES_ROOT,
            FindingKind::LinkLeavesRoot => C::OCILAYER_FINDING_LINK_LEAVES_ROOT,
            FindingKind::Device => C::OCILAYER_FINDING_DEVICE,
            FindingKind::Setuid => C::OCILAYER_FINDING_SETUID,
            FindingKind::Setgid => C::OCILAYER_FINDING_SETGID,
            FindingKind::FileCapability => C::OCILAYER_FINDING_FILE_CAPABILITY,
            FindingKind::Duplicate => C::OCILAYER_FINDING_DUPLICATE,
            FindingKind::AufsMetadata => C::OCILAYER_FINDING_AUFS_METADATA,
            FindingKind::Refused => C::OCILAYER_FINDING_REFUSED,
            FindingKind::IgnoredRecord => C::OCILAYER_FINDING_IGNORED_RECORD,
            FindingKind::GlobalRecord => C::OCILAYER_FINDING_GLOBAL_RECORD,
            FindingKind::NoEndMarker => C::OCILAYER_FINDING_NO_END_MARKER,
            FindingKind::DataAfterEnd => C::OCILAYER_FINDING_DATA_AFTER_END,
            FindingKind::LinkToSkipped => C::OCILAYER_FINDING_LINK_TO_SKIPPED,
        }
    }
}

fn number(kind: FindingKind) -> u32 {
    ocilayer_finding_kind::from(kind) as u32
}

/// One thing that a scan found. Names are bytes as they stand in the archive: not yet safe to use
/// as a path. A NUL follows them.
///
/// Later versions add fields at the end; @size tells which ones this library fills.
#[repr(C)]
pub struct ocilayer_finding {
    pub size: usize,
    /// Number of the entry, counted from 0; 0 if there is no place.
    pub entry: u64,
    /// Where the entry starts, in bytes of the uncompressed archive; 0 if there is no place.
    pub offset: u64,
    /// The entry's name; empty if it could not be read, or if there is no place.
    pub path: *const c_char,
    pub path_length: usize,
    /// As the kind says, else empty; cut at 4,096 bytes.
    pub detail: *const c_char,
    pub detail_length: usize,
    /// For people: the kind in a few words, or the whole line of an error, names escaped.
    pub message: *const c_char,
    /// One of OCILAYER_FINDING_*. More may come.
    pub kind: u32,
    /// One of OCILAYER_ERROR_*: that of unpack for OCILAYER_FINDING_REFUSED, else 0.
    pub error_kind: u32,
    /// The error's errno, positive, else 0.
    pub error_errno: c_int,
    /// 1 if the finding is about an entry, 0 if it is about the whole blob, such as a digest that
    /// is not the expected one.
    pub has_place: u32,
}

/// Called for each finding, in the order of the archive.
///
/// Returns 0 to go on, or a negative errno, which ends the scan and becomes its result. Anything
/// else is -EINVAL.
///
/// @finding and all it points to are borrowed until return. It runs only on the thread that called
/// ocilayer_scan. It must return: no longjmp, no C++ exception.
pub type ocilayer_finding_fn =
    Option<unsafe extern "C" fn(userdata: *mut c_void, finding: *const ocilayer_finding) -> c_int>;

/// What a scan comes to. All accessors take NULL for "nothing was found". Threads may share one.
/// Strings belong to the report and live as long.
pub struct ocilayer_scan_report {
    report: ScanReport,
    blob_digest: Option<Text>,
    diff_id: Option<Text>,
    json: Text,
}

impl From<ScanReport> for ocilayer_scan_report {
    fn from(report: ScanReport) -> Self {
        ocilayer_scan_report {
            blob_digest: report.blob_digest.as_ref().map(|digest| Text::new(digest.to_string())),
            diff_id: report.diff_id.as_ref().map(|digest| Text::new(digest.to_string())),
            json: Text::new(report.to_json()),
            report,
        }
    }
}

/// The caller's callbacks, behind the library's trait.
struct Watcher {
    options: Callbacks,
    callback: ocilayer_finding_fn,
    userdata: *mut c_void,
}

impl ScanObserver for Watcher {
    fn finding(&mut self, finding: &Finding) -> Result<(), Errno> {
        let Some(tell) = self.callback else { return Ok(()) };
        let place = finding.place.as_ref();
        let refusal = finding.refusal.as_ref();
        let path = Text::new(place.map_or(&[][..], |place| &place.path));
        let detail = Text::new(finding.detail.as_slice());
        let message = Text::new(match refusal {
            Some(refusal) => refusal.message.as_str(),
            None => finding.kind.describe(),
        });
        let shown = ocilayer_finding {
            size: size_of::<ocilayer_finding>(),
            entry: place.map_or(0, |place| place.entry),
            offset: place.map_or(0, |place| place.offset),
            path: path.as_ptr(),
            path_length: path.len(),
            detail: detail.as_ptr(),
            detail_length: detail.len(),
            message: message.as_ptr(),
            kind: number(finding.kind),
            error_kind: refusal.map_or(0, |r| ocilayer_error_kinds::from(r.kind) as u32),
            error_errno: refusal.map_or(0, |refusal| refusal.errno.raw_os_error()),
            has_place: place.is_some().into(),
        };
        // SAFETY: what ocilayer_scan was promised; `shown` and its names live until it returns.
        match unsafe { tell(self.userdata, &shown) } {
            0 => Ok(()),
            other => Err(callback_errno(other)),
        }
    }

    fn progress(&mut self, progress: &Progress) {
        self.options.progress(progress);
    }
}

/// Read the layer that @source gives and tell what is in it, above all what unpack_layer with the
/// same @options would refuse. Nothing is written; it is one pass, and memory stays below a bound
/// of some 100 MB whatever the layer. It goes on after an entry that unpack_layer refuses.
///
/// What lies below the layer is not looked at. options.lowers that is not NULL with lowers_count 0
/// says that nothing does, here in OCILAYER_MODE_DIRECTORY as well; otherwise what depends on the
/// lower layers is not told of, unless unpack_layer would not know it either. What a file system or
/// a privilege is missing for is not told of. options.filter, warning, sync mean nothing here.
///
/// Returns 0, or a negative errno with *error set. What is wrong with the layer is not an error but
/// a finding, OCILAYER_FINDING_REFUSED, also where the blob is damaged or not the expected one.
///
/// -EINVAL and -E2BIG for arguments, -ECANCELED when cancelled, -ENOTRECOVERABLE for a defect in
/// this library, what a callback returned, and what reading the source answered.
///
/// @source and @options are borrowed until return; @options may be NULL for the defaults. @source
/// is used up as soon as its options are accepted, and stays the caller's to free. @callback may be
/// NULL; @userdata is handed to it. *report (may be NULL) belongs to the caller, who frees it with
/// ocilayer_scan_report_free: it is NULL on failure. *error (may be NULL) is written on failure
/// only and freed with ocilayer_error_free.
///
/// Any number of threads may scan at once, each with its own source. Callbacks run on the calling
/// thread. Worker threads end before this returns and take no signals.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ocilayer_scan(
    source: *mut ocilayer_source,
    options: *const ocilayer_options,
    callback: ocilayer_finding_fn,
    userdata: *mut c_void,
    report: *mut *mut ocilayer_scan_report,
    error: *mut *mut ocilayer_error,
) -> c_int {
    let work = || {
        // SAFETY: all pointers are NULL or what the header asks for, until this returns.
        let (out, source, asked) = unsafe {
            let out = Out::optional(report);
            (out, exclusive(source, "source")?, ocilayer_options::read(options)?)
        };
        // SAFETY: as above, for what the options point to.
        let (options, told) = unsafe { (asked.parse()?, asked.callbacks()) };
        // Before the source is used up: a caller may mend the options and try again.
        options.check_scan().map_err(Error::from)?;
        // SAFETY: the header asks for memory and userdata to stay until this returns.
        let source = unsafe { source.take()? };
        let mut watcher = Watcher { options: told, callback, userdata };
        let done = scan(source, &options, &mut watcher)?;
        if let Some(out) = out {
            out.give(done.into());
        }
        Ok(())
    };
    // SAFETY: `error` is NULL or writable, as the header asks.
    unsafe { guarded(error, work) }
}

/// # Safety
/// `report` is NULL or a report that was not freed.
unsafe fn read<T: Copy>(
    report: *const ocilayer_scan_report,
    nothing: T,
    field: impl FnOnce(&ocilayer_scan_report) -> T,
) -> T {
    // SAFETY: the caller's promise.
    infallible(nothing, || unsafe { report.as_ref() }.map_or(nothing, field))
}

/// Whether unpack_layer would fail: there was an OCILAYER_FINDING_REFUSED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ocilayer_scan_report_refused(report: *const ocilayer_scan_report) -> bool {
    // SAFETY: NULL or not freed, as the header asks.
    unsafe { read(report, false, |own| own.report.is_refused()) }
}

/// Whether the archive could not be read to its end, so that there may be more in it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ocilayer_scan_report_partial(report: *const ocilayer_scan_report) -> bool {
    // SAFETY: NULL or not freed, as the header asks.
    unsafe { read(report, false, |own| own.report.partial) }
}

/// How many findings there were of a kind, one of OCILAYER_FINDING_*; 0 for a kind that this
/// library does not know.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ocilayer_scan_report_count(
    report: *const ocilayer_scan_report,
    kind: u32,
) -> u64 {
    let known = FindingKind::ALL.into_iter().find(|known| number(*known) == kind);
    // SAFETY: NULL or not freed, as the header asks.
    unsafe { read(report, 0, |own| known.map_or(0, |kind| own.report.findings.count(kind))) }
}

/// Entries in the archive, whiteouts, markers and refused ones included.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ocilayer_scan_report_entries(report: *const ocilayer_scan_report) -> u64 {
    // SAFETY: NULL or not freed, as the header asks.
    unsafe { read(report, 0, |own| own.report.entries.total) }
}

/// Whether the layer has more names than are kept: from the entry in *entry (may be NULL) on
/// neither duplicates were told of, nor refusals that depend on the entries before.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ocilayer_scan_report_names_lost(
    report: *const ocilayer_scan_report,
    entry: *mut u64,
) -> bool {
    // SAFETY: NULL or not freed, as the header asks.
    let until = unsafe { read(report, None, |own| own.report.names_kept_until) };
    if let (Some(until), false) = (until, entry.is_null()) {
        // SAFETY: not NULL, and then writable, as the header asks.
        unsafe { entry.write(until) };
    }
    until.is_some()
}

/// Digest of the blob as read, `sha256:HEX`; expected or not; NULL if it was not read to
/// its end, or is skipped.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ocilayer_scan_report_blob_digest(
    report: *const ocilayer_scan_report,
) -> *const c_char {
    let digest = |own: &ocilayer_scan_report| own.blob_digest.as_ref().map_or(null(), Text::as_ptr);
    // SAFETY: NULL or not freed, as the header asks.
    unsafe { read(report, null(), digest) }
}

/// Digest of the uncompressed archive, likewise.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ocilayer_scan_report_diff_id(
    report: *const ocilayer_scan_report,
) -> *const c_char {
    let digest = |own: &ocilayer_scan_report| own.diff_id.as_ref().map_or(null(), Text::as_ptr);
    // SAFETY: NULL or not freed, as the header asks.
    unsafe { read(report, null(), digest) }
}

/// The report as one JSON object; NULL for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ocilayer_scan_report_json(
    report: *const ocilayer_scan_report,
) -> *const c_char {
    // SAFETY: NULL or not freed, as the header asks.
    unsafe { read(report, null(), |own| own.json.as_ptr()) }
}

/// Free a report and all that was got from it; NULL does nothing.
///
/// Not while another thread is in a call with it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ocilayer_scan_report_free(report: *mut ocilayer_scan_report) {
    // SAFETY: NULL or from ocilayer_scan and not freed before, as the header asks.
    infallible((), || unsafe { free(report) })
}
