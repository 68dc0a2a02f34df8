// SPDX-License-Identifier: Apache-2.0
//! Which extended attributes a layer may have, and what they are on disk.

use std::borrow::Cow;

use rustix::io::Errno;

use super::error::LayerError;
use crate::options::{IdRange, Owners};
use crate::report::SkipReason;
use crate::tar::Kind;

pub(crate) const ACCESS_ACL: &[u8] = b"system.posix_acl_access";
pub(crate) const DEFAULT_ACL: &[u8] = b"system.posix_acl_default";
pub(crate) const CAPABILITY: &[u8] = b"security.capability";

/// Why an xattr of an archive is not set, if it is not.
pub(crate) fn refusal(name: &[u8], kind: Kind) -> Option<SkipReason> {
    // The kernel and its file systems act on these. An archive that could set them could, for
    // one, hide directories of the layers below.
    if name.starts_with(b"trusted.") {
        return Some(SkipReason::TrustedXattr);
    }
    if is_overlay_private(name) {
        return Some(SkipReason::OverlayXattr);
    }
    let plain = matches!(kind, Kind::File | Kind::Directory);
    (name.starts_with(b"user.") && !plain).then_some(SkipReason::XattrOnSpecial)
}

/// Names that overlayfs keeps for itself, with and without the userxattr mount option.
pub(crate) fn is_overlay_private(name: &[u8]) -> bool {
    name.starts_with(b"trusted.overlay.") || name.starts_with(b"user.overlay.")
}

/// Whether a directory that a layer needs and does not describe takes this from the lower one that it
/// is made above. `trusted.*` is between that one and the kernel.
pub(crate) fn is_inherited(name: &[u8]) -> bool {
    !name.starts_with(b"trusted.") && !is_overlay_private(name)
}

/// Whether the copy of a lower inode has this of it: all but overlayfs's own, as with the kernel's
/// copy-up (fs/overlayfs/copy_up.c). A file whose data are elsewhere, which `metacopy` tells, is not
/// copied: only the mount that wrote it knows where.
pub(crate) fn is_copied_up(name: &[u8], metacopy: &str) -> Result<bool, MetacopyFile> {
    match name == metacopy.as_bytes() {
        true => Err(MetacopyFile),
        false => Ok(!is_overlay_private(name)),
    }
}

/// A lower file that has a name and attributes, but not its data.
#[derive(Debug)]
pub(crate) struct MetacopyFile;

impl MetacopyFile {
    pub(crate) const OPERATION: &str = "copy of a metacopy file";
    pub(crate) const ERRNO: Errno = Errno::OPNOTSUPP;
}

/// Whether an xattr on disk may be an earlier layer's. All others are the machine's: labels and
/// signatures of security modules, and what file systems show of their own settings in this form
/// (`btrfs.compression`, `system.nfs4_acl`, `ceph.*`, `lustre.*`).
pub(crate) fn may_be_a_layers(name: &[u8]) -> bool {
    if is_overlay_private(name) {
        return false;
    }
    match name.strip_prefix(b"security.") {
        Some(module) => {
            let machines: [&[u8]; 5] = [b"selinux", b"ima", b"evm", b"SMACK64", b"apparmor"];
            !machines.iter().any(|machine| module.starts_with(machine))
        }
        None => name.starts_with(b"user.") || name == ACCESS_ACL || name == DEFAULT_ACL,
    }
}

/// The value as it is on disk: ids in it are mapped as owners are. Left as they are, they would be
/// those of users of the host.
pub(crate) fn on_disk<'v>(
    name: &[u8],
    value: &'v [u8],
    owners: &Owners,
) -> Result<Cow<'v, [u8]>, LayerError> {
    let Owners::Map { uids, gids } = owners else { return Ok(value.into()) };
    match name {
        ACCESS_ACL | DEFAULT_ACL => map_acl(value, uids, gids),
        CAPABILITY => map_capability(value, uids),
        _ => Ok(value.into()),
    }
}

/// linux/posix_acl_xattr.h: a version, then a tag, permissions and an id for each entry, all in little
/// endian. What is not of this form the kernel refuses.
fn map_acl<'v>(
    value: &'v [u8],
    uids: &[IdRange],
    gids: &[IdRange],
) -> Result<Cow<'v, [u8]>, LayerError> {
    const VERSION: usize = 4;
    const USER: u16 = 2;
    const GROUP: u16 = 8;
    let mut mapped = value.to_vec();
    for entry in mapped.get_mut(VERSION..).unwrap_or_default().chunks_exact_mut(8) {
        let tag = u16::from_le_bytes([entry[0], entry[1]]);
        let id = u32::from_le_bytes([entry[4], entry[5], entry[6], entry[7]]);
        let host = match tag {
            USER => IdRange::map(uids, id).ok_or(LayerError::UnmappedUid(id))?,
            GROUP => IdRange::map(gids, id).ok_or(LayerError::UnmappedGid(id))?,
            _ => continue,
        };
        entry[4..].copy_from_slice(&host.to_le_bytes());
    }
    Ok(mapped.into())
}

