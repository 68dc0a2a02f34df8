// SPDX-License-Identifier: Apache-2.0
//! Several layers of an image at once, each as if those below it had been there before.
//!
//! One thread begins them bottom first, and the others the largest first, so that no large one is left for
//! the end, when it would be alone. A layer that needs what is below it waits until that is complete. All
//! below the one that the first thread is at are begun, and the lowest of those waits for nobody, so there
//! is always one that goes on. They share the threads by the size of what is to be decompressed.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use crossbeam_channel::{Receiver, Sender, bounded, select, tick};

use super::error::ImageError;
use super::observer::{ImageObserver, ImageProgress, LayerProgress, LayerState};
use crate::apply::{AwaitedLowers, MadeLowers};
use crate::cancel::Cancel;
use crate::errno::Errno;
use crate::error::{Cause, Error};
use crate::observer::{Observer, Progress, Warning};
use crate::operation;
use crate::operation::callbacks::{CALLS, TICK};
use crate::options::Options;
use crate::pipeline::PipelineError;
use crate::sys;
use crate::tar::Entry;

/// Layers that are worked on at a time, at most: what one takes of memory is taken as often.
const AT_ONCE: usize = 8;

/// In which layers are begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// Several before the lowest is complete.
    AtOnce,
    /// One after the other, the lowest first.
    BottomUp,
    /// One after the other, the newest first. None has lower ones.
    TopDown,
}

/// One layer that is to be made, and what it is made with.
pub(super) struct Making<'m> {
    pub(super) number: usize,
    /// Its cancel token and its share of the threads are in there.
    pub(super) options: Options,
    pub(super) observer: &'m mut dyn Observer,
    chain: &'m Chain,
}

/// Why a layer was not made.
#[derive(Debug)]
pub(super) enum Failure {
    Layer(Error),
    Image(ImageError),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::Layer(error)
    }
}

impl From<ImageError> for Failure {
    fn from(error: ImageError) -> Failure {
        Failure::Image(error)
    }
}

type Outcome<T> = Mutex<Option<Result<T, Failure>>>;

/// What was made of a layer.
pub(super) struct Made<T> {
    pub(super) done: T,
    /// Its directory, for the layers above.
    pub(super) root: Option<OwnedFd>,
    pub(super) reused: bool,
}

impl<'m> Making<'m> {
    /// The layers below, once they are complete.
    pub(super) fn lowers(&self) -> AwaitedLowers<'m> {
        let (chain, number) = (self.chain, self.number);
        AwaitedLowers::new(move || {
            chain.wait_below(number).ok_or_else(|| PipelineError::Cancelled.into())
        })
    }

    /// Waits until the layers below are complete; an error if one of them failed.
    pub(super) fn wait_below(&self) -> Result<(), Error> {
        self.chain.wait_below(self.number).map(drop).ok_or_else(|| Cause::Cancelled.into())
    }
}

/// Makes all layers. `sizes` are those of the blobs, as far as they are known. After a failure those
/// below the one that failed are made to their end, and those above are not; from the top down, none.
///
/// # Errors
///
/// The first layer in this order that failed, and with what.
pub(super) fn run<T: Send>(
    sizes: &[Option<u64>],
    order: Order,
    options: &Options,
    observer: &mut dyn ImageObserver,
    make: impl Fn(Making<'_>) -> Result<Made<T>, Failure> + Sync,
) -> Result<Vec<T>, (usize, Failure)> {
    let threads = operation::threads(options.threads);
    let most = if order == Order::AtOnce { threads.min(AT_ONCE) } else { 1 };
    let runners = most.min(sizes.len());
    let chain = Chain::new(sizes, order);
    let results: Vec<Outcome<T>> = sizes.iter().map(|_| Mutex::default()).collect();
    let mut caller = Caller::new(sizes, options.cancel.as_ref(), observer);
    let filters = caller.observer.filters();
    let (send, calls) = bounded(CALLS);
    let work = |runner: usize, calls: Sender<Call>| {
        while let Some(mut begun) = chain.begin(runner) {
            let number = begun.number;
            let mut observer = Forward { calls: &calls, chain: &chain, number, filters };
            observer.call(Call::State(number, LayerState::Unpacking));
            let own = options.clone().threads(share(threads, runners, sizes, number));
            let result = begun.cancel().and_then(|cancel| {
                let options = own.cancel(cancel);
                make(Making { number, options, observer: &mut observer, chain: &chain })
            });
            let state = match &result {
                Ok(Made { reused: true, .. }) => LayerState::Reused,
                Ok(_) => LayerState::Complete,
                Err(_) => LayerState::Failed,
            };
            let result = result.map(|made| {
                begun.complete(made.root);
                made.done
            });
            *results[number].lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
            observer.call(Call::State(number, state));
        }
    };
    if caller.is_cancelled() {
        chain.stop();
    }
    let failed = thread::scope(|scope| {
        let mut workers = Vec::new();
        let mut failed = None;
        for runner in 0..runners {
            let (work, calls) = (&work, send.clone());
            match sys::spawn(scope, "ocilayer-image", move || work(runner, calls)) {
                Ok(worker) => workers.push(worker),
                // Fewer do as well.
                Err(_) if !workers.is_empty() => break,
                Err(error) => failed = Some(Cause::Thread(error).into()),
            }
        }
        drop(send);
        let stop = StopOnDrop { chain: &chain, calls: &calls };
        let ticks = tick(TICK);
        loop {
            select! {
                recv(calls) -> call => match call {
                    Ok(call) => caller.serve(call),
                    Err(_) => break,
                },
                recv(ticks) -> _ => caller.tick(),
            }
            if caller.is_cancelled() {
                chain.stop();
            }
        }
        caller.tick();
        drop(stop);
        for worker in workers {
            if let Err(panic) = worker.join() {
                failed = Some(PipelineError::panicked(panic).into());
            }
        }
        failed
    });
    collect(results, order, failed)
}

/// All of them, the lowest first, or the first failure.
fn collect<T>(
    results: Vec<Outcome<T>>,
    order: Order,
    failed: Option<Error>,
) -> Result<Vec<T>, (usize, Failure)> {
    let mut all = Vec::new();
    let mut results: Vec<_> = results.into_iter().enumerate().collect();
    if order == Order::TopDown {
        results.reverse();
    }
    for (number, result) in results {
        match result.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some(Ok(done)) => all.push(done),
            Some(Err(error)) => return Err((number, error)),
            // Nobody came to it: a worker has panicked, there was none, or the caller has cancelled.
            None => {
                let error = failed.unwrap_or_else(|| Cause::Cancelled.into());
                return Err((number, error.into()));
            }
        }
    }
    if order == Order::TopDown {
        all.reverse();
    }
    Ok(all)
}

