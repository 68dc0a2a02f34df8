// SPDX-License-Identifier: Apache-2.0
//! `ocilayer_audit`, its findings and its report.

use std::ffi::{c_char, c_int, c_void};
use std::mem::size_of;
use std::os::unix::ffi::OsStrExt;
use std::ptr::null;

use super::argument::{ArgumentError, Out, array, callback_errno, exclusive, free, path, paths};
use super::error::ocilayer_error;
use super::guard::{guarded, infallible};
use super::options::ocilayer_options;
use super::source::ocilayer_source;
use super::text::Text;
use crate::audit::{
    AuditLayer, AuditObserver, AuditOptions, AuditReport, Damage, DamageKind, audit,
    audit_directories,
};
use crate::errno::Errno;
use crate::options::{Expect, Mode};

/// Values of ocilayer_damage.kind: how a directory is not what its layer makes it. More may come.
#[repr(C)]
pub enum ocilayer_damage_kind {
    /// The directory is opaque and should not be: what the lower layers have in it is hidden.
    OCILAYER_DAMAGE_WRONGLY_OPAQUE = 1,
    /// A name of a lower layer, whose directory is the detail, that a wrong mark hides.
    OCILAYER_DAMAGE_LOST = 2,
    /// The directory should be opaque and is not: what the lower layers have in it shows.
    OCILAYER_DAMAGE_NOT_OPAQUE = 3,
    /// A name that the layer deletes is not deleted.
    OCILAYER_DAMAGE_MISSING_WHITEOUT = 4,
    /// A name is deleted that the layer does not delete.
    OCILAYER_DAMAGE_UNEXPECTED_WHITEOUT = 5,
    /// The layer has an entry of this name, the directory does not.
    OCILAYER_DAMAGE_MISSING = 6,
    /// The directory has this name, the layer does not.
    OCILAYER_DAMAGE_UNEXPECTED = 7,
    /// The entry is another one than the layer's; the detail says in what.
    OCILAYER_DAMAGE_DIFFERS = 8,
    /// Without layers to compare with: an opaque mark where a lower layer, whose directory is the
    /// detail, has one as well. The defect makes such marks, but so does deleting and making a
    /// directory twice.
    OCILAYER_DAMAGE_SUSPECT = 9,
}

impl From<DamageKind> for ocilayer_damage_kind {
    fn from(kind: DamageKind) -> Self {
        use ocilayer_damage_kind as C;
        match kind {
            DamageKind::WronglyOpaque => C::OCILAYER_DAMAGE_WRONGLY_OPAQUE,
            DamageKind::Lost => C::OCILAYER_DAMAGE_LOST,
            DamageKind::NotOpaque => C::OCILAYER_DAMAGE_NOT_OPAQUE,
            DamageKind::MissingWhiteout => C::OCILAYER_DAMAGE_MISSING_WHITEOUT,
            DamageKind::UnexpectedWhiteout => C::OCILAYER_DAMAGE_UNEXPECTED_WHITEOUT,
            DamageKind::Missing => C::OCILAYER_DAMAGE_MISSING,
            DamageKind::Unexpected => C::OCILAYER_DAMAGE_UNEXPECTED,
            DamageKind::Differs => C::OCILAYER_DAMAGE_DIFFERS,
            DamageKind::Suspect => C::OCILAYER_DAMAGE_SUSPECT,
        }
    }
}

fn number(kind: DamageKind) -> u32 {
    ocilayer_damage_kind::from(kind) as u32
}

/// What an audit does about what it finds.
#[repr(C)]
pub enum ocilayer_repair {
    /// Nothing: the findings are what a repair would act on.
    OCILAYER_REPAIR_NONE = 0,
    /// Removes opaque marks that are wrong after all was looked at, and writes the whiteouts that are
    /// missing below them, since what the layer deletes would show again; -EBUSY, with nothing removed, if
    /// an overlay mount of this machine uses one of the directories. No file is removed or changed.
    OCILAYER_REPAIR_MARKS = 1,
    /// Removes them also below live mounts, which show it when they are mounted anew.
    OCILAYER_REPAIR_LIVE = 2,
    /// Writes again, from the layer, all that its directory does not have as the layer has it: content,
    /// attributes, links, whiteouts and marks. Each layer is restored when it was looked at and before the
    /// one above it is. What the layer has no name for is told of and stays. All of it is on disk on
    /// return, as with OCILAYER_SYNC_FILES. -EBUSY as above, and -EINVAL from
    /// ocilayer_audit_directories.
    ///
    /// A file whose content differs is replaced: whoever has it open keeps the old one. Attributes change
    /// in place. Content that is to be restored takes its size on disk twice for a moment.
    OCILAYER_REPAIR_RESTORE = 3,
    /// The same also below live mounts.
    OCILAYER_REPAIR_RESTORE_LIVE = 4,
}

