// SPDX-License-Identifier: Apache-2.0
//! Takes wrong marks away, and writes the whiteouts that these stood for.

use std::os::fd::AsFd;
use std::path::PathBuf;

use rustix::fs::{
    FileType, Mode as Permissions, Timespec, Timestamps, UTIME_OMIT, fstat, futimens, mknodat, stat,
};
use rustix::io::Errno;

use super::mounts::overlay_mounts;
use super::stack::{Level, Stack, failed, split};
use crate::error::Result;
use crate::options::OptionsError;
use crate::sys::xattr;

/// Refuses a stack of which an overlay mount uses a directory: the kernel may have the mark in its
/// memory, and says that changes below a mount are undefined
/// (Documentation/filesystems/overlayfs.rst, "Changes to underlying filesystems").
pub(super) fn refuse_live(stack: &Stack) -> Result<()> {
    let mounts = overlay_mounts().map_err(|error| OptionsError::Mounts(error.to_string()))?;
    let mut live = Vec::new();
    for mount in &mounts {
        for layer in mount.layers() {
            // What cannot be seen from here is compared by its name only.
            let id = stat(&layer).ok().map(|stat| (stat.st_dev, stat.st_ino));
            live.push((layer, id, mount.mount_point.clone()));
        }
    }
    for level in 0..stack.len() {
        let own = fstat(stack.root(level)).map_err(|errno| failed("fstat", b"", errno))?;
        let own = (own.st_dev, own.st_ino);
        let used = live.iter().find(|(path, id, _)| match id {
            Some(id) => *id == own,
            None => path == stack.path(level),
        });
        if let Some((_, _, mount_point)) = used {
            let path: PathBuf = stack.path(level).to_owned();
            return Err(OptionsError::Live { path, mount_point: mount_point.clone() }.into());
        }
    }
    Ok(())
}

/// How many marks were removed.
pub(super) fn remove_marks(stack: &mut Stack, wrong: &[(Level, Vec<u8>)]) -> Result<u64> {
    let mark = stack.mark();
    for (level, path) in wrong {
        if let Some(dir) = stack.dir(*level, path)? {
            xattr::remove(dir.as_fd(), mark.as_bytes())
                .map_err(|errno| failed("fremovexattr", path, errno))?;
        }
    }
    Ok(wrong.len() as u64)
}

/// How many whiteouts were written: those whose directory the layer has on disk. The directory looks
/// as before.
pub(super) fn write_whiteouts(stack: &mut Stack, missing: &[(Level, Vec<u8>)]) -> Result<u64> {
    let mut written = 0;
    for (level, path) in missing {
        let (parent, name) = split(path);
        let Some(dir) = stack.dir(*level, parent)? else { continue };
        let before = fstat(&dir).map_err(|errno| failed("fstat", parent, errno))?;
        match mknodat(&dir, name, FileType::CharacterDevice, Permissions::empty(), 0) {
            Ok(()) => written += 1,
            // Something stands there after all, and is kept.
            Err(Errno::EXIST) => continue,
            Err(errno) => return Err(failed("mknodat", path, errno)),
        }
        let kept = Timestamps {
            last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
            last_modification: Timespec {
                tv_sec: before.st_mtime,
                tv_nsec: before.st_mtime_nsec as _,
            },
        };
        futimens(&dir, &kept).map_err(|errno| failed("futimens", parent, errno))?;
    }
    Ok(written)
}