/// A layer's threads: its part of all bytes, and two where there are several, since each decompresses
/// on one and makes files on the other. Together they are not more than those asked for, and one more
/// for each layer that is begun.
fn share(threads: usize, runners: usize, sizes: &[Option<u64>], number: usize) -> usize {
    if runners <= 1 {
        return threads;
    }
    let total: u64 = sizes.iter().flatten().sum();
    let part = match sizes[number] {
        Some(size) if total > 0 => (size as f64 / total as f64 * threads as f64).round() as usize,
        _ => threads / runners,
    };
    part.clamp(2, threads)
}

/// How far the layers have come.
struct Chain {
    /// Of the blobs, as far as they are known.
    sizes: Vec<u64>,
    order: Order,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Those that nobody has begun.
    waiting: BTreeSet<usize>,
    /// All layers below this one are complete; from the bottom up only.
    complete: usize,
    /// Their directories, bottom first.
    roots: Vec<Arc<OwnedFd>>,
    running: BTreeMap<usize, Cancel>,
    /// Layers from this one on will never be complete.
    failed: Option<usize>,
}

/// A layer that was begun. It has failed, if it is dropped before it is complete.
struct Begun<'c> {
    chain: &'c Chain,
    number: usize,
    complete: bool,
}

impl Chain {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn new(sizes: &[Option<u64>], order: Order) -> Chain {
        let waiting = (0..sizes.len()).collect();
        Chain {
            sizes: sizes.iter().map(|size| size.unwrap_or(0)).collect(),
            order,
            state: Mutex::new(State { waiting, ..State::default() }),
            changed: Condvar::new(),
        }
    }

    /// The next layer for one of those who make them; none if there is none, or if it could not be
    /// complete.
    fn begin(&self, runner: usize) -> Option<Begun<'_>> {
        let mut state = self.lock();
        let mut possible = state.waiting.range(..state.failed.unwrap_or(self.sizes.len()));
        let number = match self.order {
            // Of equal ones the lowest.
            Order::AtOnce if runner > 0 => possible.rev().max_by_key(|number| self.sizes[**number]),
            Order::AtOnce | Order::BottomUp => possible.next(),
            Order::TopDown => possible.next_back().filter(|_| state.failed.is_none()),
        };
        let number = *number?;
        state.waiting.remove(&number);
        Some(Begun { chain: self, number, complete: false })
    }

    /// The directories of all layers below this one, topmost first; none if one of them failed.
    fn wait_below(&self, number: usize) -> Option<MadeLowers> {
        let mut state = self.lock();
        while state.complete < number && state.failed.is_none_or(|failed| failed > number) {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        (state.complete >= number).then(|| state.roots.iter().take(number).rev().cloned().collect())
    }

    /// Layers from this one on will not be complete.
    fn fail_from(&self, number: usize) {
        let mut state = self.lock();
        let failed = state.failed.map_or(number, |failed| failed.min(number));
        state.failed = Some(failed);
        state.running.range(failed..).for_each(|(_, cancel)| cancel.cancel());
        self.changed.notify_all();
    }

    fn stop(&self) {
        self.fail_from(0);
    }
}

