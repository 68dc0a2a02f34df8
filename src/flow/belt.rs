// SPDX-License-Identifier: Apache-2.0
//! Chunks, their pool, and the line of those that wait for hashing.

use std::collections::VecDeque;
use std::ops::Deref;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use crate::digest::{Digest, Hasher};
use crate::error::{Cause, Error, Result};

/// Bytes in a chunk, a multiple of the archive's 512-byte blocks. Large enough that the locks and
/// wake-ups of one chunk vanish beside its decompression, small enough that what one core has just
/// decompressed is still in the shared cache when another hashes or writes it.
pub(crate) const CHUNK: usize = 256 << 10;

/// Chunks in all: 4 MiB that let a burst of small files and a stretch of large ones even out.
pub(crate) const POOL: usize = 16;

/// A stretch of archive bytes. Clones share it; the last one gives its buffer back.
#[derive(Clone)]
pub(crate) struct Chunk(Arc<Piece>);

struct Piece {
    buffer: Box<[u8]>,
    len: usize,
    /// Weak: the belt's queues hold chunks, and the two would keep each other alive.
    belt: Weak<Belt>,
}

impl Chunk {
    pub(super) fn new(belt: &Arc<Belt>, buffer: Box<[u8]>, len: usize) -> Chunk {
        Chunk(Arc::new(Piece { buffer, len, belt: Arc::downgrade(belt) }))
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
        if let Some(belt) = self.belt.upgrade() {
            belt.give_back(std::mem::take(&mut self.buffer));
        }
    }
}

/// What the decompressor and the reader share. No chunk is dropped under its lock: that takes the
/// lock again.
pub(super) struct Belt {
    state: Mutex<State>,
    /// The reader waits here, for a chunk, the end, or something to hash.
    ready: Condvar,
    /// The decompressor waits here, for a buffer, a stop, or something to hash.
    room: Condvar,
}

struct State {
    free: Vec<Box<[u8]>>,
    /// Buffers that exist: a small layer does not need them all.
    made: usize,
    ready: VecDeque<Chunk>,
    unhashed: VecDeque<Chunk>,
    /// Away while somebody hashes, so that nobody holds the lock for that long.
    hasher: Option<Hasher>,
    digest_time: Duration,
    /// Whether the stream has ended, and its error until the reader takes it.
    ended: bool,
    failure: Option<Error>,
    stopped: bool,
}

impl Belt {
    pub(super) fn new(hasher: Hasher) -> Arc<Belt> {
        let state = State {
            free: Vec::new(),
            made: 0,
            ready: VecDeque::new(),
            unhashed: VecDeque::new(),
            hasher: Some(hasher),
            digest_time: Duration::ZERO,
            ended: false,
            failure: None,
            stopped: false,
        };
        Arc::new(Belt { state: Mutex::new(state), ready: Condvar::new(), room: Condvar::new() })
    }

    /// A buffer for the decompressor, which hashes while there is none. None: it shall stop.
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
            state = self.hash_or_wait(state, &self.room);
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
        self.room.notify_one();
    }

    /// Sends a chunk to the reader and into the line for hashing.
    pub(super) fn put(&self, chunk: Chunk) {
        let mut state = self.lock();
        state.unhashed.push_back(chunk.clone());
        state.ready.push_back(chunk);
        self.ready.notify_one();
    }

    /// The decompressor has come to the end, or failed; it hashes what the reader leaves.
    pub(super) fn end(&self, end: Result<()>) {
        let mut state = self.lock();
        state.ended = true;
        state.failure = end.err();
        self.ready.notify_one();
        while !state.stopped
            && let Some(job) = state.job()
        {
            state = self.hash(state, job);
        }
    }

    /// The next chunk in order, then the stream's error if it has one, then none.
    pub(super) fn take(&self) -> Result<Option<Chunk>> {
        let mut state = self.lock();
        loop {
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
            state = self.hash_or_wait(state, &self.ready);
        }
    }

    /// The digest of every chunk put, and the time it took. Hashes what is left.
    pub(super) fn finish(&self) -> (Digest, Duration) {
        let mut state = self.lock();
        while !state.unhashed.is_empty() || state.hasher.is_none() {
            state = self.hash_or_wait(state, &self.ready);
        }
        let hasher = state.hasher.clone().expect("the loop waited for it");
        (hasher.finish(), state.digest_time)
    }

    /// Hashes a chunk that does not go over the belt.
    pub(super) fn hash_here(&self, chunk: &Chunk) {
        let mut state = self.lock();
        if let Some(hasher) = state.hasher.take() {
            drop(self.hash(state, (hasher, chunk.clone())));
        }
    }

    pub(super) fn digest_time(&self) -> Duration {
        self.lock().digest_time
    }

    /// Turns the decompressor away at its next buffer.
    pub(super) fn stop(&self) {
        self.lock().stopped = true;
        self.room.notify_one();
    }

    fn hash_or_wait<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        turn: &Condvar,
    ) -> MutexGuard<'a, State> {
        match state.job() {
            Some(job) => self.hash(state, job),
            None => turn.wait(state).unwrap_or_else(PoisonError::into_inner),
        }
    }

    /// Hashes without the lock; the chunk's buffer may come back on the way.
    fn hash<'a>(
        &'a self,
        state: MutexGuard<'a, State>,
        (mut hasher, chunk): (Hasher, Chunk),
    ) -> MutexGuard<'a, State> {
        drop(state);
        let begin = Instant::now();
        hasher.update(&chunk);
        let time = begin.elapsed();
        drop(chunk);
        let mut state = self.lock();
        state.hasher = Some(hasher);
        state.digest_time += time;
        // The other side may have gone to sleep only because the hasher was away.
        self.ready.notify_one();
        self.room.notify_one();
        state
    }

    /// Never poisoned in earnest: nothing that can panic happens under it.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn job(&mut self) -> Option<(Hasher, Chunk)> {
        if self.unhashed.is_empty() {
            return None;
        }
        Some((self.hasher.take()?, self.unhashed.pop_front()?))
    }
}
