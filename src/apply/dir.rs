// SPDX-License-Identifier: Apache-2.0
//! Directories: described by an entry, implied by one, or taken over from a lower layer.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{
    Mode as Permissions, Timespec, Timestamps, XattrFlags, fsetxattr, fstat, mkdirat,
};
use rustix::io::Errno;

use super::attributes::{Owner, set_owner, times_of};
use super::error::{Failing, JobCause};
use super::job::{InRoot, Job, Replaced};
use super::xattr::{self, ACCESS_ACL, DEFAULT_ACL};
use crate::layer::{IMPLIED_MODE, IMPLIED_OWNER};
use crate::resolve::{
    Below, Component, Dir, DirId, SafeParent, SeenBelow, open_child, overlay_xattrs,
};
use crate::tar::Entry;

/// The same each time, so that unpacking twice gives the same tree.
const IMPLIED_TIME: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };

/// While the layer is being applied its directories must let us in, also without privileges.
const WORKING_BITS: u32 = 0o700;

impl Job<'_> {
    pub(super) fn make_dir(
        &mut self,
        entry: &Entry,
        dir: DirId,
        name: Component<'_>,
    ) -> Result<(), JobCause> {
        let id = match self.existing_dir(dir, name)? {
            Some(id) => {
                self.describe(entry, id)?;
                id
            }
            None => {
                let (id, fd) = self.new_dir(dir, name, entry.mode)?;
                if let Some(owner) = self.owner(entry.uid, entry.gid)? {
                    self.set_dir_owner(id, &fd, owner, self.must_chown(dir, owner))?;
                }
                self.set_xattrs(entry, |name, value| xattr::set(fd.as_fd(), name, value))?;
                self.set_later(id, entry)?;
                id
            }
        };
        self.resolver.tree.dir_mut(id).described = true;
        self.counts.entries.directories += 1;
        Ok(())
    }

    /// Metadata of the root itself: the entry `./`.
    pub(super) fn describe_root(&mut self, entry: &Entry) -> Result<(), JobCause> {
        self.describe(entry, DirId::ROOT)?;
        self.resolver.tree.claim_dir(DirId::ROOT);
        self.counts.entries.directories += 1;
        Ok(())
    }

    /// A directory of this name that is in the root already, or none.
    fn existing_dir(&mut self, dir: DirId, name: Component<'_>) -> Result<Option<DirId>, JobCause> {
        if let Some(id) = self.resolver.tree.child(dir, name.as_bytes()) {
            if self.resolver.tree.dir(id).in_root {
                return Ok(Some(id));
            }
            // Known from a lower layer only. What overlayfs merges needs no copy of it.
            self.resolver.forget(dir, name);
            return Ok(None);
        }
        // Directories that this layer made are all known.
        if self.resolver.tree.dir(dir).adopted && self.in_root(dir, name)? == InRoot::Dir {
            return Ok(Some(self.resolver.adopt(dir, name)?));
        }
        Ok(None)
    }

    /// Gives an existing directory the entry's metadata in place of its own.
    fn describe(&mut self, entry: &Entry, id: DirId) -> Result<(), JobCause> {
        self.bring_into_upper(id)?;
        let fd = self.resolver.parent(id)?;
        if let Some(owner) = self.owner(entry.uid, entry.gid)? {
            self.set_dir_owner(id, &fd, owner, true)?;
        }
        let stays =
            |name: &[u8]| name != DEFAULT_ACL && entry.xattrs.iter().any(|(kept, _)| kept == name);
        xattr::remove_stale(fd.as_fd(), stays).failing("fremovexattr")?;
        self.set_xattrs(entry, |name, value| xattr::set(fd.as_fd(), name, value))?;
        let dir = self.resolver.tree.dir_mut(id);
        dir.default_acl = false;
        dir.inherited = false;
        dir.described = true;
        dir.pending.mode = Some(entry.mode);
        self.set_later(id, entry)
    }

    fn set_later(&mut self, id: DirId, entry: &Entry) -> Result<(), JobCause> {
        let default_acl = self.default_acl(entry)?;
        let pending = &mut self.resolver.tree.dir_mut(id).pending;
        pending.times = Some(times_of(entry));
        pending.touched = true;
        pending.default_acl = default_acl;
        // An ACL has the mode's bits in it, so it is set again after the ACL.
        if !entry.xattrs.is_empty() {
            pending.mode = Some(entry.mode);
        }
        Ok(())
    }

    /// A directory that some entry lies in and nothing describes.
    pub(super) fn make_implied_dir(
        &mut self,
        dir: DirId,
        name: Component<'_>,
    ) -> Result<(), JobCause> {
        self.bring_into_root(dir)?;
        self.bring_into_upper(dir)?;
        let (id, fd) = self.new_dir(dir, name, IMPLIED_MODE)?;
        if let Some(owner) = self.owner(IMPLIED_OWNER.0, IMPLIED_OWNER.1)? {
            self.set_dir_owner(id, &fd, owner, self.must_chown(dir, owner))?;
        }
        let pending = &mut self.resolver.tree.dir_mut(id).pending;
        pending.times =
            Some(Timestamps { last_access: IMPLIED_TIME, last_modification: IMPLIED_TIME });
        self.counts.implied_directories += 1;
        Ok(())
    }

    /// Makes a lower directory in the root as well, with the attributes it has there.
    pub(super) fn bring_up(&mut self, id: DirId) -> Result<(), JobCause> {
        let node = self.resolver.tree.dir(id);
        let (parent, name, below) = (node.parent, node.name.clone(), node.below.clone());
        let name = Component::new(&name).expect("it was one when the directory was added");
        let topmost = match &below {
            Below::Layers(merged) if !merged.layers.is_empty() => merged.layers[0].into(),
            _ => unreachable!("a directory is in the root or in a lower layer"),
        };
        let at = self.resolver.parent(parent)?;
        mkdirat(&at, name.as_bytes(), Permissions::from_raw_mode(WORKING_BITS))
            .failing("mkdirat")?;
        let fd = open_child(at.as_fd(), name.as_bytes()).failing("openat")?;
        self.resolver.now_in_root(id, fd);
        self.resolver.tree.dir_mut(id).setgid = self.resolver.tree.dir(parent).setgid;
        self.resolver.tree.dir_mut(parent).pending.touched = true;
        self.inherit(id, topmost)?;
        self.counts.implied_directories += 1;
        Ok(())
    }

    /// Copies a lower directory's attributes to the same directory in the root.
    pub(super) fn inherit(&mut self, id: DirId, layer: usize) -> Result<(), JobCause> {
        let from = self.resolver.fd(id, layer)?;
        let to = self.resolver.parent(id)?;
        let stat = fstat(&from).failing("fstat")?;
        let owner = Owner { uid: stat.st_uid, gid: stat.st_gid };
        self.set_dir_owner(id, &to, owner, true)?;
        let mut acl = None;
        for name in xattr::list(&from).failing("flistxattr")? {
            if !xattr::is_inherited(&name) {
                continue;
            }
            let Some(value) = xattr::get(&from, &name).failing("fgetxattr")? else { continue };
            if name == DEFAULT_ACL {
                acl = Some(value.into());
                continue;
            }
            match xattr::set(to.as_fd(), &name, &value) {
                Err(Errno::OPNOTSUPP) => self.skip_inherited(&self.resolver.tree.path(id), &name),
                Err(errno) if self.may_not_copy(&name, errno) => {
                    self.skip_inherited(&self.resolver.tree.path(id), &name);
                }
                result => result.failing("fsetxattr")?,
            }
        }
        let node = self.resolver.tree.dir_mut(id);
        node.inherited = true;
        node.pending.mode = Some(stat.st_mode & 0o7777);
        node.pending.times = Some(crate::resolve::times_of(&stat));
        node.pending.touched = true;
        node.pending.default_acl = acl;
        Ok(())
    }

    /// What a directory took from a lower one goes: the lower one turned out to be hidden.
    pub(super) fn disinherit(&mut self, id: DirId) -> Result<(), JobCause> {
        let node = self.resolver.tree.dir(id);
        if node.described || !(node.inherited || node.found) {
            return Ok(());
        }
        self.bring_into_upper(id)?;
        let fd = self.resolver.parent(id)?;
        if let Some(owner) = self.owner(IMPLIED_OWNER.0, IMPLIED_OWNER.1)? {
            self.set_dir_owner(id, &fd, owner, true)?;
        }
        xattr::remove_stale(fd.as_fd(), |_| false).failing("fremovexattr")?;
        let node = self.resolver.tree.dir_mut(id);
        node.inherited = false;
        node.default_acl = false;
        node.pending.mode = Some(IMPLIED_MODE);
        node.pending.default_acl = None;
        node.pending.touched = true;
        node.pending.times =
            Some(Timestamps { last_access: IMPLIED_TIME, last_modification: IMPLIED_TIME });
        Ok(())
    }

    /// mkdir(2), whatever was there before, and its place in the tree.
    fn new_dir(
        &mut self,
        dir: DirId,
        name: Component<'_>,
        mode: u32,
    ) -> Result<(DirId, SafeParent), JobCause> {
        let parent = self.resolver.tree.dir(dir);
        let (parent_acl, parent_setgid) = (parent.default_acl, parent.setgid);
        let working = mode & 0o777 | WORKING_BITS;
        let (at, (), replaced) = self.replace(dir, name, "mkdirat", |at| {
            mkdirat(at, name.as_bytes(), Permissions::from_raw_mode(working))
        })?;
        let fd = self.open_dir(&at, name)?;
        let mut new = Dir::new(dir, name.as_bytes(), Below::Unasked);
        new.in_root = true;
        new.gid = self.process.gid;
        new.setgid = parent_setgid;
        new.pending.touched = true;
        if parent_acl {
            xattr::remove(fd.as_fd(), ACCESS_ACL).failing("fremovexattr")?;
            xattr::remove(fd.as_fd(), DEFAULT_ACL).failing("fremovexattr")?;
        }
        // A setgid parent makes its children setgid, whatever mode they were asked to have.
        if working != mode || parent_acl || parent_setgid || !self.private_umask {
            new.pending.mode = Some(mode);
        }
        if self.resolver.overlay() && replaced == Replaced::Something {
            // It takes the place of a whiteout, or of what replaced a lower directory: removing
            // that and making this one leaves an opaque directory, as on a mounted overlay.
            new.below = Below::nothing();
        }
        let opaque = new.below == Below::nothing();
        let id = self.resolver.made(new, fd);
        if opaque {
            self.mark_opaque(id)?;
        }
        self.resolver.tree.dir_mut(dir).pending.touched = true;
        Ok((id, self.resolver.parent(id)?))
    }

    fn open_dir(&mut self, at: &SafeParent, name: Component<'_>) -> Result<OwnedFd, JobCause> {
        loop {
            match open_child(at.as_fd(), name.as_bytes()) {
                Err(Errno::MFILE | Errno::NFILE) if self.spare_descriptors() => {}
                result => return Ok(result.failing("openat")?),
            }
        }
    }

    fn set_dir_owner(
        &mut self,
        id: DirId,
        fd: &SafeParent,
        owner: Owner,
        differs: bool,
    ) -> Result<(), JobCause> {
        if differs {
            set_owner(fd.as_fd(), owner)?;
        }
        self.resolver.tree.dir_mut(id).gid = owner.gid;
        Ok(())
    }

    pub(super) fn mark_opaque(&mut self, id: DirId) -> Result<(), JobCause> {
        if std::mem::replace(&mut self.resolver.tree.dir_mut(id).opaque, true) {
            return Ok(());
        }
        let fd = self.resolver.parent(id)?;
        let mark = overlay_xattrs(self.options.mode).opaque;
        fsetxattr(fd, mark, b"y", XattrFlags::empty()).failing_with("fsetxattr", || mark.into())?;
        self.counts.opaque_directories += 1;
        Ok(())
    }

    /// Whether a lower directory may show through this name.
    pub(super) fn may_show_through(
        &mut self,
        dir: DirId,
        name: Component<'_>,
    ) -> Result<bool, JobCause> {
        Ok(!matches!(self.resolver.look_below(dir, name)?, SeenBelow::Nothing))
    }
}
