// SPDX-License-Identifier: Apache-2.0
//! The pipeline.
//!
//! The calling thread serves callbacks and nothing else. A thread of this library decompresses,
//! another one reads the archive and makes the files, where others may help; all end before unpack
//! returns.

#[cfg(feature = "stages")]
pub mod stages;

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::thread::Scope;
use std::time::{Duration, Instant};

use rustix::fs::{Mode as Permissions, OFlags, open};
use rustix::io::retry_on_intr;

use crate::apply::{AwaitedLowers, Chain, Counts, Job, JobCause, JobError, MadeLowers};
use crate::errno::Errno;
use crate::error::{Error, ErrorKind, Result};
use crate::observer::Observer;
use crate::operation;
use crate::operation::callbacks::{Call, CallbackSender, Observed};
use crate::operation::entries::{self, Sink};
use crate::options::{Lowers, Options, OptionsError, ReadTo};
use crate::pipeline::{Amounts, Chunk, Counters, Pipeline, PipelineError, Settings, Workers};
use crate::pipeline::{Input, Source};
use crate::report::{Bytes, Report, SkipReason, StageTimes};
use crate::resolve::open_lowers;
use crate::sys;
use crate::tar::{ArchiveEnd, Entry, Place};

/// Applies one layer below `root`, which must be a directory.
///
/// On success every entry was applied, the blob was read to its end, and its digests are the
/// expected ones. On failure the root may hold a part of the layer, and [`Error::report`] tells
/// how much was done. Nothing outside of the root is touched either way.
///
/// # Errors
///
/// An [`Error`] says what failed, and at which entry of the archive.
pub fn unpack(source: Source<'_>, root: impl AsRef<Path>, options: &Options) -> Result<Report> {
    unpack_with(source, root, options, &mut ())
}

/// The same, with callbacks. They run on the calling thread.
///
/// # Errors
///
/// As for [`unpack`](unpack()), and what [`Observer::filter`] answers.
pub fn unpack_with(
    source: Source<'_>,
    root: impl AsRef<Path>,
    options: &Options,
    observer: &mut dyn Observer,
) -> Result<Report> {
    unpack_in(Chain::Alone, source, root.as_ref(), options, observer)
}

/// The same for a layer of several: below uppers that turn out to be
/// [uncertain](crate::apply::Uppers::is_uncertain) it is cancelled, and above lowers that are still being
/// made the options name none.
pub(crate) fn unpack_in(
    chain: Chain<'_>,
    source: Source<'_>,
    root: &Path,
    options: &Options,
    observer: &mut dyn Observer,
) -> Result<Report> {
    let begin = Instant::now();
    options.check()?;
    let root = open_root(root)?;
    let filters = observer.filters();
    let cancel = options.cancel.as_ref();
    let name = "ocilayer-apply";
    operation::run(
        name,
        source,
        cancel,
        options.read_to,
        &mut Observed(observer),
        |scope, input, counters, callbacks| {
            Run { options, begin, counters, filters, callbacks }.layer(scope, input, root, chain)
        },
    )
}

pub(crate) fn open_root(path: &Path) -> Result<OwnedFd, OptionsError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    retry_on_intr(|| open(path, flags, Permissions::empty()))
        .map_err(|errno| OptionsError::Root { path: path.to_owned(), errno: Errno::of(errno) })
}

/// One unpack, on the thread that makes the files.
struct Run<'r> {
    options: &'r Options,
    begin: Instant,
    counters: Arc<Counters>,
    /// The caller wants to be asked about each entry.
    filters: bool,
    callbacks: CallbackSender<Call>,
}

/// Time that the stages of one unpack took on this thread.
#[derive(Default)]
struct Clock {
    waiting: Duration,
    sync: Duration,
    /// Who makes files as well.
    workers: Option<Workers<JobError>>,
}

