// SPDX-License-Identifier: Apache-2.0
//! Exports that only the tests of this boundary have; an installed library lacks them.

use std::ffi::c_int;

use super::error::ocilayer_error;
use super::guard::guarded;
use crate::sys;

/// Panics on the calling thread, or on a worker if `on_worker` is not 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ocilayer_test_panic(
    on_worker: c_int,
    error: *mut *mut ocilayer_error,
) -> c_int {
    let panic = || panic!("this was asked for");
    let work = move || {
        if on_worker == 0 {
            panic();
        }
        std::thread::scope(|scope| {
            let worker = sys::spawn(scope, "ocilayer-test", panic).expect("a thread");
            match worker.join() {
                Ok(()) => Ok(()),
                Err(payload) => std::panic::resume_unwind(payload),
            }
        })
    };
    // SAFETY: passed on as the caller gave it.
    unsafe { guarded(error, work) }
}
