// SPDX-License-Identifier: Apache-2.0
//! Compressed bytes to archive bytes: gzip, zstd or neither, by magic and never by name.

mod blob;
pub(super) mod error;
mod gzip;
mod inflate;
mod magic;
mod parallel;
mod zstd;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::Scope;

use crate::digest::{Algorithm, Digest, Hasher};
use crate::pipeline::counters::Counters;
use crate::pipeline::error::{PipelineError, Result};
use crate::pipeline::source::{Input, ReadAhead};
use crate::report::Compression;

use blob::Blob;
pub use error::DecompressError;
use gzip::Gzip;
use magic::{MAGIC, Magic};
use zstd::Zstd;

/// The uncompressed bytes of a blob.
pub(crate) struct Decoder<'a> {
    blob: Blob<'a>,
    archive: Algorithm,
    zstd_window_log: u32,
    /// Chosen by the first bytes, which are not there before the first call.
    codec: Option<Codec>,
    /// Who reads and hashes the blob, where that is another thread.
    ahead: Option<ReadAhead<'a>>,
}

enum Codec {
    Plain,
    Gzip(Gzip),
    Zstd(Zstd),
}

impl<'a> Decoder<'a> {
    /// `hasher` makes the blob's digest if that is wanted, while the caller makes the archive's by
    /// the algorithm `archive`.
    pub(crate) fn new(
        input: Input<'a>,
        hasher: Option<Hasher>,
        archive: Algorithm,
        zstd_window_log: u32,
        counters: Arc<Counters>,
    ) -> Decoder<'a> {
        let blob = Blob { input, hasher, counters, offset: 0 };
        Decoder { blob, archive, zstd_window_log, codec: None, ahead: None }
    }

    /// Fills `out` with archive bytes, less than its length only at their end; or, of a source that is
    /// read on demand, with what there is.
    pub(crate) fn fill(&mut self, out: &mut [u8]) -> Result<usize> {
        self.choose_codec()?;
        match self.codec.as_mut().expect("chosen one line up") {
            Codec::Plain => plain(&mut self.blob, out),
            Codec::Gzip(gzip) => gzip.fill(&mut self.blob, out),
            Codec::Zstd(zstd) => zstd.fill(&mut self.blob, out),
        }
    }

    /// Whether more threads can decompress this than one: [`decode_in_parallel`](Decoder::decode_in_parallel) then.
    pub(crate) fn can_decode_in_parallel(&mut self) -> Result<bool> {
        self.choose_codec()?;
        let gzip = matches!(self.codec, Some(Codec::Gzip(_)));
        let region = self.blob.input.region().filter(|_| gzip);
        Ok(region.is_some_and(|region| region.len() >= parallel::ENOUGH))
    }

    /// Decompresses all at once, on `threads` threads beside this one. All pieces go to `out`, in
    /// order, on this thread, until it breaks.
    pub(crate) fn decode_in_parallel(
        &mut self,
        threads: usize,
        out: parallel::Out<'_>,
    ) -> Result<()> {
        let Blob { input, hasher, counters, offset } = &mut self.blob;
        let region = input.region().expect("looked at when it was worth it");
        parallel::gunzip(&region, counters, hasher.as_mut(), threads, out)?;
        *offset = region.len();
        counters.blob_bytes.store(*offset, Ordering::Relaxed);
        input.consume_region();
        Ok(())
    }

    /// Has another thread read what is to be decompressed, and make its digest if one is wanted, where
    /// that is of use among as many threads, and the blob is a file.
    pub(crate) fn read_ahead(&mut self, scope: &'a Scope<'a, '_>, threads: usize) -> Result<()> {
        self.choose_codec()?;
        let of_use = match self.codec {
            // It sets the pace, so another thread than its own makes the digest.
            Some(Codec::Gzip(_)) => threads > 2 || self.blob.hasher.is_some(),
            // As fast as one other thread can be: a third one would only be in their way.
            Some(Codec::Zstd(_)) => threads > 2,
            // Read straight to where it goes.
            Some(Codec::Plain) | None => false,
        };
        if of_use {
            let ahead = self.blob.input.read_ahead(scope, &mut self.blob.hasher);
            self.ahead = ahead.map_err(PipelineError::Thread)?;
        }
        Ok(())
    }

    fn choose_codec(&mut self) -> Result<()> {
        if self.codec.is_none() {
            self.codec = Some(self.detect()?);
        }
        Ok(())
    }

    fn detect(&mut self) -> Result<Codec> {
        match Magic::of(self.blob.input.head(MAGIC)?) {
            Magic::Known(Compression::Gzip) => Ok(Codec::Gzip(Gzip::new())),
            Magic::Known(Compression::Zstd) => Ok(Codec::Zstd(Zstd::new(self.zstd_window_log))),
            Magic::Known(Compression::None) => {
                // The blob is the archive: one hash is enough for both digests.
                self.blob.hasher.take_if(|hasher| hasher.algorithm() == self.archive);
                Ok(Codec::Plain)
            }
            Magic::Unsupported(name) => Err(DecompressError::Unsupported(name).into()),
        }
    }

    pub(crate) fn compression(&self) -> Compression {
        match self.codec {
            Some(Codec::Gzip(_)) => Compression::Gzip,
            Some(Codec::Zstd(_)) => Compression::Zstd,
            Some(Codec::Plain) | None => Compression::None,
        }
    }

    /// The digest of what was read; none where it is the archive's or not wanted.
    pub(crate) fn finish(self) -> Result<Option<Digest>> {
        let Blob { input, mut hasher, .. } = self.blob;
        if let Some(ahead) = self.ahead {
            // Ends its thread, if the stream was not read to its end.
            drop(input);
            hasher = ahead.join().map_err(PipelineError::panicked)?;
        }
        Ok(hasher.map(Hasher::finish))
    }
}

fn plain(blob: &mut Blob<'_>, out: &mut [u8]) -> Result<usize> {
    let mut filled = 0;
    while filled < out.len() {
        match blob.read(&mut out[filled..])? {
            0 => break,
            got => filled += got,
        }
        if blob.may_wait() {
            break;
        }
    }
    Ok(filled)
}
