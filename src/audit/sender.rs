// SPDX-License-Identifier: Apache-2.0
//! What an audit tells its caller, counts, and keeps for the repair and the restore.

use std::path::Path;

use super::damage::{Damage, DamageKind};
use super::report::AuditReport;
use super::restore::{Fix, is_left_behind};
use super::stack::Level;
use crate::error::{Cause, Result};

/// What a repair or a restore acts on.
#[derive(Default)]
pub(super) struct Wrong {
    pub(super) marks: Vec<(Level, Vec<u8>)>,
    /// Below them, what the layer deletes and the kernel did not, since the mark hid it.
    pub(super) whiteouts: Vec<(Level, Vec<u8>)>,
    /// Of the layer that is being looked at, if it is to be restored.
    pub(super) fixes: Option<Vec<(Vec<u8>, Fix)>>,
}

/// Where findings go to.
pub(super) struct DamageSender<'t> {
    pub(super) tell: &'t mut dyn FnMut(Damage) -> Result<(), Cause>,
    pub(super) found: &'t mut AuditReport,
    pub(super) wrong: &'t mut Wrong,
}

impl DamageSender<'_> {
    /// What the kind alone does not tell how to mend.
    pub(super) fn note_to_fix(
        &mut self,
        kind: DamageKind,
        fix: Fix,
        directory: &Path,
        path: &[u8],
        detail: &[u8],
    ) -> Result<()> {
        if let Some(fixes) = &mut self.wrong.fixes {
            fixes.push((path.to_vec(), fix));
        }
        self.tell(kind, directory, path, detail)
    }

    pub(super) fn note(
        &mut self,
        kind: DamageKind,
        directory: &Path,
        path: &[u8],
        detail: &[u8],
    ) -> Result<()> {
        let fix = match kind {
            DamageKind::WronglyOpaque => Some(Fix::Unmark),
            DamageKind::NotOpaque => Some(Fix::Mark),
            DamageKind::MissingWhiteout => Some(Fix::Whiteout),
            DamageKind::UnexpectedWhiteout => Some(Fix::Remove),
            DamageKind::Missing => Some(Fix::Missing),
            DamageKind::Unexpected => is_left_behind(path).then_some(Fix::Remove),
            DamageKind::Lost | DamageKind::Differs | DamageKind::Suspect => None,
        };
        if let Some(fixes) = &mut self.wrong.fixes {
            fixes.extend(fix.map(|fix| (path.to_vec(), fix)));
        }
        self.tell(kind, directory, path, detail)
    }

    fn tell(
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
