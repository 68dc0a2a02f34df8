// SPDX-License-Identifier: Apache-2.0
//! Whiteouts and opaque markers. They hit the lower layers only, wherever they stand in the
//! archive: what this layer has made already stays, and so do its directories.

use std::collections::HashSet;
use std::os::fd::AsFd;

use rustix::fs::{FileType, Mode as Permissions, mknodat};
use rustix::io::Errno;

use super::error::{ApplyError, Failing, JobCause};
use super::job::{InRoot, Job};
use super::remove::names_in;
use crate::errno;
use crate::layer::{LayerError, Parents};
use crate::report::SkipReason;
use crate::resolve::{Below, Component, DirId, SafeParent, View, is_whiteout, stat_child};
use crate::sys::filesystem;
use crate::tar::Entry;

impl Job<'_> {
    pub(super) fn whiteout(
        &mut self,
        entry: &Entry,
        parent: &[u8],
        name: Component<'_>,
    ) -> Result<(), JobCause> {
        self.counts.whiteouts += 1;
        if self.set_aside(entry, parent, name) {
            return Ok(());
        }
        match self.find_dir_to_hide_in(parent)? {
            Some(dir) => self.whiteout_in(dir, name, entry.index, &entry.name),
            None => {
                self.skip(entry, SkipReason::UnneededWhiteout, b"");
                Ok(())
            }
        }
    }

    /// A whiteout in a directory that may have its name; `entry` and `path` are the archive's.
    pub(super) fn whiteout_in(
        &mut self,
        dir: DirId,
        name: Component<'_>,
        entry: u64,
        path: &[u8],
    ) -> Result<(), JobCause> {
        let hash = self.resolver.tree.hash(dir, name.as_bytes());
        self.refuse_whiteout_of_link_target(hash, || self.path(dir, name))?;
        let hidden = match self.resolver.overlay() {
            true => self.hide(dir, name)?,
            false => self.delete(dir, name)?,
        };
        if !hidden {
            self.skipped(SkipReason::UnneededWhiteout, entry, path, b"");
        }
        Ok(())
    }

    pub(super) fn opaque(&mut self, path: &[u8]) -> Result<(), JobCause> {
        let dir = self.parent_of(path)?;
        let tree = &self.resolver.tree;
        self.refuse_whiteout_of_link_target(tree.dir(dir).path_hash, || tree.path(dir))?;
        self.resolver.tree.claim_dir(dir);
        if !self.resolver.overlay() {
            self.counts.opaque_directories += 1;
            return self.delete_lower(dir);
        }
        if dir == DirId::ROOT {
            return self.hide_below_root();
        }
        self.mark_opaque(dir)?;
        self.nothing_below(dir)
    }

    /// Directory mode: deletes a lower layer's name. False if there was nothing to delete.
    fn delete(&mut self, dir: DirId, name: Component<'_>) -> Result<bool, JobCause> {
        if self.resolver.tree.is_ours(dir, name.as_bytes()) {
            // Ours stays. If it is a directory that a lower layer has made, without its content.
            if let Some(child) = self.resolver.tree.child(dir, name.as_bytes()) {
                let node = self.resolver.tree.dir(child);
                if node.found || node.inherited {
                    self.disinherit(child)?;
                    self.delete_lower(child)?;
                    return Ok(true);
                }
            }
            return Ok(false);
        }
        let existed = self.in_root(dir, name)? != InRoot::Nothing;
        if existed {
            self.clear(dir, name)?;
        }
        Ok(existed)
    }

    /// Directory mode: deletes all that lower layers have put into a directory.
    fn delete_lower(&mut self, dir: DirId) -> Result<(), JobCause> {
        self.refuse_mounts(&self.resolver.tree.path(dir))?;
        // No recursion: how deep a tree is, its layers decide.
        let mut waiting = vec![dir];
        while let Some(dir) = waiting.pop() {
            if !self.resolver.tree.dir(dir).found {
                continue;
            }
            for name in self.list(dir)? {
                let name = Component::new(&name).expect("a directory lists components");
                if !self.resolver.tree.is_ours(dir, name.as_bytes()) {
                    self.clear(dir, name)?;
                }
            }
            self.resolver.tree.all_ours(dir);
            // Its attributes are still the lower layer's, which a whiteout further up may yet hide.
            self.resolver.tree.dir_mut(dir).inherited = true;
            for child in self.resolver.tree.children(dir) {
                self.disinherit(child)?;
                waiting.push(child);
            }
        }
        Ok(())
    }

    /// Overlay modes: hides a lower name behind a whiteout, or behind an opaque directory if this
    /// layer has one of that name. False if there is nothing to hide.
    fn hide(&mut self, dir: DirId, name: Component<'_>) -> Result<bool, JobCause> {
        let needed = self.may_show_through(dir, name)?;
        match self.in_root(dir, name)? {
            InRoot::Whiteout => return Ok(true),
            InRoot::Other => return Ok(needed),
            InRoot::Dir => {
                let child = match self.resolver.tree.child(dir, name.as_bytes()) {
                    Some(child) => child,
                    None => self.resolver.adopt(dir, name)?,
                };
                if self.resolver.tree.dir(child).claimed {
                    return self.hide_below(child, needed);
                }
                // Only a whiteout had implied it.
                self.clear(dir, name)?;
            }
            InRoot::Nothing => self.resolver.forget(dir, name),
        }
        if needed {
            self.bring_into_root(dir)?;
            self.write_whiteout(dir, name)?;
        }
        Ok(needed)
    }

    /// Overlay modes: this layer's directory shows nothing of the lower ones of its name.
    fn hide_below(&mut self, child: DirId, needed: bool) -> Result<bool, JobCause> {
        if needed {
            self.mark_opaque(child)?;
        }
        self.disinherit(child)?;
        self.nothing_below(child)?;
        Ok(needed)
    }

    /// Overlay modes: overlayfs ignores an opaque mark on the root of a layer, so each name that
    /// shows through is hidden by itself.
    fn hide_below_root(&mut self) -> Result<(), JobCause> {
        let Some(merged) = self.resolver.layers_below(DirId::ROOT)? else {
            return Err(LayerError::OpaqueRootWithoutParents.into());
        };
        // A layer may say so once for each of its entries; each time would list all lower roots.
        if self.resolver.tree.dir(DirId::ROOT).cleared {
            return Ok(());
        }
        let mut seen = HashSet::new();
        for &layer in &merged.layers {
            let fd = self.resolver.fd(DirId::ROOT, layer.into())?;
            for name in names_in(&fd).failing("getdents64")? {
                if seen.insert(name.clone()) {
                    let name = Component::new(&name).expect("a directory lists components");
                    self.hide(DirId::ROOT, name)?;
                }
            }
        }
        self.counts.opaque_directories += 1;
        self.nothing_below(DirId::ROOT)
    }

    /// Overlay modes: from now on nothing shows through this directory. What was made to hide
    /// things in it, or copied from what is hidden now, is in the way and goes.
    fn nothing_below(&mut self, dir: DirId) -> Result<(), JobCause> {
        // No recursion: how deep a tree is, its layers decide.
        let mut waiting = vec![dir];
        while let Some(dir) = waiting.pop() {
            // A layer may say so once for each of its entries; each time would visit all others.
            if std::mem::replace(&mut self.resolver.tree.dir_mut(dir).cleared, true) {
                continue;
            }
            self.resolver.tree.dir_mut(dir).below = Below::nothing();
            // The root keeps its whiteouts: they do what the mark cannot do there.
            if self.resolver.tree.dir(dir).whiteouts && dir != DirId::ROOT {
                self.remove_whiteouts(dir)?;
            }
            for child in self.resolver.tree.children(dir) {
                let node = self.resolver.tree.dir(child);
                let (in_root, claimed, name) = (node.in_root, node.claimed, node.name.clone());
                let name = Component::new(&name).expect("it was one when the directory was added");
                if !in_root {
                    self.resolver.forget(dir, name);
                } else if !claimed {
                    self.clear(dir, name)?;
                } else {
                    self.disinherit(child)?;
                    waiting.push(child);
                }
            }
        }
        Ok(())
    }

    /// In a directory that overlayfs does not merge, readdir(3) shows whiteouts as names.
    fn remove_whiteouts(&mut self, dir: DirId) -> Result<(), JobCause> {
        let at = self.resolver.parent(dir)?;
        for name in self.list(dir)? {
            let name = Component::new(&name).expect("a directory lists components");
            match stat_child(at.as_fd(), name) {
                Ok(stat) if is_whiteout(&stat) => {
                    self.remove(&at, name)?;
                }
                Ok(_) | Err(Errno::NOENT) => {}
                Err(errno) => return Err(self.resolver.failed("fstatat", dir, name, errno).into()),
            }
        }
        self.resolver.tree.dir_mut(dir).whiteouts = false;
        Ok(())
    }

    fn write_whiteout(&mut self, dir: DirId, name: Component<'_>) -> Result<(), JobCause> {
        let at = self.resolver.parent(dir)?;
        mknodat(&at, name.as_bytes(), FileType::CharacterDevice, Permissions::empty(), 0)
            .failing("mknodat of a whiteout")
            .map_err(|error| self.explain_whiteout(&at, error))?;
        let dir = self.resolver.tree.dir_mut(dir);
        dir.whiteouts = true;
        dir.pending.touched = true;
        Ok(())
    }

    fn explain_whiteout(&self, at: &SafeParent, error: ApplyError) -> ApplyError {
        let on_overlay = || filesystem::name(at).is_ok_and(|name| name == "overlay");
        match error.errno() {
            errno::Errno::PERM if on_overlay() => error.explained(
                "an overlay mount holds no whiteouts: use a directory of another file system",
            ),
            errno::Errno::PERM => error.explained("to make whiteouts takes root, or Linux 5.8"),
            _ => error,
        }
    }

    fn list(&mut self, dir: DirId) -> Result<Vec<Vec<u8>>, JobCause> {
        let fd = self.resolver.parent(dir)?;
        Ok(names_in(&fd).failing("getdents64")?)
    }
}
