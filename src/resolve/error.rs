// SPDX-License-Identifier: Apache-2.0
//! Why a name did not lead to a directory.

use crate::errno::Errno;
use crate::escape::Escaped;

/// A failed system call on the way to a directory.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{operation} {}: {errno}", Escaped(path))]
pub struct ResolveError {
    operation: &'static str,
    /// Below the root, or below a lower directory.
    path: Vec<u8>,
    errno: Errno,
}

impl ResolveError {
    pub(crate) fn new(
        operation: &'static str,
        path: Vec<u8>,
        errno: rustix::io::Errno,
    ) -> ResolveError {
        ResolveError { operation, path, errno: Errno::of(errno) }
    }

    pub(crate) fn errno(&self) -> Errno {
        self.errno
    }
}
