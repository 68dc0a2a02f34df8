// SPDX-License-Identifier: Apache-2.0
//! What is audited, and how.

use std::path::PathBuf;

use crate::cancel::Cancel;
use crate::limits::Limits;
use crate::options::{Devices, Expect, Mode, Options, Owners};
use crate::pipeline::Source;
use crate::setters::setters;

/// A layer and the directory that it was unpacked to.
#[derive(Debug)]
#[non_exhaustive]
pub struct AuditLayer<'s> {
    /// The layer's blob.
    pub source: Source<'s>,
    /// What it was unpacked to.
    pub directory: PathBuf,
    /// What the blob must be. Without it a restore believes the blob that it is given.
    pub expect: Expect,
}

impl<'s> AuditLayer<'s> {
    /// The layer that `source` gives, and its directory.
    pub fn new(source: Source<'s>, directory: impl Into<PathBuf>) -> AuditLayer<'s> {
        AuditLayer { source, directory: directory.into(), expect: Expect::default() }
    }

    /// Sets [`expect`](field@AuditLayer::expect).
    #[must_use]
    pub fn expect(mut self, expect: Expect) -> AuditLayer<'s> {
        self.expect = expect;
        self
    }
}

/// How to audit, and what to do about the damage.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct AuditOptions {
    /// Whether the marks are `user.overlay.*`, for mounts with the option userxattr, and not
    /// `trusted.overlay.*`.
    pub userxattr: bool,
    /// Removes the wrong marks after all was looked at, and writes the whiteouts that are missing
    /// below them: what the layer deletes would show again. Nothing else is ever changed.
    pub repair: bool,
    /// Writes again, from the layer, what its directory does not have as the layer has it: content,
    /// attributes, links, whiteouts and marks. Each layer is restored when it was looked at and before
    /// the one above it is, so that this is compared with what will be there. What the layer has no
    /// name for is told of and stays. All of it is on disk when this returns, as with
    /// [`Sync::Files`](crate::Sync::Files).
    ///
    /// A file whose content differs is replaced: whoever has it open keeps the old one. Attributes
    /// change in place, unless the file has names elsewhere. Content that is to be restored takes its size on disk twice for a moment.
    pub restore: bool,
    /// Repairs and restores also what an overlay mount of this machine is using. Its view changes when
    /// it is mounted anew.
    pub repair_live: bool,
    /// What is read of the files. A restore reads all of it.
    pub compare: Compare,
    /// The owners that the layers were unpacked with. Ignored ones are not compared.
    pub owners: Owners,
    /// [`Devices::Skip`] where the layers were unpacked so, or in a user namespace, or by a plain user.
    pub devices: Devices,
    /// As for an unpack.
    pub threads: usize,
    /// As for an unpack.
    pub limits: Limits,
    /// Cancelling this from any thread ends the audit.
    pub cancel: Option<Cancel>,
}

/// What an audit reads of the files in a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Compare {
    /// All of it.
    #[default]
    Content,
    /// Only files that have holes (lseek(2), `SEEK_HOLE`): for all others the size is enough. That finds
    /// what a power cut leaves behind, files without content or with zeros that were never written, and
    /// not bytes that somebody changed.
    Sizes,
}

impl AuditOptions {
    setters! {
        /// Sets [`userxattr`](field@AuditOptions::userxattr).
        userxattr: bool;
        /// Sets [`repair`](field@AuditOptions::repair).
        repair: bool;
        /// Sets [`restore`](field@AuditOptions::restore).
        restore: bool;
        /// Sets [`repair_live`](field@AuditOptions::repair_live).
        repair_live: bool;
        /// Sets [`compare`](field@AuditOptions::compare).
        compare: Compare;
        /// Sets [`owners`](field@AuditOptions::owners).
        owners: Owners;
        /// Sets [`devices`](field@AuditOptions::devices).
        devices: Devices;
        /// Sets [`threads`](field@AuditOptions::threads).
        threads: usize;
        /// Sets [`limits`](field@AuditOptions::limits).
        limits: Limits;
    }

    /// Sets [`cancel`](field@AuditOptions::cancel).
    #[must_use]
    pub fn cancel(mut self, cancel: impl Into<Option<Cancel>>) -> Self {
        self.cancel = cancel.into();
        self
    }

    pub(super) fn mode(&self) -> Mode {
        if self.userxattr { Mode::OverlayUserxattr } else { Mode::Overlay }
    }

    pub(super) fn for_reading(&self) -> Options {
        Options {
            mode: self.mode(),
            owners: self.owners.clone(),
            devices: self.devices,
            threads: self.threads,
            limits: self.limits,
            cancel: self.cancel.clone(),
            ..Options::default()
        }
    }
}
