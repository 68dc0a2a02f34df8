// SPDX-License-Identifier: Apache-2.0
//! Lower files that this layer has hardlinks to: a whiteout of one contradicts the link, whichever of
//! the two comes first in the archive.

use std::collections::{HashMap, HashSet};

use crate::resolve::PathHash;

/// Memory that one takes, with its share of the directories above it.
const LINK_BYTES: u64 = 48;

/// A number for each path, so that neither time nor memory depends on how long paths are.
#[derive(Debug, Default)]
pub(crate) struct LinkedLowers {
    /// And whether this layer has put something else there since.
    linked: HashMap<PathHash, bool>,
    /// Directories that have one somewhere below.
    above: HashSet<PathHash>,
}

impl LinkedLowers {
    /// There is a hardlink to this file. `above` are the directories that lead to it, from the
    /// nearest one up to the root.
    pub(crate) fn note(&mut self, path: PathHash, above: impl IntoIterator<Item = PathHash>) {
        self.linked.insert(path, false);
        for dir in above {
            if !self.above.insert(dir) {
                break;
            }
        }
    }

    /// Whether a whiteout of this name contradicts a hardlink to it, or to what is below it.
    pub(crate) fn contradict(&self, path: PathHash) -> bool {
        self.is_target(path) || self.contradict_below(path)
    }

    /// Whether there is a hardlink to this very name.
    pub(crate) fn is_target(&self, path: PathHash) -> bool {
        self.linked.contains_key(&path)
    }

    /// Whether an opaque marker in this directory contradicts a hardlink to what is below it.
    pub(crate) fn contradict_below(&self, path: PathHash) -> bool {
        self.above.contains(&path)
    }

    /// Whether the name is a lower layer's file that is here only because of a hardlink to it.
    pub(crate) fn holds(&self, path: PathHash) -> bool {
        self.linked.get(&path).is_some_and(|replaced| !replaced)
    }

    /// The name is about to be something else.
    pub(crate) fn replace(&mut self, path: PathHash) {
        if let Some(replaced) = self.linked.get_mut(&path) {
            *replaced = true;
        }
    }

    pub(crate) fn bytes(&self) -> u64 {
        (self.linked.len() + self.above.len()) as u64 * LINK_BYTES
    }
}
