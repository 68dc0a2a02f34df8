// SPDX-License-Identifier: Apache-2.0
//! What waits to be done with chunks: reading, hashing, and tasks of the reader's.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, PoisonError};
#[cfg(not(all(test, shuttle)))]
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

#[cfg(all(test, shuttle))]
use shuttle::sync::{Condvar, Mutex, MutexGuard};

use super::chunk::{CHUNK, Chunk, Recycle};
use super::error::PipelineError;
use crate::digest::{Digest, Hasher};

/// Chunks in all: 4 MiB that let a burst of small files and a stretch of large ones even out.
pub(crate) const POOL: usize = if cfg!(all(test, shuttle)) { 3 } else { 16 };

/// Something that the reader leaves to whoever is idle.
pub(super) type Task<E> = Box<dyn FnOnce() -> Result<(), E> + Send>;

/// What a reader of the archive fails with: a task's error, or the pipeline's.
pub(crate) trait Failure: From<PipelineError> + Send + 'static {}

impl<E: From<PipelineError> + Send + 'static> Failure for E {}

/// What the decompressor, the reader and the workers share. No chunk is dropped under its lock:
/// that takes the lock again.
pub(super) struct Queue<E> {
    state: Mutex<State<E>>,
    /// The reader waits here, for a chunk, the end, or something to do.
    reader: Condvar,
    /// The decompressor waits here, for a buffer, a stop, or something to do.
    decompressor: Condvar,
    /// Workers wait here, for something to do or the end of it all.
    workers: Condvar,
}

struct State<E> {
    free: Vec<Box<[u8]>>,
    /// Buffers that exist: a small layer does not need them all.
    made: usize,
    ready: VecDeque<Chunk>,
    unhashed: VecDeque<Chunk>,
    hashes: bool,
    /// Away while somebody hashes, so that nobody holds the lock for that long.
    hasher: Option<Box<Hasher>>,
    digest_time: Duration,
    demand: Demand,
    /// What the reader leaves to others, and how many are at it.
    tasks: VecDeque<Task<E>>,
    working: usize,
    /// The reader sleeps until one of them has ended.
    counts_tasks: bool,
    task_time: Duration,
    /// The first error of that work, until the reader takes it.
    task_failure: Option<E>,
    /// Whether the stream has ended, and its error until the reader takes it.
    ended: bool,
    failure: Option<PipelineError>,
    stopped: bool,
    asleep: Asleep,
}

/// Whether a chunk may be made before the reader asks for it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Demand {
    /// As many as there are buffers.
    Any,
    /// None: reading on could wait for ever, and the reader may have seen the end.
    Nothing,
    /// One, and it is not begun.
    One,
    /// One, and somebody is at it.
    Begun,
}

/// Who waits at a condition variable. Waking nobody is a system call, too.
#[derive(Default)]
struct Asleep {
    reader: bool,
    decompressor: bool,
    workers: usize,
}

/// Who waits.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Who {
    Reader,
    Decompressor,
    Worker,
}

impl Asleep {
    fn has(&self, who: Who) -> bool {
        match who {
            Who::Reader => self.reader,
            Who::Decompressor => self.decompressor,
            Who::Worker => self.workers > 0,
        }
    }
}

/// What anybody can do.
enum Work<E> {
    Hash(Box<Hasher>, Chunk),
    Task(Task<E>),
}

impl<E: Failure> Queue<E> {
    /// Without a hasher nobody wants the digest. `on_demand`: a chunk is made when the reader asks for
    /// it, and not before.
    pub(super) fn new(hasher: Option<Hasher>, on_demand: bool) -> Arc<Queue<E>> {
        let state = State {
            demand: if on_demand { Demand::Nothing } else { Demand::Any },
            hashes: hasher.is_some(),
            free: Vec::new(),
            made: 0,
            ready: VecDeque::new(),
            unhashed: VecDeque::new(),
            hasher: hasher.map(Box::new),
            digest_time: Duration::ZERO,
            tasks: VecDeque::new(),
            working: 0,
            counts_tasks: false,
            task_time: Duration::ZERO,
            task_failure: None,
            ended: false,
            failure: None,
            stopped: false,
            asleep: Asleep::default(),
        };
        Arc::new(Queue {
            state: Mutex::new(state),
            reader: Condvar::new(),
            decompressor: Condvar::new(),
            workers: Condvar::new(),
        })
    }

    /// A buffer for the decompressor, which does what there is to do while there is none. None:
    /// it shall stop.
    pub(super) fn buffer(&self) -> Option<Box<[u8]>> {
        let mut state = self.lock();
        loop {
            if state.stopped {
                return None;
            }
            if matches!(state.demand, Demand::Any | Demand::One) {
                let free = state.free.pop();
                if free.is_some() || state.made < POOL {
                    state.made += usize::from(free.is_none());
                    if state.demand == Demand::One {
                        state.demand = Demand::Begun;
                    }
                    drop(state);
                    return Some(free.unwrap_or_else(|| vec![0; CHUNK].into()));
                }
            }
            state = self.work_or_wait(state, Who::Decompressor);
        }
    }

