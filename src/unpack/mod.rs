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
use std::thread::{self, Scope, available_parallelism};
use std::time::{Duration, Instant};

use rustix::fs::{Mode as Permissions, OFlags, open};
use rustix::io::retry_on_intr;

use crate::apply::{Counts, Job};
use crate::error::{Cause, Result};
use crate::observer::Observer;
use crate::operation::callbacks::{self, Call, CallbackSender, Observed};
use crate::operation::entries::{self, Sink};
use crate::options::{Options, OptionsError};
use crate::pipeline::source::{Input, Source};
use crate::pipeline::{Amounts, Chunk, Counters, Pipeline, Settings, Workers, defect};
use crate::report::{Bytes, Report, StageTimes};
use crate::sys;
use crate::tar::Entry;

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
pub fn unpack_with(
    source: Source<'_>,
    root: impl AsRef<Path>,
    options: &Options,
    observer: &mut dyn Observer,
) -> Result<Report> {
    let begin = Instant::now();
    options.check()?;
    let root = open_root(root.as_ref())?;
    let (input, read_callback) = source.open(options.cancel.as_ref())?;
    let counters = Arc::new(Counters::default());
    let filters = observer.filters();
    let (callbacks, server) = callbacks::channel(counters.clone(), input.size());
    thread::scope(|scope| {
        let run = Run { options, begin, counters, filters, callbacks };
        let worker = sys::spawn(scope, "ocilayer-apply", move || run.layer(scope, input, root))
            .map_err(Cause::Thread)?;
        server.serve(&mut Observed(observer), read_callback);
        worker.join().unwrap_or_else(|panic| Err(defect(panic)))
    })
}

pub(crate) fn open_root(path: &Path) -> Result<OwnedFd, OptionsError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    retry_on_intr(|| open(path, flags, Permissions::empty()))
        .map_err(|errno| OptionsError::Root { path: path.to_owned(), errno })
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
    workers: Option<Workers>,
}

impl<'r> Run<'r> {
    fn layer<'s>(
        self,
        scope: &'s Scope<'s, '_>,
        input: Input<'s>,
        root: OwnedFd,
    ) -> Result<Report> {
        let private_umask = sys::private_umask().is_ok();
        // Threads that are started from here on have this one's umask.
        let mut settings = Settings::new(self.options, threads(self.options));
        settings.workers = true;
        let mut pipeline = Pipeline::start(scope, input, &settings, self.counters.clone())?;
        let mut warn = |warning| self.callbacks.warn(warning);
        let mut job = Job::new(root, self.options, private_umask, pipeline.workers(), &mut warn)?;
        let mut clock = Clock { workers: pipeline.workers(), ..Clock::default() };
        let mut applying = Applying {
            pipeline: &mut pipeline,
            job: &mut job,
            clock: &mut clock,
            run: &self,
            chunk: None,
        };
        let read =
            entries::read(&self.options.limits, &mut applying).and_then(|()| job.finish_planned());
        if let Err(error) = read {
            let error = job.finish_before(error);
            let amounts = pipeline.abandon();
            job.discount_unmade();
            return Err(error.with_report(self.report(job.counts, amounts, &clock)));
        }
        let (mut amounts, mut digests) = (self.counters.so_far(), (None, None));
        let end = pipeline
            .finish()
            .and_then(|summary| {
                let verdict = summary.compare(&self.options.expect);
                amounts = summary.amounts;
                digests = (summary.blob_digest, Some(summary.diff_id));
                Ok(verdict?)
            })
            .and_then(|()| job.finish())
            .and_then(|()| clock.sync(|| job.sync()));
        let mut report = self.report(job.counts, amounts, &clock);
        (report.blob_digest, report.diff_id) = digests;
        report.partial = end.is_err();
        match end {
            Ok(()) => Ok(report),
            Err(error) => Err(error.with_report(report)),
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
                apply: wall.saturating_sub(clock.waiting + clock.sync) + clock.by_others(),
                sync: clock.sync,
            },
        }
    }
}

/// Entries on their way into the root.
struct Applying<'a, 'r, 's, 'j> {
    pipeline: &'a mut Pipeline<'s>,
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
        self.job.begin(entry, wanted)
    }

    fn data(&mut self, entry: &Entry, at: u64, bytes: &[u8]) -> Result<()> {
        self.job.data(entry, at, bytes, self.chunk.as_ref())
    }

    fn end(&mut self, entry: &Entry) -> Result<()> {
        self.job.end(entry)
    }

    fn pause(&mut self) -> Result<()> {
        self.chunk = None;
        self.run.callbacks.count(self.job.counts.entries);
        self.job.pause()
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

/// With more, all wait for the one that decompresses.
const ENOUGH: usize = 8;

/// How many threads to work on, when the caller leaves it to us: one for each CPU, up to a number
/// that is of use.
pub(crate) fn threads(options: &Options) -> usize {
    match options.threads {
        0 => available_parallelism().map_or(1, usize::from).min(ENOUGH),
        threads => threads,
    }
}
