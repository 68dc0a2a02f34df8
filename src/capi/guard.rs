// SPDX-License-Identifier: Apache-2.0
//! What every export passes through: no panic leaves, every failure becomes an errno and an error.

use std::ffi::c_int;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::error::ocilayer_error;
use super::failure::Failure;
use super::panic::quietly;
use crate::error::Cause;

pub(super) use super::panic::infallible;

/// Runs an export that can fail: 0, or a negative errno with `*error` set where it is wanted.
///
/// # Safety
/// `error` is NULL or may be written.
pub(super) unsafe fn guarded(
    error: *mut *mut ocilayer_error,
    work: impl FnOnce() -> Result<(), Failure>,
) -> c_int {
    let failure = match quietly(work) {
        Ok(Ok(())) => return 0,
        Ok(Err(failure)) => failure,
        Err(message) => Failure::Library(Cause::Panic(message).into()),
    };
    // Out of reach of the first guard, and itself a formatter of foreign names.
    let Ok(failed) = catch_unwind(AssertUnwindSafe(|| ocilayer_error::new(&failure))) else {
        return -libc::ENOTRECOVERABLE;
    };
    let result = -failed.errno;
    if !error.is_null() {
        // SAFETY: not NULL, and then writable by the caller's promise.
        unsafe { error.write(Box::into_raw(Box::new(failed))) };
    }
    result
}
