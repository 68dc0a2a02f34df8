// SPDX-License-Identifier: Apache-2.0
//! Compressed bytes to archive bytes: gzip, zstd or neither, by magic and never by name.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use flate2::{Decompress, FlushDecompress, Status};
use zstd::zstd_safe::zstd_sys::ZSTD_ErrorCode;
use zstd::zstd_safe::{
    DCtx, DParameter, ErrorCode, InBuffer, OutBuffer, get_error_name, is_error_kind,
};

use crate::digest::{Algorithm, Digest, Hasher};
use crate::error::{Error, Result};
use crate::flow::Counters;
use crate::limits::LimitExceeded;
use crate::report::Compression;
use crate::source::{Input, SourceError};

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
    /// None where the archive's digest is the blob's as well.
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
}

enum Codec {
    Plain,
    Gzip(Gzip),
    Zstd(Zstd),
}

impl<'a> Decoder<'a> {
    /// `hasher` makes the blob's digest, while the caller makes the archive's by the algorithm
    /// `archive`.
    pub(crate) fn new(
        input: Input<'a>,
        hasher: Hasher,
        archive: Algorithm,
        zstd_window_log: u32,
        counters: Arc<Counters>,
    ) -> Decoder<'a> {
        let blob = Blob { input, hasher: Some(hasher), counters, offset: 0 };
        Decoder { blob, archive, zstd_window_log, codec: None }
    }

    /// Fills `out` with archive bytes; less than its length only at their end.
    pub(crate) fn fill(&mut self, out: &mut [u8]) -> Result<usize> {
        if self.codec.is_none() {
            self.codec = Some(self.detect()?);
        }
        match self.codec.as_mut().expect("chosen three lines up") {
            Codec::Plain => plain(&mut self.blob, out),
            Codec::Gzip(gzip) => gzip.fill(&mut self.blob, out),
            Codec::Zstd(zstd) => zstd.fill(&mut self.blob, out),
        }
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

    /// The digest of what was read; none where it is the archive's.
    pub(crate) fn finish(self) -> Option<Digest> {
        self.blob.hasher.map(Hasher::finish)
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

/// Any number of gzip members (RFC 1952), each checked against its CRC and length.
///
/// Nothing but another member may follow a member, not even zeros: Go's and containerd's readers
/// refuse that too, and what one program ignores is a place to hide things from another.
struct Gzip {
    inflate: Decompress,
    inside: bool,
}

/// zlib's largest window, which every gzip may use.
const GZIP_WINDOW_BITS: u8 = 15;

impl Gzip {
    fn new() -> Gzip {
        Gzip { inflate: Decompress::new_gzip(GZIP_WINDOW_BITS), inside: true }
    }

    fn fill(&mut self, blob: &mut Blob<'_>, out: &mut [u8]) -> Result<usize> {
        let mut filled = 0;
        while filled < out.len() {
            let at_end = blob.is_at_end()?;
            if at_end && self.inside {
                return Err(DecompressError::Truncated { offset: blob.offset }.into());
            }
            if at_end {
                break;
            }
            if !self.inside {
                self.begin_member(blob)?;
            }
            filled += self.step(blob, &mut out[filled..])?;
        }
        Ok(filled)
    }

    fn begin_member(&mut self, blob: &mut Blob<'_>) -> Result<()> {
        if blob.pass(|input| (0, input[0] != 0x1f))? {
            let reason = "data that is no gzip member follows the last one".into();
            return Err(DecompressError::Gzip { offset: blob.offset, reason }.into());
        }
        self.inflate.reset(true);
        self.inside = true;
        Ok(())
    }

    fn step(&mut self, blob: &mut Blob<'_>, out: &mut [u8]) -> Result<usize> {
        let (read, made) = (self.inflate.total_in(), self.inflate.total_out());
        let inflate = &mut self.inflate;
        let status = blob.pass(|input| {
            let status = inflate.decompress(input, out, FlushDecompress::None);
            ((inflate.total_in() - read) as usize, status)
        })?;
        let made = (self.inflate.total_out() - made) as usize;
        let reason = match &status {
            Ok(Status::StreamEnd) => {
                self.inside = false;
                return Ok(made);
            }
            Ok(_) if made > 0 || self.inflate.total_in() > read => return Ok(made),
            Ok(_) => "no progress",
            Err(error) => error.message().unwrap_or("invalid data"),
        };
        Err(DecompressError::Gzip { offset: blob.offset, reason: reason.into() }.into())
    }
}

/// Any number of zstd frames and skippable frames (RFC 8878), with the checksums they have.
struct Zstd {
    context: DCtx<'static>,
    window_log: u32,
    inside: bool,
}

impl Zstd {
    fn new(window_log: u32) -> Zstd {
        let mut context = DCtx::create();
        context
            .set_parameter(DParameter::WindowLogMax(window_log))
            .expect("Options::check keeps it within zstd's bounds");
        Zstd { context, window_log, inside: true }
    }

    fn fill(&mut self, blob: &mut Blob<'_>, out: &mut [u8]) -> Result<usize> {
        let mut out = OutBuffer::around(out);
        while out.pos() < out.capacity() {
            let at_end = blob.is_at_end()?;
            if at_end && !self.inside {
                break;
            }
            let before = out.pos();
            self.step(blob, &mut out)?;
            // At the blob's end the decoder may still hold output, but no more than that.
            if at_end && self.inside && out.pos() == before {
                return Err(DecompressError::Truncated { offset: blob.offset }.into());
            }
        }
        Ok(out.pos())
    }

    fn step(&mut self, blob: &mut Blob<'_>, out: &mut OutBuffer<'_, [u8]>) -> Result<()> {
        let context = &mut self.context;
        let wanted = blob.pass(|input| {
            let mut input = InBuffer::around(input);
            let wanted = context.decompress_stream(out, &mut input);
            (input.pos(), wanted)
        })?;
        let wanted = wanted.map_err(|code| self.explain(code, blob.offset))?;
        // Zero says that a frame is complete and all of it is in `out`.
        self.inside = wanted != 0;
        Ok(())
    }

    fn explain(&self, code: ErrorCode, offset: u64) -> Error {
        if is_error_kind(code, ZSTD_ErrorCode::ZSTD_error_frameParameter_windowTooLarge) {
            return LimitExceeded::ZstdWindow(self.window_log).into();
        }
        DecompressError::Zstd { offset, reason: get_error_name(code).into() }.into()
    }
}
