// SPDX-License-Identifier: Apache-2.0
//! Where names may be made, changed and removed.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

/// A directory below the root, held open. Only [`resolve`](super) makes one, so whoever has one knows
/// that it was reached without leaving the root.
#[derive(Debug, Clone)]
pub(crate) struct SafeParent(Arc<OwnedFd>);

impl SafeParent {
    pub(crate) fn new(fd: Arc<OwnedFd>) -> SafeParent {
        SafeParent(fd)
    }

    #[cfg(test)]
    pub(crate) fn for_tests(fd: OwnedFd) -> SafeParent {
        SafeParent(Arc::new(fd))
    }
}

impl AsFd for SafeParent {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
