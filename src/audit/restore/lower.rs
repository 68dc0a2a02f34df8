// SPDX-License-Identifier: Apache-2.0
//! What unpack takes from a lower layer, taken again: files for hardlinks, and the attributes of
//! directories that nothing in the layer describes.

use std::os::fd::AsFd;
use std::rc::Rc;

use rustix::fs::{FileType, Mode as Permissions, OFlags, fstat, openat};
use rustix::io::Errno;

use super::{Mending, Restore, Source, Wanted};
use crate::audit::expected::{OnDisk, regular_file};
use crate::audit::inode::{Inode, Xattrs};
use crate::audit::stack::{Below, Part, failed, split};
use crate::error::{Cause, Result};
use crate::layer::xattrs::{MetacopyFile, is_copied_up, is_inherited};
use crate::layer::{self, IMPLIED_MODE, IMPLIED_OWNER, joined};
use crate::sys::xattr;

impl Mending<'_> {
    /// What a lower layer has at a path and this one has copied up.
    pub(super) fn lower(&mut self, path: &[u8]) -> Result<Wanted> {
        let Restore { stack, level, .. } = &mut self.restore;
        let gone = || failed("openat of a lower file", path, Errno::NOENT);
        let Below::Other(part, kind) = stack.below_root(*level, path)? else { return Err(gone()) };
        let below = joined(&part.path, split(path).1);
        let no = |operation| move |errno| failed(operation, path, errno);
        let metacopy = stack.metacopy();
        let takes = |name: &[u8]| is_copied_up(name, metacopy);
        if kind == FileType::RegularFile {
            let OnDisk::File(file) = regular_file(stack, part.level, &below)? else {
                return Err(gone());
            };
            let stat = fstat(&file).map_err(no("fstat of a lower file"))?;
            let names = xattr::list(&file).map_err(no("flistxattr"))?;
            let xattrs = taken(path, names, takes, |name| xattr::get(&file, name))?;
            let inode = Rc::new(Inode::on_disk(&stat, xattrs, Vec::new()));
            return Ok(Wanted { inode, content: Source::Lower(file) });
        }
        let stat = stack.stat(part.level, &below)?.ok_or_else(gone)?;
        let target = match kind {
            FileType::Symlink => stack.target(part.level, &below)?,
            _ => Vec::new(),
        };
        let dir = stack.dir(part.level, &part.path)?.ok_or_else(gone)?;
        let special = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let special = openat(&*dir, split(path).1, special, Permissions::empty());
        let special = special.map_err(no("openat of a lower file"))?;
        let names = xattr::list_special(special.as_fd()).map_err(no("listxattr"))?;
        let get = |name: &[u8]| xattr::get_special(special.as_fd(), name);
        let xattrs = taken(path, names, takes, get)?;
        let inode = Rc::new(Inode::on_disk(&stat, xattrs, target));
        Ok(Wanted { inode, content: Source::Kept })
    }

    /// A directory that nothing in the layer describes: as unpack makes it.
    pub(super) fn make_implied(&mut self, path: &[u8]) -> Result<()> {
        let inode = match self.topmost_below(path)? {
            Some(part) => {
                let dir = self.restore.stack.dir(part.level, &part.path)?;
                let dir = dir.ok_or_else(|| failed("openat", path, Errno::NOENT))?;
                let stat = fstat(&*dir).map_err(|errno| failed("fstat", path, errno))?;
                let names =
                    xattr::list(&*dir).map_err(|errno| failed("flistxattr", path, errno))?;
                let takes = |name: &[u8]| Ok(is_inherited(name));
                let xattrs = taken(path, names, takes, |name| xattr::get(&*dir, name))?;
                Rc::new(Inode::on_disk(&stat, xattrs, Vec::new()))
            }
            None => {
                let owner =
                    layer::owner(self.restore.owners, IMPLIED_OWNER).map_err(Cause::from)?;
                Rc::new(Inode::directory(IMPLIED_MODE, owner))
            }
        };
        self.make(path, &Wanted { inode, content: Source::Kept })
    }

    fn topmost_below(&mut self, path: &[u8]) -> Result<Option<Part>> {
        let Restore { stack, level, expected, .. } = &mut self.restore;
        if expected.is_covered(split(path).0) || expected.is_deleted(path) {
            return Ok(None);
        }
        Ok(stack.below_root(*level, path)?.parts().into_iter().next())
    }
}

/// Those that a copy takes.
fn taken(
    path: &[u8],
    names: Vec<Vec<u8>>,
    takes: impl Fn(&[u8]) -> Result<bool, MetacopyFile>,
    get: impl Fn(&[u8]) -> Result<Option<Vec<u8>>, Errno>,
) -> Result<Xattrs> {
    let refused = |MetacopyFile| failed(MetacopyFile::OPERATION, path, MetacopyFile::ERRNO);
    let mut xattrs = Vec::new();
    for name in names {
        if takes(&name).map_err(refused)?
            && let Some(value) = get(&name).map_err(|errno| failed("getxattr", path, errno))?
        {
            xattrs.push((name, value));
        }
    }
    Ok(xattrs)
}