impl<'r> Run<'r> {
    fn layer<'s>(
        self,
        scope: &'s Scope<'s, '_>,
        input: Input<'s>,
        root: OwnedFd,
        chain: Chain<'_>,
    ) -> Result<Report> {
        let private_umask = sys::private_umask().is_ok();
        // Threads that are started from here on have this one's umask.
        let mut settings = Settings::new(self.options, operation::threads(self.options.threads));
        settings.workers = true;
        let mut pipeline = Pipeline::start(scope, input, &settings, self.counters.clone())?;
        let mut warn = |warning| self.callbacks.warn(warning);
        let workers = pipeline.workers();
        let chain = match chain {
            Chain::Alone if self.options.lowers == Lowers::Later => {
                Chain::Above(AwaitedLowers::new(|| self.ask_for_lowers()))
            }
            chain => chain,
        };
        let mut job = Job::new(root, self.options, private_umask, workers, chain, &mut warn)?;
        let mut clock = Clock { workers: pipeline.workers(), ..Clock::default() };
        let mut applying = Applying {
            pipeline: &mut pipeline,
            job: &mut job,
            clock: &mut clock,
            run: &self,
            chunk: None,
        };
        let read = entries::read(&self.options.limits, self.options.read_to, &mut applying)
            .and_then(|end| Ok(job.finish_planned().map(|()| end)?));
        let archive_end = match read {
            Ok(archive_end) => archive_end,
            Err(error) => {
                let error = first_failure(&mut job, error);
                let amounts = pipeline.abandon();
                job.discount_unmade();
                job.tidy_up();
                return Err(error.with_report(self.report(job.counts, amounts, &clock)));
            }
        };
        let (mut amounts, mut digests) = (self.counters.so_far(), (None, None));
        let whole = match self.options.read_to {
            ReadTo::EndOfArchive => {
                amounts = pipeline.abandon();
                Ok(())
            }
            ReadTo::EndOfBlob => pipeline.finish().map_err(Error::from).and_then(|summary| {
                let verdict = summary.compare(&self.options.expect);
                amounts = summary.amounts;
                digests = (summary.blob_digest, summary.diff_id);
                verdict?;
                entries::prove(archive_end, amounts.compression, &self.options.expect)
            }),
        };
        if let (Ok(()), ArchiveEnd::Missing { .. }) = (&whole, archive_end) {
            job.note_end(SkipReason::NoEndMarker);
        }
        let end =
            whole.and_then(|()| Ok(job.finish()?)).and_then(|()| Ok(clock.sync(|| job.sync())?));
        if end.is_err() {
            job.tidy_up();
        }
        let mut report = self.report(job.counts, amounts, &clock);
        (report.blob_digest, report.diff_id) = digests;
        report.partial = end.is_err();
        match end {
            Ok(()) => Ok(report),
            Err(error) => Err(error.with_report(report)),
        }
    }

    /// The caller tells them when they are complete.
    fn ask_for_lowers(&self) -> Result<MadeLowers, JobCause> {
        match self.callbacks.ask(Call::Lowers) {
            Ok(Ok(paths)) => Ok(open_lowers(&paths)?),
            Ok(Err(errno)) => Err(JobCause::Lowers(errno)),
            Err(_) => Err(PipelineError::Cancelled.into()),
        }
    }

    /// Partial until somebody knows better.
    fn report(&self, counts: Counts, amounts: Amounts, clock: &Clock) -> Report {
        let wall = self.begin.elapsed();
        Report {
            partial: true,
            entries: counts.entries,
            whiteouts: counts.whiteouts,
            opaque_directories: counts.opaque_directories,
            implied_directories: counts.implied_directories,
            copied_up: counts.copied_up,
            propagated_marks: counts.propagated_marks,
            hidden: counts.hidden,
            bytes: Bytes {
                blob: amounts.blob_bytes,
                layer: amounts.layer_bytes,
                files: counts.file_bytes,
            },
            compression: amounts.compression,
            blob_digest: None,
            diff_id: None,
            skipped: counts.skipped,
            seconds: StageTimes {
                wall,
                decompress: amounts.decompress,
                digest: amounts.digest,
                apply: wall.saturating_sub(clock.waiting + counts.waited + clock.sync)
                    + clock.by_others(),
                sync: clock.sync,
            },
        }
    }
}

/// Entries on their way into the root.
struct Applying<'a, 'r, 's, 'j> {
    pipeline: &'a mut Pipeline<'s, JobError>,
    job: &'a mut Job<'j>,
    clock: &'a mut Clock,
    run: &'a Run<'r>,
    /// What the entries come from at the moment.
    chunk: Option<Chunk>,
}

impl Sink for Applying<'_, '_, '_, '_> {
    fn next(&mut self) -> Result<Option<Chunk>> {
        self.chunk = self.clock.wait(|| self.pipeline.next())?;
        Ok(self.chunk.clone())
    }

    fn begin(&mut self, entry: &Entry) -> Result<()> {
        let wanted = !self.run.filters || self.run.callbacks.wants(entry)?;
        Ok(self.job.begin(entry, wanted)?)
    }

    fn data(&mut self, entry: &Entry, at: u64, bytes: &[u8]) -> Result<()> {
        Ok(self.job.data(entry, at, bytes, self.chunk.as_ref())?)
    }

    fn end(&mut self, entry: &Entry) -> Result<()> {
        Ok(self.job.end(entry)?)
    }

    fn global(&mut self, before: &Place, keys: &[Vec<u8>]) -> Result<()> {
        self.job.note_global(before.entry, keys);
        Ok(())
    }

    fn after_end(&mut self, _: &Place) -> Result<()> {
        self.job.note_end(SkipReason::DataAfterEnd);
        Ok(())
    }

    fn pause(&mut self) -> Result<()> {
        self.chunk = None;
        self.run.callbacks.count(self.job.counts.entries);
        Ok(self.job.pause()?)
    }
}

impl Clock {
    /// Time that making files took while this thread waited, or on others.
    fn by_others(&self) -> Duration {
        self.workers.as_ref().map_or(Duration::ZERO, Workers::time)
    }

    fn wait<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let begin = Instant::now();
        let result = work();
        self.waiting += begin.elapsed();
        result
    }

    fn sync<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let begin = Instant::now();
        let result = work();
        self.sync = begin.elapsed();
        result
    }
}

/// The layer has failed with `error`: makes what the entries before that one left to others, so
/// that the root holds what the report says. Returns the first of all errors.
fn first_failure(job: &mut Job<'_>, error: Error) -> Error {
    if error.kind() == ErrorKind::Cancelled {
        return error;
    }
    match job.finish_planned() {
        Ok(()) => error,
        // The workers have failed already, and `error` says with what.
        Err(earlier) if earlier.is_cancelled() => error,
        Err(earlier) => earlier.into(),
    }
}
