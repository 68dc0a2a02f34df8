// SPDX-License-Identifier: Apache-2.0
//! The C boundary: one file for each C noun, every export behind the guard.
//!
//! The doc comments of exported items are the documentation in `ocilayer.h`: they say what,
//! returns, errors, ownership, threads, in that order, and in C's words.
#![allow(unsafe_code)]
// Types are named as C sees them, so that a name means one thing on both sides.
#![allow(non_camel_case_types)]

mod argument;
mod audit;
mod cancel;
mod check;
mod error;
mod failure;
mod growth;
mod guard;
mod image;
mod image_report;
mod observer;
mod options;
mod panic;
mod report;
mod scan;
mod skipped;
mod source;
#[cfg(feature = "test-hooks")]
mod test_hooks;
mod text;
mod unpack;
mod version;