/// linux/capability.h: `vfs_cap_data`, and `vfs_ns_cap_data` with the user who is root in the namespace
/// where the capabilities count. Without one it is the host's root, which is not whom the layer means.
fn map_capability<'v>(value: &'v [u8], uids: &[IdRange]) -> Result<Cow<'v, [u8]>, LayerError> {
    /// Revision, then permitted and inheritable, twice from revision 2 on, then the root's id.
    const SIZES: [(u8, usize); 3] = [(1, 12), (2, 20), (3, 24)];
    const REVISION: usize = 3;
    const ROOT: usize = 20;
    let known = |&(revision, size): &(u8, usize)| {
        value.len() == size && value.get(REVISION) == Some(&revision)
    };
    if !SIZES.iter().any(known) {
        return Ok(value.into());
    }
    let root = match value.get(ROOT..) {
        Some(&[a, b, c, d]) => u32::from_le_bytes([a, b, c, d]),
        _ => 0,
    };
    let host = IdRange::map(uids, root).ok_or(LayerError::UnmappedUid(root))?;
    if host == root {
        return Ok(value.into());
    }
    let mut mapped = value.to_vec();
    mapped.resize(ROOT, 0);
    mapped[REVISION] = 3;
    mapped.extend_from_slice(&host.to_le_bytes());
    Ok(mapped.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owners() -> Owners {
        let range = IdRange { container: 0, host: 100_000, count: 65_536 };
        Owners::Map { uids: vec![range], gids: vec![IdRange { host: 200_000, ..range }] }
    }

    fn acl(entries: &[(u16, u32)]) -> Vec<u8> {
        let mut value = 2u32.to_le_bytes().to_vec();
        for (tag, id) in entries {
            value.extend([tag.to_le_bytes(), 6u16.to_le_bytes()].concat());
            value.extend(id.to_le_bytes());
        }
        value
    }

    #[test]
    fn ids_in_acls_are_mapped_as_owners_are() {
        let nobody = u32::MAX;
        let before = acl(&[(1, nobody), (2, 1000), (4, nobody), (8, 50), (16, nobody)]);
        let after = acl(&[(1, nobody), (2, 101_000), (4, nobody), (8, 200_050), (16, nobody)]);
        assert_eq!(on_disk(ACCESS_ACL, &before, &owners()).unwrap(), after);
        assert_eq!(on_disk(DEFAULT_ACL, &before, &owners()).unwrap(), after);
        assert_eq!(on_disk(ACCESS_ACL, &before, &Owners::Keep).unwrap(), before);
        assert_eq!(on_disk(b"user.acl", &before, &owners()).unwrap(), before);
        let outside = [acl(&[(2, 70_000)]), acl(&[(8, 70_000)])];
        let refused = outside.map(|acl| on_disk(ACCESS_ACL, &acl, &owners()).unwrap_err());
        assert_eq!(refused, [LayerError::UnmappedUid(70_000), LayerError::UnmappedGid(70_000)]);
        // For the kernel to refuse.
        for odd in [&b""[..], b"xy", &before[..before.len() - 1]] {
            assert_eq!(on_disk(ACCESS_ACL, odd, &owners()).unwrap().len(), odd.len());
        }
    }

    #[test]
    fn capabilities_count_where_the_mapped_root_is_root() {
        let data = [7u8; 16];
        let v2 = [&[1, 0, 0, 2], &data[..]].concat();
        let v3 = |root: u32| [&[1, 0, 0, 3], &data[..], &root.to_le_bytes()].concat();
        assert_eq!(on_disk(CAPABILITY, &v2, &owners()).unwrap(), v3(100_000));
        assert_eq!(on_disk(CAPABILITY, &v3(5), &owners()).unwrap(), v3(100_005));
        assert_eq!(on_disk(CAPABILITY, &v2, &Owners::Ignore).unwrap(), v2);
        let v1 = [&[1, 0, 0, 1][..], &[7; 8]].concat();
        let widened = [&[1, 0, 0, 3][..], &[7; 8], &[0; 8], &100_000u32.to_le_bytes()].concat();
        assert_eq!(on_disk(CAPABILITY, &v1, &owners()).unwrap(), widened);
        let refused = on_disk(CAPABILITY, &v3(70_000), &owners()).unwrap_err();
        assert_eq!(refused, LayerError::UnmappedUid(70_000));
        let same = IdRange { container: 0, host: 0, count: 10 };
        let same = Owners::Map { uids: vec![same], gids: vec![same] };
        assert_eq!(on_disk(CAPABILITY, &v2, &same).unwrap(), v2);
        for odd in [&b""[..], b"\x01\0\0\x02", &v2[..19], &[&v2[..], b"x"].concat()] {
            assert_eq!(on_disk(CAPABILITY, odd, &owners()).unwrap(), odd);
        }
    }

    #[test]
    fn only_what_a_layer_can_have_set_may_be_a_layers() {
        let layers: [&[u8]; 5] =
            [b"user.a", CAPABILITY, b"security.other", ACCESS_ACL, DEFAULT_ACL];
        assert!(layers.into_iter().all(may_be_a_layers));
        let machines: [&[u8]; 13] = [
            b"btrfs.compression",
            b"system.nfs4_acl",
            b"system.cifs_acl",
            b"ceph.dir.layout",
            b"lustre.lov",
            b"trusted.overlay.opaque",
            b"trusted.md5sum",
            b"user.overlay.opaque",
            b"security.selinux",
            b"security.ima",
            b"security.evm",
            b"security.SMACK64EXEC",
            b"security.apparmor",
        ];
        assert!(!machines.into_iter().any(may_be_a_layers));
    }
}
