// SPDX-License-Identifier: Apache-2.0
//! Why a source gave no bytes.

use std::path::PathBuf;

use crate::errno::Errno;

/// A failure to read the blob.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// The file cannot be opened (open(2)).
    #[error("open {}: {errno}", path.display())]
    Open {
        /// As the caller named it.
        path: PathBuf,
        /// What the kernel answered.
        errno: Errno,
    },
    /// The descriptor cannot be read, or not be waited for (read(2), pread(2), poll(2)).
    #[error("read at {offset}: {errno}")]
    Read {
        /// Bytes of the blob, compressed or not, before those that were to be read.
        offset: u64,
        /// What the kernel answered.
        errno: Errno,
    },
    /// The caller's read callback failed.
    #[error("read callback: {0}")]
    Callback(Errno),
    /// The caller's read callback says that it filled more than its buffer.
    #[error("read callback returned {got} bytes for a buffer of {asked}")]
    Overrun {
        /// Bytes, by the callback.
        got: usize,
        /// Bytes in the buffer.
        asked: usize,
    },
    /// No thread or descriptor for reading the source beside the work on its entries.
    #[error("start of the decompressor: {0}")]
    Start(Errno),
    /// The caller cancelled.
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
