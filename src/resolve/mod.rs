// SPDX-License-Identifier: Apache-2.0
//! Names to directory descriptors, never leaving the root.
//!
//! A name is walked one component at a time through the merged view: the root, and below it, in
//! overlay modes, the directories of the parent layers. Each component is looked up in a directory
//! that we hold open, symlinks are read and walked in turn as a chroot would, and what was a
//! directory is remembered. Later entries find their parent in memory; a descriptor that was
//! closed meanwhile comes back by one openat2(2) that refuses every symlink.

mod error;
mod fds;
mod hash;
mod inode;
mod lowers;
mod open;
mod path;
mod resolver;
mod safe_parent;
mod tree;
mod walk;

pub use error::ResolveError;
pub(crate) use hash::{PathHash, PathHashes};
pub(crate) use inode::{has_xattr, is, is_marked, is_whiteout, is_xwhiteout};
pub(crate) use inode::{overlay_xattrs, stat_child, times_of};
pub(crate) use lowers::{Found, Lower, LowerLayers, Place, look_in_lowers};
pub(crate) use open::{Opener, open_child, open_locked, unlock};
pub(crate) use path::{AboveRoot, COMPONENT_MAX, CleanPath, Component, Unclean};
pub(crate) use resolver::{Resolver, SeenBelow, open_lowers};
pub(crate) use safe_parent::SafeParent;
pub(crate) use tree::{Below, Dir, DirId, dir_bytes};
pub(crate) use walk::{Seen, Step, View, Walk};