const NONE: u32 = ocilayer_repair::OCILAYER_REPAIR_NONE as u32;
const MARKS: u32 = ocilayer_repair::OCILAYER_REPAIR_MARKS as u32;
const LIVE: u32 = ocilayer_repair::OCILAYER_REPAIR_LIVE as u32;
const RESTORE: u32 = ocilayer_repair::OCILAYER_REPAIR_RESTORE as u32;
const RESTORE_LIVE: u32 = ocilayer_repair::OCILAYER_REPAIR_RESTORE_LIVE as u32;

/// A layer and the directory that it was unpacked to.
#[repr(C)]
pub struct ocilayer_audit_layer {
    pub source: *mut ocilayer_source,
    pub directory: *const c_char,
}

/// One thing that an audit found. Names are bytes as they stand on disk; a NUL follows them.
///
/// Later versions add fields at the end; @size tells which ones this library fills.
#[repr(C)]
pub struct ocilayer_damage {
    pub size: usize,
    /// The layer's directory, as the caller named it.
    pub directory: *const c_char,
    pub directory_length: usize,
    /// Below that directory; empty for the directory itself.
    pub path: *const c_char,
    pub path_length: usize,
    /// As the kind says, else empty.
    pub detail: *const c_char,
    pub detail_length: usize,
    /// The kind in a few words, for people.
    pub message: *const c_char,
    /// One of OCILAYER_DAMAGE_*. More may come.
    pub kind: u32,
    /// 0.
    pub reserved: u32,
}

/// Called for each finding, layer by layer from the bottom.
///
/// Returns 0 to go on, or a negative errno, which ends the audit before anything is repaired and before
/// anything of this layer is restored, and becomes its result. Anything else is -EINVAL.
///
/// @damage and all it points to are borrowed until return. It runs only on the thread that called.
/// It must return: no longjmp, no C++ exception.
pub type ocilayer_damage_fn =
    Option<unsafe extern "C" fn(userdata: *mut c_void, damage: *const ocilayer_damage) -> c_int>;

/// What an audit comes to. All accessors take NULL for "nothing was found". Threads may share one.
/// Strings belong to the report and live as long.
pub struct ocilayer_audit_report {
    report: AuditReport,
    json: Text,
}

impl From<AuditReport> for ocilayer_audit_report {
    fn from(report: AuditReport) -> Self {
        ocilayer_audit_report { json: Text::new(report.to_json()), report }
    }
}

/// The caller's callback, behind the library's trait.
struct Watcher {
    callback: ocilayer_damage_fn,
    userdata: *mut c_void,
}

impl AuditObserver for Watcher {
    fn damage(&mut self, damage: &Damage) -> Result<(), Errno> {
        let Some(tell) = self.callback else { return Ok(()) };
        let directory = Text::new(damage.directory.as_os_str().as_bytes());
        let path = Text::new(damage.path.as_slice());
        let detail = Text::new(damage.detail.as_slice());
        let message = Text::new(damage.kind.describe());
        let shown = ocilayer_damage {
            size: size_of::<ocilayer_damage>(),
            directory: directory.as_ptr(),
            directory_length: directory.len(),
            path: path.as_ptr(),
            path_length: path.len(),
            detail: detail.as_ptr(),
            detail_length: detail.len(),
            message: message.as_ptr(),
            kind: number(damage.kind),
            reserved: 0,
        };
        // SAFETY: what the caller promised; `shown` and its names live until it returns.
        match unsafe { tell(self.userdata, &shown) } {
            0 => Ok(()),
            other => Err(callback_errno(other)),
        }
    }
}

