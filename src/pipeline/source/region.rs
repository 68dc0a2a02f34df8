// SPDX-License-Identifier: Apache-2.0
//! What is left of a source whose bytes all can be had at any time, for several threads at once.

use std::ops::Range;
use std::os::fd::OwnedFd;

use rustix::io::{pread, retry_on_intr};

use super::error::SourceError;
use super::interrupt::Interrupt;
use crate::errno::Errno;

/// It does not move the file's position.
pub(crate) struct Region<'a> {
    pub(super) bytes: Bytes<'a>,
    pub(super) interrupt: &'a Interrupt,
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
        self.interrupt.check()?;
        match &self.bytes {
            Bytes::Memory(blob) => {
                let begin = usize::try_from(offset).ok();
                let left = begin.and_then(|begin| blob.get(begin..)).unwrap_or_default();
                let count = left.len().min(into.len());
                into[..count].copy_from_slice(&left[..count]);
                Ok(count)
            }
            Bytes::File(fd, range) => {
                let left = usize::try_from(self.len().saturating_sub(offset)).unwrap_or(usize::MAX);
                let most = left.min(into.len());
                retry_on_intr(|| pread(fd, &mut into[..most], range.start + offset))
                    .map_err(|errno| SourceError::Read { offset, errno: Errno::of(errno) })
            }
        }
    }
}
