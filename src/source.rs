// SPDX-License-Identifier: Apache-2.0
//! Where the bytes of a layer come from.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use rustix::io::Errno;

/// A layer blob, compressed or not.
///
/// A regular file is the fast way: it is read in large pieces on a worker thread.
pub struct Source<'a>(pub(crate) Origin<'a>);

pub(crate) enum Origin<'a> {
    Path(PathBuf),
    File(OwnedFd),
    Memory(&'a [u8]),
    Reader(Box<dyn FnMut(&mut [u8]) -> Result<usize, Errno> + 'a>),
}

impl<'a> Source<'a> {
    /// Opened when the unpack starts; a failure to open is the unpack's.
    pub fn path(path: impl Into<PathBuf>) -> Source<'a> {
        Source(Origin::Path(path.into()))
    }

    /// Read from the current position to its end: a file, pipe or socket.
    pub fn file(file: impl Into<OwnedFd>) -> Source<'a> {
        Source(Origin::File(file.into()))
    }

    pub fn memory(blob: &'a [u8]) -> Source<'a> {
        Source(Origin::Memory(blob))
    }

    /// `read` fills a part of the buffer and returns how much, 0 at the end. It runs on the thread
    /// that called unpack, and only there.
    pub fn reader(read: impl FnMut(&mut [u8]) -> Result<usize, Errno> + 'a) -> Source<'a> {
        Source(Origin::Reader(Box::new(read)))
    }
}

impl From<File> for Source<'_> {
    fn from(file: File) -> Self {
        Source::file(file)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
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
    #[error("cancelled")]
    Cancelled,
}

impl SourceError {
    pub(crate) fn errno(&self) -> Errno {
        match self {
            SourceError::Open { errno, .. } | SourceError::Read { errno, .. } => *errno,
            SourceError::Callback(errno) => *errno,
            SourceError::Overrun { .. } => Errno::INVAL,
            SourceError::Cancelled => Errno::CANCELED,
        }
    }
}
