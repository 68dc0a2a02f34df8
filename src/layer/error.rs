// SPDX-License-Identifier: Apache-2.0
//! What no layer may ask for.

use crate::escape::Escaped;
use crate::resolve::Unclean;

/// An entry that is well-formed tar but that no layer may have, or that contradicts the tree.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LayerError {
    /// A name has more `..` than components before them.
    #[error("name leaves the root")]
    Escapes,
    /// A component of a name or of a hardlink's target has so many bytes, more than the 255 of
    /// NAME_MAX.
    #[error("name has a component of {0} bytes, a file system holds 255")]
    ComponentTooLong(usize),
    /// A NUL in a name or in a hardlink's target, which no system call takes.
    #[error("name has a NUL byte")]
    Nul,
    /// An entry for the root itself, such as `./`, is not a directory.
    #[error("the root is a directory and can be nothing else")]
    RootNotDirectory,
    /// What follows `.wh.`, the name to be deleted (layer.md), is this: empty, `.` or `..`.
    #[error("whiteout of {}", Escaped(.0))]
    InvalidWhiteout(Vec<u8>),
    /// A directory in the name begins with `.wh.`: this one, the topmost of them.
    #[error("lies below the whiteout {}", Escaped(.0))]
    BelowWhiteout(Vec<u8>),
    /// A character device 0:0 in an overlay mode: overlayfs would take it for a whiteout.
    #[error("device 0:0 would be a whiteout")]
    WhiteoutDevice,
    /// A symlink to the empty string, which symlink(2) refuses.
    #[error("symlink without a target")]
    EmptySymlink,
    /// A hardlink to the root: directories have no hardlinks (link(2)).
    #[error("hardlink to the root")]
    LinkToRoot,
    /// A hardlink to a directory, by its path below the root: directories have none (link(2)).
    #[error("hardlink to {}, which is a directory", Escaped(.0))]
    LinkToDirectory(Vec<u8>),
    /// A hardlink to a path below the root where neither this layer nor a lower one has anything,
    /// or where this layer has deleted it.
    #[error("hardlink to {}, which does not exist", Escaped(.0))]
    LinkTargetMissing(Vec<u8>),
    /// A hardlink to a path below the root where this layer has nothing, with
    /// [`Lowers::Unknown`](crate::Lowers::Unknown) in an overlay mode: a lower layer may have it.
    #[error("hardlink to {}, which is not in this layer, and no parents are given", Escaped(.0))]
    LinkTargetUnknown(Vec<u8>),
    /// A whiteout or opaque marker hides the lower file at this path below the root, after a
    /// hardlink to it. In the other order the hardlink fails, with
    /// [`LinkTargetMissing`](LayerError::LinkTargetMissing).
    #[error("whiteout of {}, to which this layer has a hardlink", Escaped(.0))]
    LinkTargetWhitedOut(Vec<u8>),
    /// An entry needs a directory at this path below the root, and this layer has made something
    /// else there.
    #[error("parent {} is no directory in this layer", Escaped(.0))]
    ParentNotDirectory(Vec<u8>),
    /// An opaque marker at the root, with [`Lowers::Unknown`](crate::Lowers::Unknown) in an overlay
    /// mode: overlayfs takes no notice of a mark on a layer's root, and the names to hide one by
    /// one are not known.
    #[error(
        "opaque marker at the root: overlayfs needs a whiteout for each lower name, so the parents must be given"
    )]
    OpaqueRootWithoutParents,
    /// No range of [`Owners::Map`](crate::Owners::Map) has this user id of an entry, or the 0 of
    /// directories that no entry describes.
    #[error("owner {0} is in none of the ranges to map")]
    UnmappedUid(u32),
    /// The same of a group id.
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
