// SPDX-License-Identifier: Apache-2.0
//! The check's own directory: made, locked while in use, and removed whatever happens.
//!
//! It may stand in a directory that others write to. Whatever is in it was made by this user, and
//! nobody else gets in; only its own name can be taken away or replaced. So everything goes
//! through its descriptor, and nothing is removed that a check did not make.

use std::collections::hash_map::RandomState;
use std::ffi::CStr;
use std::hash::{BuildHasher, Hasher};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{
    AtFlags, Dir, FlockOperation, Mode, OFlags, StatxFlags, chmodat, fchmod, flock, fstat, makedev,
    mkdirat, openat, statat, statx, unlinkat,
};
use rustix::io::Errno;
use rustix::path::Arg;

use super::report::Obstacle;
use crate::errno;

/// Followed by the process's id, for people, and a random number, for uniqueness.
const PREFIX: &str = ".ocilayer-check-";

/// The only names that are ever removed. They say whose they are, because of this attack: in a
/// directory that others may write to, somebody gives root's own directory a name that looks like
/// a leftover, and waits for root to check. A container engine has directories `upper` and `work`
/// as well; none has these.
pub(super) const LOWER_BELOW: &str = "ocilayer-lower-1";
pub(super) const LOWER_OPAQUE: &str = "ocilayer-lower-2";
pub(super) const UPPER: &str = "ocilayer-upper";
pub(super) const WORK: &str = "ocilayer-work";
pub(super) const MERGED: &str = "ocilayer-merged";
const TREE: [&str; 5] = [LOWER_BELOW, LOWER_OPAQUE, UPPER, WORK, MERGED];

/// The deepest that a check makes is work/N/incompat/volatile.
const MAX_DEPTH: usize = 8;

/// Another check can take a directory for stale only between its making and its locking.
const ATTEMPTS: usize = 32;

const OPEN: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

pub(super) struct Scratch<'dir> {
    dir: BorrowedFd<'dir>,
    name: String,
    fd: OwnedFd,
}

impl<'dir> Scratch<'dir> {
    /// Makes the directory with all of [`TREE`], and locks it.
    pub(super) fn new(dir: BorrowedFd<'dir>) -> Result<Scratch<'dir>, Obstacle> {
        for _ in 0..ATTEMPTS {
            let pid = std::process::id();
            let name = format!("{PREFIX}{pid}-{:016x}", RandomState::new().build_hasher().finish());
            match mkdirat(dir, &name, Mode::RWXU) {
                Err(Errno::EXIST) => continue,
                made => made.map_err(failed("mkdirat"))?,
            }
            match claim(dir, &name) {
                Ok(Some(fd)) => {
                    let scratch = Scratch { dir, name, fd };
                    // A default ACL of `dir` may have given others a way in.
                    fchmod(&scratch.fd, Mode::RWXU).map_err(failed("fchmod"))?;
                    for name in TREE {
                        scratch.mkdir(name)?;
                    }
                    return Ok(scratch);
                }
                not_mine => {
                    let _ = unlinkat(dir, &name, AtFlags::REMOVEDIR);
                    not_mine.map_err(failed("flock"))?;
                }
            }
        }
        Err(Obstacle::Directory { operation: "flock", errno: errno::Errno::AGAIN })
    }

    pub(super) fn mkdir(&self, path: &str) -> Result<(), Obstacle> {
        // 0755 on the dot, since the umask of this thread is 0.
        mkdirat(&self.fd, path, Mode::from_raw_mode(0o755)).map_err(failed("mkdirat"))
    }

    pub(super) fn create(&self, path: &str) -> Result<(), Obstacle> {
        create(self, path).map_err(failed("openat"))
    }

    pub(super) fn open(&self, path: &str) -> Result<OwnedFd, Obstacle> {
        openat(&self.fd, path, OPEN, Mode::empty()).map_err(failed("openat"))
    }
}

impl AsFd for Scratch<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for Scratch<'_> {
    fn drop(&mut self) {
        clear(self.dir, self.name.as_ref(), &self.fd);
    }
}

/// An empty new file.
pub(super) fn create(dir: impl AsFd, path: &str) -> Result<(), Errno> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(dir, path, flags, Mode::from_raw_mode(0o644)).map(drop)
}

fn failed(operation: &'static str) -> impl Fn(Errno) -> Obstacle {
    move |errno| Obstacle::Directory { operation, errno: errno::Errno::of(errno) }
}