/// # Safety
/// `options` is NULL or as the header asks.
unsafe fn asked(
    options: *const ocilayer_options,
    repair: u32,
) -> Result<(AuditOptions, Expect), ArgumentError> {
    // SAFETY: the caller's promise.
    let (options, compare) = unsafe {
        let options = ocilayer_options::read(options)?;
        (options.parse()?, options.compare()?)
    };
    let (repair, restore, repair_live) = match repair {
        NONE => (false, false, false),
        MARKS => (true, false, false),
        LIVE => (true, false, true),
        RESTORE => (false, true, false),
        RESTORE_LIVE => (false, true, true),
        value => return Err(ArgumentError::Unknown { field: "repair", value }),
    };
    let audit = AuditOptions {
        restore,
        compare,
        userxattr: options.mode == Mode::OverlayUserxattr,
        repair,
        repair_live,
        owners: options.owners,
        devices: options.devices,
        threads: options.threads,
        limits: options.limits,
        cancel: options.cancel,
    };
    Ok((audit, options.expect))
}

/// Compare unpacked layers, bottom first, with the layers themselves: directories that are opaque
/// and should not be, with all that they hide; those that should be and are not; whiteouts missing
/// or too many; entries missing, too many, or other ones. A mark that hides nothing is not told of.
///
/// Of @options (NULL for the defaults) mode, owners with their ranges, devices, threads, cancel, the
/// limits and, for a single layer, the expected digests count: they are those of the unpack, and the directories are compared with what that would
/// have left. With
/// OCILAYER_MODE_OVERLAY_USERXATTR the marks are `user.overlay.*`, else `trusted.overlay.*`.
/// @repair is one of OCILAYER_REPAIR_*.
///
/// Returns 0, or a negative errno with *error set. Damage is no error. -EINVAL and -E2BIG for
/// arguments, -EBADMSG for another blob than the expected one, -ECANCELED when cancelled, -EBUSY when a repair is refused because of a mount,
/// -ENOTRECOVERABLE for a defect in this library, what a callback returned, what unpack_layer
/// answers to a layer that it refuses, and what reading a source or a directory answered.
///
/// All pointers are borrowed until return. The sources are used up as soon as the other arguments
/// are accepted, and stay the caller's to free. @callback may be NULL; @userdata is handed to it.
/// *report (may be NULL) belongs to the caller, who frees it with ocilayer_audit_report_free: it is
/// NULL on failure. *error (may be NULL) is written on failure only and freed with
/// ocilayer_error_free.
///
/// Memory holds the names of one layer at a time, and no content. Any number of threads may audit
/// at once, each with its own sources. The callback runs on the calling thread. Worker threads end
/// before this returns and take no signals.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ocilayer_audit(
    layers: *const ocilayer_audit_layer,
    layers_count: usize,
    options: *const ocilayer_options,
    repair: u32,
    callback: ocilayer_damage_fn,
    userdata: *mut c_void,
    report: *mut *mut ocilayer_audit_report,
    error: *mut *mut ocilayer_error,
) -> c_int {
    let work = || {
        // SAFETY: all pointers are NULL or what the header asks for, until this returns.
        let (out, (options, expect), layers) = unsafe {
            let out = Out::optional(report);
            (out, asked(options, repair)?, array(layers, layers_count, "layers")?)
        };
        if layers.len() > 1 && expect != Expect::default() {
            return Err(ArgumentError::ExpectedOfMany.into());
        }
        // All are looked at before the first is used up: a caller may mend one and try again.
        let mut directories = Vec::with_capacity(layers.len());
        for layer in layers {
            // SAFETY: as above.
            unsafe {
                exclusive(layer.source, "layers[].source")?;
                directories.push(path(layer.directory, "layers[].directory")?);
            }
        }
        let mut given = Vec::with_capacity(layers.len());
        for (layer, directory) in layers.iter().zip(directories) {
            // SAFETY: the header asks for memory and userdata to stay until this returns.
            let source = unsafe { exclusive(layer.source, "layers[].source")?.take()? };
            given.push(AuditLayer::new(source, directory).expect(expect.clone()));
        }
        let done = audit(given, &options, &mut Watcher { callback, userdata })?;
        if let Some(out) = out {
            out.give(done.into());
        }
        Ok(())
    };
    // SAFETY: `error` is NULL or writable, as the header asks.
    unsafe { guarded(error, work) }
}

