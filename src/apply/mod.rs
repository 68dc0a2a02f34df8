// SPDX-License-Identifier: Apache-2.0
//! Actions to system calls, relative to a directory descriptor only.

use rustix::io::Errno;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    #[error("{operation}: {errno}")]
    Io { operation: &'static str, errno: Errno },
}

impl ApplyError {
    pub(crate) fn errno(&self) -> Errno {
        match self {
            ApplyError::Io { errno, .. } => *errno,
        }
    }
}
