// SPDX-License-Identifier: Apache-2.0
//! `ocilayer_skipped`: what a report says was left out.

use std::ffi::c_char;
use std::ptr::null;

use super::guard::infallible;
use super::text::Text;
use crate::report::{SkipReason, Skipped};

/// Why something in the layer was left out. More reasons may come.
#[repr(C)]
pub enum ocilayer_skip_reason {
    /// A `trusted.*` xattr: an archive must not set what the kernel trusts.
    OCILAYER_SKIP_TRUSTED_XATTR = 1,
    /// An xattr that overlayfs keeps for itself, such as `user.overlay.opaque`.
    OCILAYER_SKIP_OVERLAY_XATTR = 2,
    /// A `user.*` xattr on a symlink, device or FIFO, which xattr(7) rules out.
    OCILAYER_SKIP_XATTR_ON_SPECIAL = 3,
    /// An xattr that this file system or namespace does not support.
    OCILAYER_SKIP_XATTR_UNSUPPORTED = 4,
    /// A `.wh..wh.*` name that is aufs's own bookkeeping.
    OCILAYER_SKIP_AUFS_METADATA = 5,
    /// A device, in a user namespace or by OCILAYER_DEVICES_SKIP.
    OCILAYER_SKIP_DEVICE = 6,
    /// An entry that the filter callback declined.
    OCILAYER_SKIP_FILTERED = 7,
    /// A whiteout of a name that no parent has.
    OCILAYER_SKIP_UNNEEDED_WHITEOUT = 8,
    /// Not of the layer, but of this kernel: a directory's opaque mark that overlayfs copied up
    /// and that was removed from the upper directory. The path is the directory's, below the root.
    OCILAYER_SKIP_PROPAGATED_MARK = 9,
    /// A hardlink to something of this layer that was itself left out.
    OCILAYER_SKIP_LINK_TO_SKIPPED = 10,
    /// An xattr that takes more privilege than the caller has: `security.*` for a plain user or in
    /// a user namespace.
    OCILAYER_SKIP_XATTR_NOT_PERMITTED = 11,
    /// A PAX record that says something of its entry that is not applied, such as
    /// `SCHILY.acl.access`; its key is the detail.
    OCILAYER_SKIP_IGNORED_RECORD = 12,
    /// A record of a global PAX header that no entry takes, such as `uid`; its key is the detail.
    OCILAYER_SKIP_GLOBAL_RECORD = 13,
    /// Not of an entry: the archive ends without an end marker, and was proven whole by other
    /// means.
    OCILAYER_SKIP_NO_END_MARKER = 14,
    /// Not of an entry: bytes other than zeros behind the archive's end marker.
    OCILAYER_SKIP_DATA_AFTER_END = 15,
}

impl From<SkipReason> for ocilayer_skip_reason {
    fn from(reason: SkipReason) -> Self {
        use ocilayer_skip_reason as C;
        match reason {
            SkipReason::TrustedXattr => C::OCILAYER_SKIP_TRUSTED_XATTR,
            SkipReason::OverlayXattr => C::OCILAYER_SKIP_OVERLAY_XATTR,
            SkipReason::XattrOnSpecial => C::OCILAYER_SKIP_XATTR_ON_SPECIAL,
            SkipReason::XattrUnsupported => C::OCILAYER_SKIP_XATTR_UNSUPPORTED,
            SkipReason::AufsMetadata => C::OCILAYER_SKIP_AUFS_METADATA,
            SkipReason::Device => C::OCILAYER_SKIP_DEVICE,
            SkipReason::Filtered => C::OCILAYER_SKIP_FILTERED,
            SkipReason::UnneededWhiteout => C::OCILAYER_SKIP_UNNEEDED_WHITEOUT,
            SkipReason::PropagatedMark => C::OCILAYER_SKIP_PROPAGATED_MARK,
            SkipReason::LinkToSkipped => C::OCILAYER_SKIP_LINK_TO_SKIPPED,
            SkipReason::XattrNotPermitted => C::OCILAYER_SKIP_XATTR_NOT_PERMITTED,
            SkipReason::IgnoredRecord => C::OCILAYER_SKIP_IGNORED_RECORD,
            SkipReason::GlobalRecord => C::OCILAYER_SKIP_GLOBAL_RECORD,
            SkipReason::NoEndMarker => C::OCILAYER_SKIP_NO_END_MARKER,
            SkipReason::DataAfterEnd => C::OCILAYER_SKIP_DATA_AFTER_END,
        }
    }
}

