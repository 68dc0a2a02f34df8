// SPDX-License-Identifier: Apache-2.0
//! `ocilayer_cancel`.

use std::ffi::c_int;
use std::os::fd::{AsFd, AsRawFd};

use super::argument::{ArgumentError, Out, free};
use super::error::ocilayer_error;
use super::guard::{guarded, infallible};
use crate::cancel::Cancel;

/// A token that ends every unpack whose options name it, once and for good.
pub struct ocilayer_cancel(pub(super) Cancel);

/// Make a token in *cancel.
///
/// Returns 0, or a negative errno with *error set.
///
/// -EMFILE, -ENFILE: no descriptor is left; a token needs one.
///
/// The caller owns *cancel and frees it with ocilayer_cancel_free.
///
/// Any thread may call this.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ocilayer_cancel_new(
    cancel: *mut *mut ocilayer_cancel,
    error: *mut *mut ocilayer_error,
) -> c_int {
    let work = || {
        // SAFETY: `cancel` is NULL or writable, as the header asks.
        let out = unsafe { Out::required(cancel, "cancel")? };
        out.give(ocilayer_cancel(Cancel::new().map_err(ArgumentError::Wake)?));
        Ok(())
    };
    // SAFETY: `error` is NULL or writable, as the header asks.
    unsafe { guarded(error, work) }
}

/// Cancel. What runs ends with -ECANCELED, what starts later does so at once.
///
/// Reads of a descriptor or a path are woken. A read callback is the caller's code and cannot be:
/// one that may block polls ocilayer_cancel_fd as well. NULL does nothing.
///
/// @cancel is borrowed until return.
///
/// Any thread may call this at any time, and also a signal handler.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ocilayer_cancel_now(cancel: *const ocilayer_cancel) {
    // SAFETY: NULL or a token that was not freed, as the header asks.
    infallible((), || unsafe { cancel.as_ref() }.map_or((), |token| token.0.cancel()))
}

/// Whether ocilayer_cancel_now was called; false for NULL.
///
/// @cancel is borrowed until return.
///
/// Any thread may call this at any time.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ocilayer_cancel_is_set(cancel: *const ocilayer_cancel) -> bool {
    // SAFETY: NULL or a token that was not freed, as the header asks.
    infallible(false, || unsafe { cancel.as_ref() }.is_some_and(|token| token.0.is_cancelled()))
}

/// A descriptor that poll(2) finds readable once the token was cancelled; -1 for NULL.
///
/// It belongs to the token: poll it, but never read, write or close it.
///
/// Any thread may call this at any time.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ocilayer_cancel_fd(cancel: *const ocilayer_cancel) -> c_int {
    // SAFETY: NULL or a token that was not freed, as the header asks.
    infallible(-1, || unsafe { cancel.as_ref() }.map_or(-1, |token| token.0.as_fd().as_raw_fd()))
}

/// Free a token; NULL does nothing.
///
/// Not while an unpack still uses it, and not while another thread is in a call with it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ocilayer_cancel_free(cancel: *mut ocilayer_cancel) {
    // SAFETY: NULL or from ocilayer_cancel_new and not freed before, as the header asks.
    infallible((), || unsafe { free(cancel) })
}
