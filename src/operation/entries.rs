// SPDX-License-Identifier: Apache-2.0
//! Archive bytes to entries, for whoever does something with them.

use crate::error::{Cause, Error, Result};
use crate::limits::Limits;
use crate::pipeline::Chunk;
use crate::tar::{Entry, Event, Parser};

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
}

/// Reads the archive up to its end marker. Every error has its place.
pub(crate) fn read(limits: &Limits, sink: &mut impl Sink) -> Result<()> {
    let mut parser = Parser::new(limits);
    while let Some(chunk) = sink.next().map_err(|error| error.at(|| parser.place()))? {
        let more = read_chunk(&mut parser, sink, &chunk)?;
        // At the end marker as well: the last progress tells of all entries.
        sink.pause()?;
        if !more {
            return Ok(());
        }
    }
    parser.finish().map_err(|error| Error::from(Cause::from(error)).at(|| parser.place()))
}

/// Reads what is in one chunk; false at the archive's end marker.
fn read_chunk(parser: &mut Parser, sink: &mut impl Sink, chunk: &Chunk) -> Result<bool> {
    let mut rest: &[u8] = chunk;
    loop {
        let (used, event) = match parser.step(rest) {
            Ok(found) => found,
            Err(error) => return Err(Error::from(Cause::from(error)).at(|| parser.place())),
        };
        rest = &rest[used..];
        let done = match event {
            Event::More => return Ok(true),
            Event::End => return Ok(false),
            Event::Entry => sink.begin(parser.entry()),
            Event::Data { at, bytes } => sink.data(parser.entry(), at, bytes),
            Event::EntryEnd => sink.end(parser.entry()),
        };
        done.map_err(|error| error.at(|| parser.place()))?;
    }
}
