// SPDX-License-Identifier: Apache-2.0
//! What an unpack did, and what it left out.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::digest::Digest;
use crate::escape::debug_with_text;

/// What happened, field by field. [`Report::to_json`] has the same fields under the same names.
#[derive(Debug, Clone, Default, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// The layer was not applied to its end: the unpack failed or was cancelled, and the root
    /// holds only a part of it.
    pub partial: bool,
    /// Entries of the archive, by what they are.
    pub entries: EntryCounts,
    /// Whiteout entries read, needed or not.
    pub whiteouts: u64,
    /// Directories emptied of lower names by an opaque marker; in overlay modes those, too, that
    /// are marked because the layer has a whiteout of the same name.
    pub opaque_directories: u64,
    /// Parent directories that no entry of the layer describes.
    pub implied_directories: u64,
    /// Lower files that a hardlink brought into the upper directory.
    pub copied_up: u64,
    /// Opaque marks that a faulty kernel copied to the upper directory, and that were removed
    /// there; only with [`Options::upper`](crate::Options::upper).
    pub propagated_marks: u64,
    /// Entries that were not written, since a layer above replaces or hides them: of images that are
    /// unpacked to one directory, the newest layer first.
    pub hidden: u64,
    /// How much was read and written, in bytes.
    pub bytes: Bytes,
    /// How the blob was compressed.
    pub compression: Compression,
    /// Digest of the blob as read; none if it was not read to its end, or is skipped.
    pub blob_digest: Option<Digest>,
    /// Digest of the uncompressed archive; none if it was not read to its end.
    pub diff_id: Option<Digest>,
    /// What was left out, by reason.
    pub skipped: Skips,
    /// Where the time went.
    pub seconds: StageTimes,
}

/// Entries applied, by kind; of the kinds without [`Report::hidden`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct EntryCounts {
    /// Entries in the archive, whiteouts, markers and skipped ones included.
    pub total: u64,
    /// Regular files.
    pub files: u64,
    /// Directories, also those that were there and got an entry's metadata; implied ones are not
    /// counted.
    pub directories: u64,
    /// Symlinks.
    pub symlinks: u64,
    /// Hardlinks.
    pub hardlinks: u64,
    /// FIFOs.
    pub fifos: u64,
    /// Block and character devices; those that whiteouts become are not counted.
    pub devices: u64,
}

impl EntryCounts {
    /// Adds those of another layer.
    pub(crate) fn add(&mut self, other: &EntryCounts) {
        self.total += other.total;
        self.files += other.files;
        self.directories += other.directories;
        self.symlinks += other.symlinks;
        self.hardlinks += other.hardlinks;
        self.fifos += other.fifos;
        self.devices += other.devices;
    }
}

/// How much was read and written, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Bytes {
    /// The blob as read.
    pub blob: u64,
    /// The uncompressed archive, bytes after its end marker included.
    pub layer: u64,
    /// Contents of regular files as written, those copied up included, holes not counted.
    pub files: u64,
}

/// How a blob is compressed, as its first bytes tell.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Compression {
    /// Not at all: the blob is the archive. A partial report may say so of any blob.
    #[default]
    None,
    /// By gzip, in one or more members (RFC 1952).
    Gzip,
    /// By zstd, in one or more frames (RFC 8878).
    Zstd,
}

/// Where the time went. Stages overlap, so their sum may exceed `wall`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct StageTimes {
    /// From the call to the return.
    #[serde(serialize_with = "seconds")]
    pub wall: Duration,
    /// Reading the source and decompressing it.
    #[serde(serialize_with = "seconds")]
    pub decompress: Duration,
    /// Hashing the uncompressed archive.
    #[serde(serialize_with = "seconds")]
    pub digest: Duration,
    /// Interpreting entries and making files.
    #[serde(serialize_with = "seconds")]
    pub apply: Duration,
    /// Waiting for the disk, as [`Sync`](crate::Sync) asked.
    #[serde(serialize_with = "seconds")]
    pub sync: Duration,
}

/// A duration as a number of seconds, in every report.
pub(crate) fn seconds<S: Serializer>(time: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_f64(time.as_secs_f64())
}

