// SPDX-License-Identifier: Apache-2.0
//! Chunks, their pool, and the lines of what waits to be done with them: hashing, and the reader's work.

use std::collections::VecDeque;
use std::ops::{Deref, Range};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, PoisonError, Weak};
#[cfg(not(all(test, shuttle)))]
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

#[cfg(all(test, shuttle))]
use shuttle::sync::{Condvar, Mutex, MutexGuard};

use crate::digest::{Digest, Hasher};
use crate::error::{Cause, Error, Result};

use super::defect;

/// Bytes in a chunk, a multiple of the archive's 512-byte blocks. Large enough that the locks and
/// wake-ups of one chunk vanish beside its decompression, small enough that what one core has just
/// decompressed is still in the shared cache when another hashes or writes it.
pub(crate) const CHUNK: usize = if cfg!(all(test, shuttle)) { 512 } else { 256 << 10 };

/// Chunks in all: 4 MiB that let a burst of small files and a stretch of large ones even out.
pub(crate) const POOL: usize = if cfg!(all(test, shuttle)) { 3 } else { 16 };

/// A stretch of archive bytes. Clones share it; the last one gives its buffer back.
#[derive(Clone)]
pub(crate) struct Chunk(Arc<Piece>);

/// A part of a chunk, which it keeps.
pub(crate) struct ChunkSlice {
    chunk: Chunk,
    range: Range<usize>,
}

struct Piece {
    buffer: Box<[u8]>,
    len: usize,
    /// Weak: the queue holds chunks, and the two would keep each other alive.
    queue: Weak<Queue>,
}

impl Chunk {
    pub(super) fn new(queue: &Arc<Queue>, buffer: Box<[u8]>, len: usize) -> Chunk {
        Chunk(Arc::new(Piece { buffer, len, queue: Arc::downgrade(queue) }))
    }

    /// Keeps `part`; none if it is not a part of this chunk.
    pub(crate) fn slice(&self, part: &[u8]) -> Option<ChunkSlice> {
        let begin = part.as_ptr().addr().checked_sub(self.as_ptr().addr())?;
        let range = begin..begin.checked_add(part.len())?;
        (range.end <= self.len()).then(|| ChunkSlice { chunk: self.clone(), range })
    }
}

impl Deref for ChunkSlice {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.chunk[self.range.clone()]
    }
}

impl Deref for Chunk {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0.buffer[..self.0.len]
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        if let Some(queue) = self.queue.upgrade() {
            queue.give_back(std::mem::take(&mut self.buffer));
        }
    }
}

/// Something that the reader leaves to whoever is idle.
pub(crate) type Task = Box<dyn FnOnce() -> Result<()> + Send>;

/// What the decompressor, the reader and the workers share. No chunk is dropped under its lock:
/// that takes the lock again.
pub(super) struct Queue {
    state: Mutex<State>,
    /// The reader waits here, for a chunk, the end, or something to do.
    reader: Condvar,
    /// The decompressor waits here, for a buffer, a stop, or something to do.
    decompressor: Condvar,
    /// Helpers wait here, for something to do or the end of it all.
    workers: Condvar,
}

struct State {
    free: Vec<Box<[u8]>>,
    /// Buffers that exist: a small layer does not need them all.
    made: usize,
    ready: VecDeque<Chunk>,
    unhashed: VecDeque<Chunk>,
    /// Away while somebody hashes, so that nobody holds the lock for that long.
    hasher: Option<Box<Hasher>>,
    digest_time: Duration,
    /// What the reader leaves to others, and how many are at it.
    tasks: VecDeque<Task>,
    working: usize,
    task_time: Duration,
    /// The first error of that work, until the reader takes it.
    task_failure: Option<Error>,
    /// Whether the stream has ended, and its error until the reader takes it.
    ended: bool,
    failure: Option<Error>,
    stopped: bool,
    asleep: Asleep,
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
enum Work {
    Hash(Box<Hasher>, Chunk),
    Task(Task),
}

impl Queue {
    pub(super) fn new(hasher: Hasher) -> Arc<Queue> {
        let state = State {
            free: Vec::new(),
            made: 0,
            ready: VecDeque::new(),
            unhashed: VecDeque::new(),
            hasher: Some(Box::new(hasher)),
            digest_time: Duration::ZERO,
            tasks: VecDeque::new(),
            working: 0,
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
            if let Some(buffer) = state.free.pop() {
                return Some(buffer);
            }
            if state.made < POOL {
                state.made += 1;
                drop(state);
                return Some(vec![0; CHUNK].into());
            }
            state = self.work_or_wait(state, Who::Decompressor);
        }
    }

