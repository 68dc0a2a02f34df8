// SPDX-License-Identifier: Apache-2.0
//! From a blob to archive bytes: source, decompressor and digests on one side, the reader of the
//! archive on the other.
//!
//! With one thread, [`Pipeline::next`] does all the work. With more, a thread of its own decompresses
//! into buffers from a bounded pool, and `next` takes them off the [`Queue`]; further threads help
//! with what the reader leaves to others. Who waits, and who works meanwhile:
//!
//! - Decompression always belongs to that thread. So do reading the source and the blob's digest,
//!   unless one thread more reads a file ahead: gzip if that digest is wanted, gzip and zstd if the
//!   caller allows more than two threads.
//! - The archive's digest must be made in order, but by whom does not matter. Every chunk goes to
//!   the reader at once and is also queued for hashing. The decompressor hashes when it has no
//!   free buffer or nothing to decompress, the reader hashes when it has no chunk: whichever is
//!   ahead works for the other, and after the stream's end whoever comes first hashes what is left.
//! - So the decompressor waits only when nothing is left to hash and every buffer is with the
//!   reader, and the reader waits only when there is neither a chunk nor anything to hash. Buffers
//!   that only wait for hashing can never stop both. The reader must not keep the whole pool to
//!   itself while it asks for more.
//! - A stop wakes the decompressor wherever it waits: for a buffer, for a pipe, for the caller's
//!   read callback.

pub(crate) mod decompress;
mod queue;
pub(crate) mod source;
#[cfg(test)]
mod tests;

use std::any::Any;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{Scope, ScopedJoinHandle, available_parallelism};
use std::time::{Duration, Instant};

use rustix::io::Errno;

use crate::cancel::Cancel;
use crate::digest::{Digest, DigestError, Hasher};
use crate::error::{Cause, Error, Result};
use crate::limits::{LimitExceeded, Limits, RATIO_FLOOR};
use crate::options::{Expect, Options};
use crate::pipeline::decompress::Decoder;
use crate::pipeline::source::{Input, SourceError, StopHandle};
use crate::report::Compression;
use crate::sys;

use queue::Queue;
pub(crate) use queue::{Chunk, ChunkSlice, Task};

/// What a pipeline needs to know of the options.
#[derive(Clone)]
pub(crate) struct Settings {
    /// Not 0: that was resolved before.
    pub(crate) threads: usize,
    pub(crate) limits: Limits,
    pub(crate) expect: Expect,
    /// See [`Options::skip_blob_digest`].
    skip_blob_digest: bool,
    pub(crate) cancel: Option<Cancel>,
    /// The reader leaves work to others, so that more than two threads are of use.
    pub(crate) workers: bool,
    /// A stream that several threads can decompress is decompressed by as many more.
    parallel_decode: bool,
    /// [`RATIO_FLOOR`], but for tests.
    ratio_floor: u64,
}

/// With fewer threads or CPUs, to begin in the middle of a stream costs more than it gains.
const PARALLEL_DECODE_FROM: usize = 4;

impl Settings {
    pub(crate) fn new(options: &Options, threads: usize) -> Settings {
        Settings {
            threads,
            limits: options.limits,
            expect: options.expect.clone(),
            skip_blob_digest: options.skip_blob_digest,
            cancel: options.cancel.clone(),
            workers: false,
            parallel_decode: threads >= PARALLEL_DECODE_FROM
                && available_parallelism().is_ok_and(|cpus| cpus.get() >= PARALLEL_DECODE_FROM),
            ratio_floor: RATIO_FLOOR,
        }
    }
}

/// How far a pipeline has come, for whoever shows it.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// Bytes of the blob that went into the decompressor.
    pub(crate) blob_bytes: AtomicU64,
    /// Bytes that came out of it.
    pub(crate) layer_bytes: AtomicU64,
}

/// What a whole stream came to.
#[derive(Debug)]
pub(crate) struct Summary {
    /// None if it was to be skipped.
    pub(crate) blob_digest: Option<Digest>,
    pub(crate) diff_id: Digest,
    pub(crate) amounts: Amounts,
}

impl Summary {
    /// Holds the digests against the expected ones.
    pub(crate) fn compare(&self, expect: &Expect) -> Result<(), DigestError> {
        let differs = |expected: &Option<Digest>, got: Option<&Digest>| match expected {
            None => None,
            Some(expected) => {
                let got = got.expect("a digest that is expected is made");
                (expected != got).then(|| (expected.clone(), got.clone()))
            }
        };
        if let Some((expected, got)) = differs(&expect.blob, self.blob_digest.as_ref()) {
            return Err(DigestError::Blob { expected, got });
        }
        match differs(&expect.diff_id, Some(&self.diff_id)) {
            Some((expected, got)) => Err(DigestError::DiffId { expected, got }),
            None => Ok(()),
        }
    }
}

