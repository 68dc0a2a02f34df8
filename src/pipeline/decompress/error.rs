// SPDX-License-Identifier: Apache-2.0
//! What can be wrong with a compressed stream.

/// A damaged compressed stream. Offsets count compressed bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecompressError {
    #[error("gzip stream at {offset}: {reason}")]
    Gzip { offset: u64, reason: String },
    #[error("zstd stream at {offset}: {reason}")]
    Zstd { offset: u64, reason: String },
    #[error("compressed stream ends in the middle, at {offset}")]
    Truncated { offset: u64 },
    #[error("{0} is not a compression that layers use")]
    Unsupported(&'static str),
}
