// SPDX-License-Identifier: Apache-2.0
//! Which library this is.

use std::ffi::{CStr, c_char};

const VERSION: &CStr =
    match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
        Ok(version) => version,
        Err(_) => panic!("a version has no NUL inside"),
    };

/// The version of the library that runs, such as "0.1.0".
///
/// It can be newer than `OCILAYER_VERSION_STRING`, the version of the header that a program was
/// compiled with, and works the same then.
///
/// Returns a static string.
///
/// Any thread may call this.
#[unsafe(no_mangle)]
pub extern "C" fn ocilayer_version() -> *const c_char {
    VERSION.as_ptr()
}
