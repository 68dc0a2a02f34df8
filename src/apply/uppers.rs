// SPDX-License-Identifier: Apache-2.0
//! What the layers above one that is being applied leave of it, and what they took for granted of it.

use std::collections::HashSet;

/// Memory that one path takes beside its bytes.
const PATH_BYTES: u64 = 64;

/// Of all layers that were applied to a directory so far, the newest first. Paths are clean: relative
/// to the root, which is the empty one, and without symlinks on the way.
#[derive(Debug, Default)]
pub(crate) struct Uppers {
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

impl Uppers {
    /// Above an empty directory.
    pub(crate) fn none() -> Uppers {
        let mut uppers = Uppers::default();
        uppers.undescribed.insert(b"");
        uppers
    }

    pub(crate) fn is_uncertain(&self) -> bool {
        self.uncertain
    }

    pub(super) fn set_uncertain(&mut self) {
        self.uncertain = true;
    }

    /// Whether they hide this name of the layer; those that lead to it were asked for before.
    pub(super) fn hide(&self, path: &[u8]) -> bool {
        self.hidden.has(path)
    }

    /// Whether they hide all that the layer has in this directory.
    pub(super) fn hide_in(&self, dir: &[u8]) -> bool {
        self.opaque.has(dir)
    }

    /// Whether they are wrong if this is no directory.
    pub(super) fn suppose(&self, path: &[u8]) -> bool {
        self.supposed.has(path)
    }

    pub(super) fn made_undescribed(&mut self, path: &[u8]) {
        self.undescribed.insert(path);
    }

    /// False: it has the attributes of a layer above.
    pub(super) fn may_describe(&mut self, path: &[u8]) -> bool {
        self.undescribed.0.remove(path)
    }

    pub(super) fn bytes(&self) -> u64 {
        self.hidden.1 + self.opaque.1 + self.supposed.1 + self.undescribed.1
    }

    /// The layer is applied, and is one of them.
    pub(crate) fn add(&mut self, own: Own) {
        self.hidden.extend(own.hidden);
        self.opaque.extend(own.opaque);
        self.supposed.extend(own.supposed);
    }
}

/// The same of the layer that is being applied, for those below it.
#[derive(Debug, Default)]
pub(crate) struct Own {
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
        [hidden, opaque, supposed, lost, lost_dirs, describes].iter().map(|paths| paths.1).sum()
    }
}

/// A set, and the memory that it took when it was largest, or a little less.
#[derive(Debug, Default)]
pub(super) struct Paths(HashSet<Box<[u8]>>, u64);

impl Paths {
    pub(super) fn insert(&mut self, path: &[u8]) {
        if !self.has(path) {
            self.0.insert(path.into());
            self.1 += PATH_BYTES + path.len() as u64;
        }
    }

    pub(super) fn remove(&mut self, path: &[u8]) {
        self.0.remove(path);
    }

    pub(super) fn has(&self, path: &[u8]) -> bool {
        !self.0.is_empty() && self.0.contains(path)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn extend(&mut self, others: Paths) {
        self.0.extend(others.0);
        self.1 += others.1;
    }
}

/// The paths that lead to a name, from the one below the root down to `path` itself.
pub(super) fn prefixes(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
    let last = (!path.is_empty()).then_some(path.len());
    ends.chain(last).map(|end| &path[..end])
}
