// SPDX-License-Identifier: Apache-2.0
//! Removing a name and all below it, without following a symlink.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{AtFlags, Dir, renameat, unlinkat};
use rustix::io::{Errno, retry_on_intr};

use crate::resolve::{Component, SafeParent, open_child};

/// Directories held open on the way down. A tree that is deeper, perhaps made so to run us out of
/// descriptors, is pulled up to the top piece by piece.
const DEPTH_MAX: usize = 24;

/// Where deep directories are pulled up to; the name starts like no entry can be called.
const PULLED_UP: &str = ".wh..ocilayer-";

/// Removes whatever has this name. `ENOENT` if nothing has.
pub(crate) fn remove(at: &SafeParent, name: Component<'_>) -> Result<(), Errno> {
    match unlink(at.as_fd(), name.as_bytes()) {
        Err(Errno::ISDIR) => remove_dir(at.as_fd(), name.as_bytes()),
        result => result,
    }
}

fn remove_dir(at: BorrowedFd<'_>, name: &[u8]) -> Result<(), Errno> {
    let top = open_child(at, name)?;
    empty(top.as_fd(), top.as_fd(), 1, &mut 0)?;
    rmdir(at, name)
}

/// Removes what is in `dir`; what lies too deep is moved to `top`, which is listed again later.
fn empty(
    dir: BorrowedFd<'_>,
    top: BorrowedFd<'_>,
    depth: usize,
    pulled_up: &mut u64,
) -> Result<(), Errno> {
    // A listing of a directory that shrinks meanwhile may miss names: until one finds nothing.
    loop {
        let mut found = false;
        for entry in Dir::read_from(dir)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if matches!(name, b"." | b"..") {
                continue;
            }
            found = true;
            match unlink(dir, name) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(Errno::ISDIR) if depth.is_multiple_of(DEPTH_MAX) => {
                    *pulled_up += 1;
                    match renameat(dir, name, top, format!("{PULLED_UP}{pulled_up}")) {
                        // An overlay mount moves no directory that a lower layer has. Going on
                        // costs descriptors, and names of at most PATH_MAX bytes a few thousand.
                        Err(Errno::XDEV) => remove_child(dir, name, top, depth, pulled_up)?,
                        result => result?,
                    }
                }
                Err(Errno::ISDIR) => remove_child(dir, name, top, depth, pulled_up)?,
                Err(errno) => return Err(errno),
            }
        }
        if !found {
            return Ok(());
        }
    }
}

fn remove_child(
    dir: BorrowedFd<'_>,
    name: &[u8],
    top: BorrowedFd<'_>,
    depth: usize,
    pulled_up: &mut u64,
) -> Result<(), Errno> {
    let child = open_child(dir, name)?;
    empty(child.as_fd(), top, depth + 1, pulled_up)?;
    rmdir(dir, name)
}

fn unlink(at: BorrowedFd<'_>, name: &[u8]) -> Result<(), Errno> {
    retry_on_intr(|| unlinkat(at, name, AtFlags::empty()))
}

fn rmdir(at: BorrowedFd<'_>, name: &[u8]) -> Result<(), Errno> {
    retry_on_intr(|| unlinkat(at, name, AtFlags::REMOVEDIR))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::OwnedFd;

    #[test]
    fn a_tree_deeper_than_the_descriptor_budget_is_removed() {
        let base = tempfile::tempdir().unwrap();
        let top = base.path().join("top");
        let mut at: OwnedFd = {
            std::fs::create_dir(&top).unwrap();
            std::fs::File::open(&top).unwrap().into()
        };
        for depth in 0..DEPTH_MAX * 5 {
            rustix::fs::mkdirat(&at, "d", 0o755.into()).unwrap();
            let file = format!("f{depth}");
            rustix::fs::symlinkat("/etc/passwd", &at, file).unwrap();
            at = open_child(at.as_fd(), b"d").unwrap();
        }
        let parent = std::fs::File::open(base.path()).unwrap();
        remove_dir(parent.as_fd(), b"top").unwrap();
        assert!(!top.exists());
    }
}
