// SPDX-License-Identifier: Apache-2.0
//! What scan says that unpack refuses, held against what unpack refuses, and an audit of what unpack has
//! left, which must be clean. Every layer that the runner applies comes through here, so the tables of
//! all tests are the tables of this one.

use std::path::PathBuf;

use ocilayer::{
    AuditLayer, AuditObserver, AuditOptions, Damage, Devices, Errno, Error, ErrorKind, Finding,
    FindingKind, Lowers, Mode, Options, Report, ScanObserver, ScanReport, SkipReason, Source,
    audit, scan,
};

/// Keeps every finding.
#[derive(Default)]
pub struct Kept(pub Vec<Finding>);

impl ScanObserver for Kept {
    fn finding(&mut self, finding: &Finding) -> Result<(), Errno> {
        self.0.push(finding.clone());
        Ok(())
    }
}

impl Kept {
    /// Where unpack fails.
    pub fn first_refused(&self) -> Option<&Finding> {
        self.0.iter().find(|finding| finding.kind == FindingKind::Refused)
    }
}

pub fn scanned(blob: &[u8], options: &Options) -> (Kept, Result<ScanReport, Error>) {
    let mut kept = Kept::default();
    let report = scan(Source::memory(blob), options, &mut kept);
    (kept, report)
}

/// Whether the layer was put on others that scan is not shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Below {
    Nothing,
    Something,
}

#[track_caller]
pub fn check(blob: &[u8], options: &Options, below: Below, unpacked: &Result<Report, Error>) {
    let mut options = options.clone();
    if below == Below::Nothing && options.mode == Mode::Directory {
        options.lowers = Lowers::Known(Vec::new());
    }
    let unseen = below == Below::Something
        && (options.mode == Mode::Directory || options.lowers != Lowers::Unknown);
    let (kept, report) = scanned(blob, &options);
    let report = report.unwrap_or_else(|error| panic!("scan failed: {error}"));
    let first = kept.first_refused();
    assert_eq!(report.is_refused(), first.is_some());
    let show = |finding: &Finding| finding.refusal.as_ref().expect("refused").message.clone();
    match (first, unpacked) {
        (None, Ok(done)) => {
            assert_eq!(report.diff_id, done.diff_id);
            assert_eq!(report.blob_digest, done.blob_digest);
            assert_eq!(report.entries.total, done.entries.total);
            assert!(!report.partial);
        }
        (Some(finding), Ok(_)) => panic!("only scan refuses: {}", show(finding)),
        // What the lower layers have, or what this machine cannot do.
        (None, Err(error)) => {
            let open = unseen || error.kind() == ErrorKind::Filesystem;
            assert!(open, "only unpack refuses: {error}");
        }
        (Some(finding), Err(error)) => {
            let entry = |place: Option<&ocilayer::Place>| place.map(|place| place.entry);
            if unseen || error.kind() == ErrorKind::Filesystem {
                // For another reason, perhaps, or at an entry before: the lower layers decide, or
                // this machine.
                assert!(entry(error.place()) <= entry(finding.place.as_ref()), "{error}");
                return;
            }
            let refusal = finding.refusal.as_ref().expect("refused");
            assert_eq!(refusal.message, error.to_string());
            assert_eq!(refusal.kind, error.kind(), "{error}");
            assert_eq!(refusal.errno, error.errno(), "{error}");
            assert_eq!(finding.place.as_ref(), error.place(), "{error}");
        }
    }
}

/// Keeps what an audit finds.
#[derive(Default)]
struct Damages(Vec<String>);

impl AuditObserver for Damages {
    fn damage(&mut self, damage: &Damage) -> Result<(), Errno> {
        self.0.push(format!("{damage:?}"));
        Ok(())
    }
}

/// An audit of layers, bottom first, that were unpacked with these options.
#[track_caller]
pub fn audited(layers: &[(&Vec<u8>, PathBuf)], options: &Options, reports: &[Report]) {
    if reports.iter().any(|report| report.skipped.count(SkipReason::XattrNotPermitted) > 0) {
        // An audit by root cannot know what somebody else was not allowed.
        return;
    }
    audited_by_the_same(layers, options, reports);
}

/// The same by whoever unpacked them.
#[track_caller]
pub fn audited_by_the_same(layers: &[(&Vec<u8>, PathBuf)], options: &Options, reports: &[Report]) {
    let skipped = |reason| reports.iter().any(|report| report.skipped.count(reason) > 0);
    let devices = if skipped(SkipReason::Device) { Devices::Skip } else { options.devices };
    let audit_options = AuditOptions::default()
        .userxattr(options.mode == Mode::OverlayUserxattr)
        .owners(options.owners.clone())
        .devices(devices)
        .limits(options.limits);
    let layers = layers
        .iter()
        .map(|(blob, root)| AuditLayer::new(Source::memory(blob.as_slice()), root.clone()));
    let mut damages = Damages::default();
    let report = audit(layers.collect(), &audit_options, &mut damages);
    let report = report.unwrap_or_else(|error| panic!("audit failed: {error}"));
    assert!(report.is_clean(), "audit: {:#?}", damages.0);
}
