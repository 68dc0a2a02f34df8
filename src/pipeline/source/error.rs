// SPDX-License-Identifier: Apache-2.0
//! Why a source gave no bytes.

use std::path::PathBuf;

use crate::errno::Errno;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    #[error("open {}: {errno}", path.display())]
    Open { path: PathBuf, errno: Errno },
    #[error("read at {offset}: {errno}")]
    Read { offset: u64, errno: Errno },
    /// The caller's read callback failed.
    #[error("read callback: {0}")]
    Callback(Errno),
    #[error("read callback returned {got} bytes for a buffer of {asked}")]
    Overrun { got: usize, asked: usize },
    /// No thread or descriptor for reading the source beside the work on its entries.
    #[error("start of the decompressor: {0}")]
    Start(Errno),
    #[error("cancelled")]
    Cancelled,
}

impl SourceError {
    pub(crate) fn errno(&self) -> Errno {
        match self {
            SourceError::Open { errno, .. } | SourceError::Read { errno, .. } => *errno,
            SourceError::Callback(errno) | SourceError::Start(errno) => *errno,
            SourceError::Overrun { .. } => Errno::INVAL,
            SourceError::Cancelled => Errno::CANCELED,
        }
    }
}
