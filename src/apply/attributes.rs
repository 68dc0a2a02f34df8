// SPDX-License-Identifier: Apache-2.0
//! Owner, mode and times as system calls take them.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{
    Gid, Mode as Permissions, OFlags, Timespec, Timestamps, Uid, fchmod, fchown, openat,
};
use rustix::io::{Errno, retry_on_intr};

use super::error::{ApplyError, Failing};
use crate::resolve::Component;
use crate::tar::{Entry, Time};

/// Permission bits that open(2) and mkdir(2) may set. Setuid waits until the content is complete
/// and the owner right; setgid on a directory would pass to its children.
pub(super) const CREATE_BITS: u32 = 0o777;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) uid: u32,
    pub(super) gid: u32,
}

impl Owner {
    pub(super) fn of_process() -> Owner {
        Owner { uid: rustix::process::geteuid().as_raw(), gid: rustix::process::getegid().as_raw() }
    }

    pub(super) fn ids(self) -> (Option<Uid>, Option<Gid>) {
        (Some(Uid::from_raw(self.uid)), Some(Gid::from_raw(self.gid)))
    }
}

/// The mode to create with.
pub(super) fn create_mode(mode: u32) -> Permissions {
    Permissions::from_raw_mode(mode & CREATE_BITS)
}

/// Access and modification time of an entry. Without an access time of its own a file was last
/// read when it was written.
pub(super) fn times_of(entry: &Entry) -> Timestamps {
    let spec = |time: Time| Timespec { tv_sec: time.seconds, tv_nsec: time.nanoseconds.into() };
    Timestamps {
        last_access: spec(entry.atime.unwrap_or(entry.mtime)),
        last_modification: spec(entry.mtime),
    }
}

pub(super) fn set_owner(fd: BorrowedFd<'_>, owner: Owner) -> Result<(), ApplyError> {
    let (uid, gid) = owner.ids();
    fchown(fd, uid, gid)
        .failing_with("fchown", || format!("{}:{}", owner.uid, owner.gid))
        .map_err(ApplyError::of_owner)
}

pub(super) fn set_mode(fd: BorrowedFd<'_>, mode: u32) -> Result<(), ApplyError> {
    fchmod(fd, Permissions::from_raw_mode(mode)).failing_with("fchmod", || format!("{mode:04o}"))
}

/// Opens what must not be opened for reading: a FIFO would block, a device would act.
pub(super) fn open_special(at: impl AsFd, name: Component<'_>) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    retry_on_intr(|| openat(at.as_fd(), name.as_bytes(), flags, Permissions::empty()))
}