/// What is known of a stream that was not read to its end, too.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Amounts {
    pub(crate) blob_bytes: u64,
    pub(crate) layer_bytes: u64,
    pub(crate) compression: Compression,
    /// Reading the source, the blob's digest and decompression.
    pub(crate) decompress: Duration,
    /// The archive's digest.
    pub(crate) digest: Duration,
}

/// The reader's end. Dropping it stops the decompressor.
pub(crate) struct Pipeline<'scope> {
    engine: Engine<'scope>,
    queue: Arc<Queue>,
    counters: Arc<Counters>,
    cancel: Option<Cancel>,
}

enum Engine<'scope> {
    /// Everything happens in `next`.
    Inline { decompressor: Box<Decompressor<'scope>>, ended: bool },
    Thread {
        worker: ScopedJoinHandle<'scope, Decompressed>,
        workers: Vec<ScopedJoinHandle<'scope, ()>>,
        stop: StopOnDrop,
    },
}

/// The threads of a pipeline, for a reader that leaves work to them.
pub(crate) struct Workers(Arc<Queue>);

impl Workers {
    /// Has somebody do it, sooner or later. Its first error comes out of [`Pipeline::next`] or
    /// [`wait`](Workers::wait), and what nobody has begun by then is dropped.
    pub(crate) fn submit(&self, task: Task) {
        self.0.submit(task);
    }

    /// Waits until all is done that was left so far, and does its part of it.
    pub(crate) fn wait(&self) -> Result<()> {
        self.0.wait_for_tasks()
    }

    /// How long it took so far, but for what was done in [`wait`](Workers::wait).
    pub(crate) fn time(&self) -> Duration {
        self.0.task_time()
    }
}

impl<'scope> Pipeline<'scope> {
    pub(crate) fn start(
        scope: &'scope Scope<'scope, '_>,
        mut input: Input<'scope>,
        settings: &Settings,
        counters: Arc<Counters>,
    ) -> Result<Pipeline<'scope>> {
        let queue = Queue::new(Hasher::towards(settings.expect.diff_id.as_ref()));
        let engine = if settings.threads == 1 {
            let decompressor = Box::new(Decompressor::new(input, settings, counters.clone()));
            Engine::Inline { decompressor, ended: false }
        } else {
            let refused = |errno| Error::from(SourceError::Start(errno));
            let no_thread = |error| refused(Errno::from_io_error(&error).unwrap_or(Errno::AGAIN));
            let stop =
                StopOnDrop { queue: queue.clone(), _input: input.stop_handle().map_err(refused)? };
            let decompressor = Decompressor::new(input, settings, counters.clone());
            let moving = queue.clone();
            let worker =
                sys::spawn(scope, "ocilayer-decomp", move || decompressor.run(&moving, scope))
                    .map_err(no_thread)?;
            let mut workers = Vec::new();
            // Beside the reader and the decompressor.
            for _ in 2..if settings.workers { settings.threads } else { 0 } {
                let queue = queue.clone();
                let worker = sys::spawn(scope, "ocilayer-worker", move || queue.work());
                workers.push(worker.map_err(no_thread)?);
            }
            Engine::Thread { worker, workers, stop }
        };
        Ok(Pipeline { engine, queue, counters, cancel: settings.cancel.clone() })
    }

    /// Whom the reader can leave work to; none where it is alone.
    pub(crate) fn workers(&self) -> Option<Workers> {
        match self.engine {
            Engine::Inline { .. } => None,
            Engine::Thread { .. } => Some(Workers(self.queue.clone())),
        }
    }

    /// The next bytes of the archive; none at the end of the uncompressed stream. Every chunk
    /// but the last is [`CHUNK`] long.
    ///
    /// After an error there is nothing more to be had: [`abandon`](Pipeline::abandon) it.
    pub(crate) fn next(&mut self) -> Result<Option<Chunk>> {
        if self.cancel.as_ref().is_some_and(Cancel::is_cancelled) {
            return Err(Cause::Cancelled.into());
        }
        match &mut self.engine {
            Engine::Thread { .. } => self.queue.take(),
            Engine::Inline { ended: true, .. } => Ok(None),
            Engine::Inline { decompressor, ended } => {
                let chunk = decompressor.next_chunk(&self.queue, self.queue.buffer_now())?;
                match &chunk {
                    Some(chunk) => self.queue.hash_here(chunk),
                    None => *ended = true,
                }
                Ok(chunk)
            }
        }
    }

    /// Drains what is left of the stream, so that both digests are of the whole.
    pub(crate) fn finish(mut self) -> Result<Summary> {
        while self.next()?.is_some() {}
        let Pipeline { engine, queue, counters, .. } = self;
        let (diff_id, digest) = queue.finish();
        let decompressed = match engine {
            Engine::Inline { decompressor, .. } => decompressor.outcome(),
            Engine::Thread { worker, workers, stop } => {
                drop(stop);
                workers.into_iter().try_for_each(|worker| worker.join().map_err(defect))?;
                worker.join().map_err(defect)?
            }
        };
        // A blob that is not compressed is the archive.
        let plain = decompressed.compression == Compression::None;
        let blob_digest = decompressed.blob_digest?.or_else(|| plain.then(|| diff_id.clone()));
        let amounts = counters.amounts(decompressed.compression, decompressed.time, digest);
        Ok(Summary { blob_digest, diff_id, amounts })
    }

    /// Stops early, also where the decompressor waits for its source, and tells how far it came.
    pub(crate) fn abandon(self) -> Amounts {
        let Pipeline { engine, queue, counters, .. } = self;
        let decompressed = match engine {
            Engine::Inline { decompressor, .. } => decompressor.outcome(),
            Engine::Thread { worker, workers, stop } => {
                drop(stop);
                workers.into_iter().for_each(|worker| drop(worker.join()));
                worker.join().unwrap_or_else(Decompressed::nothing)
            }
        };
        counters.amounts(decompressed.compression, decompressed.time, queue.digest_time())
    }
}

