// SPDX-License-Identifier: Apache-2.0
//! Which library this is, and what it was built with.

/// The version, such as "0.1.0".
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Major, minor and patch as one number: 10,203 for 1.2.3.
pub(crate) const NUMBER: u32 = number(env!("CARGO_PKG_VERSION_MAJOR")) * 10_000
    + number(env!("CARGO_PKG_VERSION_MINOR")) * 100
    + number(env!("CARGO_PKG_VERSION_PATCH"));

/// What decompresses gzip: "isa-l" with the feature `isal`, or "zlib-rs".
pub const GZIP_BACKEND: &str = if cfg!(feature = "isal") { "isa-l" } else { "zlib-rs" };

const fn number(text: &str) -> u32 {
    match u32::from_str_radix(text, 10) {
        Ok(number) if number < 100 => number,
        _ => panic!("a version's part has two digits at most"),
    }
}
