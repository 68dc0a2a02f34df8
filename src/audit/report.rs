// SPDX-License-Identifier: Apache-2.0
//! What an audit comes to.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::damage::DamageKind;

/// What an audit found and mended.
#[derive(Debug, Clone, Default, Serialize)]
#[non_exhaustive]
pub struct AuditReport {
    /// Layers that were looked at.
    pub layers: u64,
    /// Layers that a verification could not read; none of an audit, which ends there.
    pub failed: u64,
    /// Findings by kind.
    pub damage: BTreeMap<DamageKind, u64>,
    /// Wrong marks that were removed.
    pub repaired: u64,
    /// Whiteouts that were written where such a mark had hidden what the layer deletes.
    pub whiteouts: u64,
    /// Names that a restore made anew or mended.
    pub restored: u64,
    /// From the call to the return.
    #[serde(serialize_with = "crate::report::seconds")]
    pub seconds: Duration,
}

impl AuditReport {
    /// How many findings there were of a kind.
    pub fn count(&self, kind: DamageKind) -> u64 {
        self.damage.get(&kind).copied().unwrap_or(0)
    }

    /// Whether nothing at all was found.
    pub fn is_clean(&self) -> bool {
        self.damage.is_empty()
    }

    /// Whether there is damage, and not only suspicion.
    pub fn is_damaged(&self) -> bool {
        self.damage.keys().any(|kind| *kind != DamageKind::Suspect)
    }

    /// The report as one JSON object.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("a report has only string keys and finite numbers")
    }
}
