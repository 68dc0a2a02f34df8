// SPDX-License-Identifier: Apache-2.0
//! Many layers at a time, each held against its blob by itself.

use std::collections::{HashSet, VecDeque};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, bounded, select, tick};
use rustix::process::{Resource, getrlimit};

use super::damage::Damage;
use super::layer::{Found, audit_layer};
use super::observer::AuditObserver;
use super::options::{AuditLayer, AuditOptions};
use super::report::AuditReport;
use super::stack::Stack;
use crate::cancel::Cancel;
use crate::errno::Errno;
use crate::error::{Cause, Error, Result};
use crate::observer::Progress;
use crate::operation;
use crate::operation::callbacks::{CALLS, TICK};
use crate::options::OptionsError;
use crate::pipeline::PipelineError;
use crate::sys;

/// Holds the layers of many stacks, each bottom first, against their blobs, as many at a time as there
/// are threads. A directory that several stacks share is looked at once.
///
/// Unlike [`audit`](super::audit) this takes what lies below a layer as it is: a mark that is wrong there
/// may show in the layers above it as well. [`Source::reader`](crate::Source::reader)s are read on threads
/// of the library. What cannot be read ends the verification of its layer alone, which
/// [`AuditObserver::layer_done`] hears of.
///
/// Memory is that of an audit for each thread.
///
/// # Errors
///
/// Neither damage nor a layer that cannot be read is an error. An [`Error`] says that options make no
/// sense (this repairs and restores nothing), that a callback failed, or that the caller cancelled.
pub fn verify(
    stacks: Vec<Vec<AuditLayer<'_>>>,
    options: &AuditOptions,
    observer: &mut dyn AuditObserver,
) -> Result<AuditReport> {
    let begin = Instant::now();
    if options.repair || options.restore {
        return Err(OptionsError::VerifyChanges.into());
    }
    let jobs = jobs(stacks);
    let mut caller = Caller::new(&jobs, observer);
    let threads = operation::threads(options.threads);
    let runners = threads.min(jobs.len()).min(runners_at_once(&jobs));
    let stop = Cancel::new().map_err(|error| Cause::Options(OptionsError::Token(error)))?;
    let own = AuditOptions { cancel: Some(stop.clone()), ..options.clone() };
    // Those that are left over decompress for the others.
    let own = own.threads((threads / runners.max(1)).max(1));
    let (send, calls) = bounded(CALLS);
    let jobs = Mutex::new(jobs);
    let next = || jobs.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    let work = |calls: &Sender<Told>| {
        while !stop.is_cancelled()
            && let Some(job) = next()
        {
            let (number, directory) = (job.number, job.layer.directory.clone());
            let result = job.run(&own, calls);
            if calls.send(Told::Done(number, directory, result)).is_err() {
                return;
            }
        }
    };
    let failed = thread::scope(|scope| {
        let mut workers = Vec::new();
        let mut failed = None;
        for _ in 0..runners {
            let (work, calls) = (&work, send.clone());
            match sys::spawn(scope, "ocilayer-verify", move || work(&calls)) {
                Ok(worker) => workers.push(worker),
                // Fewer do as well.
                Err(_) if !workers.is_empty() => break,
                Err(error) => failed = Some(Cause::Thread(error).into()),
            }
        }
        drop(send);
        let ends = StopOnDrop { stop: &stop, calls: &calls };
        failed = failed.or_else(|| caller.serve(&calls, &stop, options.cancel.as_ref()));
        drop(ends);
        for worker in workers {
            if let Err(panic) = worker.join() {
                failed = Some(PipelineError::panicked(panic).into());
            }
        }
        failed
    });
    match failed {
        Some(error) => Err(error),
        None => Ok(AuditReport { seconds: begin.elapsed(), ..caller.report }),
    }
}

/// One layer, and what lies below it.
struct Job<'s> {
    number: usize,
    layer: AuditLayer<'s>,
    /// Bottom first.
    lowers: Vec<PathBuf>,
}

fn jobs(stacks: Vec<Vec<AuditLayer<'_>>>) -> VecDeque<Job<'_>> {
    let mut seen = HashSet::new();
    let mut jobs = VecDeque::new();
    for stack in stacks {
        let mut lowers = Vec::new();
        for layer in stack {
            let directory = layer.directory.clone();
            if seen.insert(directory.clone()) {
                jobs.push_back(Job { number: jobs.len(), layer, lowers: lowers.clone() });
            }
            lowers.push(directory);
        }
    }
    jobs
}

/// Each opens the directories that lie below its layer: half of the descriptors that there may be are
/// for them.
fn runners_at_once(jobs: &VecDeque<Job<'_>>) -> usize {
    /// Of the pipeline, and directories on the way.
    const OTHERS: u64 = 32;
    let deepest = jobs.iter().map(|job| job.lowers.len() as u64).max().unwrap_or(0);
    let most = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX) / 2;
    usize::try_from(most / (deepest + OTHERS)).unwrap_or(usize::MAX).max(1)
}

