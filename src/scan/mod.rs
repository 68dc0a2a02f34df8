// SPDX-License-Identifier: Apache-2.0
//! What is in a layer, without writing anything: the pipeline of unpack with the tree in memory.

mod entry;
mod finding;
mod report;
mod sender;
mod tree;

use std::ops::ControlFlow;
use std::sync::Arc;
use std::thread::Scope;
use std::time::Instant;

use crate::errno::Errno;
use crate::error::{Cause, Error, Result};
use crate::observer::Progress;
use crate::operation;
use crate::operation::callbacks::{CallbackSender, Handler};
use crate::operation::entries::{self, Sink};
use crate::options::{Options, ReadTo};
use crate::pipeline::{Chunk, Counters, Pipeline, Settings};
use crate::pipeline::{Input, Source};
use crate::tar::{ArchiveEnd, Entry, Place};

use entry::EntryScan;
pub use finding::{Finding, FindingKind, Refusal};
pub use report::{Findings, ScanReport};
use sender::FindingSender;

/// Callbacks of one scan. All of them run on the thread that called it, and only there.
pub trait ScanObserver {
    /// Called for each finding, in the order of the archive.
    ///
    /// # Errors
    ///
    /// What the callback answers ends the scan, and becomes its errno.
    fn finding(&mut self, _finding: &Finding) -> Result<(), Errno> {
        Ok(())
    }

    /// Called some ten times a second while the scan goes on, and once at its end.
    fn progress(&mut self, _progress: &Progress) {}
}

/// Observes nothing; the report has the counts.
impl ScanObserver for () {}

/// Reads a layer in one pass and tells what is in it, above all what [`unpack`](crate::unpack())
/// with these options would refuse.
///
/// It goes on after an entry that unpack refuses, as if that were not there. What lies below the
/// layer is not looked at: with [`Lowers::Known`] and none given, nothing does (in directory mode,
/// too), otherwise what depends on it is not told of, unless unpack would not know it either.
/// What a file system or a privilege is missing for is not told of. Options that are about writing
/// mean nothing here.
///
/// Memory does not grow with the layer beyond a bound of some 100 MB, which takes a million names;
/// see [`ScanReport::names_kept_until`].
///
/// # Errors
///
/// What is wrong with the blob is a finding. An [`Error`] says that it could not be read, or that
/// the options make no sense, the caller cancelled, or a callback failed.
///
/// [`Lowers::Known`]: crate::Lowers::Known
pub fn scan(
    source: Source<'_>,
    options: &Options,
    observer: &mut dyn ScanObserver,
) -> Result<ScanReport> {
    let begin = Instant::now();
    options.check_scan()?;
    let mut caller = Caller { observer, failed: None };
    let (name, cancel) = ("ocilayer-scan", options.cancel.as_ref());
    let result = operation::run(
        name,
        source,
        cancel,
        ReadTo::EndOfBlob,
        &mut caller,
        |scope, input, counters, callbacks| {
            Run { options, begin, counters, callbacks }.layer(scope, input)
        },
    );
    match caller.failed {
        // The worker was only told that nobody listens any more.
        Some(error) => Err(error),
        None => result,
    }
}

/// The thread that called.
struct Caller<'o> {
    observer: &'o mut dyn ScanObserver,
    failed: Option<Error>,
}

impl Handler<Finding> for Caller<'_> {
    fn call(&mut self, finding: Finding) -> ControlFlow<()> {
        match self.observer.finding(&finding) {
            Ok(()) => ControlFlow::Continue(()),
            Err(errno) => {
                let error = Error::from(Cause::Finding(errno));
                self.failed = Some(match finding.place {
                    Some(place) => error.at(|| place),
                    None => error,
                });
                ControlFlow::Break(())
            }
        }
    }

    fn progress(&mut self, progress: &Progress) {
        self.observer.progress(progress);
    }
}

/// One scan, on the thread that reads the archive.
struct Run<'r> {
    options: &'r Options,
    begin: Instant,
    counters: Arc<Counters>,
    callbacks: CallbackSender<Finding>,
}

impl<'r> Run<'r> {
    fn layer<'s>(self, scope: &'s Scope<'s, '_>, input: Input<'s>) -> Result<ScanReport> {
        let settings = Settings::new(self.options, operation::threads(self.options.threads));
        let pipeline = Pipeline::start(scope, input, &settings, self.counters.clone())?;
        let findings = FindingSender { callbacks: self.callbacks, report: ScanReport::default() };
        let mut reading = Reading { pipeline, findings, entry_scan: EntryScan::new(self.options) };
        let read = entries::read(&self.options.limits, ReadTo::EndOfBlob, &mut reading);
        let Reading { pipeline, mut findings, .. } = reading;
        let amounts = match read {
            Ok(end) => match pipeline.finish() {
                Ok(summary) => {
                    if let ArchiveEnd::Missing { offset } = end {
                        let entry = findings.report.entries.total;
                        let place = Place { entry, path: Vec::new(), offset };
                        findings.note_at(FindingKind::NoEndMarker, &place, b"")?;
                    }
                    let compression = summary.amounts.compression;
                    let expect = &self.options.expect;
                    let whole = summary.compare(expect).map_err(Error::from);
                    let whole = whole.and_then(|()| entries::prove(end, compression, expect));
                    if let Err(error) = whole {
                        findings.refuse(error)?;
                    }
                    findings.report.blob_digest = summary.blob_digest;
                    findings.report.diff_id = summary.diff_id;
                    summary.amounts
                }
                Err(error) => {
                    findings.report.partial = true;
                    findings.refuse(error)?;
                    self.counters.so_far()
                }
            },
            Err(error) => {
                findings.report.partial = true;
                let amounts = pipeline.abandon();
                findings.refuse(error)?;
                amounts
            }
        };
        Ok(findings.finish(amounts, self.begin))
    }
}

/// Entries on their way past.
struct Reading<'s, 'r> {
    pipeline: Pipeline<'s, Error>,
    findings: FindingSender,
    entry_scan: EntryScan<'r>,
}

impl Sink for Reading<'_, '_> {
    fn next(&mut self) -> Result<Option<Chunk>> {
        // The rest of the layer may have nothing to tell of, and be long.
        if self.findings.callbacks.is_disconnected() {
            return Err(Cause::Cancelled.into());
        }
        self.pipeline.next()
    }

    fn begin(&mut self, entry: &Entry) -> Result<()> {
        self.entry_scan.begin(entry, &mut self.findings)
    }

    fn data(&mut self, _: &Entry, _: u64, _: &[u8]) -> Result<()> {
        Ok(())
    }

    fn end(&mut self, entry: &Entry) -> Result<()> {
        self.entry_scan.end(entry, &mut self.findings)
    }

    fn global(&mut self, before: &Place, keys: &[Vec<u8>]) -> Result<()> {
        let mut each = keys.iter();
        each.try_for_each(|key| self.findings.note_at(FindingKind::GlobalRecord, before, key))
    }

    fn after_end(&mut self, end: &Place) -> Result<()> {
        self.findings.note_at(FindingKind::DataAfterEnd, end, b"")
    }

    fn pause(&mut self) -> Result<()> {
        self.findings.callbacks.count(self.findings.report.entries);
        Ok(())
    }
}