/// Opens and locks the directory just made; none if another check, or an attacker, got at it first.
fn claim(dir: BorrowedFd<'_>, name: &str) -> Result<Option<OwnedFd>, Errno> {
    let fd = match openat(dir, name, OPEN, Mode::empty()) {
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(None),
        opened => opened?,
    };
    match flock(&fd, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::WOULDBLOCK) => return Ok(None),
        locked => locked?,
    }
    // The lock may have come after another check removed the directory, and the name may lead to
    // an attacker's directory: root must not make files in there.
    let opened = fstat(&fd)?;
    let named = match statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => return Ok(None),
        found => found?,
    };
    let unchanged = (opened.st_dev, opened.st_ino) == (named.st_dev, named.st_ino);
    Ok((unchanged && opened.st_uid == own_uid()).then_some(fd))
}

fn own_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Removes what killed checks of the same user left in `dir`.
///
/// A check that lives holds the lock of its directory, and the kernel drops the lock with the
/// process. Best effort: what stands in the way of this does not stand in the way of the check.
pub(super) fn remove_stale(dir: BorrowedFd<'_>) {
    let listing = openat(dir, ".", OPEN, Mode::empty()).and_then(Dir::new);
    let Ok(listing) = listing else { return };
    for entry in listing.map_while(Result::ok) {
        let name = entry.file_name();
        if name.to_bytes().starts_with(PREFIX.as_bytes()) {
            let _ = remove_if_stale(dir, name);
        }
    }
}

fn remove_if_stale(dir: BorrowedFd<'_>, name: &CStr) -> Result<(), Errno> {
    // Before it is opened: it may be the mount point of somebody's FUSE server that never answers.
    let here = owner_and_device(dir, c"", AtFlags::EMPTY_PATH)?;
    let found = owner_and_device(dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
    if found != (own_uid(), here.1) {
        return Ok(());
    }
    let fd = openat(dir, name, OPEN, Mode::empty())?;
    flock(&fd, FlockOperation::NonBlockingLockExclusive)?;
    let stat = fstat(&fd)?;
    if stat.st_uid == own_uid() {
        clear(dir, name.to_str().map_err(|_| Errno::INVAL)?, &fd);
    }
    Ok(())
}

/// Without asking a server: the kernel's own idea is enough.
fn owner_and_device(dir: BorrowedFd<'_>, name: &CStr, how: AtFlags) -> Result<(u32, u64), Errno> {
    match statx(dir, name, how | AtFlags::STATX_DONT_SYNC, StatxFlags::UID) {
        Ok(stat) => Ok((stat.stx_uid, makedev(stat.stx_dev_major, stat.stx_dev_minor))),
        // Before Linux 4.11, or hidden by a seccomp filter.
        Err(Errno::NOSYS | Errno::PERM) => {
            let stat = statat(dir, name, how)?;
            Ok((stat.st_uid, stat.st_dev))
        }
        Err(errno) => Err(errno),
    }
}

/// Empties a directory of a check, which is open and locked, and removes it from `dir`.
fn clear(dir: BorrowedFd<'_>, name: &str, fd: &OwnedFd) {
    // Where others could write, what stands below these names is not a check's.
    let private = fstat(fd).is_ok_and(|stat| stat.st_mode & 0o077 == 0);
    if private {
        for name in TREE {
            let _ = remove(fd.as_fd(), name, MAX_DEPTH);
        }
    }
    let _ = unlinkat(dir, name, AtFlags::REMOVEDIR);
}

/// Removes a file or a tree without following a symlink or entering a mount.
fn remove(parent: BorrowedFd<'_>, name: impl Arg + Copy, depth: usize) -> Result<(), Errno> {
    match unlinkat(parent, name, AtFlags::empty()) {
        Err(Errno::ISDIR | Errno::PERM) => {}
        done => return done,
    }
    match unlinkat(parent, name, AtFlags::REMOVEDIR) {
        Err(Errno::NOTEMPTY | Errno::EXIST) if depth > 0 => {}
        done => return done,
    }
    let dir = match openat(parent, name, OPEN, Mode::empty()) {
        // Overlayfs makes its work directory with mode 0.
        Err(Errno::ACCESS) => {
            chmodat(parent, name, Mode::RWXU, AtFlags::empty())?;
            openat(parent, name, OPEN, Mode::empty())?
        }
        opened => opened?,
    };
    // Names first, removal after: a listing that changes underfoot may leave some out.
    let names: Vec<_> = Dir::read_from(&dir)?
        .map_while(Result::ok)
        .map(|entry| entry.file_name().to_owned())
        .filter(|name| !matches!(name.to_bytes(), b"." | b".."))
        .collect();
    for name in names {
        remove(dir.as_fd(), name.as_c_str(), depth - 1)?;
    }
    unlinkat(parent, name, AtFlags::REMOVEDIR)
}
