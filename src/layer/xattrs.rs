// SPDX-License-Identifier: Apache-2.0
//! Which extended attributes a layer may have.

use crate::report::SkipReason;
use crate::tar::Kind;

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
