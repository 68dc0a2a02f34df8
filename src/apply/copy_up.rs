// SPDX-License-Identifier: Apache-2.0
//! Bringing a lower file into the upper directory, as overlayfs does before link(2).

use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{AtFlags, FileType, Mode as Permissions, OFlags, Stat, chmod, chownat};
use rustix::fs::{fstat, futimens, mknodat, openat, readlinkat};
use rustix::fs::{symlinkat, utimensat};
use rustix::io::{Errno, retry_on_intr};

use super::attributes::{Owner, open_special, set_mode, set_owner};
use super::copy::Copy;
use super::error::{ApplyError, Failing, JobCause};
use super::job::Job;
use super::xattr::{ACCESS_ACL, MetacopyFile};
use super::{open_file, xattr};
use crate::pipeline::PipelineError;
use crate::resolve::{Component, DirId, SafeParent, is, overlay_xattrs, times_of};
use crate::tar::Entry;

impl Job<'_> {
    pub(super) fn copy_up(
        &mut self,
        entry: &Entry,
        (dir, name): (DirId, Component<'_>),
        layer: usize,
        stat: &Stat,
    ) -> Result<(), JobCause> {
        self.bring_into_root(dir)?;
        let from = self.resolver.fd(dir, layer)?;
        let at = self.resolver.parent(dir)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => self.copy_file(entry, from.as_fd(), &at, (dir, name))?,
            kind => self.copy_special(from.as_fd(), &at, dir, name, (stat, kind))?,
        }
        self.resolver.tree.claim(dir, name.as_bytes());
        self.counts.copied_up += 1;
        Ok(())
    }

    fn copy_file(
        &mut self,
        entry: &Entry,
        from: BorrowedFd<'_>,
        at: &SafeParent,
        (dir, name): (DirId, Component<'_>),
    ) -> Result<(), JobCause> {
        // Not blocking: somebody may have put a FIFO in its place since it was looked at.
        let read = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let source = retry_on_intr(|| openat(from, name.as_bytes(), read, Permissions::empty()))
            .failing("openat of a lower file")?;
        let stat = fstat(&source).failing("fstat of a lower file")?;
        if !is(&stat, FileType::RegularFile) {
            return Err(ApplyError::new("openat of a lower file", Errno::BUSY).into());
        }
        self.count_logical(stat.st_size as u64)?;
        let to =
            retry_on_intr(|| open_file::create(at, name.as_bytes(), 0o600)).failing("openat")?;
        let mut copy =
            Copy { from: &source, to: &to, cancel: self.options.cancel.as_ref(), bytes: 0 };
        let copied = copy.data(stat.st_size as u64);
        self.counts.file_bytes += copy.bytes;
        match copied {
            Err(Errno::CANCELED) => return Err(PipelineError::Cancelled.into()),
            copied => copied.failing("copy of a lower file")?,
        }
        set_owner(to.as_fd(), Owner { uid: stat.st_uid, gid: stat.st_gid })?;
        if self.resolver.tree.dir(dir).default_acl {
            xattr::remove(to.as_fd(), ACCESS_ACL).failing("fremovexattr")?;
        }
        for name_of in xattr::list(&source).failing("flistxattr")? {
            let Some(value) = xattr::get(&source, &name_of).failing("fgetxattr")? else { continue };
            let set = |value: &[u8]| xattr::set(to.as_fd(), &name_of, value);
            self.copy_xattr((dir, name), &name_of, &value, set)?;
        }
        set_mode(to.as_fd(), stat.st_mode & 0o7777)?;
        futimens(&to, &times_of(&stat)).failing("futimens")?;
        self.write_out(to, entry)
    }

    fn copy_special(
        &mut self,
        from: BorrowedFd<'_>,
        at: &SafeParent,
        dir: DirId,
        name: Component<'_>,
        (stat, kind): (&Stat, FileType),
    ) -> Result<(), JobCause> {
        let here = AtFlags::SYMLINK_NOFOLLOW;
        let mode = Permissions::from_raw_mode(stat.st_mode);
        let source = open_special(from, name).failing("openat of a lower file")?;
        if kind == FileType::Symlink {
            let target = readlinkat(from, name.as_bytes(), Vec::new()).failing("readlinkat")?;
            symlinkat(&target, at, name.as_bytes()).failing("symlinkat")?;
        } else {
            mknodat(at, name.as_bytes(), kind, mode, stat.st_rdev).failing("mknodat")?;
        }
        let (uid, gid) = Owner { uid: stat.st_uid, gid: stat.st_gid }.ids();
        chownat(at, name.as_bytes(), uid, gid, here).failing("fchownat")?;
        let copy = open_special(at, name).failing("openat")?;
        if kind != FileType::Symlink && self.resolver.tree.dir(dir).default_acl {
            xattr::remove_special(copy.as_fd(), ACCESS_ACL).failing("removexattr")?;
        }
        for name_of in xattr::list_special(source.as_fd()).failing("listxattr")? {
            let value = xattr::get_special(source.as_fd(), &name_of).failing("getxattr")?;
            let Some(value) = value else { continue };
            let set = |value: &[u8]| xattr::set_special(copy.as_fd(), &name_of, value);
            self.copy_xattr((dir, name), &name_of, &value, set)?;
        }
        if kind != FileType::Symlink {
            chmod(xattr::proc_path(copy.as_fd()), mode).failing("chmod")?;
        }
        Ok(utimensat(at, name.as_bytes(), &times_of(stat), here).failing("utimensat")?)
    }

    /// One of them, if the copy has it.
    fn copy_xattr(
        &mut self,
        (dir, name): (DirId, Component<'_>),
        xattr: &[u8],
        value: &[u8],
        set: impl FnOnce(&[u8]) -> Result<(), Errno>,
    ) -> Result<(), JobCause> {
        let metacopy = overlay_xattrs(self.options.mode).metacopy;
        let copied = xattr::is_copied_up(xattr, metacopy).map_err(|MetacopyFile| {
            ApplyError::new(MetacopyFile::OPERATION, MetacopyFile::ERRNO)
        })?;
        if !copied {
            return Ok(());
        }
        match set(value) {
            Err(Errno::OPNOTSUPP) => self.skip_inherited(&self.path(dir, name), xattr),
            Err(errno) if self.may_not_copy(xattr, errno) => {
                self.skip_inherited(&self.path(dir, name), xattr);
            }
            result => result.failing("setxattr")?,
        }
        Ok(())
    }
}
