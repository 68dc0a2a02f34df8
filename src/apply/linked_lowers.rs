// SPDX-License-Identifier: Apache-2.0
//! Lower files that this layer has hardlinks to.

/// A lower file that this layer has a hardlink to. A whiteout of it contradicts the link.
#[derive(Debug)]
pub(super) struct LinkedLower {
    pub(super) path: Vec<u8>,
    /// This layer has put something else there since.
    pub(super) replaced: bool,
}
