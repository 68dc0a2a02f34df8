// SPDX-License-Identifier: Apache-2.0
//! The stage that turns the blob into chunks.

use std::any::Any;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::Scope;
use std::time::{Duration, Instant};

use super::chunk::Chunk;
use super::counters::Counters;
use super::decompress::Decoder;
use super::error::{PipelineError, Result};
use super::queue::{Failure, Queue};
use super::settings::Settings;
use super::source::Input;
use crate::digest::{Digest, Hasher};
use crate::limits::{LimitExceeded, Limits};
use crate::report::Compression;

/// Decompresses the blob into chunks, on whichever thread.
pub(super) struct Decompressor<'a> {
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
pub(super) struct Decompressed {
    /// None where it is the archive's, or was to be skipped.
    pub(super) blob_digest: Result<Option<Digest>>,
    pub(super) compression: Compression,
    pub(super) time: Duration,
}

impl Decompressed {
    pub(super) fn nothing(panic: Box<dyn Any + Send>) -> Decompressed {
        let compression = Compression::default();
        Decompressed {
            blob_digest: Err(PipelineError::panicked(panic)),
            compression,
            time: Duration::ZERO,
        }
    }
}

impl<'a> Decompressor<'a> {
    pub(super) fn new(
        input: Input<'a>,
        settings: &Settings,
        counters: Arc<Counters>,
    ) -> Decompressor<'a> {
        let expected = settings.expect.blob.as_ref();
        let wanted = settings.digests && (expected.is_some() || !settings.skip_blob_digest);
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
    pub(super) fn run<E: Failure>(
        mut self,
        queue: &Arc<Queue<E>>,
        scope: &'a Scope<'a, '_>,
    ) -> Decompressed {
        // Unwind safe: after a panic only the time and the compression are looked at.
        let end = catch_unwind(AssertUnwindSafe(|| {
            match self.parallel_decode && self.decoder.can_decode_in_parallel()? {
                true => self.run_parallel(queue),
                false => self.run_alone(queue, scope),
            }
        }));
        queue.end(end.unwrap_or_else(|panic| Err(PipelineError::panicked(panic))));
        queue.work();
        self.outcome()
    }

    fn run_alone<E: Failure>(
        &mut self,
        queue: &Arc<Queue<E>>,
        scope: &'a Scope<'a, '_>,
    ) -> Result<()> {
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
    fn run_parallel<E: Failure>(&mut self, queue: &Arc<Queue<E>>) -> Result<()> {
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
    pub(super) fn next_chunk<E: Failure>(
        &mut self,
        queue: &Arc<Queue<E>>,
        mut buffer: Box<[u8]>,
    ) -> Result<Option<Chunk>> {
        let begin = Instant::now();
        let filled = self.decoder.fill(&mut buffer);
        self.time += begin.elapsed();
        let len = filled?;
        self.output_limits.pass(len)?;
        // Made in any case: it is what brings the buffer back.
        let chunk = Chunk::new(queue, buffer, len);
        Ok((len > 0).then_some(chunk))
    }

    pub(super) fn outcome(self) -> Decompressed {
        let compression = self.decoder.compression();
        Decompressed { blob_digest: self.decoder.finish(), compression, time: self.time }
    }
}

impl OutputLimits {
    fn pass(&self, len: usize) -> Result<(), LimitExceeded> {
        let layer = self.counters.layer_bytes.load(Ordering::Relaxed) + len as u64;
        self.counters.layer_bytes.store(layer, Ordering::Relaxed);
        if layer > self.limits.bytes {
            return Err(LimitExceeded::Bytes { got: layer, limit: self.limits.bytes });
        }
        let blob = self.counters.blob_bytes.load(Ordering::Relaxed);
        if layer >= self.ratio_floor && layer > blob.saturating_mul(self.limits.ratio) {
            let got = layer / blob.max(1);
            return Err(LimitExceeded::Ratio { got, limit: self.limits.ratio });
        }
        Ok(())
    }
}

/// Archive bytes that come in any pieces, on their way into chunks.
struct ChunkWriter<'b, E> {
    queue: &'b Arc<Queue<E>>,
    output_limits: &'b OutputLimits,
    buffer: Option<Box<[u8]>>,
    filled: usize,
}

impl<E: Failure> ChunkWriter<'_, E> {
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
