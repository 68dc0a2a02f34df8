// SPDX-License-Identifier: Apache-2.0
//! What a scan tells of.

use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

use crate::errno::Errno;
use crate::error::{Error, ErrorKind};
use crate::escape::debug_with_text;
use crate::report::{DETAIL_MAX, SkipReason};
use crate::tar::Place;

/// What is worth telling of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[repr(u32)]
#[non_exhaustive]
pub enum FindingKind {
    /// A whiteout: what it hides is the detail.
    Whiteout = 1,
    /// An opaque marker: the directory is the detail, empty for the root.
    Opaque = 2,
    /// A `trusted.*` xattr, whose name is the detail. Unpack drops it.
    TrustedXattr = 3,
    /// An xattr that overlayfs keeps for itself, whose name is the detail. Unpack drops it.
    OverlayXattr = 4,
    /// A `user.*` xattr on a symlink, device or FIFO, whose name is the detail. Unpack drops it.
    XattrOnSpecial = 5,
    /// A name that has more `..` than components before them. Unpack refuses it.
    NameLeavesRoot = 6,
    /// A link whose target, the detail, has more `..` than there are directories above it. Unpack
    /// keeps such a link inside the root; not every program does. Symlinks on the way are not
    /// followed, so a link may leave the root that this does not tell of.
    LinkLeavesRoot = 7,
    /// A block or character device; `c 1:3` or `b 8:0` is the detail.
    Device = 8,
    /// A file that runs as its owner; the mode in octal is the detail.
    Setuid = 9,
    /// A file that runs with its group; the mode in octal is the detail.
    Setgid = 10,
    /// A file with capabilities, by `security.capability`.
    FileCapability = 11,
    /// The layer has an entry of this name already; the last one wins.
    Duplicate = 12,
    /// aufs's own bookkeeping. Unpack leaves it out.
    AufsMetadata = 13,
    /// Unpack fails here; the finding has its error.
    Refused = 14,
    /// A PAX record of the entry, whose key is the detail, that unpack does not apply, such as
    /// `SCHILY.acl.access`.
    IgnoredRecord = 15,
    /// A record of a global PAX header, whose key is the detail, that unpack does not apply, such
    /// as `uid`.
    GlobalRecord = 16,
    /// The archive ends without an end marker; unpack takes it where something else proves it
    /// whole.
    NoEndMarker = 17,
    /// Bytes other than zeros behind the archive's end marker. Unpack does not look at them.
    DataAfterEnd = 18,
    /// A hardlink to something that unpack leaves out. Unpack leaves it out as well.
    LinkToSkipped = 19,
}

impl FindingKind {
    /// Every kind, in the order of their numbers.
    pub const ALL: [FindingKind; 19] = [
        FindingKind::Whiteout,
        FindingKind::Opaque,
        FindingKind::TrustedXattr,
        FindingKind::OverlayXattr,
        FindingKind::XattrOnSpecial,
        FindingKind::NameLeavesRoot,
        FindingKind::LinkLeavesRoot,
        FindingKind::Device,
        FindingKind::Setuid,
        FindingKind::Setgid,
        FindingKind::FileCapability,
        FindingKind::Duplicate,
        FindingKind::AufsMetadata,
        FindingKind::Refused,
        FindingKind::IgnoredRecord,
        FindingKind::GlobalRecord,
        FindingKind::NoEndMarker,
        FindingKind::DataAfterEnd,
        FindingKind::LinkToSkipped,
    ];

    /// A few words for people.
    pub fn describe(self) -> &'static str {
        match self {
            FindingKind::Whiteout => "whiteout",
            FindingKind::Opaque => "opaque directory",
            FindingKind::TrustedXattr => "trusted.* xattr",
            FindingKind::OverlayXattr => "overlay-private xattr",
            FindingKind::XattrOnSpecial => "user.* xattr on a symlink or special file",
            FindingKind::NameLeavesRoot => "name leaves the root",
            FindingKind::LinkLeavesRoot => "link leaves the root",
            FindingKind::Device => "device",
            FindingKind::Setuid => "setuid file",
            FindingKind::Setgid => "setgid file",
            FindingKind::FileCapability => "file capability",
            FindingKind::Duplicate => "name occurs again",
            FindingKind::AufsMetadata => "aufs metadata",
            FindingKind::Refused => "refused",
            FindingKind::IgnoredRecord => "PAX record not applied",
            FindingKind::GlobalRecord => "global PAX record not applied",
            FindingKind::NoEndMarker => "no end marker",
            FindingKind::DataAfterEnd => "data behind the end marker",
            FindingKind::LinkToSkipped => "hardlink to something left out",
        }
    }

    /// Of an xattr that unpack does not set.
    pub(super) fn of_xattr(reason: SkipReason) -> FindingKind {
        match reason {
            SkipReason::TrustedXattr => FindingKind::TrustedXattr,
            SkipReason::OverlayXattr => FindingKind::OverlayXattr,
            _ => FindingKind::XattrOnSpecial,
        }
    }
}

