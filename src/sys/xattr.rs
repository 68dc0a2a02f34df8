// SPDX-License-Identifier: Apache-2.0
//! Extended attributes by descriptor, names and values as bytes.
#![forbid(unsafe_code)]

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use rustix::fs::{XattrFlags, fgetxattr, flistxattr, flistxattr_query, fremovexattr, fsetxattr};
use rustix::fs::{getxattr, listxattr, listxattr_query, removexattr, setxattr};
use rustix::io::Errno;

/// The kernel's own bounds (xattr(7)): 64 KiB of names, and as much for each value.
const LIST_MAX: usize = 1 << 16;
const VALUE_MAX: usize = 1 << 16;

/// Sets an xattr of an open file or directory.
pub(crate) fn set(fd: BorrowedFd<'_>, name: &[u8], value: &[u8]) -> Result<(), Errno> {
    fsetxattr(fd, name, value, XattrFlags::empty())
}

/// Sets an xattr of what an `O_PATH` descriptor stands for, also of a symlink: the magic link in
/// /proc leads to exactly that inode and no further.
pub(crate) fn set_special(fd: BorrowedFd<'_>, name: &[u8], value: &[u8]) -> Result<(), Errno> {
    setxattr(proc_path(fd), name, value, XattrFlags::empty())
}

/// A path to an open file, for calls that take no `O_PATH` descriptor.
pub(crate) fn proc_path(fd: BorrowedFd<'_>) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

/// Removes an xattr; that there is none is fine.
pub(crate) fn remove(fd: BorrowedFd<'_>, name: &[u8]) -> Result<(), Errno> {
    match fremovexattr(fd, name) {
        Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(()),
        result => result,
    }
}

/// The same of what an `O_PATH` descriptor stands for.
pub(crate) fn remove_special(fd: BorrowedFd<'_>, name: &[u8]) -> Result<(), Errno> {
    match removexattr(proc_path(fd), name) {
        Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(()),
        result => result,
    }
}

/// All names; none on a file system without xattrs.
pub(crate) fn list(fd: impl AsFd) -> Result<Vec<Vec<u8>>, Errno> {
    names(|names| match names {
        [] => flistxattr_query(fd.as_fd()),
        names => flistxattr(fd.as_fd(), names),
    })
}

/// The same of what an `O_PATH` descriptor stands for.
pub(crate) fn list_special(fd: BorrowedFd<'_>) -> Result<Vec<Vec<u8>>, Errno> {
    let path = proc_path(fd);
    names(|names| match names {
        [] => listxattr_query(&path),
        names => listxattr(&path, names),
    })
}

fn names(mut call: impl FnMut(&mut [u8]) -> Result<usize, Errno>) -> Result<Vec<Vec<u8>>, Errno> {
    match call(&mut []) {
        Ok(0) | Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
        Ok(_) => {}
        Err(errno) => return Err(errno),
    }
    let mut names = vec![0; LIST_MAX];
    let length = call(&mut names)?;
    let names = names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty());
    Ok(names.map(<[u8]>::to_vec).collect())
}

/// The value of an xattr, or none if it is gone by now.
pub(crate) fn get(fd: impl AsFd, name: &[u8]) -> Result<Option<Vec<u8>>, Errno> {
    value(|value| fgetxattr(fd.as_fd(), name, value))
}

/// The same of what an `O_PATH` descriptor stands for.
pub(crate) fn get_special(fd: BorrowedFd<'_>, name: &[u8]) -> Result<Option<Vec<u8>>, Errno> {
    value(|value| getxattr(proc_path(fd), name, value))
}

fn value(call: impl FnOnce(&mut [u8]) -> Result<usize, Errno>) -> Result<Option<Vec<u8>>, Errno> {
    let mut value = vec![0; VALUE_MAX];
    match call(&mut value) {
        Ok(length) => {
            value.truncate(length);
            Ok(Some(value))
        }
        Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// Whether this file system has a place for an xattr of this name.
pub(crate) fn is_supported(fd: impl AsFd, name: &[u8]) -> Result<bool, Errno> {
    match fgetxattr(fd.as_fd(), name, &mut [0u8; 0][..]) {
        Ok(_) | Err(Errno::NODATA) => Ok(true),
        Err(Errno::OPNOTSUPP) => Ok(false),
        Err(errno) => Err(errno),
    }
}
