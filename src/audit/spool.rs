// SPDX-License-Identifier: Apache-2.0
//! Content of the layer that the directory does not have, kept on disk until it is restored: a blob
//! is read once, and may be a stream.

use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, Mode as Permissions, OFlags, Timestamps, fstat, openat, unlinkat};
use rustix::fs::{futimens, open};
use rustix::io::{Errno, pread, pwrite, retry_on_intr};

use super::stack::failed;
use crate::error::Result;
use crate::resolve::times_of;

/// Bytes that are copied at a time.
const PIECE: usize = 256 << 10;

/// What a file without a name of its own is called where the file system wants one.
const NAME: &str = ".ocilayer-restore-content";

/// A piece of a file, and where it is kept.
#[derive(Debug, Clone, Copy)]
pub(super) struct Extent {
    at: u64,
    kept_at: u64,
    length: u64,
}

/// A file without a name in the layer's directory, which must have room for what is restored anyway.
pub(super) struct Spool {
    root: OwnedFd,
    /// None before there is content to keep.
    file: Option<OwnedFd>,
    end: u64,
}

impl Spool {
    pub(super) fn below(root: &OwnedFd) -> Result<Spool> {
        let root = root.try_clone().map_err(|error| {
            let errno = Errno::from_io_error(&error).unwrap_or(Errno::MFILE);
            failed("fcntl", b"", errno)
        })?;
        Ok(Spool { root, file: None, end: 0 })
    }

    /// Keeps the bytes that a file has at an offset.
    pub(super) fn keep(&mut self, kept: &mut Vec<Extent>, at: u64, bytes: &[u8]) -> Result<()> {
        let file = match &self.file {
            Some(file) => file,
            None => {
                let file = without_name(&self.root)
                    .map_err(|errno| failed("open of content to restore", b"", errno))?;
                self.file.insert(file)
            }
        };
        write_at(file, bytes, self.end)
            .map_err(|errno| failed("write of content to restore", b"", errno))?;
        let (kept_at, length) = (self.end, bytes.len() as u64);
        self.end += length;
        match kept.last_mut() {
            Some(last) if last.at + last.length == at && last.kept_at + last.length == kept_at => {
                last.length += length;
            }
            _ if length > 0 => kept.push(Extent { at, kept_at, length }),
            _ => {}
        }
        Ok(())
    }

    /// What was kept last is not needed.
    pub(super) fn forget(&mut self, kept: &[Extent]) {
        if let Some(first) = kept.first() {
            self.end = first.kept_at;
        }
    }

    /// Writes what was kept to its places in a file.
    pub(super) fn copy_to(&self, file: &OwnedFd, kept: &[Extent]) -> Result<(), Errno> {
        let Some(own) = &self.file else { return Ok(()) };
        let mut buffer = Vec::new();
        for extent in kept {
            let mut done = 0;
            while done < extent.length {
                let most = (extent.length - done).min(PIECE as u64) as usize;
                buffer.resize(most, 0);
                let got = retry_on_intr(|| pread(own, &mut *buffer, extent.kept_at + done))?;
                if got == 0 {
                    return Err(Errno::IO);
                }
                write_at(file, &buffer[..got], extent.at + done)?;
                done += got as u64;
            }
        }
        Ok(())
    }
}

fn write_at(file: &OwnedFd, mut bytes: &[u8], mut at: u64) -> Result<(), Errno> {
    while !bytes.is_empty() {
        let written = retry_on_intr(|| pwrite(file, bytes, at))?;
        if written == 0 {
            return Err(Errno::IO);
        }
        at += written as u64;
        bytes = &bytes[written..];
    }
    Ok(())
}

fn without_name(root: &OwnedFd) -> Result<OwnedFd, Errno> {
    let mode = Permissions::from_raw_mode(0o600);
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(root));
    match retry_on_intr(|| open(&path, flags | OFlags::TMPFILE, mode)) {
        // Kernels before 3.11, and file systems that have no such files.
        Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::NOENT | Errno::INVAL) => {}
        result => return result,
    }
    let before = fstat(root)?;
    let new = flags | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
    let file = retry_on_intr(|| openat(root, NAME, new, mode))?;
    unlinkat(root, NAME, AtFlags::empty())?;
    let times: Timestamps = times_of(&before);
    futimens(root, &times)?;
    Ok(file)
}
