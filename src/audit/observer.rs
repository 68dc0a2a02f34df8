// SPDX-License-Identifier: Apache-2.0
//! What an audit tells its caller while it goes on.

use std::path::Path;

use super::damage::Damage;
use super::report::AuditReport;
use crate::errno::Errno;
use crate::error::Error;
use crate::observer::Progress;

/// Callbacks of an audit. They run on the thread that called it, and only there.
pub trait AuditObserver {
    /// Called for each finding, layer by layer.
    ///
    /// # Errors
    ///
    /// What the callback answers ends the audit, before anything is repaired and before anything of
    /// this layer is restored, and becomes its errno.
    fn damage(&mut self, _damage: &Damage) -> Result<(), Errno> {
        Ok(())
    }

    /// Called some ten times a second and at the end: how much of the blobs was read. Of
    /// [`audit`](super::audit()), for each layer by itself; of [`verify`](super::verify()), for all of
    /// them.
    fn progress(&mut self, _progress: &Progress) {}

    /// [`verify`](super::verify()) is through with the layer of this directory.
    fn layer_done(&mut self, _directory: &Path, _result: &Result<AuditReport, Error>) {}
}

/// Observes nothing; the report has the counts.
impl AuditObserver for () {}
