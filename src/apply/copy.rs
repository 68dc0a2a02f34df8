// SPDX-License-Identifier: Apache-2.0
//! A file's data, from one file to another.

use std::os::fd::OwnedFd;

use rustix::fs::{SeekFrom, copy_file_range, ftruncate, seek};
use rustix::io::{Errno, pread, pwrite, retry_on_intr};

use crate::cancel::Cancel;

/// Where copy_file_range(2) does not reach, between two file systems for one.
const COPY_BUFFER: usize = 1 << 17;

/// Bytes between two looks at the cancel token.
const COPY_PIECE: usize = 16 << 20;

/// A file's data on its way from one descriptor to another.
pub(crate) struct Copy<'c> {
    pub(crate) from: &'c OwnedFd,
    pub(crate) to: &'c OwnedFd,
    pub(crate) cancel: Option<&'c Cancel>,
    /// Copied so far.
    pub(crate) bytes: u64,
}

impl Copy<'_> {
    /// Copies what has data and leaves the holes.
    pub(crate) fn data(&mut self, size: u64) -> Result<(), Errno> {
        ftruncate(self.to, size)?;
        let mut at = 0;
        while at < size {
            let (start, end) = match seek(self.from, SeekFrom::Data(at)) {
                Ok(start) => (start, seek(self.from, SeekFrom::Hole(start))?),
                // A hole up to the end.
                Err(Errno::NXIO) => return Ok(()),
                // No such seek here: all of it is data.
                Err(Errno::INVAL) => (at, size),
                Err(errno) => return Err(errno),
            };
            self.range(start, end.min(size))?;
            at = end;
        }
        Ok(())
    }

    fn range(&mut self, start: u64, end: u64) -> Result<(), Errno> {
        let (mut read_at, mut write_at) = (start, start);
        while read_at < end {
            self.check()?;
            let left = piece(end - read_at);
            let (from, to) = (Some(&mut read_at), Some(&mut write_at));
            match copy_file_range(self.from, from, self.to, to, left) {
                Ok(0) => return Err(Errno::IO),
                Ok(copied) => self.bytes += copied as u64,
                Err(Errno::INTR) => {}
                Err(Errno::XDEV | Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS | Errno::PERM) => {
                    return self.by_hand(read_at, end);
                }
                Err(errno) => return Err(errno),
            }
        }
        Ok(())
    }

    fn by_hand(&mut self, mut at: u64, end: u64) -> Result<(), Errno> {
        let mut buffer = vec![0; COPY_BUFFER];
        while at < end {
            self.check()?;
            let want = buffer.len().min(piece(end - at));
            let got = retry_on_intr(|| pread(self.from, &mut buffer[..want], at))?;
            if got == 0 {
                return Err(Errno::IO);
            }
            let mut written = 0;
            while written < got {
                let rest = &buffer[written..got];
                written += retry_on_intr(|| pwrite(self.to, rest, at + written as u64))?;
            }
            at += got as u64;
            self.bytes += got as u64;
        }
        Ok(())
    }

    fn check(&self) -> Result<(), Errno> {
        match self.cancel.is_some_and(Cancel::is_cancelled) {
            true => Err(Errno::CANCELED),
            false => Ok(()),
        }
    }
}

fn piece(left: u64) -> usize {
    usize::try_from(left).unwrap_or(usize::MAX).min(COPY_PIECE)
}
