// SPDX-License-Identifier: Apache-2.0
//! Bytes to entries. No I/O and no unsafe: the untrusted format is read here and nowhere else.

mod entry;
mod error;

pub use entry::{Entry, Kind, Segment, Time};
pub use error::TarError;
