// SPDX-License-Identifier: Apache-2.0
//! The directories that an entry lies in, made where the layer only implies them.

use crate::error::Cause;
use crate::layer::LayerError;
use crate::resolve::{Component, DirId, Step, Walk};

use super::{InRoot, Job};

impl Job<'_> {
    /// The directory of an entry, in the root, made if need be.
    pub(super) fn parent_of(&mut self, path: &[u8]) -> Result<DirId, Cause> {
        if let Some(dir) = self.resolver.last_parent(path) {
            return Ok(dir);
        }
        let mut walk = Walk::to(path);
        let dir = loop {
            match walk.step(&mut self.resolver)? {
                Step::Arrived(dir) => break dir,
                Step::Missing(dir, name) | Step::WhitedOut(dir, name) => {
                    self.make_implied(dir, component(&name))?;
                }
                Step::Blocked(dir, name) => self.make_way(dir, component(&name))?,
            }
        };
        self.bring_into_root(dir)?;
        self.bring_into_upper(dir)?;
        self.resolver.remember_parent(path, dir);
        Ok(dir)
    }

    /// The directory that a path leads to, wherever in the merged view; none if there is none.
    pub(super) fn find_dir(&mut self, path: &[u8]) -> Result<Option<DirId>, Cause> {
        match Walk::to(path).step(&mut self.resolver)? {
            Step::Arrived(dir) => Ok(Some(dir)),
            Step::Missing(..) | Step::WhitedOut(..) | Step::Blocked(..) => Ok(None),
        }
    }

    /// The directory to put a whiteout into; none if nothing can be below it.
    ///
    /// A whiteout implies no directory where the parents are known. Where they are not, one of
    /// them may have it.
    pub(super) fn find_dir_to_hide_in(&mut self, path: &[u8]) -> Result<Option<DirId>, Cause> {
        let mut walk = Walk::to(path);
        loop {
            match walk.step(&mut self.resolver)? {
                Step::Arrived(dir) => return Ok(Some(dir)),
                Step::Missing(dir, name) if !self.knows_parents(dir)? => {
                    self.make_implied(dir, component(&name))?;
                }
                Step::Missing(..) | Step::WhitedOut(..) | Step::Blocked(..) => return Ok(None),
            }
        }
    }

    /// Whether it is known what lies below this directory, if only that nothing does.
    pub(super) fn knows_parents(&mut self, dir: DirId) -> Result<bool, Cause> {
        Ok(self.resolver.layers_below(dir)?.is_some())
    }

    /// Something that is no directory stands where one is needed. A lower layer's gives way.
    fn make_way(&mut self, dir: DirId, name: Component<'_>) -> Result<(), Cause> {
        if self.in_root(dir, name)? != InRoot::Nothing {
            let path = self.path(dir, name);
            if self.resolver.tree.is_ours(dir, name.as_bytes()) && !self.is_linked_lower(&path) {
                return Err(LayerError::ParentNotDirectory(path).into());
            }
            self.clear(dir, name)?;
        }
        self.make_implied(dir, name)
    }

    /// Makes directories in the root where there are only lower ones, down to this one.
    pub(super) fn bring_into_root(&mut self, dir: DirId) -> Result<(), Cause> {
        let mut missing = Vec::new();
        let mut at = dir;
        while !self.resolver.tree.dir(at).in_root {
            missing.push(at);
            at = self.resolver.tree.dir(at).parent;
        }
        missing.into_iter().rev().try_for_each(|dir| self.bring_up(dir))
    }
}

/// Walks only stop at components.
fn component(name: &[u8]) -> Component<'_> {
    Component::new(name).expect("a walk stops at a component")
}
