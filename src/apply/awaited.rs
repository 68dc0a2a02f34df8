// SPDX-License-Identifier: Apache-2.0
//! Parents that are still being made, and the whiteouts that wait for them.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::error::JobCause;
use crate::resolve::DirId;
use crate::tar::Place;

/// Directories of lower layers, topmost first.
pub(crate) type MadeLowers = Vec<Arc<OwnedFd>>;

/// Bytes of whiteouts that are set aside. With more, the layer waits for its parents.
const ASIDE_MAX: usize = 1 << 20;

/// Parents that somebody else is making.
pub(crate) struct AwaitedLowers<'w> {
    pub(super) wait: Box<dyn FnOnce() -> Result<MadeLowers, JobCause> + Send + 'w>,
    pub(super) aside: Vec<Whiteout>,
    bytes: usize,
}

/// A whiteout that waits for the parents.
pub(super) struct Whiteout {
    pub(super) dir: DirId,
    pub(super) name: Box<[u8]>,
    pub(super) place: Place,
}

impl<'w> AwaitedLowers<'w> {
    /// `wait` blocks until the parents are complete; an error if they will never be.
    pub(crate) fn new(
        wait: impl FnOnce() -> Result<MadeLowers, JobCause> + Send + 'w,
    ) -> AwaitedLowers<'w> {
        AwaitedLowers { wait: Box::new(wait), aside: Vec::new(), bytes: 0 }
    }

    /// Whether one more whiteout can wait.
    pub(super) fn has_room(&self) -> bool {
        self.bytes < ASIDE_MAX
    }

    pub(super) fn set_aside(&mut self, dir: DirId, name: &[u8], place: Place) {
        self.bytes += size_of::<Whiteout>() + name.len() + place.path.len();
        self.aside.push(Whiteout { dir, name: name.into(), place });
    }
}
