// SPDX-License-Identifier: Apache-2.0
//! `ocilayer_growth`.

use std::ffi::c_int;

use super::argument::{callback_errno, free};
use super::guard::infallible;
use crate::pipeline::Growth;

/// The writer's end of a file that is unpacked while it is being written: says how far it is.
pub struct ocilayer_growth(pub(super) Growth);

/// # Safety
/// `growth` is NULL or was not freed.
unsafe fn tell(growth: *const ocilayer_growth, what: impl FnOnce(&Growth)) {
    // SAFETY: the caller's promise.
    infallible((), || unsafe { growth.as_ref() }.map_or((), |growth| what(&growth.0)))
}

/// The file has its first @bytes bytes, and they will not change. Fewer than were told before change
/// nothing; NULL does nothing.
///
/// @growth is borrowed until return, which does not wait for anybody.
///
/// Any thread may call this at any time.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ocilayer_growth_reached(growth: *const ocilayer_growth, bytes: u64) {
    // SAFETY: NULL or not freed, as the header asks.
    unsafe { tell(growth, |growth| growth.reached(bytes)) }
}

/// The file ends where it was told to have come last; NULL does nothing.
///
/// @growth is borrowed until return.
///
/// Any thread may call this at any time. Of this and ocilayer_growth_fail the first call counts.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ocilayer_growth_complete(growth: *const ocilayer_growth) {
    // SAFETY: NULL or not freed, as the header asks.
    unsafe { tell(growth, Growth::complete) }
}

/// The file will not be complete: the unpack fails with @failed, a negative errno, behind the bytes that
/// are there. -EIO for those that ask to try again, -EINVAL for what is no errno. NULL does nothing.
///
/// @growth is borrowed until return.
///
/// Any thread may call this at any time.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ocilayer_growth_fail(growth: *const ocilayer_growth, failed: c_int) {
    // SAFETY: NULL or not freed, as the header asks.
    unsafe { tell(growth, |growth| growth.fail(callback_errno(failed))) }
}

/// Free the writer's end; NULL does nothing. Of a file that is not complete the unpack fails with -EPIPE,
/// so that nobody waits for a writer that is gone.
///
/// Not while another thread still uses it. The source may be used and freed before or after.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ocilayer_growth_free(growth: *mut ocilayer_growth) {
    // SAFETY: NULL or from ocilayer_source_growing and not freed before, as the header asks.
    infallible((), || unsafe { free(growth) })
}
