// SPDX-License-Identifier: Apache-2.0
//! What an inode is, to the kernel and to overlayfs.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{AtFlags, FileType, Mode as Permissions, OFlags, Stat, Timespec, Timestamps};
use rustix::fs::{fgetxattr, fgetxattr_query, openat, statat};
use rustix::io::{Errno, retry_on_intr};

use super::path::Component;
use crate::options::Mode;

/// The xattrs by which overlayfs tells of its own business (Documentation/filesystems/overlayfs.rst).
pub(crate) struct OverlayXattrs {
    /// It hides what is below a directory.
    pub(crate) opaque: &'static str,
    /// Where the layers below have their part of a directory.
    pub(crate) redirect: &'static str,
    /// It makes an empty file a whiteout, from kernel 6.7 on.
    pub(crate) whiteout: &'static str,
    /// The data of a file are another layer's.
    pub(crate) metacopy: &'static str,
}

/// Those that a mount of this mode looks at.
pub(crate) fn overlay_xattrs(mode: Mode) -> &'static OverlayXattrs {
    const TRUSTED: OverlayXattrs = OverlayXattrs {
        opaque: "trusted.overlay.opaque",
        redirect: "trusted.overlay.redirect",
        whiteout: "trusted.overlay.whiteout",
        metacopy: "trusted.overlay.metacopy",
    };
    const USER: OverlayXattrs = OverlayXattrs {
        opaque: "user.overlay.opaque",
        redirect: "user.overlay.redirect",
        whiteout: "user.overlay.whiteout",
        metacopy: "user.overlay.metacopy",
    };
    match mode {
        Mode::OverlayUserxattr => &USER,
        Mode::Directory | Mode::Overlay => &TRUSTED,
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

/// The same with the other form: an empty file that an xattr makes a whiteout.
pub(crate) fn is_xwhiteout(
    at: BorrowedFd<'_>,
    name: Component<'_>,
    stat: &Stat,
    mode: Mode,
) -> Result<bool, Errno> {
    if !is(stat, FileType::RegularFile) || stat.st_size != 0 {
        return Ok(false);
    }
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    match retry_on_intr(|| openat(at, name.as_bytes(), flags, Permissions::empty())) {
        Ok(file) => has_xattr(file.as_fd(), overlay_xattrs(mode).whiteout),
        // A mount of this caller cannot read it either.
        Err(Errno::ACCESS) => Ok(false),
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
