// SPDX-License-Identifier: Apache-2.0
//! `check_overlay_opaque_propagation` and `ocilayer_check`.

use std::ffi::{c_char, c_int};
use std::ptr::null;

use super::argument::{Out, free, path};
use super::error::ocilayer_error;
use super::guard::{guarded, infallible};
use super::text::Text;
use crate::check::{self, CopyUp, Obstacle, OverlayCheck, Verdict};

/// Values of ocilayer_check_verdict.
#[repr(C)]
pub enum ocilayer_verdict {
    /// The check cannot tell; ocilayer_check_reason says why.
    OCILAYER_VERDICT_UNKNOWN = 0,
    /// Copying up carries the opaque mark along.
    OCILAYER_VERDICT_AFFECTED = 1,
    /// It does not.
    OCILAYER_VERDICT_NOT_AFFECTED = 2,
}

impl From<&Verdict> for ocilayer_verdict {
    fn from(verdict: &Verdict) -> Self {
        match verdict {
            Verdict::Unknown { .. } => Self::OCILAYER_VERDICT_UNKNOWN,
            Verdict::Affected => Self::OCILAYER_VERDICT_AFFECTED,
            Verdict::NotAffected => Self::OCILAYER_VERDICT_NOT_AFFECTED,
        }
    }
}

/// What makes overlayfs copy a directory up.
#[repr(C)]
pub enum ocilayer_copy_up {
    /// A file is created in it.
    OCILAYER_COPY_UP_CREATE = 1,
    /// Its mode changes.
    OCILAYER_COPY_UP_METADATA = 2,
    /// It is renamed.
    OCILAYER_COPY_UP_RENAME = 3,
}

impl From<CopyUp> for ocilayer_copy_up {
    fn from(copy_up: CopyUp) -> Self {
        match copy_up {
            CopyUp::Create => Self::OCILAYER_COPY_UP_CREATE,
            CopyUp::Metadata => Self::OCILAYER_COPY_UP_METADATA,
            CopyUp::Rename => Self::OCILAYER_COPY_UP_RENAME,
        }
    }
}

/// What check_overlay_opaque_propagation found. All accessors take NULL for "cannot tell". Threads
/// may share one. Strings belong to the check and live as long.
pub struct ocilayer_check {
    verdict: u32,
    propagating: Vec<u32>,
    summary: Text,
    reason: Option<Text>,
    advice: Option<Text>,
    json: Text,
}

impl From<OverlayCheck> for ocilayer_check {
    fn from(check: OverlayCheck) -> Self {
        let obstacle: Option<&Obstacle> = match &check.verdict {
            Verdict::Unknown { obstacle } => Some(obstacle),
            Verdict::Affected | Verdict::NotAffected => None,
        };
        ocilayer_check {
            verdict: ocilayer_verdict::from(&check.verdict) as u32,
            propagating: check
                .propagating()
                .map(|way| ocilayer_copy_up::from(way) as u32)
                .collect(),
            summary: Text::new(check.to_string()),
            reason: obstacle.map(|obstacle| Text::new(obstacle.to_string())),
            advice: check.advice().map(Text::new),
            json: Text::new(check.to_json()),
        }
    }
}

