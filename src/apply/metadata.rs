// SPDX-License-Identifier: Apache-2.0
//! Owner, xattrs, mode and times, always in this order: chown(2) clears setuid and file
//! capabilities, and changing any of them moves the times.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{AtFlags, Mode as Permissions, chmod};
use rustix::fs::{chownat, futimens, utimensat};
use rustix::io::Errno;

use super::attributes::{CREATE_BITS, Owner, open_special, set_mode, set_owner, times_of};
use super::error::{ApplyError, Failing, JobCause};
use super::job::Job;
use super::privileges::Privileges;
use super::xattr::{self, ACCESS_ACL, DEFAULT_ACL};
use crate::escape::Escaped;
use crate::layer::{self, LayerError};
use crate::report::SkipReason;
use crate::resolve::{Component, DirId, SafeParent};
use crate::tar::{Entry, Kind};

impl Job<'_> {
    /// The owner on disk of what the archive says is `uid`:`gid`'s; none if owners are ignored.
    pub(super) fn owner(&self, uid: u32, gid: u32) -> Result<Option<Owner>, LayerError> {
        let owner = layer::owner(&self.options.owners, (uid, gid))?;
        Ok(owner.map(|(uid, gid)| Owner { uid, gid }))
    }

    /// Whether something new in `dir` has another owner than `wanted`.
    ///
    /// A new inode takes its group from the process, or from its directory if that is setgid or
    /// the mount says so: where both are the same there is no question.
    pub(super) fn must_chown(&self, dir: DirId, wanted: Owner) -> bool {
        wanted != self.process || self.resolver.tree.dir(dir).gid != self.process.gid
    }

    /// Gives an open new file in `dir` its owner, xattrs, mode and times.
    pub(super) fn set_file_attributes(
        &mut self,
        entry: &Entry,
        dir: DirId,
        fd: BorrowedFd<'_>,
    ) -> Result<(), JobCause> {
        if let Some(owner) = self.owner(entry.uid, entry.gid)?
            && self.must_chown(dir, owner)
        {
            set_owner(fd, owner)?;
        }
        let inherited_acl = self.resolver.tree.dir(dir).default_acl;
        if inherited_acl {
            xattr::remove(fd, ACCESS_ACL).failing("fremovexattr")?;
        }
        self.set_xattrs(entry, |name, value| xattr::set(fd, name, value))?;
        let exact = self.private_umask && !inherited_acl && entry.xattrs.is_empty();
        if !exact || entry.mode & !CREATE_BITS != 0 {
            set_mode(fd, entry.mode)?;
        }
        Ok(futimens(fd, &times_of(entry)).failing("futimens")?)
    }

    /// Gives a new symlink, FIFO or device its owner, xattrs, mode and times.
    pub(super) fn set_special_attributes(
        &mut self,
        entry: &Entry,
        dir: DirId,
        at: &SafeParent,
        name: Component<'_>,
    ) -> Result<(), JobCause> {
        let here = AtFlags::SYMLINK_NOFOLLOW;
        if let Some(owner) = self.owner(entry.uid, entry.gid)?
            && self.must_chown(dir, owner)
        {
            let (uid, gid) = owner.ids();
            chownat(at, name.as_bytes(), uid, gid, here)
                .failing_with("fchownat", || format!("{}:{}", owner.uid, owner.gid))
                .map_err(ApplyError::of_owner)?;
        }
        let symlink = entry.kind == Kind::Symlink;
        let inherited_acl = self.resolver.tree.dir(dir).default_acl && !symlink;
        let exact =
            symlink || (self.private_umask && !inherited_acl && entry.mode & !CREATE_BITS == 0);
        if !exact || !entry.xattrs.is_empty() {
            let fd = open_special(at, name).failing("openat")?;
            if inherited_acl {
                xattr::remove_special(fd.as_fd(), ACCESS_ACL).failing("removexattr")?;
            }
            self.set_xattrs(entry, |name, value| xattr::set_special(fd.as_fd(), name, value))?;
            if !symlink {
                let mode = Permissions::from_raw_mode(entry.mode);
                let path = xattr::proc_path(fd.as_fd());
                chmod(path, mode).failing_with("chmod", || format!("{:04o}", entry.mode))?;
            }
        }
        Ok(utimensat(at, name.as_bytes(), &times_of(entry), here).failing("utimensat")?)
    }

    /// Sets the xattrs that an archive may set and this file system can hold, and reports the
    /// others. A directory's default ACL waits: files that are still to come would inherit it.
    pub(super) fn set_xattrs(
        &mut self,
        entry: &Entry,
        set: impl Fn(&[u8], &[u8]) -> Result<(), Errno>,
    ) -> Result<(), JobCause> {
        for (name, value) in &entry.xattrs {
            if let Some(reason) = xattr::refusal(name, entry.kind) {
                self.skip(entry, reason, name);
                continue;
            }
            if name == DEFAULT_ACL && entry.kind == Kind::Directory {
                continue;
            }
            let value = xattr::on_disk(name, value, &self.options.owners)?;
            match set(name, &value) {
                Err(Errno::OPNOTSUPP) => self.skip(entry, SkipReason::XattrUnsupported, name),
                Err(errno) if self.may_not_set(name, errno) => {
                    self.skip(entry, SkipReason::XattrNotPermitted, name);
                }
                Err(errno) => {
                    let error = ApplyError::about("setxattr", &Escaped(name).unquoted(), errno);
                    let names_users = name == ACCESS_ACL || name == DEFAULT_ACL;
                    return Err(match errno {
                        Errno::INVAL if names_users && self.privileges().in_user_namespace() => {
                            error.of_owner().into()
                        }
                        _ => error.into(),
                    });
                }
                Ok(()) => {}
            }
        }
        Ok(())
    }

    /// Whether setting an xattr takes privileges over the first user namespace that this process does
    /// not have: EPERM, and EINVAL of capabilities for a root who has no id here.
    pub(super) fn may_not_set(&mut self, name: &[u8], errno: Errno) -> bool {
        let refused = errno == Errno::PERM || (errno == Errno::INVAL && name == xattr::CAPABILITY);
        refused && self.privileges().lack_for_xattr(name)
    }

    /// The same of an xattr that a lower layer has: what a file system made of its own accord, another
    /// one may refuse.
    pub(super) fn may_not_copy(&mut self, name: &[u8], errno: Errno) -> bool {
        let refused = matches!(errno, Errno::PERM | Errno::ACCESS | Errno::INVAL);
        (refused && !xattr::may_be_a_layers(name)) || self.may_not_set(name, errno)
    }

    pub(super) fn privileges(&mut self) -> Privileges {
        *self.privileges.get_or_insert_with(Privileges::of_process)
    }

    /// The value of an entry's default ACL.
    pub(super) fn default_acl(&self, entry: &Entry) -> Result<Option<Box<[u8]>>, LayerError> {
        let Some((name, value)) = entry.xattrs.iter().find(|(name, _)| name == DEFAULT_ACL) else {
            return Ok(None);
        };
        xattr::on_disk(name, value, &self.options.owners).map(|value| Some(value.into()))
    }
}
