// SPDX-License-Identifier: Apache-2.0
//! Bytes of a file, pipe, socket or terminal.

use std::ops::Range;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;

use rustix::fs::{Advice, FileType, Mode, OFlags, SeekFrom, fadvise, fstat, open, seek};
use rustix::io::{Errno, pread, read, retry_on_intr};

use super::error::SourceError;
use super::growth::Grown;
use super::interrupt::Interrupt;
use crate::errno;

/// One read(2), and at most so much between two looks at the cancel token. Half of a usual L2
/// cache, since what was read is hashed and decompressed right after.
pub(super) const PIECE: usize = 256 << 10;

/// A file, pipe, socket or terminal.
pub(super) struct Descriptor {
    pub(super) fd: OwnedFd,
    /// Whether read(2) may wait for another process.
    pub(super) waits: bool,
    pub(super) size: Option<u64>,
    /// Where a regular file was when reading began.
    pub(super) position: u64,
    /// What is left of a section; none for a file that is read as it stands.
    pub(super) section: Option<Range<u64>>,
    /// Of a file that is still being written.
    growth: Option<Arc<Grown>>,
    /// Bytes read so far.
    pub(super) offset: u64,
    /// Set by the first empty read: a terminal would ask for more.
    pub(super) ended: bool,
    /// Empty until something is to be shown; `start..end` is shown and not consumed.
    pub(super) buffer: Vec<u8>,
    pub(super) start: usize,
    pub(super) end: usize,
}

impl Descriptor {
    pub(super) fn open(path: PathBuf) -> Result<Descriptor, SourceError> {
        // NONBLOCK: opening a FIFO would wait for its writer, where no cancel token can wake it.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
        match retry_on_intr(|| open(&path, flags, Mode::empty())) {
            Ok(fd) => Ok(Descriptor::new(fd)),
            Err(errno) => Err(SourceError::Open { path, errno: errno::Errno::of(errno) }),
        }
    }

    pub(super) fn new(fd: OwnedFd) -> Descriptor {
        let mut file = Descriptor {
            fd,
            waits: true,
            size: None,
            position: 0,
            section: None,
            growth: None,
            offset: 0,
            ended: false,
            buffer: Vec::new(),
            start: 0,
            end: 0,
        };
        if let Ok(stat) = fstat(&file.fd)
            && FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
        {
            file.waits = false;
            file.position = seek(&file.fd, SeekFrom::Current(0)).unwrap_or(0);
            let size = u64::try_from(stat.st_size).unwrap_or(0);
            file.size = Some(size.saturating_sub(file.position));
            // Advice: a file system that does not take it is only slower.
            let _ = fadvise(&file.fd, 0, None, Advice::Sequential);
        }
        file
    }

    pub(super) fn section(fd: OwnedFd, range: Range<u64>) -> Descriptor {
        let mut file = Descriptor::new(fd);
        file.size = Some(range.end - range.start);
        file.section = Some(range);
        file
    }

    /// From the file's beginning on, wherever it stands.
    pub(super) fn growing(fd: OwnedFd, growth: Arc<Grown>) -> Descriptor {
        let mut file = Descriptor::new(fd);
        (file.waits, file.size) = (true, None);
        file.growth = Some(growth);
        file
    }

    /// Where in the file lies what was not consumed; none if that is not known.
    pub(super) fn left(&self) -> Option<Range<u64>> {
        if self.waits {
            return None;
        }
        // Behind what is shown.
        let unread = match &self.section {
            Some(left) => left.clone(),
            None => self.position + self.offset..self.position + self.size?,
        };
        Some(unread.start - (self.end - self.start) as u64..unread.end)
    }

    pub(super) fn move_to_end(&mut self) {
        (self.start, self.end, self.ended) = (0, 0, true);
        if let (None, Some(range)) = (&self.section, self.left()) {
            // As if it had been read; nothing depends on it.
            let _ = seek(&self.fd, SeekFrom::Start(range.end));
        }
    }

    pub(super) fn head(
        &mut self,
        count: usize,
        interrupt: &Interrupt,
    ) -> Result<&[u8], SourceError> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
        while self.end - self.start < count && !self.ended {
            let mut buffer = std::mem::take(&mut self.buffer);
            buffer.resize(PIECE, 0);
            let got = self.read(&mut buffer[self.end..], interrupt);
            self.buffer = buffer;
            self.end += got?;
        }
        Ok(&self.buffer[self.start..self.end])
    }

    /// One system call.
    fn read_some(&mut self, into: &mut [u8]) -> Result<usize, Errno> {
        if let Some(growth) = &self.growth {
            let there = usize::try_from(growth.behind(self.offset)?).unwrap_or(usize::MAX);
            let most = there.min(into.len());
            return match pread(&self.fd, &mut into[..most], self.offset)? {
                // Fewer than was told.
                0 if most > 0 => Err(Errno::NODATA),
                got => Ok(got),
            };
        }
        let Some(left) = &mut self.section else { return read(&self.fd, into) };
        let most = usize::try_from(left.end - left.start).unwrap_or(usize::MAX);
        let most = most.min(into.len());
        let got = pread(&self.fd, &mut into[..most], left.start)?;
        left.start += got as u64;
        Ok(got)
    }

    pub(super) fn read(
        &mut self,
        into: &mut [u8],
        interrupt: &Interrupt,
    ) -> Result<usize, SourceError> {
        let offset = self.offset;
        let failed = |errno| SourceError::Read { offset, errno: errno::Errno::of(errno) };
        let mut wait = self.waits && self.growth.is_none();
        while !self.ended {
            if wait {
                let wake = self.growth.as_ref().map_or(&self.fd, |growth| growth.wake());
                interrupt.wait(wake).map_err(failed)?;
            }
            interrupt.check()?;
            match self.read_some(into) {
                Ok(got) => {
                    self.offset += got as u64;
                    self.ended = got == 0;
                    return Ok(got);
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => wait = true,
                Err(errno) => return Err(failed(errno)),
            }
        }
        Ok(0)
    }
}
