// SPDX-License-Identifier: Apache-2.0
//! Which library this is.

use std::ffi::{CStr, c_char};

use crate::version;

const VERSION: &CStr =
    match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
        Ok(version) => version,
        Err(_) => panic!("a version has no NUL inside"),
    };

/// Major, minor and patch of the library that runs: 10,203 for 1.2.3. To compare with
/// `OCILAYER_VERSION_NUMBER`, that of the header.
///
/// Any thread may call this.
#[unsafe(no_mangle)]
pub extern "C" fn ocilayer_version_number() -> u32 {
    version::NUMBER
}

/// What decompresses gzip in the library that runs: "isa-l" or "zlib-rs". The first is faster, and the
/// second is what is built without ISA-L's tools.
///
/// Returns a static string.
///
/// Any thread may call this.
#[unsafe(no_mangle)]
pub extern "C" fn ocilayer_gzip_backend() -> *const c_char {
    match version::GZIP_BACKEND {
        "isa-l" => c"isa-l".as_ptr(),
        _ => c"zlib-rs".as_ptr(),
    }
}

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
