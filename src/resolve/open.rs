// SPDX-License-Identifier: Apache-2.0
//! Opening a directory below another one without ever following a symlink.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{Mode, OFlags, ResolveFlags, Stat, chmod, fstat, openat, openat2};
use rustix::io::{Errno, retry_on_intr};

use super::safe_parent::SafeParent;

/// Readable, so that attributes can be set, entries listed and changes synced through it.
const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// How often a path that is renamed under our feet is tried again before walking it by hand.
const RACES: usize = 16;

/// Bytes of a path that one call is given; PATH_MAX, with its NUL, is the kernel's bound.
const PIECE: usize = 4_000;

/// Opens directories by openat2(2), or by a walk where the kernel or a seccomp filter has none.
#[derive(Debug)]
pub(crate) struct Opener {
    openat2: bool,
}

impl Opener {
    pub(crate) fn new() -> Opener {
        Opener { openat2: true }
    }

    /// Opens `path`, whose components all are directories and no symlinks, below `base`.
    ///
    /// The caller has resolved symlinks already; one that appears now is an attack or an accident
    /// and fails with `ELOOP` or `ENOTDIR`. The path may be longer than the kernel takes at a time.
    pub(crate) fn open(&mut self, base: BorrowedFd<'_>, path: &[u8]) -> Result<OwnedFd, Errno> {
        let mut held: Option<OwnedFd> = None;
        let mut rest = path;
        while rest.len() > PIECE {
            let slash = rest[..PIECE].iter().rposition(|byte| *byte == b'/');
            let slash = slash.ok_or(Errno::NAMETOOLONG)?;
            let at = held.as_ref().map_or(base, |fd| fd.as_fd());
            held = Some(self.open_piece(at, &rest[..slash])?);
            rest = &rest[slash + 1..];
        }
        let at = held.as_ref().map_or(base, |fd| fd.as_fd());
        self.open_piece(at, rest)
    }

    /// The same, for names to be made in.
    pub(crate) fn open_parent(
        &mut self,
        base: BorrowedFd<'_>,
        path: &[u8],
    ) -> Result<SafeParent, Errno> {
        self.open(base, path).map(|fd| SafeParent::new(Arc::new(fd)))
    }

    fn open_piece(&mut self, base: BorrowedFd<'_>, path: &[u8]) -> Result<OwnedFd, Errno> {
        let resolve =
            ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let path = if path.is_empty() { b"." } else { path };
        for _ in 0..RACES {
            if !self.openat2 {
                break;
            }
            match retry_on_intr(|| openat2(base, path, DIRECTORY, Mode::empty(), resolve)) {
                // A kernel before 5.6, or a container runtime's seccomp profile. Opening a
                // directory for reading has no other reason to answer EPERM.
                Err(Errno::NOSYS | Errno::PERM) => self.openat2 = false,
                // A rename somewhere in the tree: the kernel could not be sure.
                Err(Errno::AGAIN) => {}
                result => return result,
            }
        }
        walk(base, path)
    }
}

/// The same by one openat(2) for each component: each is looked up in a directory that we hold.
fn walk(base: BorrowedFd<'_>, path: &[u8]) -> Result<OwnedFd, Errno> {
    let mut held: Option<OwnedFd> = None;
    let mut parts = path.split(|byte| *byte == b'/').peekable();
    while let Some(part) = parts.next() {
        let at = held.as_ref().map_or(base, |fd| fd.as_fd());
        // Only the last one is read; the others need no more than search permission.
        let flags = match parts.peek() {
            Some(_) => OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            None => DIRECTORY,
        };
        held = Some(open_component(at, part, flags)?);
    }
    held.ok_or(Errno::INVAL)
}

/// Opens one directory in another; a symlink of that name fails.
pub(crate) fn open_child(parent: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd, Errno> {
    open_component(parent, name, DIRECTORY)
}

fn open_component(at: BorrowedFd<'_>, name: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
    retry_on_intr(|| openat(at, name, flags, Mode::empty()))
}

/// What a directory must let its owner do while a layer is applied.
const UNLOCKED: u32 = 0o700;

/// Lets the owner into a directory, if this process is that and its mode does not. The mode before.
pub(crate) fn unlock(fd: BorrowedFd<'_>, stat: &Stat) -> Result<Option<u32>, Errno> {
    let mode = stat.st_mode & 0o7777;
    let own = stat.st_uid == rustix::process::geteuid().as_raw();
    if !own || mode & UNLOCKED == UNLOCKED {
        return Ok(None);
    }
    // By its path in /proc: a descriptor that only stands for a directory takes no fchmod(2).
    let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
    chmod(path, Mode::from_raw_mode(mode | UNLOCKED))?;
    Ok(Some(mode))
}

/// Opens a directory of this process that its mode does not let it read. `EACCES` if it is another's.
pub(crate) fn open_locked(
    parent: BorrowedFd<'_>,
    name: &[u8],
) -> Result<(OwnedFd, Option<u32>), Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let held = open_component(parent, name, flags)?;
    let locked = unlock(held.as_fd(), &fstat(&held)?)?;
    if locked.is_none() {
        return Err(Errno::ACCESS);
    }
    open_child(held.as_fd(), b".").map(|fd| (fd, locked))
}