impl Counters {
    /// What is known of a stream before its end.
    pub(crate) fn so_far(&self) -> Amounts {
        self.amounts(Compression::default(), Duration::ZERO, Duration::ZERO)
    }

    fn amounts(&self, compression: Compression, decompress: Duration, digest: Duration) -> Amounts {
        Amounts {
            blob_bytes: self.blob_bytes.load(Ordering::Relaxed),
            layer_bytes: self.layer_bytes.load(Ordering::Relaxed),
            compression,
            decompress,
            digest,
        }
    }
}

/// Ends all threads, when dropped.
struct StopOnDrop {
    queue: Arc<Queue>,
    _input: StopHandle,
}

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.queue.stop();
    }
}

/// Decompresses the blob into chunks, on whichever thread.
struct Decompressor<'a> {
    decoder: Decoder<'a>,
    output_limits: OutputLimits,
    /// Of the whole pipeline.
    threads: usize,
    /// Whether as many may decompress, if the stream allows it.
    parallel_decode: bool,
    time: Duration,
}

/// Counts archive bytes, and holds them against the limits.
struct OutputLimits {
    counters: Arc<Counters>,
    limits: Limits,
    ratio_floor: u64,
}

/// What is left when the decompressor has stopped.
struct Decompressed {
    /// None where it is the archive's, or was to be skipped.
    blob_digest: Result<Option<Digest>>,
    compression: Compression,
    time: Duration,
}

impl Decompressed {
    fn nothing(panic: Box<dyn Any + Send>) -> Decompressed {
        let compression = Compression::default();
        Decompressed { blob_digest: Err(defect(panic)), compression, time: Duration::ZERO }
    }
}

