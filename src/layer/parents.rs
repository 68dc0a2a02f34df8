// SPDX-License-Identifier: Apache-2.0
//! The directories that an entry lies in, whoever keeps the tree: unpack has it on disk, scan in
//! memory. Both refuse the same entries because both come through here.

use super::error::LayerError;
use crate::limits::LimitExceeded;
use crate::resolve::{Component, DirId, ResolveError, Step, View, Walk};

/// Where an entry goes.
pub(crate) struct Reached {
    pub(crate) dir: DirId,
    /// No symlink led there. What a symlink says may change with each entry: a marker can hide it.
    pub(crate) plain: bool,
}

/// A tree that a layer is being put into.
pub(crate) trait Parents {
    type View: View;
    type Error: From<ResolveError> + From<LimitExceeded>;

    fn view(&mut self) -> &mut Self::View;

    /// Makes a directory that nothing describes, where there is none of this name.
    fn make_implied(&mut self, dir: DirId, name: Component<'_>) -> Result<(), Self::Error>;

    /// Something that is no directory stands where one is needed: makes one if it may go.
    fn make_way(&mut self, dir: DirId, name: Component<'_>) -> Result<(), Self::Error>;

    /// Whether it is known what lies below this directory, if only that nothing does.
    fn knows_parents(&mut self, dir: DirId) -> Result<bool, Self::Error>;

    /// Components that a path may have, however it came about: see
    /// [`Limits::path_depth`](crate::Limits::path_depth).
    fn depth_limit(&self) -> usize;

    /// Whether something may be in this directory.
    fn check_depth(&mut self, dir: DirId) -> Result<(), Self::Error> {
        let (got, limit) = (self.view().depth(dir) + 1, self.depth_limit());
        match got > limit {
            true => Err(LimitExceeded::PathDepth { got, limit }.into()),
            false => Ok(()),
        }
    }

    /// The directory of an entry, made if need be.
    fn reach(&mut self, path: &[u8]) -> Result<Reached, Self::Error> {
        let mut walk = Walk::to(path);
        loop {
            match walk.step(self.view())? {
                Step::Arrived(dir) => {
                    self.check_depth(dir)?;
                    return Ok(Reached { dir, plain: !walk.followed() });
                }
                Step::Missing(dir, name) | Step::WhitedOut(dir, name) => {
                    self.check_depth(dir)?;
                    self.make_implied(dir, component(&name))?;
                }
                Step::Blocked(dir, name) => {
                    self.check_depth(dir)?;
                    self.make_way(dir, component(&name))?;
                }
            }
        }
    }

    /// The directory to put a whiteout into; none if nothing can be below it.
    ///
    /// A whiteout implies no directory where the parents are known. Where they are not, one of
    /// them may have it.
    fn find_dir_to_hide_in(&mut self, path: &[u8]) -> Result<Option<DirId>, Self::Error> {
        let mut walk = Walk::to(path);
        loop {
            match walk.step(self.view())? {
                Step::Arrived(dir) => {
                    self.check_depth(dir)?;
                    return Ok(Some(dir));
                }
                Step::Missing(dir, name) if !self.knows_parents(dir)? => {
                    self.check_depth(dir)?;
                    self.make_implied(dir, component(&name))?;
                }
                Step::Missing(..) | Step::WhitedOut(..) | Step::Blocked(..) => return Ok(None),
            }
        }
    }
}

/// Walks only stop at components.
fn component(name: &[u8]) -> Component<'_> {
    Component::new(name).expect("a walk stops at a component")
}

/// A name in the directory of a clean path.
pub(crate) fn joined(parent: &[u8], name: &[u8]) -> Vec<u8> {
    match parent {
        b"" => name.to_vec(),
        parent => [parent, name].join(&b'/'),
    }
}

/// What a hardlink's target is in the merged view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LinkTarget {
    Nothing,
    /// Not in this layer, and the parents were not given.
    Unknown,
    Directory,
}

impl LinkTarget {
    /// Where there is nothing of a name in this layer.
    pub(crate) fn absent(knows_parents: bool) -> LinkTarget {
        if knows_parents { LinkTarget::Nothing } else { LinkTarget::Unknown }
    }

    /// Why there is no link to it.
    pub(crate) fn refusal(self, path: Vec<u8>) -> LayerError {
        match self {
            LinkTarget::Nothing => LayerError::LinkTargetMissing(path),
            LinkTarget::Unknown => LayerError::LinkTargetUnknown(path),
            LinkTarget::Directory => LayerError::LinkToDirectory(path),
        }
    }
}
