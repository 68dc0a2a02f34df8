// SPDX-License-Identifier: Apache-2.0
//! Archive bytes to entries, for whoever does something with them.

use crate::error::{Cause, Error, Result};
use crate::limits::Limits;
use crate::options::{Expect, ReadTo};
use crate::pipeline::Chunk;
use crate::report::Compression;
use crate::tar::{ArchiveEnd, Entry, Event, Parser, Place, TarError};

/// What the entries of an archive go to, one after the other: `begin`, any number of `data`, `end`.
pub(crate) trait Sink {
    /// The next piece of the archive; none at its end.
    fn next(&mut self) -> Result<Option<Chunk>>;

    fn begin(&mut self, entry: &Entry) -> Result<()>;

    fn data(&mut self, entry: &Entry, at: u64, bytes: &[u8]) -> Result<()>;

    fn end(&mut self, entry: &Entry) -> Result<()>;

    /// All entries that ended in this piece were handed over.
    fn pause(&mut self) -> Result<()> {
        Ok(())
    }

    /// Records of a global PAX header, by their keys, none of which is applied.
    fn global(&mut self, _before: &Place, _keys: &[Vec<u8>]) -> Result<()> {
        Ok(())
    }

    /// Behind the end marker come other bytes than zeros. Called once.
    fn after_end(&mut self, _end: &Place) -> Result<()> {
        Ok(())
    }
}

/// Reads the archive up to its end marker, and on to the end of the stream if that is wanted. Every
/// error of the archive has its place.
pub(crate) fn read(limits: &Limits, to: ReadTo, sink: &mut impl Sink) -> Result<ArchiveEnd> {
    let mut parser = Parser::new(limits);
    while let Some(chunk) = sink.next().map_err(|error| error.at(|| parser.place()))? {
        let rest = read_chunk(&mut parser, sink, &chunk)?;
        // At the end marker as well: the last progress tells of all entries.
        sink.pause()?;
        if let Some(rest) = rest {
            if to == ReadTo::EndOfBlob {
                pass_rest(&parser.place(), sink, rest)?;
            }
            return Ok(ArchiveEnd::Marker);
        }
    }
    parser.finish().map_err(|error| Error::from(Cause::from(error)).at(|| parser.place()))
}

/// Reads what is in one chunk. What is left of it behind the archive's end marker, if that was there.
fn read_chunk<'c>(
    parser: &mut Parser,
    sink: &mut impl Sink,
    chunk: &'c [u8],
) -> Result<Option<&'c [u8]>> {
    let mut rest = chunk;
    loop {
        let (used, event) = match parser.step(rest) {
            Ok(found) => found,
            Err(error) => return Err(Error::from(Cause::from(error)).at(|| parser.place())),
        };
        rest = &rest[used..];
        let done = match event {
            Event::More => return Ok(None),
            Event::End => return Ok(Some(rest)),
            Event::Entry => sink.begin(parser.entry()),
            Event::Data { at, bytes } => sink.data(parser.entry(), at, bytes),
            Event::EntryEnd => sink.end(parser.entry()),
            Event::Global => sink.global(&parser.place(), parser.global_records()),
        };
        done.map_err(|error| error.at(|| parser.place()))?;
    }
}

/// What stands behind the end marker belongs to the blob, so that its digests and checksums are of
/// all of it, and means nothing.
fn pass_rest(end: &Place, sink: &mut impl Sink, rest: &[u8]) -> Result<()> {
    let is_padding = |bytes: &[u8]| bytes.iter().all(|byte| *byte == 0);
    let mut padding = is_padding(rest);
    if !padding {
        sink.after_end(end)?;
    }
    while let Some(chunk) = sink.next()? {
        if padding && !is_padding(&chunk) {
            padding = false;
            sink.after_end(end)?;
        }
    }
    Ok(())
}

/// Whether an archive that ended in this way is known to be whole. Its stream was read to the end, and
/// has the digests that were expected of it.
///
/// Builders exist that write no end marker. A cut archive looks the same, so something else must
/// vouch for it.
pub(crate) fn prove(end: ArchiveEnd, compression: Compression, expect: &Expect) -> Result<()> {
    let ArchiveEnd::Missing { offset } = end else { return Ok(()) };
    // gzip's trailer and zstd's last block would be missing from a cut stream.
    let ended_by_itself = compression != Compression::None;
    match ended_by_itself || expect.blob.is_some() || expect.diff_id.is_some() {
        true => Ok(()),
        false => Err(Cause::Tar(TarError::NoEndMarker { offset }).into()),
    }
}
