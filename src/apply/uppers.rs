// SPDX-License-Identifier: Apache-2.0
//! What the layers above one that is being applied leave of it, and what they took for granted of it.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};

/// Memory that one path takes in a set.
const PATH_BYTES: u64 = 48;

/// Of all layers that were applied to a directory so far, the newest first.
#[derive(Debug, Default)]
pub(crate) struct Uppers {
    keys: (RandomState, RandomState),
    /// Neither the name nor anything below it shows: a whiteout, or a directory that something else
    /// was, in a layer above, before.
    hidden: Paths,
    /// Nothing that lower layers have in this directory shows.
    opaque: Paths,
    /// Layers above have something in it and no entry for it: it is a directory of a lower layer, or
    /// of nobody.
    supposed: Paths,
    /// Directories that were made, and that no entry of any layer so far describes.
    undescribed: Paths,
    /// The newest first cannot tell what one after the other would have made.
    uncertain: bool,
}

/// Stands for a clean path, relative to the root and without symlinks on the way: neither time nor memory
/// depends on how long it is. Keyed anew for each directory, and of 128 bits, so that two paths do not
/// meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct PathKey(u64, u64);

impl PathKey {
    pub(super) const ROOT: PathKey = PathKey(0, 0);
}

impl Uppers {
    /// Above an empty directory.
    pub(crate) fn none() -> Uppers {
        let mut uppers = Uppers::default();
        uppers.undescribed.insert(PathKey::ROOT);
        uppers
    }

    pub(crate) fn is_uncertain(&self) -> bool {
        self.uncertain
    }

    pub(super) fn set_uncertain(&mut self) {
        self.uncertain = true;
    }

    /// Of a name in a directory.
    pub(super) fn key(&self, dir: PathKey, name: &[u8]) -> PathKey {
        let of = |keys: &RandomState, dir: u64| keys.hash_one((dir, name));
        PathKey(of(&self.keys.0, dir.0), of(&self.keys.1, dir.1))
    }

    /// Of a clean path.
    pub(super) fn key_of(&self, path: &[u8]) -> PathKey {
        components(path).fold(PathKey::ROOT, |dir, name| self.key(dir, name))
    }

    /// Whether they hide this name of the layer; those that lead to it were asked for before.
    pub(super) fn hide(&self, path: PathKey) -> bool {
        self.hidden.has(path)
    }

    /// Whether they hide all that the layer has in this directory.
    pub(super) fn hide_in(&self, dir: PathKey) -> bool {
        self.opaque.has(dir)
    }

    /// Whether they are wrong if this is no directory.
    pub(super) fn suppose(&self, path: PathKey) -> bool {
        self.supposed.has(path)
    }

    pub(super) fn made_undescribed(&mut self, path: PathKey) {
        self.undescribed.insert(path);
    }

    /// False: it has the attributes of a layer above.
    pub(super) fn may_describe(&mut self, path: PathKey) -> bool {
        self.undescribed.remove(path)
    }

    pub(super) fn bytes(&self) -> u64 {
        let Uppers { hidden, opaque, supposed, undescribed, .. } = self;
        [hidden, opaque, supposed, undescribed].iter().map(|paths| paths.bytes()).sum()
    }

    /// The layer is applied, and is one of them.
    pub(super) fn add(&mut self, own: Own) {
        self.hidden.extend(own.hidden);
        self.opaque.extend(own.opaque);
        self.supposed.extend(own.supposed);
    }
}

/// The same of the layer that is being applied, for those below it.
#[derive(Debug, Default)]
pub(super) struct Own {
    pub(super) hidden: Paths,
    pub(super) opaque: Paths,
    pub(super) supposed: Paths,
    /// What is no directory and was not made, since a layer above hides it.
    pub(super) lost: Paths,
    /// Directories that were not made.
    pub(super) lost_dirs: Paths,
    /// Directories of upper layers, too, that have this one's attributes.
    pub(super) describes: Paths,
}

impl Own {
    pub(super) fn bytes(&self) -> u64 {
        let Own { hidden, opaque, supposed, lost, lost_dirs, describes } = self;
        let all = [hidden, opaque, supposed, lost, lost_dirs, describes];
        all.iter().map(|paths| paths.bytes()).sum()
    }
}

/// The layers above, and what this one adds to them.
pub(super) struct Above<'j> {
    pub(super) uppers: &'j mut Uppers,
    pub(super) own: Own,
}

impl<'j> Above<'j> {
    pub(super) fn new(uppers: &'j mut Uppers) -> Above<'j> {
        Above { uppers, own: Own::default() }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.uppers.bytes() + self.own.bytes()
    }

    /// The layer is complete.
    pub(super) fn finish(self) {
        self.uppers.add(self.own);
    }
}

/// What becomes of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Judged {
    /// It is applied as if there were no other layers.
    Visible,
    /// It was dealt with.
    Done,
}

#[derive(Debug, Default)]
pub(super) struct Paths(HashSet<PathKey>);

impl Paths {
    pub(super) fn insert(&mut self, path: PathKey) {
        self.0.insert(path);
    }

    /// Whether it was there.
    pub(super) fn remove(&mut self, path: PathKey) -> bool {
        self.0.remove(&path)
    }

    pub(super) fn has(&self, path: PathKey) -> bool {
        !self.0.is_empty() && self.0.contains(&path)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn bytes(&self) -> u64 {
        self.0.len() as u64 * PATH_BYTES
    }

    fn extend(&mut self, others: Paths) {
        self.0.extend(others.0);
    }
}

/// The names that a clean path consists of; none of the root's.
pub(super) fn components(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/').filter(|name| !name.is_empty())
}