impl Begun<'_> {
    /// A token that ends this layer when one below it fails.
    fn cancel(&self) -> Result<Cancel, Failure> {
        let cancel = Cancel::new().map_err(|errno| Error::from(Cause::Thread(errno.into())))?;
        let mut state = self.chain.lock();
        if state.failed.is_some_and(|failed| failed <= self.number) {
            cancel.cancel();
        }
        state.running.insert(self.number, cancel.clone());
        Ok(cancel)
    }

    /// Those below are complete, and so is this one now.
    fn complete(&mut self, root: Option<OwnedFd>) {
        let mut state = self.chain.lock();
        state.complete += 1;
        state.roots.extend(root.map(Arc::new));
        self.complete = true;
        self.chain.changed.notify_all();
    }
}

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        self.chain.lock().running.remove(&self.number);
        if !self.complete {
            self.chain.fail_from(self.number);
        }
    }
}

/// Ends the layers when a callback of the caller panics.
struct StopOnDrop<'c> {
    chain: &'c Chain,
    calls: &'c Receiver<Call>,
}

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.chain.stop();
        // Until nobody calls any more: who waits for an answer hears that there is none.
        self.calls.iter().for_each(drop);
    }
}

/// What the layers' threads call for.
enum Call {
    State(usize, LayerState),
    Progress(usize, Progress),
    Filter(usize, Box<Entry>, Sender<Result<bool, Errno>>),
    Warning(usize, Warning),
}

/// A layer's way to the caller's callbacks.
struct Forward<'f> {
    calls: &'f Sender<Call>,
    chain: &'f Chain,
    number: usize,
    filters: bool,
}

impl Forward<'_> {
    fn call(&mut self, call: Call) {
        // Nobody serves when a callback has panicked.
        if self.calls.send(call).is_err() {
            self.chain.stop();
        }
    }
}

impl Observer for Forward<'_> {
    fn filters(&self) -> bool {
        self.filters
    }

    fn filter(&mut self, entry: &Entry) -> Result<bool, Errno> {
        let (reply, answer) = bounded(1);
        self.call(Call::Filter(self.number, Box::new(entry.clone()), reply));
        answer.recv().unwrap_or(Err(Errno::CANCELED))
    }

    fn progress(&mut self, progress: &Progress) {
        self.call(Call::Progress(self.number, *progress));
    }

    fn warning(&mut self, warning: &Warning) {
        self.call(Call::Warning(self.number, warning.clone()));
    }
}

/// The calling thread.
struct Caller<'c> {
    observer: &'c mut dyn ImageObserver,
    progress: ImageProgress,
    cancel: Option<&'c Cancel>,
}

impl<'c> Caller<'c> {
    fn new(
        sizes: &[Option<u64>],
        cancel: Option<&'c Cancel>,
        observer: &'c mut dyn ImageObserver,
    ) -> Caller<'c> {
        let layer = |blob_size: &Option<u64>| LayerProgress {
            progress: Progress { blob_size: *blob_size, ..Progress::default() },
            ..LayerProgress::default()
        };
        let progress = ImageProgress { layers: sizes.iter().map(layer).collect() };
        Caller { observer, progress, cancel }
    }

    fn serve(&mut self, call: Call) {
        match call {
            Call::State(number, state) => self.progress.layers[number].state = state,
            Call::Progress(number, progress) => {
                let own = &mut self.progress.layers[number].progress;
                let blob_size = progress.blob_size.or(own.blob_size);
                *own = Progress { blob_size, ..progress };
            }
            Call::Filter(number, entry, reply) => {
                let _ = reply.send(self.observer.filter(number, &entry));
            }
            Call::Warning(number, warning) => self.observer.warning(number, &warning),
        }
    }

    fn tick(&mut self) {
        self.observer.progress(&self.progress);
    }

    fn is_cancelled(&self) -> bool {
        self.cancel.is_some_and(Cancel::is_cancelled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_runner_goes_up_and_others_take_the_largest() {
        let sizes = [3, 1, 7, 7, 2].map(Some);
        let chain = Chain::new(&sizes, Order::AtOnce);
        let begun = [0, 1, 2, 0, 1].map(|runner| chain.begin(runner).expect("there is one"));
        assert_eq!(begun.each_ref().map(|begun| begun.number), [0, 2, 3, 1, 4]);
        assert!(chain.begin(0).is_none() && chain.begin(1).is_none());
    }

    #[test]
    fn layers_below_one_that_failed_are_begun_all_the_same() {
        let chain = Chain::new(&[Some(1), Some(2), Some(3), Some(4)], Order::AtOnce);
        let largest = chain.begin(1).expect("there is one");
        assert_eq!(largest.number, 3);
        drop(chain.begin(1));
        let next = [0, 1].map(|runner| chain.begin(runner).expect("below"));
        assert_eq!(next.each_ref().map(|begun| begun.number), [0, 1]);
        assert!(chain.begin(0).is_none(), "layer 2 has failed");
    }

    #[test]
    fn from_the_top_down_nothing_is_begun_after_a_failure() {
        let chain = Chain::new(&[Some(1), Some(2), Some(3)], Order::TopDown);
        let newest = chain.begin(0).expect("there is one");
        assert_eq!(newest.number, 2);
        drop(newest);
        assert!(chain.begin(0).is_none());
    }
}
