// SPDX-License-Identifier: Apache-2.0
//! A layer above parents that are still being made.
//!
//! Most entries say all that there is to know about them: what they lie in, this layer has made. Such
//! entries are applied at once. A whiteout of a name in such a directory is set aside, since it hits
//! lower layers only and what this layer makes stays, whichever of the two comes first. Any other entry
//! waits for the parents, and so does the layer's end; then the whiteouts that were set aside are
//! applied, in their order, before anything is looked up below.

use std::time::Instant;

use super::awaited::{AwaitedLowers, Whiteout};
use super::error::{JobCause, JobError, Result as JobResult};
use super::job::{InRoot, Job};
use crate::layer::Action;
use crate::resolve::{Component, DirId};
use crate::tar::{Entry, Kind};

impl Job<'_> {
    /// Whether an entry means the same whatever the parents have.
    pub(super) fn can_do_without_lowers(
        &mut self,
        entry: &Entry,
        action: &Action<'_>,
    ) -> Result<bool, JobCause> {
        // Before the parents are looked at, all directories that are known are this layer's own.
        let known = |job: &Self, path: &[u8]| job.resolver.known(path);
        Ok(match *action {
            Action::Root | Action::Skip { .. } => true,
            Action::Make { parent, name } => known(self, parent).is_some_and(|dir| {
                entry.kind == Kind::Directory || !self.replaces_whiteouts(dir, name)
            }),
            Action::Whiteout { parent, .. } => {
                let room = self.awaited.as_ref().is_some_and(AwaitedLowers::has_room);
                room && known(self, parent).is_some()
            }
            Action::Opaque { dir } => known(self, dir).is_some_and(|dir| dir != DirId::ROOT),
            Action::Link { parent, name, target: (target_parent, target) } => {
                match (known(self, parent), known(self, target_parent)) {
                    (Some(dir), _) if self.replaces_whiteouts(dir, name) => false,
                    (Some(_), Some(dir)) => self.in_root(dir, target)? == InRoot::Other,
                    _ => false,
                }
            }
            Action::LinkSource { .. } => false,
        })
    }

    /// Whether a directory is replaced that whiteouts may have been set aside in: whether these were
    /// needed the report says, too.
    fn replaces_whiteouts(&self, dir: DirId, name: Component<'_>) -> bool {
        let aside = self.awaited.as_ref().is_some_and(|awaited| !awaited.aside.is_empty());
        aside && self.resolver.tree.child(dir, name.as_bytes()).is_some()
    }

    /// Keeps a whiteout for later; false if it is to be applied now.
    pub(super) fn set_aside(&mut self, entry: &Entry, parent: &[u8], name: Component<'_>) -> bool {
        let Some(awaited) = &mut self.awaited else { return false };
        let dir = self.resolver.known(parent).expect("what is not known has waited");
        awaited.set_aside(dir, name.as_bytes(), entry.place());
        true
    }

    /// Waits for the parents, if that was not done before.
    pub(super) fn await_lowers(&mut self) -> JobResult<()> {
        let Some(AwaitedLowers { wait, aside, .. }) = self.awaited.take() else { return Ok(()) };
        let begin = Instant::now();
        let lowers = wait();
        self.counts.waited += begin.elapsed();
        let lowers = lowers?;
        let some = !lowers.is_empty();
        self.resolver.put_above(lowers)?;
        if some && !self.resolver.tree.dir(DirId::ROOT).described {
            self.inherit(DirId::ROOT, 1)?;
        }
        for Whiteout { dir, name, place } in aside {
            let name = Component::new(&name).expect("it was one in its entry");
            self.whiteout_in(dir, name, place.entry, &place.path)
                .map_err(|cause| JobError::from(cause).at(|| place))?;
        }
        Ok(())
    }
}
