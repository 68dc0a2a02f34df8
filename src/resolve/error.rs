// SPDX-License-Identifier: Apache-2.0
//! Why a name did not lead to a directory.

use rustix::io::Errno;

/// A failed system call on the way to a directory.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{operation} \"{}\": {errno}", path.escape_ascii())]
pub struct ResolveError {
    pub(crate) operation: &'static str,
    /// Below the root, or below a lower directory.
    pub(crate) path: Vec<u8>,
    pub(crate) errno: Errno,
}

impl ResolveError {
    pub(crate) fn errno(&self) -> Errno {
        self.errno
    }
}
