// SPDX-License-Identifier: Apache-2.0
//! A regular file whose data is coming.

use std::os::fd::OwnedFd;

use rustix::fs::{OFlags, SeekFrom, openat, seek};
use rustix::io::{Errno, retry_on_intr, write};

use super::attributes::create_mode;
use super::error::{ApplyError, Failing};
use crate::resolve::{DirId, SafeParent};

/// The current entry's file.
pub(super) enum CurrentFile {
    /// It may be planned: that depends on how its data comes.
    Expected(DirId, Box<[u8]>),
    Open(OpenFile),
}

/// A file whose data is still coming.
pub(super) struct OpenFile {
    pub(super) fd: OwnedFd,
    pub(super) dir: DirId,
    /// Where the next write goes.
    pub(super) position: u64,
}

impl OpenFile {
    /// Writes at an offset of the file; what is jumped over becomes a hole.
    pub(super) fn write(&mut self, at: u64, bytes: &[u8]) -> Result<(), ApplyError> {
        if at != self.position {
            seek(&self.fd, SeekFrom::Start(at)).failing("lseek")?;
        }
        write_all(&self.fd, bytes)?;
        self.position = at + bytes.len() as u64;
        Ok(())
    }
}

/// A new file, open for writing.
pub(super) fn create(at: &SafeParent, name: &[u8], mode: u32) -> Result<OwnedFd, Errno> {
    // Never O_TRUNC on what is there: it may be a hardlink into a lower layer, or a FIFO.
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(at, name, flags, create_mode(mode))
}

pub(super) fn write_all(fd: &OwnedFd, mut bytes: &[u8]) -> Result<(), ApplyError> {
    while !bytes.is_empty() {
        let written = retry_on_intr(|| write(fd, bytes)).failing("write")?;
        if written == 0 {
            return Err(ApplyError::new("write", Errno::IO));
        }
        bytes = &bytes[written..];
    }
    Ok(())
}