/// What was skipped for one reason. All accessors take NULL. It is a part of its report.
pub struct ocilayer_skipped {
    reason: u32,
    text: Text,
    count: u64,
    examples: Vec<Example>,
}

struct Example {
    path: Text,
    detail: Text,
}

impl From<(SkipReason, &Skipped)> for ocilayer_skipped {
    fn from((reason, skipped): (SkipReason, &Skipped)) -> Self {
        let examples = skipped.examples.iter().map(|example| Example {
            path: Text::new(example.path.as_slice()),
            detail: Text::new(example.detail.as_slice()),
        });
        ocilayer_skipped {
            reason: ocilayer_skip_reason::from(reason) as u32,
            text: Text::new(reason.describe()),
            count: skipped.count,
            examples: examples.collect(),
        }
    }
}

/// # Safety
/// `skipped` is NULL or part of a report that was not freed.
unsafe fn read<T: Copy>(
    skipped: *const ocilayer_skipped,
    nothing: T,
    field: impl FnOnce(&ocilayer_skipped) -> T,
) -> T {
    // SAFETY: the caller's promise.
    infallible(nothing, || unsafe { skipped.as_ref() }.map_or(nothing, field))
}

/// # Safety
/// `skipped` as for [`read`], `length` is NULL or may be written.
unsafe fn example(
    skipped: *const ocilayer_skipped,
    index: usize,
    length: *mut usize,
    field: impl FnOnce(&Example) -> &Text,
) -> *const c_char {
    if !length.is_null() {
        // SAFETY: not NULL, and then writable by the caller's promise.
        unsafe { length.write(0) };
    }
    // SAFETY: the caller's promise.
    let give = |example: &Example| unsafe { field(example).give(length) };
    let find = |skipped: &ocilayer_skipped| skipped.examples.get(index).map_or(null(), give);
    // SAFETY: the caller's promise.
    unsafe { read(skipped, null(), find) }
}

/// The reason: one of OCILAYER_SKIP_*; 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ocilayer_skipped_reason(skipped: *const ocilayer_skipped) -> u32 {
    // SAFETY: NULL or alive, as the header asks.
    unsafe { read(skipped, 0, |skipped| skipped.reason) }
}

/// The reason in a few words for people; NULL for NULL. The string lives as long as the report.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ocilayer_skipped_text(skipped: *const ocilayer_skipped) -> *const c_char {
    // SAFETY: NULL or alive, as the header asks.
    unsafe { read(skipped, null(), |skipped| skipped.text.as_ptr()) }
}

/// How often it happened; 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ocilayer_skipped_count(skipped: *const ocilayer_skipped) -> u64 {
    // SAFETY: NULL or alive, as the header asks.
    unsafe { read(skipped, 0, |skipped| skipped.count) }
}

/// The @index-th example: the entry's name as it stands in the archive. Only the first few are
/// kept. *length (may be NULL) gets the number of bytes; a NUL follows them.
///
/// Returns NULL, and 0 in *length, past the last example. The bytes live as long as the report.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ocilayer_skipped_path(
    skipped: *const ocilayer_skipped,
    index: usize,
    length: *mut usize,
) -> *const c_char {
    // SAFETY: NULL, or alive and writable, as the header asks.
    unsafe { example(skipped, index, length, |example| &example.path) }
}

/// The same for the xattr's name, where the reason is about one; else it is empty.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ocilayer_skipped_detail(
    skipped: *const ocilayer_skipped,
    index: usize,
    length: *mut usize,
) -> *const c_char {
    // SAFETY: NULL, or alive and writable, as the header asks.
    unsafe { example(skipped, index, length, |example| &example.detail) }
}
