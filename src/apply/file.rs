// SPDX-License-Identifier: Apache-2.0
//! Regular files: created with their mode, written, then given the rest.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::ftruncate;

use super::error::{Failing, JobCause};
use super::job::Job;
use super::open_file::{CurrentFile, OpenFile, create};
use crate::pipeline::Chunk;
use crate::resolve::{Component, DirId};
use crate::tar::Entry;

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
        // To set an xattr takes permission to write, of the owner too; the mode comes after them.
        let writable = if entry.xattrs.is_empty() { 0 } else { 0o200 };
        let mode = entry.mode | writable;
        let (_, fd, _) =
            self.replace(dir, name, "openat", |at| create(at, name.as_bytes(), mode))?;
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
        self.write_out(file.fd, entry)
    }

    /// A file of this entry is complete: on to the disk with it, if that was asked for.
    pub(super) fn write_out(&mut self, fd: OwnedFd, entry: &Entry) -> Result<(), JobCause> {
        let Some(write_out) = &self.write_out else { return Ok(()) };
        write_out.add(fd, entry.place()).map_err(|failed| self.fails_with(failed.into()))
    }
}
