// SPDX-License-Identifier: Apache-2.0
//! One name of a layer as the layer has it: made beside its place and renamed into it, or its
//! attributes alone.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode as Permissions, OFlags, Timestamps};
use rustix::fs::{Gid, Uid, makedev, mkdirat, mknodat, openat, renameat};
use rustix::fs::{chmod, chownat, fchmod, fchown, fstat, ftruncate, futimens};
use rustix::fs::{symlinkat, unlinkat, utimensat};
use rustix::io::{Errno, retry_on_intr};

use super::{Finally, Fix, Mending, Restore, Source, TEMPORARY, Wanted, not_written, spec};
use crate::apply::{Copy, remove, remove_stale};
use crate::audit::expected::{OnDisk, regular_file};
use crate::audit::inode::Inode;
use crate::audit::stack::{failed, is_dir, split};
use crate::error::{Cause, Result};
use crate::layer::xattrs::ACCESS_ACL;
use crate::resolve::{Component, SafeParent, unlock};
use crate::sys::xattr;
use crate::tar::Kind;

impl Mending<'_> {
    pub(super) fn make(&mut self, path: &[u8], wanted: &Wanted) -> Result<()> {
        let at = self.parent(path)?;
        match wanted.inode.kind {
            Kind::Directory => self.make_dir(path, &at, &wanted.inode),
            Kind::File | Kind::Hardlink => self.make_file(path, &at, wanted),
            _ => self.make_special(path, &at, &wanted.inode),
        }
    }

    fn make_dir(&mut self, path: &[u8], at: &SafeParent, inode: &Inode) -> Result<()> {
        let name = split(path).1;
        self.clear(path, at)?;
        mkdirat(at, name, Permissions::from_raw_mode(0o700))
            .map_err(|errno| failed("mkdirat", path, errno))?;
        let expected = self.restore.expected;
        let own = expected.get(path).is_some_and(|name| name.opaque || name.is_deleted());
        // Overlayfs does not look at the root's mark: each directory in it has its own.
        let of_root = !path.contains(&b'/') && expected.is_covered(b"");
        if own || of_root {
            self.mark(path, Fix::Mark)?;
        }
        self.set_attributes(path, inode)
    }

    fn make_file(&mut self, path: &[u8], at: &SafeParent, wanted: &Wanted) -> Result<()> {
        let no = |operation| move |errno| failed(operation, path, errno);
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
        let (temporary, fd) = self.temporary(path, at, "openat", |at, name| {
            let mode = Permissions::from_raw_mode(0o600);
            retry_on_intr(|| openat(at, name, flags | OFlags::CLOEXEC, mode))
        })?;
        let size = wanted.inode.size;
        let (spool, cancel) = (self.restore.spool, self.restore.cancel);
        let copy = |from: &OwnedFd| -> Result<(), Errno> {
            let there = fstat(from)?.st_size as u64;
            Copy { from, to: &fd, cancel, bytes: 0 }.data(size.min(there))
        };
        match &wanted.content {
            Source::Kept => match &*wanted.inode.kept.borrow() {
                Some(kept) => spool.copy_to(&fd, kept),
                // Of a file that this caller may not read: nothing was compared, or kept.
                None => Err(Errno::ACCESS),
            },
            Source::Lower(file) => copy(file),
            Source::Own(own) => {
                let Restore { stack, level, .. } = &mut self.restore;
                match regular_file(stack, *level, own)? {
                    OnDisk::File(file) => copy(&file),
                    OnDisk::Unreadable | OnDisk::Other => Err(Errno::BUSY),
                }
            }
        }
        .map_err(no("write of restored content"))?;
        ftruncate(&fd, size).map_err(no("ftruncate"))?;
        self.finish_file(path, fd, &wanted.inode)?;
        self.place(path, at, temporary)
    }

    fn make_special(&mut self, path: &[u8], at: &SafeParent, inode: &Inode) -> Result<()> {
        let kind = match inode.kind {
            Kind::Fifo => FileType::Fifo,
            Kind::CharDevice => FileType::CharacterDevice,
            _ => FileType::BlockDevice,
        };
        let mode = Permissions::from_raw_mode(inode.mode & 0o777);
        let operation = if inode.kind == Kind::Symlink { "symlinkat" } else { "mknodat" };
        let (temporary, ()) = self.temporary(path, at, operation, |at, name| match inode.kind {
            Kind::Symlink => symlinkat(&*inode.link, at, name),
            _ => mknodat(at, name, kind, mode, makedev(inode.device.0, inode.device.1)),
        })?;
        self.special_attributes(path, at, &temporary.name, inode, true)?;
        self.place(path, at, temporary)
    }

    /// Makes something under a name that is nobody's.
    pub(super) fn temporary<T>(
        &mut self,
        path: &[u8],
        at: &SafeParent,
        operation: &'static str,
        make: impl Fn(&SafeParent, &[u8]) -> Result<T, Errno>,
    ) -> Result<(Temporary, T)> {
        loop {
            self.temporary += 1;
            let name = [TEMPORARY, self.temporary.to_string().as_bytes()].concat();
            match make(at, &name) {
                Ok(made) => return Ok((Temporary { at: at.clone(), name, placed: false }, made)),
                Err(Errno::EXIST) => {}
                Err(errno) => return Err(failed(operation, path, errno)),
            }
        }
    }

    /// Renames what was made into its place, whatever is there.
    pub(super) fn place(
        &mut self,
        path: &[u8],
        at: &SafeParent,
        mut made: Temporary,
    ) -> Result<()> {
        if self.restore.stack.stat(self.restore.level, path)?.as_ref().is_some_and(is_dir) {
            self.clear(path, at)?;
        }
        renameat(at, &made.name[..], at, split(path).1)
            .map_err(|errno| failed("renameat", path, errno))?;
        made.placed = true;
        Ok(())
    }

    /// Removes what has the name, and all below it.
    pub(super) fn clear(&mut self, path: &[u8], at: &SafeParent) -> Result<()> {
        let name = split(path).1;
        let component =
            Component::new(name).ok_or_else(|| failed("unlinkat", path, Errno::INVAL))?;
        self.restore.stack.forget_opened();
        match remove(at, component, self.restore.cancel) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(Errno::CANCELED) => Err(Cause::Cancelled.into()),
            Err(errno) => Err(failed("unlinkat", path, errno)),
        }
    }

    pub(super) fn set_attributes(&mut self, path: &[u8], inode: &Inode) -> Result<()> {
        let Restore { stack, level, .. } = &mut self.restore;
        match inode.kind {
            Kind::Directory => {
                let dir = stack.parent(*level, path)?;
                let dir = dir.ok_or_else(|| failed("openat", path, Errno::NOTDIR))?;
                let stat = fstat(&dir).map_err(|errno| failed("fstat", path, errno))?;
                unlock(dir.as_fd(), &stat).map_err(|errno| failed("chmod", path, errno))?;
                self.give_attributes(path, &dir, inode)?;
                let finally = Finally { mode: Some(inode.mode), times: times(inode) };
                self.touched.insert(path.to_vec(), finally);
                Ok(())
            }
            Kind::File | Kind::Hardlink => {
                let OnDisk::File(fd) = regular_file(stack, *level, path)? else {
                    return Err(failed("openat", path, Errno::ACCESS));
                };
                self.finish_file(path, fd, inode)
            }
            _ => {
                let at = self.parent(path)?;
                self.special_attributes(path, &at, split(path).1, inode, false)
            }
        }
    }

    /// All attributes of a file, and on to the disk with it.
    fn finish_file(&self, path: &[u8], fd: OwnedFd, inode: &Inode) -> Result<()> {
        let no = |operation| move |errno| failed(operation, path, errno);
        self.give_attributes(path, &fd, inode)?;
        fchmod(&fd, Permissions::from_raw_mode(inode.mode)).map_err(no("fchmod"))?;
        futimens(&fd, &times(inode)).map_err(no("futimens"))?;
        self.write_out.add(fd, path.to_vec()).map_err(not_written)
    }

    /// Owner and xattrs of a file or directory.
    fn give_attributes(&self, path: &[u8], fd: impl AsFd, inode: &Inode) -> Result<()> {
        let no = |operation| move |errno| failed(operation, path, errno);
        let fd = fd.as_fd();
        if let Some((uid, gid)) = inode.owner {
            fchown(fd, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid))).map_err(no("fchown"))?;
        }
        if !inode.xattrs.is_empty() {
            // It takes permission to write, also of the owner.
            let writable = Permissions::from_raw_mode(inode.mode | 0o200);
            fchmod(fd, writable).map_err(no("fchmod"))?;
        }
        let wanted = |name: &[u8]| inode.xattrs.iter().any(|(wanted, _)| wanted == name);
        remove_stale(fd, wanted).map_err(no("fremovexattr"))?;
        for (name, value) in &inode.xattrs {
            self.tolerate(name, xattr::set(fd, name, value)).map_err(no("fsetxattr"))?;
        }
        Ok(())
    }

    /// An xattr that cannot be here an audit does not miss either.
    fn tolerate(&self, name: &[u8], set: Result<(), Errno>) -> Result<(), Errno> {
        match set {
            Err(Errno::OPNOTSUPP) => Ok(()),
            Err(Errno::PERM | Errno::INVAL) if self.privileges.lack_for_xattr(name) => Ok(()),
            result => result,
        }
    }

    /// The same of anything else, with its mode and times. What is there already has its xattrs.
    fn special_attributes(
        &self,
        path: &[u8],
        at: &SafeParent,
        name: &[u8],
        inode: &Inode,
        new: bool,
    ) -> Result<()> {
        let no = |operation| move |errno| failed(operation, path, errno);
        let here = AtFlags::SYMLINK_NOFOLLOW;
        if let Some((uid, gid)) = inode.owner {
            chownat(at, name, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)), here)
                .map_err(no("fchownat"))?;
        }
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = openat(at, name, flags, Permissions::empty()).map_err(no("openat"))?;
        if new && inode.kind != Kind::Symlink {
            // Of a default ACL of the directory's.
            xattr::remove_special(fd.as_fd(), ACCESS_ACL).map_err(no("removexattr"))?;
        }
        for (name, value) in inode.xattrs.iter().filter(|_| new) {
            let set = xattr::set_special(fd.as_fd(), name, value);
            self.tolerate(name, set).map_err(no("setxattr"))?;
        }
        if inode.kind != Kind::Symlink {
            let mode = Permissions::from_raw_mode(inode.mode);
            chmod(xattr::proc_path(fd.as_fd()), mode).map_err(no("chmod"))?;
        }
        utimensat(at, name, &times(inode), here).map_err(no("utimensat"))
    }
}

/// Something that has no place yet: if it gets none, it goes.
pub(super) struct Temporary {
    at: SafeParent,
    name: Vec<u8>,
    placed: bool,
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.placed {
            let _ = unlinkat(&self.at, &self.name[..], AtFlags::empty());
        }
    }
}

fn times(inode: &Inode) -> Timestamps {
    Timestamps { last_access: spec(inode.mtime), last_modification: spec(inode.mtime) }
}
