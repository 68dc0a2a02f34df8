// SPDX-License-Identifier: Apache-2.0
//! Bringing a lower file into the upper directory, as overlayfs does before link(2).

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode as Permissions, OFlags, SeekFrom, Stat, chmod, chownat};
use rustix::fs::{copy_file_range, ftruncate, futimens, mknodat, openat, readlinkat, seek};
use rustix::fs::{symlinkat, utimensat};
use rustix::io::{Errno, pread, pwrite, retry_on_intr};

use super::attributes::{Owner, open_special, set_mode, set_owner};
use super::error::{ApplyError, Failing, JobCause};
use super::job::Job;
use super::xattr;
use crate::resolve::{Component, DirId, SafeParent, times_of};

/// Where copy_file_range(2) does not reach, between two file systems for one.
const COPY_BUFFER: usize = 1 << 17;

impl Job<'_> {
    pub(super) fn copy_up(
        &mut self,
        dir: DirId,
        name: Component<'_>,
        layer: usize,
        stat: &Stat,
    ) -> Result<(), JobCause> {
        self.bring_into_root(dir)?;
        let from = self.resolver.fd(dir, layer)?;
        let at = self.resolver.parent(dir)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => copy_file(from.as_fd(), &at, name, stat)?,
            kind => copy_special(from.as_fd(), &at, name, stat, kind)?,
        }
        self.resolver.tree.claim(dir, name.as_bytes());
        self.counts.copied_up += 1;
        Ok(())
    }
}

fn copy_file(
    from: BorrowedFd<'_>,
    at: &SafeParent,
    name: Component<'_>,
    stat: &Stat,
) -> Result<(), ApplyError> {
    let read = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let source = retry_on_intr(|| openat(from, name.as_bytes(), read, Permissions::empty()))
        .failing("openat of a lower file")?;
    let create =
        OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let private = Permissions::RUSR | Permissions::WUSR;
    let copy = retry_on_intr(|| openat(at, name.as_bytes(), create, private)).failing("openat")?;
    copy_data(&source, &copy, stat.st_size as u64).failing("copy of a lower file")?;
    set_owner(copy.as_fd(), Owner { uid: stat.st_uid, gid: stat.st_gid })?;
    copy_xattrs(&source, |name, value| xattr::set(copy.as_fd(), name, value))?;
    set_mode(copy.as_fd(), stat.st_mode & 0o7777)?;
    futimens(&copy, &times_of(stat)).failing("futimens")
}

fn copy_special(
    from: BorrowedFd<'_>,
    at: &SafeParent,
    name: Component<'_>,
    stat: &Stat,
    kind: FileType,
) -> Result<(), ApplyError> {
    let here = AtFlags::SYMLINK_NOFOLLOW;
    let mode = Permissions::from_raw_mode(stat.st_mode);
    if kind == FileType::Symlink {
        let target = readlinkat(from, name.as_bytes(), Vec::new()).failing("readlinkat")?;
        symlinkat(&target, at, name.as_bytes()).failing("symlinkat")?;
    } else {
        mknodat(at, name.as_bytes(), kind, mode, stat.st_rdev).failing("mknodat")?;
    }
    let (uid, gid) =
        (rustix::fs::Uid::from_raw(stat.st_uid), rustix::fs::Gid::from_raw(stat.st_gid));
    chownat(at, name.as_bytes(), Some(uid), Some(gid), here).failing("fchownat")?;
    if kind != FileType::Symlink {
        let copy = open_special(at, name).failing("openat")?;
        chmod(xattr::proc_path(copy.as_fd()), mode).failing("chmod")?;
    }
    utimensat(at, name.as_bytes(), &times_of(stat), here).failing("utimensat")
}

/// All of them, as the kernel's copy-up does, but for overlayfs's own.
fn copy_xattrs(
    from: &OwnedFd,
    set: impl Fn(&[u8], &[u8]) -> Result<(), Errno>,
) -> Result<(), ApplyError> {
    for name in xattr::list(from).failing("flistxattr")? {
        if name.ends_with(b".overlay.metacopy") {
            // Its data is elsewhere, at a place that only the mount which wrote it knows.
            return Err(ApplyError::new("copy of a metacopy file", Errno::OPNOTSUPP));
        }
        if xattr::is_overlay_private(&name) {
            continue;
        }
        if let Some(value) = xattr::get(from, &name).failing("fgetxattr")? {
            match set(&name, &value) {
                Err(Errno::OPNOTSUPP) => {}
                result => result.failing("fsetxattr")?,
            }
        }
    }
    Ok(())
}

/// Copies what has data and leaves the holes.
fn copy_data(from: &OwnedFd, to: &OwnedFd, size: u64) -> Result<(), Errno> {
    ftruncate(to, size)?;
    let mut at = 0;
    while at < size {
        let (start, end) = match seek(from, SeekFrom::Data(at)) {
            Ok(start) => (start, seek(from, SeekFrom::Hole(start))?),
            // A hole up to the end.
            Err(Errno::NXIO) => return Ok(()),
            // No such seek here: all of it is data.
            Err(Errno::INVAL) => (at, size),
            Err(errno) => return Err(errno),
        };
        copy_range(from, to, start, end.min(size))?;
        at = end;
    }
    Ok(())
}

fn copy_range(from: &OwnedFd, to: &OwnedFd, start: u64, end: u64) -> Result<(), Errno> {
    let (mut read_at, mut write_at) = (start, start);
    while read_at < end {
        let left = usize::try_from(end - read_at).unwrap_or(usize::MAX);
        match copy_file_range(from, Some(&mut read_at), to, Some(&mut write_at), left) {
            Ok(0) => return Err(Errno::IO),
            Ok(_) | Err(Errno::INTR) => {}
            Err(Errno::XDEV | Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS | Errno::PERM) => {
                return copy_by_hand(from, to, read_at, end);
            }
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

fn copy_by_hand(from: &OwnedFd, to: &OwnedFd, mut at: u64, end: u64) -> Result<(), Errno> {
    let mut buffer = vec![0; COPY_BUFFER];
    while at < end {
        let want = buffer.len().min(usize::try_from(end - at).unwrap_or(usize::MAX));
        let got = retry_on_intr(|| pread(from, &mut buffer[..want], at))?;
        if got == 0 {
            return Err(Errno::IO);
        }
        let mut written = 0;
        while written < got {
            let rest = &buffer[written..got];
            written += retry_on_intr(|| pwrite(to, rest, at + written as u64))?;
        }
        at += got as u64;
    }
    Ok(())
}
