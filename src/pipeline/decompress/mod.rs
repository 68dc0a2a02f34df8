// SPDX-License-Identifier: Apache-2.0
//! Compressed bytes to archive bytes: gzip, zstd or neither, by magic and never by name.

mod gzip;
mod inflate;
mod parallel;
mod zstd;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::Scope;

use crate::digest::{Algorithm, Digest, Hasher};
use crate::error::{Cause, Result};
use crate::pipeline::source::{Input, ReadAhead, SourceError};
use crate::pipeline::{Counters, defect};
use crate::report::Compression;

use gzip::Gzip;
use zstd::Zstd;

/// A damaged compressed stream. Offsets count compressed bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecompressError {
    #[error("gzip stream at {offset}: {reason}")]
    Gzip { offset: u64, reason: String },
    #[error("zstd stream at {offset}: {reason}")]
    Zstd { offset: u64, reason: String },
    #[error("compressed stream ends in the middle, at {offset}")]
    Truncated { offset: u64 },
    #[error("{0} is not a compression that layers use")]
    Unsupported(&'static str),
}

/// What a blob's first bytes say.
#[derive(Debug, PartialEq, Eq)]
enum Magic {
    Known(Compression),
    Unsupported(&'static str),
}

/// The longest magic.
const MAGIC: usize = 10;

impl Magic {
    /// An archive begins with a file's name, so a magic that is a plausible name is not one.
    fn of(head: &[u8]) -> Magic {
        match head {
            [0x1f, 0x8b, ..] => Magic::Known(Compression::Gzip),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Magic::Known(Compression::Zstd),
            // A skippable frame: zstd:chunked and pzstd may begin with one.
            [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Magic::Known(Compression::Zstd),
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Magic::Unsupported("xz"),
            // With the first block's magic, or the end's in an empty file.
            [b'B', b'Z', b'h', b'1'..=b'9', b'1', b'A', b'Y', b'&', b'S', b'Y', ..]
            | [b'B', b'Z', b'h', b'1'..=b'9', 0x17, 0x72, 0x45, 0x38, 0x50, 0x90, ..] => {
                Magic::Unsupported("bzip2")
            }
            [0x04, 0x22, 0x4d, 0x18, ..] | [0x02, 0x21, 0x4c, 0x18, ..] => {
                Magic::Unsupported("lz4")
            }
            [b'L', b'Z', b'I', b'P', 1, ..] => Magic::Unsupported("lzip"),
            [0x1f, 0x9d, ..] => Magic::Unsupported("compress"),
            _ => Magic::Known(Compression::None),
        }
    }
}

/// The blob as it is read: hashed and counted on its way into the decompressor.
struct Blob<'a> {
    input: Input<'a>,
    /// None where the archive's digest is the blob's as well, or nobody wants it.
    hasher: Option<Hasher>,
    counters: Arc<Counters>,
    offset: u64,
}

impl Blob<'_> {
    /// Shows the next bytes to `work`, none at the blob's end, and moves past those it used.
    fn pass<T>(&mut self, work: impl FnOnce(&[u8]) -> (usize, T)) -> Result<T, SourceError> {
        let shown = self.input.fill()?;
        let (used, result) = work(shown);
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&shown[..used]);
        }
        self.input.consume(used);
        self.count(used);
        Ok(result)
    }

    /// Reads straight into `into`.
    fn read(&mut self, into: &mut [u8]) -> Result<usize, SourceError> {
        let got = self.input.read(into)?;
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&into[..got]);
        }
        self.count(got);
        Ok(got)
    }

    fn count(&mut self, count: usize) {
        self.offset += count as u64;
        self.counters.blob_bytes.store(self.offset, Ordering::Relaxed);
    }

    fn is_at_end(&mut self) -> Result<bool, SourceError> {
        Ok(self.input.fill()?.is_empty())
    }
}

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

    /// Fills `out` with archive bytes; less than its length only at their end.
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
            self.ahead = ahead.map_err(Cause::Thread)?;
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
            hasher = ahead.join().map_err(defect)?;
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
    }
    Ok(filled)
}
