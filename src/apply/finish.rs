// SPDX-License-Identifier: Apache-2.0
//! The end of a layer: what directories had to wait for, and the disk.

use std::os::fd::AsFd;

use rustix::fs::{AtFlags, fsync, futimens, syncfs, utimensat};
use rustix::io::{Errno, retry_on_intr};

use super::attributes::set_mode;
use super::error::{Failing, JobCause, Result};
use super::job::Job;
use super::xattr::{self, DEFAULT_ACL};
use crate::options::Sync;
use crate::resolve::DirId;

impl Job<'_> {
    /// Gives the directories their modes, default ACLs and times: nothing is made in them any
    /// more that could change or inherit these.
    pub(crate) fn finish(&mut self) -> Result<()> {
        self.await_lowers()?;
        if let Some(write_out) = &self.write_out {
            write_out.wait_for_all()?;
        }
        self.remove_link_sources()?;
        // Children first: a directory's own mode may lock us out of it.
        let mut stack = vec![(DirId::ROOT, false)];
        while let Some((dir, children_done)) = stack.pop() {
            if children_done {
                self.finish_dir(dir).map_err(|cause| match cause {
                    JobCause::Apply(error) => {
                        error.of_directory(&self.resolver.tree.path(dir)).into()
                    }
                    cause => cause,
                })?;
            } else if self.resolver.tree.dir(dir).in_root {
                stack.push((dir, true));
                let children = self.resolver.tree.children(dir);
                stack.extend(children.into_iter().map(|child| (child, false)));
            }
        }
        if let Some(above) = self.above.take() {
            above.finish();
        }
        Ok(())
    }

    /// After a failure: removes what is no part of the layer, and gives directories of earlier layers
    /// that were made writable for the unpack their modes back.
    pub(crate) fn tidy_up(&mut self) {
        // Its own failure would hide the first one.
        let _ = self.remove_link_sources();
        let mut stack = vec![DirId::ROOT];
        while let Some(dir) = stack.pop() {
            stack.extend(self.resolver.tree.children(dir));
            if let Some(mode) = self.resolver.tree.dir(dir).locked
                && let Ok(fd) = self.resolver.parent(dir)
            {
                let _ = set_mode(fd.as_fd(), mode);
            }
        }
    }

    fn finish_dir(&mut self, dir: DirId) -> Result<(), JobCause> {
        let pending = std::mem::take(&mut self.resolver.tree.dir_mut(dir).pending);
        let needs_sync = pending.touched
            && self.write_out.as_ref().is_some_and(|write_out| write_out.syncs_directories());
        let times = pending.times.filter(|_| pending.touched);
        if pending.mode.is_none() && pending.default_acl.is_none() && !needs_sync {
            return match times {
                Some(times) if dir == DirId::ROOT => {
                    let root = self.resolver.parent(dir)?;
                    Ok(futimens(&root, &times).failing("futimens")?)
                }
                // By its name in the parent: most have been closed by now, and the parent has
                // many of them.
                Some(times) => {
                    let node = self.resolver.tree.dir(dir);
                    let (parent, name) = (node.parent, node.name.clone());
                    let at = self.resolver.parent(parent)?;
                    let here = AtFlags::SYMLINK_NOFOLLOW;
                    Ok(utimensat(&at, &*name, &times, here).failing("utimensat")?)
                }
                None => Ok(()),
            };
        }
        let fd = self.resolver.parent(dir)?;
        if let Some(acl) = pending.default_acl {
            match xattr::set(fd.as_fd(), DEFAULT_ACL, &acl) {
                Err(Errno::OPNOTSUPP) => {
                    self.skip_inherited(&self.resolver.tree.path(dir), DEFAULT_ACL);
                }
                result => result.failing("fsetxattr of a default ACL")?,
            }
        }
        if let Some(mode) = pending.mode {
            set_mode(fd.as_fd(), mode)?;
        }
        if let Some(times) = times {
            futimens(&fd, &times).failing("futimens")?;
        }
        if needs_sync {
            retry_on_intr(|| fsync(&fd)).failing("fsync")?;
        }
        Ok(())
    }

    /// Waits for the disk, if that was asked for.
    pub(crate) fn sync(&mut self) -> Result<()> {
        if self.options.sync == Sync::Filesystem {
            let root = self.resolver.parent(DirId::ROOT)?;
            syncfs(&root).failing("syncfs")?;
        }
        if let Some(write_out) = &self.write_out {
            write_out.commit(&self.resolver.parent(DirId::ROOT)?)?;
        }
        Ok(())
    }
}
