// SPDX-License-Identifier: Apache-2.0
//! What can be wrong with an archive.

/// A malformed or truncated archive. The offset is that of the block in question.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TarError {
    #[error("archive ends in the middle, at {offset}")]
    Truncated { offset: u64 },
}