/// Why something in the layer was left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[repr(u32)]
#[non_exhaustive]
pub enum SkipReason {
    /// A `trusted.*` xattr: an archive must not set what the kernel trusts.
    TrustedXattr = 1,
    /// An xattr that overlayfs keeps for itself, such as `user.overlay.opaque`.
    OverlayXattr = 2,
    /// A `user.*` xattr on a symlink, device or FIFO, which xattr(7) rules out.
    XattrOnSpecial = 3,
    /// An xattr that this file system or namespace does not support.
    XattrUnsupported = 4,
    /// A `.wh..wh.*` name that is aufs's own bookkeeping.
    AufsMetadata = 5,
    /// A device, in a user namespace or by [`Devices::Skip`](crate::Devices::Skip).
    Device = 6,
    /// An entry that the filter callback declined.
    Filtered = 7,
    /// A whiteout of a name that no parent has.
    UnneededWhiteout = 8,
    /// Not of the layer, but of this kernel: a directory's opaque mark that overlayfs copied up
    /// and that was removed from the upper directory. The path is the directory's, below the root.
    PropagatedMark = 9,
    /// A hardlink to something of this layer that was itself left out.
    LinkToSkipped = 10,
    /// An xattr that takes more privilege than the caller has: `security.*` for a plain user or in
    /// a user namespace.
    XattrNotPermitted = 11,
    /// A PAX record that says something of its entry that is not applied, such as
    /// `SCHILY.acl.access`; its key is the detail.
    IgnoredRecord = 12,
    /// A record of a global PAX header that no entry takes, such as `uid`; its key is the detail.
    GlobalRecord = 13,
    /// Not of an entry: the archive ends without an end marker, and was proven whole by other
    /// means.
    NoEndMarker = 14,
    /// Not of an entry: bytes other than zeros behind the archive's end marker.
    DataAfterEnd = 15,
}

/// Counts by reason, with the first few paths of each.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Skips(BTreeMap<SkipReason, Skipped>);

/// What was skipped for one reason.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Skipped {
    /// How many, with and without an example.
    pub count: u64,
    /// The first ones, at most [`Skips::EXAMPLES`]: so that a report stays small.
    pub examples: Vec<SkipExample>,
}

/// Bytes of a detail that are kept: PATH_MAX. A link's target may be longer and an xattr's name a
/// megabyte, but warnings and findings that wait for the caller must not pile up.
pub(crate) const DETAIL_MAX: usize = 4096;

/// One thing that was skipped.
#[derive(Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SkipExample {
    /// The entry's name as it stands in the archive.
    #[serde(serialize_with = "lossy")]
    pub path: Vec<u8>,
    /// The xattr's name, where the reason is about one; at most its first 4,096 bytes.
    #[serde(serialize_with = "lossy", skip_serializing_if = "Vec::is_empty")]
    pub detail: Vec<u8>,
}

debug_with_text!(SkipExample { ; path, detail });

fn lossy<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&String::from_utf8_lossy(bytes))
}

impl Skips {
    /// How many examples are kept for each reason.
    pub const EXAMPLES: usize = 8;

    pub(crate) fn add(&mut self, reason: SkipReason, path: &[u8], detail: &[u8]) {
        let skipped = self.0.entry(reason).or_default();
        skipped.count += 1;
        if skipped.examples.len() < Skips::EXAMPLES {
            skipped.examples.push(SkipExample { path: path.to_vec(), detail: detail.to_vec() });
        }
    }

    /// What was skipped for this reason; none if nothing was.
    pub fn get(&self, reason: SkipReason) -> Option<&Skipped> {
        self.0.get(&reason)
    }

    /// How many things were skipped for this reason.
    pub fn count(&self, reason: SkipReason) -> u64 {
        self.get(reason).map_or(0, |skipped| skipped.count)
    }

    /// Reasons for which anything was skipped, in the order of their numbers.
    pub fn iter(&self) -> impl Iterator<Item = (SkipReason, &Skipped)> {
        self.0.iter().map(|(reason, skipped)| (*reason, skipped))
    }

    /// Whether nothing was skipped.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl SkipReason {
    /// A few words for people.
    pub fn describe(self) -> &'static str {
        match self {
            SkipReason::TrustedXattr => "trusted.* xattr dropped",
            SkipReason::OverlayXattr => "overlay-private xattr dropped",
            SkipReason::XattrOnSpecial => "user.* xattr on a symlink or special file",
            SkipReason::XattrUnsupported => "xattr not supported here",
            SkipReason::AufsMetadata => "aufs metadata",
            SkipReason::Device => "device not made",
            SkipReason::Filtered => "declined by the filter",
            SkipReason::UnneededWhiteout => "whiteout of a name that no parent has",
            SkipReason::PropagatedMark => "opaque mark that this kernel copied up, removed",
            SkipReason::LinkToSkipped => "hardlink to something that was left out",
            SkipReason::XattrNotPermitted => "xattr that takes more privilege",
            SkipReason::IgnoredRecord => "PAX record not applied",
            SkipReason::GlobalRecord => "global PAX record not applied",
            SkipReason::NoEndMarker => "archive without an end marker",
            SkipReason::DataAfterEnd => "data behind the archive's end marker",
        }
    }
}

impl Report {
    /// The report as one JSON object. Names that are not UTF-8 appear with replacement characters.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("a report has only string keys and finite numbers")
    }
}
