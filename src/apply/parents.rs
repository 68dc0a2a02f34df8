// SPDX-License-Identifier: Apache-2.0
//! The directories that an entry lies in, made where the layer only implies them.

use crate::layer::{LayerError, Parents, Reached};
use crate::resolve::{Component, DirId, Resolver, Step, Walk};

use super::error::JobCause;
use super::job::{InRoot, Job};

impl Parents for Job<'_> {
    type View = Resolver;
    type Error = JobCause;

    fn view(&mut self) -> &mut Resolver {
        &mut self.resolver
    }

    fn depth_limit(&self) -> usize {
        self.options.limits.path_depth
    }

    fn make_implied(&mut self, dir: DirId, name: Component<'_>) -> Result<(), JobCause> {
        self.make_implied_dir(dir, name)
    }

    /// A lower layer's gives way.
    fn make_way(&mut self, dir: DirId, name: Component<'_>) -> Result<(), JobCause> {
        if self.in_root(dir, name)? != InRoot::Nothing {
            let linked = self.linked_lowers.holds(self.resolver.tree.hash(dir, name.as_bytes()));
            if self.resolver.tree.is_ours(dir, name.as_bytes()) && !linked {
                return Err(LayerError::ParentNotDirectory(self.path(dir, name)).into());
            }
            self.clear(dir, name)?;
        }
        self.make_implied_dir(dir, name)
    }

    fn knows_parents(&mut self, dir: DirId) -> Result<bool, JobCause> {
        Ok(self.resolver.layers_below(dir)?.is_some())
    }
}

impl Job<'_> {
    /// The directory of an entry, in the root, made if need be.
    pub(super) fn parent_of(&mut self, path: &[u8]) -> Result<DirId, JobCause> {
        if let Some(dir) = self.resolver.last_parent(path) {
            return Ok(dir);
        }
        let Reached { dir, plain } = self.reach(path)?;
        self.bring_into_root(dir)?;
        self.bring_into_upper(dir)?;
        if plain {
            self.resolver.remember_parent(path, dir);
        }
        Ok(dir)
    }

    /// The directory that a path leads to, wherever in the merged view; none if there is none.
    pub(super) fn find_dir(&mut self, path: &[u8]) -> Result<Option<DirId>, JobCause> {
        match Walk::to(path).step(&mut self.resolver)? {
            Step::Arrived(dir) => Ok(Some(dir)),
            Step::Missing(..) | Step::WhitedOut(..) | Step::Blocked(..) => Ok(None),
        }
    }

    /// Makes directories in the root where there are only lower ones, down to this one.
    pub(super) fn bring_into_root(&mut self, dir: DirId) -> Result<(), JobCause> {
        let mut missing = Vec::new();
        let mut at = dir;
        while !self.resolver.tree.dir(at).in_root {
            missing.push(at);
            at = self.resolver.tree.dir(at).parent;
        }
        missing.into_iter().rev().try_for_each(|dir| self.bring_up(dir))
    }
}
