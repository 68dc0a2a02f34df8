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
//! - A source that may wait for ever behind the archive's end is read on demand: a chunk is begun
//!   when the reader asks for it, and is as long as what the source gave.
//! - A stop wakes the decompressor wherever it waits: for a buffer, for a pipe, for the caller's
//!   read callback.

mod chunk;
mod counters;
mod decompress;
mod decompressor;
mod error;
mod queue;
mod settings;
mod source;
#[cfg(test)]
mod tests;
mod workers;

use std::sync::Arc;
use std::thread::{Scope, ScopedJoinHandle};

use crate::cancel::Cancel;
use crate::digest::Hasher;
use crate::errno::Errno;
use crate::report::Compression;
use crate::sys;

use decompressor::{Decompressed, Decompressor};
use queue::{Failure, Queue};

pub(crate) use chunk::{Chunk, ChunkSlice};
pub(crate) use counters::{Amounts, Counters, Summary};
pub(crate) use decompress::Decoder;
pub use decompress::DecompressError;
pub(crate) use error::PipelineError;
pub(crate) use settings::Settings;
use source::StopHandle;
pub use source::{Growth, Source, SourceError};
pub(crate) use source::{Input, ReadCallback};
pub(crate) use workers::Workers;

/// The reader's end. Dropping it stops the decompressor.
pub(crate) struct Pipeline<'scope, E: Failure> {
    engine: Engine<'scope, E>,
    queue: Arc<Queue<E>>,
    counters: Arc<Counters>,
    cancel: Option<Cancel>,
    threads: usize,
}

enum Engine<'scope, E: Failure> {
    /// Everything happens in `next`.
    Inline { decompressor: Box<Decompressor<'scope>>, ended: bool },
    Thread {
        decompressor: ScopedJoinHandle<'scope, Decompressed>,
        workers: Vec<ScopedJoinHandle<'scope, ()>>,
        stop: StopOnDrop<E>,
    },
}

impl<'scope, E: Failure> Pipeline<'scope, E> {
    pub(crate) fn start(
        scope: &'scope Scope<'scope, '_>,
        mut input: Input<'scope>,
        settings: &Settings,
        counters: Arc<Counters>,
    ) -> Result<Pipeline<'scope, E>, PipelineError> {
        let hasher = settings.digests.then(|| Hasher::towards(settings.expect.diff_id.as_ref()));
        let queue = Queue::new(hasher, input.on_demand);
        let engine = if settings.threads == 1 {
            let decompressor = Box::new(Decompressor::new(input, settings, counters.clone()));
            Engine::Inline { decompressor, ended: false }
        } else {
            let refused = |errno| PipelineError::from(SourceError::Start(errno));
            let no_thread = |error: std::io::Error| refused(Errno::of_thread(&error));
            let stop =
                StopOnDrop { queue: queue.clone(), _input: input.stop_handle().map_err(refused)? };
            let decompressor = Decompressor::new(input, settings, counters.clone());
            let moving = queue.clone();
            let decompressor =
                sys::spawn(scope, "ocilayer-decomp", move || decompressor.run(&moving, scope))
                    .map_err(no_thread)?;
            let mut workers = Vec::new();
            // Beside the reader and the decompressor.
            for _ in 2..if settings.workers { settings.threads } else { 0 } {
                let queue = queue.clone();
                let worker = sys::spawn(scope, "ocilayer-worker", move || queue.work());
                workers.push(worker.map_err(no_thread)?);
            }
            Engine::Thread { decompressor, workers, stop }
        };
        let (cancel, threads) = (settings.cancel.clone(), settings.threads);
        Ok(Pipeline { engine, queue, counters, cancel, threads })
    }

    /// Whom the reader can leave work to; none where it is alone.
    pub(crate) fn workers(&self) -> Option<Workers<E>> {
        match self.engine {
            Engine::Inline { .. } => None,
            Engine::Thread { .. } => Some(Workers::new(self.queue.clone(), self.threads)),
        }
    }

    /// The next bytes of the archive; none at the end of the uncompressed stream.
    ///
    /// After an error there is nothing more to be had: [`abandon`](Pipeline::abandon) it.
    pub(crate) fn next(&mut self) -> Result<Option<Chunk>, E> {
        if self.cancel.as_ref().is_some_and(Cancel::is_cancelled) {
            return Err(PipelineError::Cancelled.into());
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

    /// Drains what is left of the stream, so that both digests, if they are made, are of the whole.
    pub(crate) fn finish(mut self) -> Result<Summary, E> {
        while self.next()?.is_some() {}
        let Pipeline { engine, queue, counters, .. } = self;
        let (diff_id, digest) = queue.finish();
        let decompressed = match engine {
            Engine::Inline { decompressor, .. } => decompressor.outcome(),
            Engine::Thread { decompressor, workers, stop } => {
                drop(stop);
                workers
                    .into_iter()
                    .try_for_each(|worker| worker.join().map_err(PipelineError::panicked))?;
                decompressor.join().map_err(PipelineError::panicked)?
            }
        };
        // A blob that is not compressed is the archive.
        let plain = decompressed.compression == Compression::None;
        let blob_digest = decompressed.blob_digest?.or_else(|| diff_id.clone().filter(|_| plain));
        let amounts = counters.amounts(decompressed.compression, decompressed.time, digest);
        Ok(Summary { blob_digest, diff_id, amounts })
    }

    /// Stops early, also where the decompressor waits for its source, and tells how far it came.
    pub(crate) fn abandon(self) -> Amounts {
        let Pipeline { engine, queue, counters, .. } = self;
        let decompressed = match engine {
            Engine::Inline { decompressor, .. } => decompressor.outcome(),
            Engine::Thread { decompressor, workers, stop } => {
                drop(stop);
                workers.into_iter().for_each(|worker| drop(worker.join()));
                decompressor.join().unwrap_or_else(Decompressed::nothing)
            }
        };
        counters.amounts(decompressed.compression, decompressed.time, queue.digest_time())
    }
}

/// Ends all threads, when dropped.
struct StopOnDrop<E: Failure> {
    queue: Arc<Queue<E>>,
    _input: StopHandle,
}

impl<E: Failure> Drop for StopOnDrop<E> {
    fn drop(&mut self) {
        self.queue.stop();
    }
}