impl Job<'_> {
    fn run(self, options: &AuditOptions, calls: &Sender<Told>) -> Result<AuditReport> {
        let mut paths = self.lowers;
        let level = paths.len();
        paths.push(self.layer.directory.clone());
        let stack = Stack::open(&paths, options.mode())?;
        let mut found = Found::default();
        let mut forward = Forward { number: self.number, calls };
        audit_layer(self.layer, stack, level, options, &mut forward, &mut found)?;
        found.report.layers = 1;
        Ok(found.report)
    }
}

/// What the threads have for the one that called.
enum Told {
    Damage(Damage),
    Progress(usize, Progress),
    Done(usize, PathBuf, Result<AuditReport>),
}

/// A layer's way to the caller's callbacks.
struct Forward<'c> {
    number: usize,
    calls: &'c Sender<Told>,
}

impl AuditObserver for Forward<'_> {
    fn damage(&mut self, damage: &Damage) -> Result<(), Errno> {
        // Nobody listens any more when a callback has failed.
        self.calls.send(Told::Damage(damage.clone())).map_err(|_| Errno::CANCELED)
    }

    fn progress(&mut self, progress: &Progress) {
        let _ = self.calls.send(Told::Progress(self.number, *progress));
    }
}

/// Ends the layers when a callback fails or panics.
struct StopOnDrop<'c> {
    stop: &'c Cancel,
    calls: &'c Receiver<Told>,
}

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.stop.cancel();
        // Until nobody calls any more.
        self.calls.iter().for_each(drop);
    }
}

/// The calling thread.
struct Caller<'o> {
    observer: &'o mut dyn AuditObserver,
    report: AuditReport,
    /// Of each layer.
    progress: Vec<Progress>,
    /// Of all blobs, if that is known.
    size: Option<u64>,
}

impl<'o> Caller<'o> {
    fn new(jobs: &VecDeque<Job<'_>>, observer: &'o mut dyn AuditObserver) -> Caller<'o> {
        let sizes: Vec<Option<u64>> = jobs.iter().map(|job| job.layer.source.size()).collect();
        let of = |size: &Option<u64>| Progress { blob_size: *size, ..Progress::default() };
        let progress = sizes.iter().map(of).collect();
        let size = sizes.into_iter().sum();
        Caller { observer, report: AuditReport::default(), progress, size }
    }

    /// Until all layers are done; with an error when a callback failed or the caller cancelled.
    fn serve(
        &mut self,
        calls: &Receiver<Told>,
        stop: &Cancel,
        cancel: Option<&Cancel>,
    ) -> Option<Error> {
        let ticks = tick(TICK);
        loop {
            let told = select! {
                recv(calls) -> told => match told {
                    Ok(told) => self.hear(told),
                    Err(_) => break,
                },
                recv(ticks) -> _ => {
                    self.tick();
                    ControlFlow::Continue(())
                },
            };
            if let ControlFlow::Break(error) = told {
                return Some(error);
            }
            if cancel.is_some_and(Cancel::is_cancelled) {
                stop.cancel();
                return Some(Cause::Cancelled.into());
            }
        }
        self.tick();
        None
    }

    fn hear(&mut self, told: Told) -> ControlFlow<Error> {
        match told {
            Told::Damage(damage) => {
                if let Err(errno) = self.observer.damage(&damage) {
                    return ControlFlow::Break(Cause::Finding(errno).into());
                }
            }
            Told::Progress(number, progress) => self.progress[number] = progress,
            Told::Done(number, directory, result) => {
                let own = &mut self.progress[number];
                own.blob_bytes = own.blob_size.unwrap_or(own.blob_bytes);
                match &result {
                    Ok(report) => self.add(report),
                    Err(_) => self.report.failed += 1,
                }
                self.observer.layer_done(&directory, &result);
            }
        }
        ControlFlow::Continue(())
    }

    fn add(&mut self, report: &AuditReport) {
        self.report.layers += report.layers;
        for (kind, count) in &report.damage {
            *self.report.damage.entry(*kind).or_default() += count;
        }
    }

    fn tick(&mut self) {
        let sum = |of: fn(&Progress) -> u64| self.progress.iter().map(of).sum();
        let progress = Progress {
            blob_bytes: sum(|progress| progress.blob_bytes),
            blob_size: self.size,
            layer_bytes: sum(|progress| progress.layer_bytes),
            ..Progress::default()
        };
        self.observer.progress(&progress);
    }
}
