// SPDX-License-Identifier: Apache-2.0
//! Regular files: created with their mode, written, then given the rest.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{OFlags, SeekFrom, fsync, ftruncate, openat, seek};
use rustix::io::{Errno, retry_on_intr, write};

use super::metadata::create_mode;
use super::{ApplyError, Failing, Job};
use crate::error::Cause;
use crate::options::Sync;
use crate::resolve::{Component, DirId};
use crate::tar::Entry;

/// A file whose data is still coming.
#[derive(Debug)]
pub(super) struct OpenFile {
    fd: OwnedFd,
    dir: DirId,
    /// Where the next write goes.
    position: u64,
}

impl OpenFile {
    /// Writes at an offset of the file; what is jumped over becomes a hole.
    pub(super) fn write(&mut self, at: u64, mut bytes: &[u8]) -> Result<(), ApplyError> {
        if at != self.position {
            seek(&self.fd, SeekFrom::Start(at)).failing("lseek")?;
            self.position = at;
        }
        while !bytes.is_empty() {
            let written = retry_on_intr(|| write(&self.fd, bytes)).failing("write")?;
            if written == 0 {
                return Err(ApplyError::new("write", Errno::IO));
            }
            self.position += written as u64;
            bytes = &bytes[written..];
        }
        Ok(())
    }
}

impl Job<'_> {
    pub(super) fn make_file(
        &mut self,
        entry: &Entry,
        dir: DirId,
        name: Component<'_>,
    ) -> Result<(), Cause> {
        // Never O_TRUNC on what is there: it may be a hardlink into a lower layer, or a FIFO.
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = create_mode(entry.mode);
        let (_, fd, _) =
            self.replace(dir, name, "openat", |at| openat(at, name.as_bytes(), flags, mode))?;
        self.file = Some(OpenFile { fd, dir, position: 0 });
        self.tally.entries.files += 1;
        Ok(())
    }

    pub(super) fn finish_file(&mut self, entry: &Entry, file: OpenFile) -> Result<(), Cause> {
        // A hole at the end.
        if file.position < entry.size {
            ftruncate(&file.fd, entry.size).failing("ftruncate")?;
        }
        self.set_file_attributes(entry, file.dir, file.fd.as_fd())?;
        if self.options.sync == Sync::Files {
            retry_on_intr(|| fsync(&file.fd)).failing("fsync")?;
        }
        Ok(())
    }
}