impl<'a> Decompressor<'a> {
    fn new(input: Input<'a>, settings: &Settings, counters: Arc<Counters>) -> Decompressor<'a> {
        let expected = settings.expect.blob.as_ref();
        let wanted = expected.is_some() || !settings.skip_blob_digest;
        let blob = wanted.then(|| Hasher::towards(expected));
        let archive = Hasher::towards(settings.expect.diff_id.as_ref()).algorithm();
        let window_log = settings.limits.zstd_window_log;
        Decompressor {
            decoder: Decoder::new(input, blob, archive, window_log, counters.clone()),
            output_limits: OutputLimits {
                counters,
                limits: settings.limits,
                ratio_floor: settings.ratio_floor,
            },
            threads: settings.threads,
            parallel_decode: settings.parallel_decode,
            time: Duration::ZERO,
        }
    }

    /// The decompressor's thread, to the end of the stream, an error or a stop.
    fn run(mut self, queue: &Arc<Queue>, scope: &'a Scope<'a, '_>) -> Decompressed {
        // Unwind safe: after a panic only the time and the compression are looked at.
        let end = catch_unwind(AssertUnwindSafe(|| {
            match self.parallel_decode && self.decoder.can_decode_in_parallel()? {
                true => self.run_parallel(queue),
                false => self.run_alone(queue, scope),
            }
        }));
        queue.end(end.unwrap_or_else(|panic| Err(defect(panic))));
        queue.work();
        self.outcome()
    }

    fn run_alone(&mut self, queue: &Arc<Queue>, scope: &'a Scope<'a, '_>) -> Result<()> {
        self.decoder.read_ahead(scope, self.threads)?;
        while let Some(buffer) = queue.buffer() {
            match self.next_chunk(queue, buffer)? {
                Some(chunk) => queue.put(chunk),
                None => break,
            }
            if self.decoder.compression() == Compression::None {
                // Reading costs so little that this thread would fill the pool at once, and hash
                // what its cache has lost by then.
                queue.hash_next();
            }
        }
        Ok(())
    }

    /// The same, with threads of the decoder's own; this one puts on the queue what they make.
    fn run_parallel(&mut self, queue: &Arc<Queue>) -> Result<()> {
        let begin = Instant::now();
        let mut writer =
            ChunkWriter { queue, output_limits: &self.output_limits, buffer: None, filled: 0 };
        // What is not decompression: waiting for a buffer, and helping others meanwhile.
        let mut elsewhere = Duration::ZERO;
        let end = self.decoder.decode_in_parallel(self.threads, &mut |bytes| {
            let begin = Instant::now();
            let taken = writer.take(bytes);
            elsewhere += begin.elapsed();
            taken
        });
        self.time += begin.elapsed().saturating_sub(elsewhere);
        end.and_then(|()| writer.end())
    }

    /// One chunk; none at the stream's end.
    fn next_chunk(&mut self, queue: &Arc<Queue>, mut buffer: Box<[u8]>) -> Result<Option<Chunk>> {
        let begin = Instant::now();
        let filled = self.decoder.fill(&mut buffer);
        self.time += begin.elapsed();
        let len = filled?;
        self.output_limits.pass(len)?;
        // Made in any case: it is what brings the buffer back.
        let chunk = Chunk::new(queue, buffer, len);
        Ok((len > 0).then_some(chunk))
    }

    fn outcome(self) -> Decompressed {
        let compression = self.decoder.compression();
        Decompressed { blob_digest: self.decoder.finish(), compression, time: self.time }
    }
}

impl OutputLimits {
    fn pass(&self, len: usize) -> Result<(), LimitExceeded> {
        let layer = self.counters.layer_bytes.load(Ordering::Relaxed) + len as u64;
        self.counters.layer_bytes.store(layer, Ordering::Relaxed);
        if layer > self.limits.bytes {
            return Err(LimitExceeded::Bytes(self.limits.bytes));
        }
        let blob = self.counters.blob_bytes.load(Ordering::Relaxed);
        if layer >= self.ratio_floor && layer > blob.saturating_mul(self.limits.ratio) {
            return Err(LimitExceeded::Ratio(self.limits.ratio));
        }
        Ok(())
    }
}

/// Archive bytes that come in any pieces, on their way into chunks.
struct ChunkWriter<'b> {
    queue: &'b Arc<Queue>,
    output_limits: &'b OutputLimits,
    buffer: Option<Box<[u8]>>,
    filled: usize,
}

impl ChunkWriter<'_> {
    /// Break: the queue was stopped.
    fn take(&mut self, mut bytes: &[u8]) -> Result<ControlFlow<()>> {
        while !bytes.is_empty() {
            let Some(mut buffer) = self.buffer.take().or_else(|| self.queue.buffer()) else {
                return Ok(ControlFlow::Break(()));
            };
            let room = &mut buffer[self.filled..];
            let (now, later) = bytes.split_at(bytes.len().min(room.len()));
            room[..now.len()].copy_from_slice(now);
            self.filled += now.len();
            bytes = later;
            match self.filled == buffer.len() {
                true => self.put(buffer)?,
                false => self.buffer = Some(buffer),
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// What is left for the last chunk.
    fn end(mut self) -> Result<()> {
        self.buffer.take().map_or(Ok(()), |buffer| self.put(buffer))
    }

    fn put(&mut self, buffer: Box<[u8]>) -> Result<()> {
        let len = std::mem::take(&mut self.filled);
        self.output_limits.pass(len)?;
        self.queue.put(Chunk::new(self.queue, buffer, len));
        Ok(())
    }
}

/// A panic's message, as an error for the thread that waits.
pub(crate) fn defect(panic: Box<dyn Any + Send>) -> Error {
    let text = panic
        .downcast_ref::<&str>()
        .map(|text| text.to_string())
        .or_else(|| panic.downcast_ref::<String>().cloned());
    Cause::Panic(text.unwrap_or_else(|| "a panic without a message".into())).into()
}
