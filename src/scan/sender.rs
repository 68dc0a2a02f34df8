// SPDX-License-Identifier: Apache-2.0
//! What a scan tells its caller, and counts.

use std::time::Instant;

use super::finding::{Finding, FindingKind};
use super::report::ScanReport;
use crate::error::{Cause, Error, ErrorKind, Result};
use crate::operation::callbacks::CallbackSender;
use crate::pipeline::Amounts;
use crate::report::EntryCounts;
use crate::tar::{Entry, Kind, Place};

/// What the caller was told, and how.
pub(super) struct FindingSender {
    pub(super) callbacks: CallbackSender<Finding>,
    pub(super) report: ScanReport,
}

impl FindingSender {
    pub(super) fn note(&mut self, kind: FindingKind, entry: &Entry, detail: &[u8]) -> Result<()> {
        self.note_at(kind, &entry.place(), detail)
    }

    pub(super) fn note_at(
        &mut self,
        kind: FindingKind,
        place: &Place,
        detail: &[u8],
    ) -> Result<()> {
        self.send(Finding::new(kind, place.clone(), detail))
    }

    pub(super) fn refuse_entry(&mut self, entry: &Entry, cause: Cause) -> Result<()> {
        self.refuse(Error::from(cause).at(|| entry.place()))
    }

    /// What is wrong with the blob is a finding, everything else ends the scan.
    pub(super) fn refuse(&mut self, error: Error) -> Result<()> {
        match error.kind() {
            ErrorKind::Corrupt
            | ErrorKind::Archive
            | ErrorKind::Layer
            | ErrorKind::Digest
            | ErrorKind::Limit
            | ErrorKind::Filesystem
            | ErrorKind::Unsupported => self.send(Finding::refused(&error)),
            ErrorKind::InvalidArgument
            | ErrorKind::Source
            | ErrorKind::Cancelled
            | ErrorKind::Callback
            | ErrorKind::Panic => Err(error),
        }
    }

    fn send(&mut self, finding: Finding) -> Result<()> {
        self.report.findings.add(finding.kind);
        Ok(self.callbacks.call(finding)?)
    }

    pub(super) fn finish(mut self, amounts: Amounts, begin: Instant) -> ScanReport {
        self.report.blob_bytes = amounts.blob_bytes;
        self.report.layer_bytes = amounts.layer_bytes;
        self.report.compression = amounts.compression;
        self.report.seconds = begin.elapsed();
        self.report
    }
}

pub(super) fn count_kind(counts: &mut EntryCounts, kind: Kind) {
    *match kind {
        Kind::File => &mut counts.files,
        Kind::Directory => &mut counts.directories,
        Kind::Symlink => &mut counts.symlinks,
        Kind::Hardlink => &mut counts.hardlinks,
        Kind::Fifo => &mut counts.fifos,
        Kind::CharDevice | Kind::BlockDevice => &mut counts.devices,
    } += 1;
}
