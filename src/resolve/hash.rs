// SPDX-License-Identifier: Apache-2.0
//! Paths by a number each, so that a set of them takes no more memory than their count.

use std::hash::{BuildHasher, RandomState};

/// Stands for a path without symlinks. Keyed anew for each tree, so that no layer can make two paths
/// meet; two that do by accident are taken for one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct PathHash(u64);

impl PathHash {
    pub(crate) const ROOT: PathHash = PathHash(0);
}

/// Makes them.
#[derive(Debug, Default)]
pub(crate) struct PathHashes(RandomState);

impl PathHashes {
    /// Of a name in the directory of this path.
    pub(crate) fn of(&self, dir: PathHash, name: &[u8]) -> PathHash {
        PathHash(self.0.hash_one((dir.0, name)))
    }
}