    /// A buffer for a reader that decompresses by itself: waiting for itself it would hang.
    pub(super) fn buffer_now(&self) -> Box<[u8]> {
        let free = self.lock().free.pop();
        free.unwrap_or_else(|| vec![0; CHUNK].into())
    }

    /// Queues a chunk for the reader and for hashing.
    pub(super) fn put(&self, chunk: Chunk) {
        let mut state = self.lock();
        if state.hashes {
            state.unhashed.push_back(chunk.clone());
        }
        state.ready.push_back(chunk);
        if state.demand == Demand::Begun {
            state.demand = Demand::Nothing;
        }
        self.release(state, &[Who::Reader, Who::Worker]);
    }

    /// The decompressor has come to the end, or failed.
    pub(super) fn end(&self, end: Result<(), PipelineError>) {
        let mut state = self.lock();
        state.ended = true;
        state.failure = end.err();
        self.release(state, &[Who::Reader]);
    }

    /// Does what there is to do, until a [`stop`](Queue::stop).
    pub(super) fn work(&self) {
        let mut state = self.lock();
        while !state.stopped {
            state = self.work_or_wait(state, Who::Worker);
        }
    }

    /// Leaves work to whoever is idle.
    pub(super) fn submit(&self, task: Task<E>) {
        let mut state = self.lock();
        // After an error nothing more is begun.
        if state.stopped || state.task_failure.is_some() {
            drop(state);
            return;
        }
        state.tasks.push_back(task);
        let idle = if state.asleep.workers > 0 { Who::Worker } else { Who::Decompressor };
        self.release(state, &[idle]);
    }

    /// Waits until all tasks that were left are done, or there are `enough`, and does its part.
    pub(super) fn wait_for_tasks(&self, enough: impl Fn() -> bool) -> Result<(), E> {
        let mut state = self.lock();
        loop {
            if let Some(failure) = state.take_task_failure() {
                return Err(failure);
            }
            if enough() {
                return Ok(());
            }
            state = match state.tasks.pop_front() {
                Some(task) => {
                    state.working += 1;
                    self.run_task(state, task)
                }
                None if state.working == 0 => return Ok(()),
                None => {
                    state.counts_tasks = true;
                    let mut state = self.wait(state, Who::Reader);
                    state.counts_tasks = false;
                    state
                }
            };
        }
    }

    /// The next chunk in order, then the stream's error if it has one, then none. An error of
    /// the work that was left comes first.
    pub(super) fn take(&self) -> Result<Option<Chunk>, E> {
        let mut state = self.lock();
        loop {
            if let Some(failure) = state.take_task_failure() {
                return Err(failure);
            }
            if let Some(chunk) = state.ready.pop_front() {
                return Ok(Some(chunk));
            }
            if let Some(failure) = state.failure.take() {
                // For one who asks again.
                state.failure = Some(PipelineError::Cancelled);
                return Err(failure.into());
            }
            if state.ended {
                return Ok(None);
            }
            if state.demand == Demand::Nothing {
                state.demand = Demand::One;
                state = self.wake(state, &[Who::Decompressor]);
                continue;
            }
            state = self.work_or_wait(state, Who::Reader);
        }
    }

    /// The digest of every chunk put, and the time it took. Hashes what is left. Only of a queue with
    /// a hasher.
    pub(super) fn finish(&self) -> (Option<Digest>, Duration) {
        let mut state = self.lock();
        if !state.hashes {
            return (None, Duration::ZERO);
        }
        while !state.unhashed.is_empty() || state.hasher.is_none() {
            state = self.work_or_wait(state, Who::Reader);
        }
        let hasher = state.hasher.clone().expect("the loop waited for it");
        (Some(hasher.finish()), state.digest_time)
    }

    /// Hashes a chunk that the reader has made itself.
    pub(super) fn hash_here(&self, chunk: &Chunk) {
        let mut state = self.lock();
        if state.hashes {
            state.unhashed.push_back(chunk.clone());
        }
        drop(state);
        self.hash_next();
    }

    /// Hashes the chunk that comes next, unless somebody else hashes.
    pub(super) fn hash_next(&self) {
        let mut state = self.lock();
        if let Some((hasher, chunk)) = state.hash_job() {
            drop(self.hash(state, hasher, chunk));
        }
    }

    pub(super) fn digest_time(&self) -> Duration {
        self.lock().digest_time
    }

    /// How long the work that was left has taken, but for what [`wait_for_tasks`](Queue::wait_for_tasks) did.
    pub(super) fn task_time(&self) -> Duration {
        self.lock().task_time
    }

    /// Turns the decompressor away at its next buffer, and workers at their next task. What
    /// nobody has begun is not done any more.
    pub(super) fn stop(&self) {
        let mut state = self.lock();
        state.stopped = true;
        let tasks = std::mem::take(&mut state.tasks);
        drop(state);
        drop(tasks);
        self.decompressor.notify_all();
        self.workers.notify_all();
    }

