// SPDX-License-Identifier: Apache-2.0
//! Entries to actions: what a name and a type mean in an OCI layer.

use rustix::io::Errno;

use crate::error::ErrorKind;

/// An entry that is well-formed tar but that no layer may have, or that contradicts the tree.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LayerError {
    #[error("name leaves the root")]
    Escapes,
}

impl LayerError {
    pub(crate) fn verdict(&self) -> (ErrorKind, Errno) {
        (ErrorKind::Layer, Errno::INVAL)
    }
}
