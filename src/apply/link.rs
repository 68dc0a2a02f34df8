// SPDX-License-Identifier: Apache-2.0
//! Symlinks and hardlinks.

use std::os::fd::AsFd;

use rustix::fs::{AtFlags, linkat, symlinkat};

use super::error::{JobCause, JobError, Result as JobResult};
use super::job::{InRoot, Job};
use crate::layer::{AUFS_LINKS, LayerError, LinkTarget, Parents, joined};
use crate::report::SkipReason;
use crate::resolve::{Component, DirId, PathHash, SafeParent, SeenBelow, stat_child};
use crate::tar::Entry;

impl Job<'_> {
    pub(super) fn make_symlink(
        &mut self,
        entry: &Entry,
        dir: DirId,
        name: Component<'_>,
    ) -> Result<(), JobCause> {
        let (at, ..) = self.replace(dir, name, "symlinkat", |at| {
            symlinkat(&entry.link[..], at, name.as_bytes())
        })?;
        self.set_special_attributes(entry, dir, &at, name)?;
        self.counts.entries.symlinks += 1;
        Ok(())
    }

    /// Gives a file one more name. The header's own owner, mode and xattrs mean nothing: the
    /// inode has its own.
    pub(super) fn link(
        &mut self,
        entry: &Entry,
        parent: &[u8],
        name: Component<'_>,
        (target_parent, target): (&[u8], Component<'_>),
    ) -> Result<(), JobCause> {
        // Not a link to what a lower layer has of that name, which would be another file.
        if self.skipped_names.has(target_parent, target) {
            self.skipped_names.note(parent, name);
            self.skip(entry, SkipReason::LinkToSkipped, &entry.link);
            return Ok(());
        }
        let source = self.link_source(entry, target_parent, target)?;
        let dir = self.parent_of(parent)?;
        // The parent's directories may have replaced the target's by now.
        let source_at = self.resolver.parent(source)?;
        let at = self.resolver.parent(dir)?;
        if !same_inode(&source_at, target, &at, name) {
            // No AT_SYMLINK_FOLLOW: a hardlink to a symlink is one more name of the symlink.
            self.replace(dir, name, "linkat", |at| {
                linkat(&source_at, target.as_bytes(), at, name.as_bytes(), AtFlags::empty())
            })?;
        }
        self.resolver.tree.claim(dir, name.as_bytes());
        self.skipped_names.forget(parent, name);
        self.counts.entries.hardlinks += 1;
        Ok(())
    }

    /// Makes a file that hardlinks of this layer lead to, where they look for it; it is removed at the
    /// end, and what was linked has the file's other names.
    pub(super) fn make_link_source(
        &mut self,
        entry: &Entry,
        name: Component<'_>,
    ) -> Result<(), JobCause> {
        if !self.link_sources {
            // What an unpack left that was killed.
            self.clear(DirId::ROOT, aufs_links())?;
            self.link_sources = true;
        }
        self.make(entry, AUFS_LINKS, name)?;
        self.skip(entry, SkipReason::AufsMetadata, b"");
        Ok(())
    }

    /// Removes those files; after a failure, too.
    pub(super) fn remove_link_sources(&mut self) -> JobResult<()> {
        if std::mem::take(&mut self.link_sources) {
            self.clear(DirId::ROOT, aufs_links()).map_err(JobError::from)?;
            // No entry and no implied directory of the layer.
            self.counts.implied_directories = self.counts.implied_directories.saturating_sub(1);
        }
        Ok(())
    }

    /// Finds a link's target in the merged view, and brings it into the root if only a lower
    /// layer has it: link(2) does not reach across directories of an overlay.
    fn link_source(
        &mut self,
        entry: &Entry,
        parent: &[u8],
        name: Component<'_>,
    ) -> Result<DirId, JobCause> {
        let refused =
            |target: LinkTarget| Err(target.refusal(joined(parent, name.as_bytes())).into());
        let Some(dir) = self.find_dir(parent)? else {
            return refused(LinkTarget::absent(self.knows_parents(DirId::ROOT)?));
        };
        self.check_depth(dir)?;
        match self.in_root(dir, name)? {
            InRoot::Dir => return refused(LinkTarget::Directory),
            InRoot::Whiteout => return refused(LinkTarget::Nothing),
            InRoot::Other => {
                if !self.resolver.tree.is_ours(dir, name.as_bytes()) {
                    self.note_linked_lower(dir, name);
                }
                // link(2) copies the target up, and its directory before it.
                self.bring_into_upper(dir)?;
                return Ok(dir);
            }
            InRoot::Nothing => {}
        }
        match self.resolver.look_below(dir, name)? {
            SeenBelow::Nothing => refused(LinkTarget::Nothing),
            SeenBelow::Unknown => refused(LinkTarget::Unknown),
            SeenBelow::Dir(_) => refused(LinkTarget::Directory),
            SeenBelow::Other(layer, stat) => {
                self.copy_up(entry, (dir, name), layer, &stat)?;
                self.note_linked_lower(dir, name);
                Ok(dir)
            }
        }
    }

    /// A whiteout of a name, or of all below it, contradicts a hardlink to a lower file there,
    /// whichever of the two came first in the archive.
    pub(super) fn refuse_whiteout_of_link_target(
        &self,
        path: PathHash,
        name: impl FnOnce() -> Vec<u8>,
    ) -> Result<(), LayerError> {
        match self.linked_lowers.contradict(path) {
            true => Err(LayerError::LinkTargetWhitedOut(name())),
            false => Ok(()),
        }
    }

    fn note_linked_lower(&mut self, dir: DirId, name: Component<'_>) {
        let tree = &self.resolver.tree;
        self.linked_lowers.note(tree.hash(dir, name.as_bytes()), tree.hashes_above(dir));
    }
}

fn aufs_links() -> Component<'static> {
    Component::new(AUFS_LINKS).expect("a name like any other")
}

/// A name that is linked to itself must not be removed first to make way.
fn same_inode(at: &SafeParent, name: Component<'_>, b: &SafeParent, other: Component<'_>) -> bool {
    let id = |at: &SafeParent, name| {
        stat_child(at.as_fd(), name).map(|stat| (stat.st_dev, stat.st_ino)).ok()
    };
    let first = id(at, name);
    first.is_some() && first == id(b, other)
}
