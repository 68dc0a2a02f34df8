// SPDX-License-Identifier: Apache-2.0
//! Names to directory descriptors, never leaving the root.

use rustix::io::Errno;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    #[error("{operation}: {errno}")]
    Io { operation: &'static str, errno: Errno },
}

impl ResolveError {
    pub(crate) fn errno(&self) -> Errno {
        match self {
            ResolveError::Io { errno, .. } => *errno,
        }
    }
}