    /// A buffer for a reader that decompresses by itself: waiting for itself it would hang.
    pub(super) fn buffer_now(&self) -> Box<[u8]> {
        let free = self.lock().free.pop();
        free.unwrap_or_else(|| vec![0; CHUNK].into())
    }

    fn give_back(&self, buffer: Box<[u8]>) {
        let mut state = self.lock();
        if state.free.len() < POOL {
            state.free.push(buffer);
        }
        self.release(state, &[Who::Decompressor]);
    }

    /// Queues a chunk for the reader and for hashing.
    pub(super) fn put(&self, chunk: Chunk) {
        let mut state = self.lock();
        state.unhashed.push_back(chunk.clone());
        state.ready.push_back(chunk);
        self.release(state, &[Who::Reader, Who::Worker]);
    }

    /// The decompressor has come to the end, or failed.
    pub(super) fn end(&self, end: Result<()>) {
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
    pub(super) fn submit(&self, task: Task) {
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

    /// Waits until all work that was left is done, and does its part.
    pub(super) fn wait_for_tasks(&self) -> Result<()> {
        let mut state = self.lock();
        loop {
            if let Some(failure) = state.take_task_failure() {
                return Err(failure);
            }
            state = match state.tasks.pop_front() {
                Some(task) => {
                    state.working += 1;
                    self.run_task(state, task)
                }
                None if state.working == 0 => return Ok(()),
                None => self.wait(state, Who::Reader),
            };
        }
    }

    /// The next chunk in order, then the stream's error if it has one, then none. An error of
    /// the work that was left comes first.
    pub(super) fn take(&self) -> Result<Option<Chunk>> {
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
                state.failure = Some(Cause::Cancelled.into());
                return Err(failure);
            }
            if state.ended {
                return Ok(None);
            }
            state = self.work_or_wait(state, Who::Reader);
        }
    }

    /// The digest of every chunk put, and the time it took. Hashes what is left.
    pub(super) fn finish(&self) -> (Digest, Duration) {
        let mut state = self.lock();
        while !state.unhashed.is_empty() || state.hasher.is_none() {
            state = self.work_or_wait(state, Who::Reader);
        }
        let hasher = state.hasher.clone().expect("the loop waited for it");
        (hasher.finish(), state.digest_time)
    }

    /// Hashes a chunk that the reader has made itself.
    pub(super) fn hash_here(&self, chunk: &Chunk) {
        self.lock().unhashed.push_back(chunk.clone());
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

    fn work_or_wait<'a>(&'a self, mut state: Locked<'a>, who: Who) -> Locked<'a> {
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
    fn hash<'a>(&'a self, state: Locked<'a>, mut hasher: Box<Hasher>, chunk: Chunk) -> Locked<'a> {
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
    fn run_task<'a>(&'a self, state: Locked<'a>, task: Task) -> Locked<'a> {
        drop(state);
        // Unwind safe: what the work was about is not looked at after a panic.
        let result =
            catch_unwind(AssertUnwindSafe(task)).unwrap_or_else(|panic| Err(defect(panic)));
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
        match state.working {
            0 => self.wake(state, &[Who::Reader]),
            _ => state,
        }
    }

    fn wait<'a>(&'a self, mut state: Locked<'a>, who: Who) -> Locked<'a> {
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
    fn wake<'a>(&'a self, state: Locked<'a>, whom: &[Who]) -> Locked<'a> {
        match whom.iter().any(|who| state.asleep.has(*who)) {
            true => {
                self.release(state, whom);
                self.lock()
            }
            false => state,
        }
    }

    /// The same, and leaves it unlocked.
    fn release(&self, mut state: Locked<'_>, whom: &[Who]) {
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
    fn lock(&self) -> Locked<'_> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

type Locked<'a> = MutexGuard<'a, State>;

impl State {
    /// Hashing first: it has an order, so that it can become what all wait for.
    fn job(&mut self) -> Option<Work> {
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

    fn take_task_failure(&mut self) -> Option<Error> {
        let failure = self.task_failure.take()?;
        // For one who asks again.
        self.task_failure = Some(Cause::Cancelled.into());
        Some(failure)
    }
}
