// SPDX-License-Identifier: Apache-2.0
//! Which extended attributes are set and which stay.

use std::os::fd::BorrowedFd;

use rustix::io::Errno;

pub(super) use crate::layer::xattrs::{ACCESS_ACL, CAPABILITY, DEFAULT_ACL};
pub(super) use crate::layer::xattrs::{MetacopyFile, is_copied_up, is_inherited};
pub(super) use crate::layer::xattrs::{may_be_a_layers, on_disk, refusal};
pub(super) use crate::sys::xattr::{get, get_special, list, list_special, proc_path, remove};
pub(super) use crate::sys::xattr::{remove_special, set, set_special};

/// The namespaces that Linux has (xattr(7)); all others are one, which no file system supports.
pub(super) fn namespace(name: &[u8]) -> &'static str {
    let known = ["user", "trusted", "security", "system"];
    let namespace = name.split(|byte| *byte == b'.').next().unwrap_or_default();
    known.into_iter().find(|known| known.as_bytes() == namespace).unwrap_or("unknown")
}

/// Removes every xattr that a layer can have set and whose name is not in `keep`. What a security
/// module of this machine does not let go of stays: it is the module's.
pub(crate) fn remove_stale(fd: BorrowedFd<'_>, keep: impl Fn(&[u8]) -> bool) -> Result<(), Errno> {
    for name in list(fd)? {
        if may_be_a_layers(&name) && !keep(&name) {
            match remove(fd, &name) {
                Err(Errno::PERM | Errno::ACCESS) if is_a_modules(&name) => {}
                result => result?,
            }
        }
    }
    Ok(())
}

fn is_a_modules(name: &[u8]) -> bool {
    name.starts_with(b"security.") && name != CAPABILITY
}
