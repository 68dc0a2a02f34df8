// SPDX-License-Identifier: Apache-2.0
//! What an audit tells its caller, counts, and keeps for the repair.

use std::path::Path;

use super::damage::{Damage, DamageKind};
use super::report::AuditReport;
use super::stack::Level;
use crate::error::{Cause, Result};

/// What a repair acts on.
#[derive(Default)]
pub(super) struct Wrong {
    pub(super) marks: Vec<(Level, Vec<u8>)>,
    /// Below them, what the layer deletes and the kernel did not, since the mark hid it.
    pub(super) whiteouts: Vec<(Level, Vec<u8>)>,
}

/// Where findings go to.
pub(super) struct DamageSender<'t> {
    pub(super) tell: &'t mut dyn FnMut(Damage) -> Result<(), Cause>,
    pub(super) found: &'t mut AuditReport,
    pub(super) wrong: &'t mut Wrong,
}

impl DamageSender<'_> {
    pub(super) fn note(
        &mut self,
        kind: DamageKind,
        directory: &Path,
        path: &[u8],
        detail: &[u8],
    ) -> Result<()> {
        *self.found.damage.entry(kind).or_default() += 1;
        let (path, detail) = (path.to_vec(), detail.to_vec());
        Ok((self.tell)(Damage { kind, directory: directory.to_owned(), path, detail })?)
    }
}