/// Ask the running kernel whether its overlayfs copies the opaque mark of a lower directory up,
/// which hides the files of all layers below ("ovl: don't copy up opaqueness" is missing). It
/// mounts a small overlay in a new directory below @dir and looks. The file system of @dir
/// matters: name the directory that holds the layers, or NULL for a temporary one.
///
/// Returns 0 with *check set, or a negative errno with *error set. What stands in the way, such as
/// no privilege or no overlayfs, is not an error but the verdict OCILAYER_VERDICT_UNKNOWN.
///
/// -ENOENT, -ENOTDIR, -EACCES and the like: @dir cannot be opened as a directory.
///
/// The caller owns *check and frees it with ocilayer_check_free. @dir is borrowed until return.
/// Nothing is left behind in it.
///
/// Any number of threads may call this at once. Mount namespace, umask and working directory of
/// the process stay as they are.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn check_overlay_opaque_propagation(
    dir: *const c_char,
    check: *mut *mut ocilayer_check,
    error: *mut *mut ocilayer_error,
) -> c_int {
    let work = || {
        // SAFETY: `check` is NULL or writable, as the header asks.
        let out = unsafe { Out::required(check, "check")? };
        let dir = match dir.is_null() {
            true => None,
            // SAFETY: not NULL and then a string, as the header asks.
            false => Some(unsafe { path(dir, "dir")? }),
        };
        out.give(check::check_overlay_opaque_propagation(dir)?.into());
        Ok(())
    };
    // SAFETY: `error` is NULL or writable, as the header asks.
    unsafe { guarded(error, work) }
}

/// The same as check_overlay_opaque_propagation, by a name that begins as all others do.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ocilayer_check_overlay_opaque_propagation(
    dir: *const c_char,
    check: *mut *mut ocilayer_check,
    error: *mut *mut ocilayer_error,
) -> c_int {
    // SAFETY: what the header asks for is the same.
    unsafe { check_overlay_opaque_propagation(dir, check, error) }
}

/// # Safety
/// `check` is NULL or a check that was not freed.
unsafe fn read<T: Copy>(
    check: *const ocilayer_check,
    nothing: T,
    field: impl FnOnce(&ocilayer_check) -> T,
) -> T {
    // SAFETY: the caller's promise.
    infallible(nothing, || unsafe { check.as_ref() }.map_or(nothing, field))
}

/// The answer: one of OCILAYER_VERDICT_*.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ocilayer_check_verdict(check: *const ocilayer_check) -> u32 {
    let unknown = ocilayer_verdict::OCILAYER_VERDICT_UNKNOWN as u32;
    // SAFETY: NULL or not freed, as the header asks.
    unsafe { read(check, unknown, |check| check.verdict) }
}

/// Whether this way of copying up, one of OCILAYER_COPY_UP_*, carried the mark along.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ocilayer_check_propagates(
    check: *const ocilayer_check,
    copy_up: u32,
) -> bool {
    // SAFETY: NULL or not freed, as the header asks.
    unsafe { read(check, false, |check| check.propagating.contains(&copy_up)) }
}

/// One line for people: the directory, its file system, and the answer. NULL for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ocilayer_check_summary(check: *const ocilayer_check) -> *const c_char {
    // SAFETY: NULL or not freed, as the header asks.
    unsafe { read(check, null(), |check| check.summary.as_ptr()) }
}

/// Why the check cannot tell; NULL if it can.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ocilayer_check_reason(check: *const ocilayer_check) -> *const c_char {
    let reason = |check: &ocilayer_check| check.reason.as_ref().map_or(null(), Text::as_ptr);
    // SAFETY: NULL or not freed, as the header asks.
    unsafe { read(check, null(), reason) }
}

/// What an operator should do, one paragraph; NULL unless the kernel is affected.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ocilayer_check_advice(check: *const ocilayer_check) -> *const c_char {
    let advice = |check: &ocilayer_check| check.advice.as_ref().map_or(null(), Text::as_ptr);
    // SAFETY: NULL or not freed, as the header asks.
    unsafe { read(check, null(), advice) }
}

/// All of it as one JSON object, in UTF-8, with each way that was tried. NULL for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ocilayer_check_json(check: *const ocilayer_check) -> *const c_char {
    // SAFETY: NULL or not freed, as the header asks.
    unsafe { read(check, null(), |check| check.json.as_ptr()) }
}

/// Free a check and all that was got from it; NULL does nothing.
///
/// Not while another thread is in a call with it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ocilayer_check_free(check: *mut ocilayer_check) {
    // SAFETY: NULL or from check_overlay_opaque_propagation and not freed before, as the header
    // asks.
    infallible((), || unsafe { free(check) })
}
