// SPDX-License-Identifier: Apache-2.0
//! What is left of a source whose bytes all can be had at any time, for several threads at once.

use std::ops::Range;
use std::os::fd::OwnedFd;

use rustix::io::{pread, retry_on_intr};

use super::{Guard, SourceError};

/// It does not move the file's position.
pub(crate) struct Region<'a> {
    pub(super) bytes: Bytes<'a>,
    pub(super) guard: &'a Guard,
}

pub(super) enum Bytes<'a> {
    /// A regular file, and where the region lies in it.
    File(&'a OwnedFd, Range<u64>),
    Memory(&'a [u8]),
}

impl Region<'_> {
    pub(crate) fn len(&self) -> u64 {
        match &self.bytes {
            Bytes::File(_, range) => range.end - range.start,
            Bytes::Memory(blob) => blob.len() as u64,
        }
    }

    /// Reads some bytes from `offset` on; 0 at the end, also at that of a file that has shrunk.
    pub(crate) fn read(&self, offset: u64, into: &mut [u8]) -> Result<usize, SourceError> {
        self.guard.check()?;
        let left = usize::try_from(self.len().saturating_sub(offset)).unwrap_or(usize::MAX);
        let most = left.min(into.len());
        match &self.bytes {
            Bytes::Memory(blob) => {
                // Within the blob: `left` is what lies behind `offset`.
                let begin = blob.len() - left.min(blob.len());
                into[..most].copy_from_slice(&blob[begin..begin + most]);
                Ok(most)
            }
            Bytes::File(fd, range) => {
                retry_on_intr(|| pread(fd, &mut into[..most], range.start + offset))
                    .map_err(|errno| SourceError::Read { offset, errno })
            }
        }
    }
}
