// SPDX-License-Identifier: Apache-2.0
//! Facts about this kernel that no version number tells.

use rustix::io::Errno;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProbeError {
    #[error("{operation}: {errno}")]
    Io { operation: &'static str, errno: Errno },
}

impl ProbeError {
    pub(crate) fn errno(&self) -> Errno {
        match self {
            ProbeError::Io { errno, .. } => *errno,
        }
    }
}