    fn work_or_wait<'a>(&'a self, mut state: Locked<'a, E>, who: Who) -> Locked<'a, E> {
        match state.job() {
            Some(Work::Hash(hasher, chunk)) => self.hash(state, hasher, chunk),
            Some(Work::Task(task)) => {
                let begin = Instant::now();
                let mut state = self.run_task(state, task);
                state.task_time += begin.elapsed();
                state
            }
            None => self.wait(state, who),
        }
    }

    /// Hashes without the lock; the chunk's buffer may come back on the way.
    fn hash<'a>(
        &'a self,
        state: Locked<'a, E>,
        mut hasher: Box<Hasher>,
        chunk: Chunk,
    ) -> Locked<'a, E> {
        drop(state);
        let begin = Instant::now();
        hasher.update(&chunk);
        let time = begin.elapsed();
        drop(chunk);
        let mut state = self.lock();
        state.hasher = Some(hasher);
        state.digest_time += time;
        // Others may have gone to sleep only because the hasher was away.
        self.wake(state, &[Who::Reader, Who::Decompressor])
    }

    /// Does without the lock what was left, and what that kept goes with it.
    fn run_task<'a>(&'a self, state: Locked<'a, E>, task: Task<E>) -> Locked<'a, E> {
        drop(state);
        // Unwind safe: what the work was about is not looked at after a panic.
        let result = catch_unwind(AssertUnwindSafe(task))
            .unwrap_or_else(|panic| Err(PipelineError::panicked(panic).into()));
        let mut state = self.lock();
        state.working -= 1;
        if let Err(error) = result {
            state.task_failure.get_or_insert(error);
            let dropped = std::mem::take(&mut state.tasks);
            drop(state);
            drop(dropped);
            state = self.lock();
        }
        // It may wait for all of it to be done.
        match state.working == 0 || state.counts_tasks {
            true => self.wake(state, &[Who::Reader]),
            false => state,
        }
    }

    fn wait<'a>(&'a self, mut state: Locked<'a, E>, who: Who) -> Locked<'a, E> {
        let condvar = match who {
            Who::Reader => {
                state.asleep.reader = true;
                &self.reader
            }
            Who::Decompressor => {
                state.asleep.decompressor = true;
                &self.decompressor
            }
            Who::Worker => {
                state.asleep.workers += 1;
                &self.workers
            }
        };
        let mut state = condvar.wait(state).unwrap_or_else(PoisonError::into_inner);
        match who {
            Who::Reader => state.asleep.reader = false,
            Who::Decompressor => state.asleep.decompressor = false,
            Who::Worker => state.asleep.workers -= 1,
        }
        state
    }

    /// Wakes those who sleep among `whom`, without the lock: with it they would wait again at once.
    fn wake<'a>(&'a self, state: Locked<'a, E>, whom: &[Who]) -> Locked<'a, E> {
        match whom.iter().any(|who| state.asleep.has(*who)) {
            true => {
                self.release(state, whom);
                self.lock()
            }
            false => state,
        }
    }

    /// The same, and leaves it unlocked.
    fn release(&self, mut state: Locked<'_, E>, whom: &[Who]) {
        let asleep = &mut state.asleep;
        let has = |who| whom.contains(&who);
        let reader = has(Who::Reader) && std::mem::take(&mut asleep.reader);
        let decompressor = has(Who::Decompressor) && std::mem::take(&mut asleep.decompressor);
        let worker = has(Who::Worker) && asleep.workers > 0;
        drop(state);
        if reader {
            self.reader.notify_one();
        }
        if decompressor {
            self.decompressor.notify_one();
        }
        if worker {
            self.workers.notify_one();
        }
    }

    /// Never poisoned in earnest: nothing that can panic happens under it.
    fn lock(&self) -> Locked<'_, E> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<E: Failure> Recycle for Queue<E> {
    fn give_back(&self, buffer: Box<[u8]>) {
        let mut state = self.lock();
        if state.free.len() < POOL {
            state.free.push(buffer);
        }
        self.release(state, &[Who::Decompressor]);
    }
}

type Locked<'a, E> = MutexGuard<'a, State<E>>;

impl<E: Failure> State<E> {
    /// Hashing first: it has an order, so that it can become what all wait for.
    fn job(&mut self) -> Option<Work<E>> {
        if let Some((hasher, chunk)) = self.hash_job() {
            return Some(Work::Hash(hasher, chunk));
        }
        let task = self.tasks.pop_front()?;
        self.working += 1;
        Some(Work::Task(task))
    }

    fn hash_job(&mut self) -> Option<(Box<Hasher>, Chunk)> {
        if self.unhashed.is_empty() {
            return None;
        }
        let hasher = self.hasher.take()?;
        self.unhashed.pop_front().map(|chunk| (hasher, chunk))
    }

    fn take_task_failure(&mut self) -> Option<E> {
        let failure = self.task_failure.take()?;
        // For one who asks again.
        self.task_failure = Some(PipelineError::Cancelled.into());
        Some(failure)
    }
}
