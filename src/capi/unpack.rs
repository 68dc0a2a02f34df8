// SPDX-License-Identifier: Apache-2.0
//! `unpack_layer`.

use std::ffi::{c_char, c_int};

use super::argument::{Out, exclusive, path};
use super::error::ocilayer_error;
use super::guard::guarded;
use super::options::ocilayer_options;
use super::report::ocilayer_report;
use super::source::ocilayer_source;
use crate::error::Error;
use crate::unpack::unpack_with;

/// Apply the layer that @source gives to the directory @root, and below it only: no name, link or
/// whiteout in the layer reaches anything outside. @root must exist.
///
/// Returns 0, or a negative errno with *error set. On failure @root may hold a part of the layer.
///
/// The kind of the error tells more than the errno, see OCILAYER_ERROR_*. Some of the results:
/// -EINVAL and -E2BIG for arguments, -EBADMSG for a damaged blob or an unexpected digest, -EFBIG
/// for a limit, -ECANCELED when cancelled, -ENOTRECOVERABLE for a defect in this library, what a
/// callback returned, and what the file system answered.
///
/// @source and @options are borrowed until return; @options may be NULL for the defaults. @source
/// is used up as soon as its options are accepted, and stays the caller's to free. *report (may be
/// NULL) belongs to the caller, who frees it with ocilayer_report_free: on failure it tells what
/// had been done, or is NULL if nothing was begun. *error (may be NULL) is written on failure only
/// and freed with ocilayer_error_free.
///
/// Any number of threads may unpack at once, each with its own source and root. Callbacks run on
/// the calling thread. Worker threads end before this returns and take no signals.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn unpack_layer(
    source: *mut ocilayer_source,
    root: *const c_char,
    options: *const ocilayer_options,
    report: *mut *mut ocilayer_report,
    error: *mut *mut ocilayer_error,
) -> c_int {
    let work = || {
        // SAFETY: all pointers are NULL or what the header asks for, until this returns.
        let (out, source, root, asked) = unsafe {
            let out = Out::optional(report);
            let source = exclusive(source, "source")?;
            (out, source, path(root, "root")?, ocilayer_options::read(options)?)
        };
        // SAFETY: as above, for what the options point to.
        let (options, mut callbacks) = unsafe { (asked.parse()?, asked.callbacks()) };
        // Before the source is used up: a caller may mend the options and try again.
        options.check().map_err(Error::from)?;
        // SAFETY: the header asks for memory and userdata to stay until this returns.
        let source = unsafe { source.take()? };
        let result = unpack_with(source, root, &options, &mut callbacks);
        let told = match &result {
            Ok(report) => Some(report),
            Err(error) => error.report(),
        };
        if let (Some(out), Some(told)) = (out, told) {
            out.give(ocilayer_report::new(told.clone()));
        }
        result.map(drop).map_err(Into::into)
    };
    // SAFETY: `error` is NULL or writable, as the header asks.
    unsafe { guarded(error, work) }
}

/// The same as unpack_layer, by a name that begins as all others do.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ocilayer_unpack_layer(
    source: *mut ocilayer_source,
    root: *const c_char,
    options: *const ocilayer_options,
    report: *mut *mut ocilayer_report,
    error: *mut *mut ocilayer_error,
) -> c_int {
    // SAFETY: what the header asks for is the same.
    unsafe { unpack_layer(source, root, options, report, error) }
}