/// One thing that a scan found.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// What was found.
    pub kind: FindingKind,
    /// The entry, with its name as it stands in the archive. None for a refusal that is about the
    /// whole blob, such as a digest that is not the expected one.
    pub place: Option<Place>,
    /// As the kind says; cut at [`Finding::DETAIL_MAX`] bytes.
    pub detail: Vec<u8>,
    /// Of [`FindingKind::Refused`], and of that only.
    pub refusal: Option<Refusal>,
}

debug_with_text!(Finding { kind, place, refusal; detail });

/// The error that unpack fails with.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Refusal {
    /// What would go wrong, for a program.
    pub kind: ErrorKind,
    /// Positive, as everywhere in Rust.
    pub errno: Errno,
    /// [`Error`]'s own text, with entry, path and offset where there are such.
    pub message: String,
}

impl Finding {
    /// Bytes of a detail that are kept: PATH_MAX, since a link's target may be longer and an xattr's
    /// name a megabyte.
    pub const DETAIL_MAX: usize = DETAIL_MAX;

    pub(super) fn new(kind: FindingKind, place: Place, detail: &[u8]) -> Finding {
        let detail = detail[..detail.len().min(Finding::DETAIL_MAX)].to_vec();
        Finding { kind, place: Some(place), detail, refusal: None }
    }

    pub(super) fn refused(error: &Error) -> Finding {
        let refusal =
            Refusal { kind: error.kind(), errno: error.errno(), message: error.to_string() };
        Finding {
            kind: FindingKind::Refused,
            place: error.place().cloned(),
            detail: Vec::new(),
            refusal: Some(refusal),
        }
    }

    /// The finding as one JSON object. A name that is not UTF-8 appears with replacement
    /// characters, and in full as hexadecimal under `path_hex` or `detail_hex`.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("a finding has only string keys")
    }
}

/// Fields that say nothing are left out.
impl Serialize for Finding {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut fields = to.serialize_struct("Finding", 9)?;
        fields.serialize_field("finding", &self.kind)?;
        if let Some(place) = &self.place {
            fields.serialize_field("entry", &place.entry)?;
            fields.serialize_field("offset", &place.offset)?;
            bytes(&mut fields, ("path", "path_hex"), &place.path)?;
        }
        if !self.detail.is_empty() {
            bytes(&mut fields, ("detail", "detail_hex"), &self.detail)?;
        }
        if let Some(refusal) = &self.refusal {
            fields.serialize_field("kind", &refusal.kind)?;
            fields.serialize_field("errno", &refusal.errno.raw_os_error())?;
            fields.serialize_field("message", &refusal.message)?;
        }
        fields.end()
    }
}

fn bytes<S: SerializeStruct>(
    fields: &mut S,
    (name, exact): (&'static str, &'static str),
    bytes: &[u8],
) -> Result<(), S::Error> {
    let text = String::from_utf8_lossy(bytes);
    fields.serialize_field(name, &text)?;
    if matches!(text, std::borrow::Cow::Owned(_)) {
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        fields.serialize_field(exact, &hex)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_has_names_that_are_no_text_in_full() {
        let place = Place { entry: 3, path: b"a\xff".to_vec(), offset: 512 };
        let finding = Finding::new(FindingKind::Setuid, place, b"4755");
        assert_eq!(
            finding.to_json(),
            "{\"finding\":\"setuid\",\"entry\":3,\"offset\":512,\"path\":\"a\u{fffd}\",\
             \"path_hex\":\"61ff\",\"detail\":\"4755\"}"
        );
    }

    #[test]
    fn details_are_cut() {
        let place = Place { entry: 0, path: Vec::new(), offset: 0 };
        let long = vec![b'x'; Finding::DETAIL_MAX + 1];
        let finding = Finding::new(FindingKind::TrustedXattr, place, &long);
        assert_eq!(finding.detail.len(), Finding::DETAIL_MAX);
    }
}
