// SPDX-License-Identifier: Apache-2.0
//! What no layer may ask for.

use crate::resolve::Unclean;

/// An entry that is well-formed tar but that no layer may have, or that contradicts the tree.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LayerError {
    #[error("name leaves the root")]
    Escapes,
    #[error("name has a component of {0} bytes, a file system holds 255")]
    ComponentTooLong(usize),
    #[error("name has a NUL byte")]
    Nul,
    #[error("the root is a directory and can be nothing else")]
    RootNotDirectory,
    #[error("whiteout of \"{}\"", .0.escape_ascii())]
    InvalidWhiteout(Vec<u8>),
    #[error("lies below the whiteout \"{}\"", .0.escape_ascii())]
    BelowWhiteout(Vec<u8>),
    #[error("device 0:0 would be a whiteout")]
    WhiteoutDevice,
    #[error("symlink without a target")]
    EmptySymlink,
    #[error("hardlink to the root")]
    LinkToRoot,
    #[error("hardlink to \"{}\", which is a directory", .0.escape_ascii())]
    LinkToDirectory(Vec<u8>),
    #[error("hardlink to \"{}\", which does not exist", .0.escape_ascii())]
    LinkTargetMissing(Vec<u8>),
    #[error("hardlink to \"{}\", which is not in this layer, and no parents are given", .0.escape_ascii())]
    LinkTargetUnknown(Vec<u8>),
    #[error("whiteout of \"{}\", to which this layer has a hardlink", .0.escape_ascii())]
    LinkTargetWhitedOut(Vec<u8>),
    #[error("parent \"{}\" is no directory in this layer", .0.escape_ascii())]
    ParentNotDirectory(Vec<u8>),
    #[error(
        "opaque marker at the root: overlayfs needs a whiteout for each lower name, so the parents must be given"
    )]
    OpaqueRootWithoutParents,
    #[error("owner {0} is in none of the ranges to map")]
    UnmappedUid(u32),
    #[error("group {0} is in none of the ranges to map")]
    UnmappedGid(u32),
}

impl From<Unclean> for LayerError {
    fn from(unclean: Unclean) -> LayerError {
        match unclean {
            Unclean::Escapes => LayerError::Escapes,
            Unclean::TooLong(length) => LayerError::ComponentTooLong(length),
            Unclean::Nul => LayerError::Nul,
        }
    }
}
