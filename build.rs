// SPDX-License-Identifier: Apache-2.0
//! Gives the shared library that cargo makes the SONAME of the installed one.
//!
//! Symbol versions cannot come from here: rustc passes a version script of its own, and GNU ld
//! takes only one. `make install` links the installed library from the static one instead.

fn main() {
    let major = std::env::var("CARGO_PKG_VERSION_MAJOR").expect("cargo sets it");
    println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libocilayer.so.{major}");
    println!("cargo:rerun-if-changed=build.rs");
}
