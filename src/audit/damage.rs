// SPDX-License-Identifier: Apache-2.0
//! What an audit tells of.

use crate::escape::debug_with_text;

use std::path::PathBuf;

use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

/// How a directory on disk is not what its layer makes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[repr(u32)]
#[non_exhaustive]
pub enum DamageKind {
    /// The directory is opaque and should not be: what the lower layers have in it is hidden.
    WronglyOpaque = 1,
    /// A name of a lower layer, whose directory is the detail, that a wrong mark hides.
    Lost = 2,
    /// The directory should be opaque and is not: what the lower layers have in it shows.
    NotOpaque = 3,
    /// A name that the layer deletes is not deleted.
    MissingWhiteout = 4,
    /// A name is deleted that the layer does not delete.
    UnexpectedWhiteout = 5,
    /// The layer has an entry of this name, the directory does not.
    Missing = 6,
    /// The directory has this name, the layer does not.
    Unexpected = 7,
    /// The entry is another one than the layer's; the detail says in what.
    Differs = 8,
    /// Without the layers to compare with: an opaque mark where a lower layer, whose directory is
    /// the detail, has one as well. The defect makes such marks, but so does deleting and making a
    /// directory twice.
    Suspect = 9,
}

impl DamageKind {
    /// Every kind, in the order of their numbers.
    pub const ALL: [DamageKind; 9] = [
        DamageKind::WronglyOpaque,
        DamageKind::Lost,
        DamageKind::NotOpaque,
        DamageKind::MissingWhiteout,
        DamageKind::UnexpectedWhiteout,
        DamageKind::Missing,
        DamageKind::Unexpected,
        DamageKind::Differs,
        DamageKind::Suspect,
    ];

    /// A few words for people.
    pub fn describe(self) -> &'static str {
        match self {
            DamageKind::WronglyOpaque => "wrongly opaque",
            DamageKind::Lost => "lost",
            DamageKind::NotOpaque => "not opaque",
            DamageKind::MissingWhiteout => "missing whiteout",
            DamageKind::UnexpectedWhiteout => "unexpected whiteout",
            DamageKind::Missing => "missing",
            DamageKind::Unexpected => "unexpected",
            DamageKind::Differs => "differs",
            DamageKind::Suspect => "suspect mark",
        }
    }
}

/// One thing that an audit found.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Damage {
    /// What is wrong.
    pub kind: DamageKind,
    /// The layer's directory, as the caller named it.
    pub directory: PathBuf,
    /// Below that directory; bytes. Empty for the directory itself.
    pub path: Vec<u8>,
    /// As the kind says; bytes.
    pub detail: Vec<u8>,
}

debug_with_text!(Damage { kind, directory; path, detail });

impl Damage {
    /// The finding as one JSON object; bytes that are no text appear as replacement characters.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("a finding has only string keys")
    }
}

impl Serialize for Damage {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut fields = to.serialize_struct("Damage", 4)?;
        fields.serialize_field("damage", &self.kind)?;
        fields.serialize_field("directory", &self.directory.to_string_lossy())?;
        fields.serialize_field("path", &String::from_utf8_lossy(&self.path))?;
        if !self.detail.is_empty() {
            fields.serialize_field("detail", &String::from_utf8_lossy(&self.detail))?;
        }
        fields.end()
    }
}
