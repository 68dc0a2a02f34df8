// SPDX-License-Identifier: Apache-2.0
//! Which extended attributes are set and which stay.

use std::os::fd::BorrowedFd;

use rustix::io::Errno;

pub(super) use crate::layer::xattrs::{is_overlay_private, refusal};
pub(super) use crate::sys::xattr::{get, list, proc_path, remove, set, set_special};

pub(super) const DEFAULT_ACL: &[u8] = b"system.posix_acl_default";
pub(super) const ACCESS_ACL: &[u8] = b"system.posix_acl_access";

/// The namespaces that Linux has (xattr(7)); all others are one, which no file system supports.
pub(super) fn namespace(name: &[u8]) -> &'static str {
    let known = ["user", "trusted", "security", "system"];
    let namespace = name.split(|byte| *byte == b'.').next().unwrap_or_default();
    known.into_iter().find(|known| known.as_bytes() == namespace).unwrap_or("unknown")
}

/// Names that stay when a directory's xattrs are replaced: overlayfs's, and those that a security
/// module set by its own policy and guards.
fn stays(name: &[u8]) -> bool {
    is_overlay_private(name)
        || matches!(name, b"security.selinux" | b"security.ima" | b"security.evm")
}

/// Removes every xattr whose name is not in `keep`.
pub(super) fn remove_stale(fd: BorrowedFd<'_>, keep: impl Fn(&[u8]) -> bool) -> Result<(), Errno> {
    for name in list(fd)? {
        if !stays(&name) && !keep(&name) {
            remove(fd, &name)?;
        }
    }
    Ok(())
}
