// SPDX-License-Identifier: Apache-2.0
//! The directory descriptors that are kept open.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::tree::DirId;

/// Archives stay near one directory for long stretches. Sixteen unpacks at once must fit into the
/// usual limit of 1,024 descriptors with room for the rest of the process.
const KEPT: usize = 32;

/// 0 is the root, n the lower layer n - 1.
pub(crate) type LayerIndex = usize;

/// Open directories, the least recently used one closed first.
#[derive(Debug, Default)]
pub(crate) struct Fds {
    open: HashMap<(DirId, LayerIndex), (Arc<OwnedFd>, u64)>,
    clock: u64,
}

impl Fds {
    pub(crate) fn get(&mut self, key: (DirId, LayerIndex)) -> Option<Arc<OwnedFd>> {
        self.clock += 1;
        let (fd, used) = self.open.get_mut(&key)?;
        *used = self.clock;
        Some(fd.clone())
    }

    pub(crate) fn keep(&mut self, key: (DirId, LayerIndex), fd: OwnedFd) -> Arc<OwnedFd> {
        if self.open.len() >= KEPT {
            let oldest = self.open.iter().min_by_key(|(_, (_, used))| *used).map(|(key, _)| *key);
            oldest.map(|key| self.open.remove(&key));
        }
        self.clock += 1;
        let fd = Arc::new(fd);
        self.open.insert(key, (fd.clone(), self.clock));
        fd
    }

    pub(crate) fn close(&mut self, dir: DirId) {
        self.open.retain(|(id, _), _| *id != dir);
    }

    /// Gives back all it can; the process is out of descriptors. False if there were none.
    pub(crate) fn close_all(&mut self) -> bool {
        let some = !self.open.is_empty();
        self.open.clear();
        some
    }
}
