// SPDX-License-Identifier: Apache-2.0
//! Names of this layer that were left out: a hardlink to one is left out as well, and never becomes
//! one to what a lower layer has there.

use std::collections::HashSet;

use crate::resolve::Component;

use super::parents::joined;

/// Memory that one takes beside its bytes.
const NAME_BYTES: u64 = 64;

/// By their clean paths as the archive has them: symlinks are not followed.
#[derive(Debug, Default)]
pub(crate) struct SkippedNames {
    names: HashSet<Vec<u8>>,
    bytes: u64,
}

impl SkippedNames {
    pub(crate) fn note(&mut self, parent: &[u8], name: Component<'_>) {
        let path = joined(parent, name.as_bytes());
        let bytes = NAME_BYTES + path.len() as u64;
        if self.names.insert(path) {
            self.bytes += bytes;
        }
    }

    /// The name is there after all.
    pub(crate) fn forget(&mut self, parent: &[u8], name: Component<'_>) {
        if !self.names.is_empty() {
            self.names.remove(&joined(parent, name.as_bytes()));
        }
    }

    pub(crate) fn has(&self, parent: &[u8], name: Component<'_>) -> bool {
        !self.names.is_empty() && self.names.contains(&joined(parent, name.as_bytes()))
    }

    /// Grows only: a layer that makes and skips one name in turns has asked for it.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }
}
