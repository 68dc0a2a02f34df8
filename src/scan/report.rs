// SPDX-License-Identifier: Apache-2.0
//! What a scan comes to.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::finding::FindingKind;
use crate::digest::Digest;
use crate::report::{Compression, EntryCounts};

/// What a layer has in it. [`ScanReport::to_json`] has the same fields under the same names.
#[derive(Debug, Clone, Default, Serialize)]
#[non_exhaustive]
pub struct ScanReport {
    /// The archive could not be read to its end, so there may be more in it.
    pub partial: bool,
    /// Entries in the archive, by what they are; whiteouts, markers and refused ones only in the
    /// total.
    pub entries: EntryCounts,
    /// How many findings there were of each kind.
    pub findings: Findings,
    /// From this entry on neither duplicates are told of, nor refusals that depend on the entries
    /// before: the layer has more names than are kept.
    pub names_kept_until: Option<u64>,
    /// Bytes of the blob as read.
    pub blob_bytes: u64,
    /// Bytes of the uncompressed archive, those after its end marker included.
    pub layer_bytes: u64,
    /// How the blob is compressed.
    pub compression: Compression,
    /// Digest of the blob, expected or not; none if it was not read to its end.
    pub blob_digest: Option<Digest>,
    /// Digest of the uncompressed archive, likewise.
    pub diff_id: Option<Digest>,
    /// From the call to the return.
    #[serde(serialize_with = "crate::report::seconds")]
    pub seconds: Duration,
}

/// Counts by kind.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Findings(BTreeMap<FindingKind, u64>);

impl Findings {
    pub(super) fn add(&mut self, kind: FindingKind) {
        *self.0.entry(kind).or_default() += 1;
    }

    /// How many findings there were of a kind.
    pub fn count(&self, kind: FindingKind) -> u64 {
        self.0.get(&kind).copied().unwrap_or(0)
    }

    /// Kinds that were found at all, in their order.
    pub fn iter(&self) -> impl Iterator<Item = (FindingKind, u64)> {
        self.0.iter().map(|(kind, count)| (*kind, *count))
    }

    /// Whether nothing was found.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl ScanReport {
    /// Whether unpack would fail.
    pub fn is_refused(&self) -> bool {
        self.findings.count(FindingKind::Refused) > 0
    }

    /// The report as one JSON object.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("a report has only string keys and finite numbers")
    }
}
