// SPDX-License-Identifier: Apache-2.0
//! Regular files: created with their mode, written, then given the rest.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{OFlags, SeekFrom, fsync, ftruncate, openat, seek};
use rustix::io::{Errno, retry_on_intr, write};

use super::Job;
use super::error::{ApplyError, Failing, JobCause};
use super::metadata::create_mode;
use crate::options::Sync;
use crate::pipeline::Chunk;
use crate::resolve::{Component, DirId, SafeParent};
use crate::tar::Entry;

/// The current entry's file.
pub(super) enum CurrentFile {
    /// It may be planned: that depends on how its data comes.
    Expected(DirId, Box<[u8]>),
    Open(OpenFile),
}

/// A file whose data is still coming.
pub(super) struct OpenFile {
    fd: OwnedFd,
    dir: DirId,
    /// Where the next write goes.
    position: u64,
}

impl OpenFile {
    /// Writes at an offset of the file; what is jumped over becomes a hole.
    fn write(&mut self, at: u64, bytes: &[u8]) -> Result<(), ApplyError> {
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

impl Job<'_> {
    pub(super) fn make_file(
        &mut self,
        entry: &Entry,
        dir: DirId,
        name: Component<'_>,
    ) -> Result<(), JobCause> {
        self.file = Some(match self.can_plan(entry, dir, name) {
            true => CurrentFile::Expected(dir, name.as_bytes().into()),
            false => CurrentFile::Open(self.open_new(entry, dir, name)?),
        });
        self.counts.entries.files += 1;
        Ok(())
    }

    fn open_new(
        &mut self,
        entry: &Entry,
        dir: DirId,
        name: Component<'_>,
    ) -> Result<OpenFile, JobCause> {
        let (_, fd, _) =
            self.replace(dir, name, "openat", |at| create(at, name.as_bytes(), entry.mode))?;
        Ok(OpenFile { fd, dir, position: 0 })
    }

    fn open_expected(
        &mut self,
        entry: &Entry,
        dir: DirId,
        name: &[u8],
    ) -> Result<OpenFile, JobCause> {
        self.open_new(entry, dir, Component::new(name).expect("it was one when it was expected"))
    }

    /// Writes a piece of the current file's data, which may lie in `chunk`.
    pub(super) fn write_file(
        &mut self,
        entry: &Entry,
        at: u64,
        bytes: &[u8],
        chunk: Option<&Chunk>,
    ) -> Result<(), JobCause> {
        let mut file = match self.file.take() {
            None => return Ok(()),
            Some(CurrentFile::Open(file)) => file,
            Some(CurrentFile::Expected(dir, name)) => {
                let whole = at == 0 && bytes.len() as u64 == entry.size;
                match chunk.filter(|_| whole).and_then(|chunk| chunk.slice(bytes)) {
                    Some(data) => {
                        self.counts.file_bytes += entry.size;
                        return self.plan_file(entry, (dir, name), Some(data));
                    }
                    None => self.open_expected(entry, dir, &name)?,
                }
            }
        };
        self.counts.file_bytes += bytes.len() as u64;
        file.write(at, bytes)?;
        self.file = Some(CurrentFile::Open(file));
        Ok(())
    }

    /// The current file has no more data.
    pub(super) fn finish_file(&mut self, entry: &Entry) -> Result<(), JobCause> {
        let file = match self.file.take() {
            None => return Ok(()),
            Some(CurrentFile::Open(file)) => file,
            Some(CurrentFile::Expected(dir, name)) if entry.size == 0 => {
                return self.plan_file(entry, (dir, name), None);
            }
            // One large hole.
            Some(CurrentFile::Expected(dir, name)) => self.open_expected(entry, dir, &name)?,
        };
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
