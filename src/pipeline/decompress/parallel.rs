// SPDX-License-Identifier: Apache-2.0
//! One gzip stream on several threads, by rapidgzip's algorithm: threads begin in the middle of the
//! stream, at what looks like a block, with marks for what they cannot know yet, and the marks are
//! resolved in order. What a thread has wrongly taken for a block is thrown away, and every member's
//! CRC and length are checked.

use std::io::{self, Write};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use rapidgzip_core::{DecodeError, Decoder, DeflateErrorKind, GzipErrorKind, ReadAt};

use super::error::DecompressError;
use crate::digest::Hasher;
use crate::pipeline::counters::Counters;
use crate::pipeline::error::{PipelineError, Result};
use crate::pipeline::source::{Region, SourceError};
use crate::sys;

/// Bytes of a blob below which there are not enough places to begin at.
pub(super) const ENOUGH: u64 = 16 << 20;

/// More threads would only wait: the archive's digest, which one makes at a time, is then what is
/// slowest.
const MOST: usize = 8;

/// Uncompressed bytes that come at a time. Each thread has a few of these.
const PIECE: usize = 1 << 20;

/// Bytes that are hashed at a time.
const HASHED: usize = 256 << 10;

/// Takes the next bytes of the archive. Break: no more are wanted.
pub(crate) type Out<'o> = &'o mut dyn FnMut(&[u8]) -> Result<ControlFlow<()>>;

/// Decompresses all of `blob` on as many threads, or [`MOST`], and hashes it on one more.
pub(super) fn gunzip(
    blob: &Region<'_>,
    counters: &Counters,
    hasher: Option<&mut Hasher>,
    threads: usize,
    out: Out<'_>,
) -> Result<()> {
    let input = Observed { blob, counters, failure: Mutex::new(None) };
    let mut output = Sink { out, end: None };
    let stop = AtomicBool::new(false);
    let (decoded, hashed) = thread::scope(|scope| {
        let hash = |hasher| sys::spawn(scope, "ocilayer-digest", || hash(blob, hasher, &stop));
        let hashing = hasher.map(hash).transpose().map_err(PipelineError::Thread)?;
        let decoder =
            Decoder::builder().decoder_threads(threads.min(MOST)).decoded_chunk_size(PIECE).build();
        let decoded = decoder.expect("sizes as it asks").decode(&input, &mut output);
        let decoded = match decoded {
            // All members before it were checked, and what they hold went out.
            Err(DecodeError::InvalidGzip { offset, .. }) if is_padding(blob, offset)? => Ok(()),
            decoded => decoded.map(drop),
        };
        stop.store(decoded.is_err(), Ordering::Relaxed);
        let hashed = hashing.map(|hashing| {
            hashing.join().unwrap_or_else(|panic| Err(PipelineError::panicked(panic)))
        });
        Ok::<_, PipelineError>((decoded, hashed))
    })?;
    // What is behind an error that only says that reading or writing failed.
    if let Some(end) = output.end {
        return end;
    }
    if let Some(failure) = input.failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(failure.into());
    }
    decoded.map_err(|error| explain(error, counters.blob_bytes.load(Ordering::Relaxed)))?;
    hashed.unwrap_or(Ok(()))
}

/// Whether there are zeros from here on to the blob's end, and behind a member.
fn is_padding(blob: &Region<'_>, mut offset: u64) -> Result<bool, SourceError> {
    let mut buffer = vec![0; HASHED];
    if offset == 0 || offset >= blob.len() {
        return Ok(false);
    }
    loop {
        match blob.read(offset, &mut buffer)? {
            0 => return Ok(true),
            got if buffer[..got].iter().any(|byte| *byte != 0) => return Ok(false),
            got => offset += got as u64,
        }
    }
}

/// The digest of the blob, which nobody else reads in order.
fn hash(blob: &Region<'_>, hasher: &mut Hasher, stop: &AtomicBool) -> Result<()> {
    let (mut buffer, mut offset) = (vec![0; HASHED], 0);
    while !stop.load(Ordering::Relaxed) {
        match blob.read(offset, &mut buffer)? {
            0 => break,
            got => {
                hasher.update(&buffer[..got]);
                offset += got as u64;
            }
        }
    }
    Ok(())
}

/// The blob as the decoder's threads read it.
struct Observed<'b> {
    blob: &'b Region<'b>,
    counters: &'b Counters,
    /// The first one.
    failure: Mutex<Option<SourceError>>,
}

impl ReadAt for Observed<'_> {
    fn len(&self) -> io::Result<u64> {
        Ok(self.blob.len())
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        match self.blob.read(offset, buffer) {
            Ok(got) => {
                self.counters.blob_bytes.fetch_max(offset + got as u64, Ordering::Relaxed);
                Ok(got)
            }
            Err(error) => {
                let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
                failure.get_or_insert(error);
                Err(io::ErrorKind::Other.into())
            }
        }
    }
}

struct Sink<'o> {
    out: Out<'o>,
    /// How it ended, if that was not at the end of the archive.
    end: Option<Result<()>>,
}

impl Write for Sink<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.end = match (self.out)(bytes) {
            Ok(ControlFlow::Continue(())) => return Ok(bytes.len()),
            Ok(ControlFlow::Break(())) => Some(Ok(())),
            Err(error) => Some(Err(error)),
        };
        Err(io::ErrorKind::Other.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// `offset` is how far the blob was read, for errors that do not say where they are.
fn explain(error: DecodeError, offset: u64) -> PipelineError {
    let at = |offset, reason: String| DecompressError::Gzip { offset, reason }.into();
    match &error {
        DecodeError::InvalidGzip {
            offset,
            reason: GzipErrorKind::Truncated | GzipErrorKind::UnterminatedHeaderField,
        } => DecompressError::Truncated { offset: *offset }.into(),
        DecodeError::InvalidDeflate { bit_offset, reason: DeflateErrorKind::Truncated } => {
            DecompressError::Truncated { offset: bit_offset / 8 }.into()
        }
        DecodeError::InvalidGzip { offset, reason } => at(*offset, reason.to_string()),
        DecodeError::InvalidDeflate { bit_offset, reason } => {
            at(bit_offset / 8, reason.to_string())
        }
        DecodeError::WorkerPanicked => PipelineError::Panic(error.to_string()),
        _ => at(offset, error.to_string()),
    }
}