/// The same without the layers, of which only suspicion can come: OCILAYER_DAMAGE_SUSPECT for each
/// opaque mark that repeats one of a lower layer. @directories are topmost first, as in overlay's
/// lowerdir, paths that end with a NUL. A repair removes all marks that are told of.
///
/// Everything else is as for ocilayer_audit.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ocilayer_audit_directories(
    directories: *const *const c_char,
    directories_count: usize,
    options: *const ocilayer_options,
    repair: u32,
    callback: ocilayer_damage_fn,
    userdata: *mut c_void,
    report: *mut *mut ocilayer_audit_report,
    error: *mut *mut ocilayer_error,
) -> c_int {
    let work = || {
        // SAFETY: all pointers are NULL or what the header asks for, until this returns.
        let (out, options, paths) = unsafe {
            let out = Out::optional(report);
            let (options, expect) = asked(options, repair)?;
            if expect != Expect::default() {
                return Err(ArgumentError::ExpectedOfMany.into());
            }
            (out, options, paths(directories, directories_count, "directories")?)
        };
        let done = audit_directories(&paths, &options, &mut Watcher { callback, userdata })?;
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
    report: *const ocilayer_audit_report,
    nothing: T,
    field: impl FnOnce(&ocilayer_audit_report) -> T,
) -> T {
    // SAFETY: the caller's promise.
    infallible(nothing, || unsafe { report.as_ref() }.map_or(nothing, field))
}

/// Whether there is damage: a finding of any kind but OCILAYER_DAMAGE_SUSPECT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ocilayer_audit_report_damaged(
    report: *const ocilayer_audit_report,
) -> bool {
    // SAFETY: NULL or not freed, as the header asks.
    unsafe { read(report, false, |own| own.report.is_damaged()) }
}

/// How many findings there were of a kind, one of OCILAYER_DAMAGE_*; 0 for a kind that this library
/// does not know.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ocilayer_audit_report_count(
    report: *const ocilayer_audit_report,
    kind: u32,
) -> u64 {
    let known = DamageKind::ALL.into_iter().find(|known| number(*known) == kind);
    // SAFETY: NULL or not freed, as the header asks.
    unsafe { read(report, 0, |own| known.map_or(0, |kind| own.report.count(kind))) }
}

/// Layers that were looked at.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ocilayer_audit_report_layers(report: *const ocilayer_audit_report) -> u64 {
    // SAFETY: NULL or not freed, as the header asks.
    unsafe { read(report, 0, |own| own.report.layers) }
}

/// Marks that a repair removed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ocilayer_audit_report_repaired(
    report: *const ocilayer_audit_report,
) -> u64 {
    // SAFETY: NULL or not freed, as the header asks.
    unsafe { read(report, 0, |own| own.report.repaired) }
}

/// Whiteouts that a repair wrote where such a mark had hidden what the layer deletes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ocilayer_audit_report_whiteouts(
    report: *const ocilayer_audit_report,
) -> u64 {
    // SAFETY: NULL or not freed, as the header asks.
    unsafe { read(report, 0, |own| own.report.whiteouts) }
}

/// Names that a restore made anew or mended.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ocilayer_audit_report_restored(
    report: *const ocilayer_audit_report,
) -> u64 {
    // SAFETY: NULL or not freed, as the header asks.
    unsafe { read(report, 0, |own| own.report.restored) }
}

/// The report as one JSON object; NULL for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ocilayer_audit_report_json(
    report: *const ocilayer_audit_report,
) -> *const c_char {
    // SAFETY: NULL or not freed, as the header asks.
    unsafe { read(report, null(), |own| own.json.as_ptr()) }
}

/// Free a report and all that was got from it; NULL does nothing.
///
/// Not while another thread is in a call with it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ocilayer_audit_report_free(report: *mut ocilayer_audit_report) {
    // SAFETY: NULL or from ocilayer_audit and not freed before, as the header asks.
    infallible((), || unsafe { free(report) })
}
