// SPDX-License-Identifier: Apache-2.0
//! What an inode is, to the kernel and to overlayfs.

use std::os::fd::BorrowedFd;

use rustix::fs::{
    AtFlags, FileType, Stat, Timespec, Timestamps, fgetxattr, fgetxattr_query, statat,
};
use rustix::io::Errno;

use super::path::Component;
use crate::options::Mode;

/// The xattr by which overlayfs hides what is below a directory.
pub(crate) fn opaque_xattr(mode: Mode) -> &'static str {
    match mode {
        Mode::OverlayUserxattr => "user.overlay.opaque",
        Mode::Directory | Mode::Overlay => "trusted.overlay.opaque",
    }
}

/// lstat(2) of a name in a directory.
pub(crate) fn stat_child(at: BorrowedFd<'_>, name: Component<'_>) -> Result<Stat, Errno> {
    statat(at, name.as_bytes(), AtFlags::SYMLINK_NOFOLLOW)
}

/// Access and modification time, as utimensat(2) takes them.
pub(crate) fn times_of(stat: &Stat) -> Timestamps {
    let time = |seconds, nanoseconds| Timespec { tv_sec: seconds, tv_nsec: nanoseconds };
    Timestamps {
        last_access: time(stat.st_atime, stat.st_atime_nsec as _),
        last_modification: time(stat.st_mtime, stat.st_mtime_nsec as _),
    }
}

pub(crate) fn is(stat: &Stat, kind: FileType) -> bool {
    FileType::from_raw_mode(stat.st_mode) == kind
}

/// overlayfs's whiteout (Documentation/filesystems/overlayfs.rst): a character device 0:0.
pub(crate) fn is_whiteout(stat: &Stat) -> bool {
    is(stat, FileType::CharacterDevice) && stat.st_rdev == 0
}

/// Whether overlayfs takes the directory for opaque: the mark counts only if it is `y`.
/// What cannot be read is an error: taken for no mark, it would show what is hidden.
pub(crate) fn is_marked(fd: BorrowedFd<'_>, mark: &str) -> Result<bool, Errno> {
    let mut value = [0u8; 2];
    match fgetxattr(fd, mark, &mut value[..]) {
        Ok(length) => Ok(value[..length] == *b"y"),
        // A longer value is not the mark.
        Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::RANGE) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// Whether there is an xattr of this name.
pub(crate) fn has_xattr(fd: BorrowedFd<'_>, name: &str) -> Result<bool, Errno> {
    match fgetxattr_query(fd, name) {
        Ok(_) => Ok(true),
        Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(false),
        Err(errno) => Err(errno),
    }
}
