// SPDX-License-Identifier: Apache-2.0
//! Bytes to entries. No I/O and no unsafe: the untrusted format is read here and nowhere else.
//!
//! Where readers are known to disagree about an archive, either everyone's meaning is the same
//! for what is accepted here, or the archive is refused: what a scanner passed must be what is
//! unpacked.
#![forbid(unsafe_code)]

mod entry;
mod error;
mod header;
mod number;
mod pax;
mod pending;
mod sparse;
#[cfg(test)]
mod tests;

use crate::limits::{LimitExceeded, Limits};

pub use entry::{Entry, Kind, Place, Segment, Time};
pub use error::{NameFault, NumberFault, ParseError, PaxFault, Quoted, SparseFault, TarError};

use header::{BLOCK, Block, Extension, Header, Role};
use pending::{Content, MapState, Pending};
use sparse::{Map, MapText};

/// Reads an archive from pieces of any size.
///
/// Memory stays below a few MiB whatever the archive says, and is used again for every entry.
pub struct Parser {
    limits: Limits,
    state: State,
    /// Bytes of the archive taken so far.
    position: u64,
    /// Padding that comes next.
    padding: u64,
    /// A block of which only the first `filled` bytes have come.
    block: Block,
    filled: usize,
    /// The data of an extension header that came in pieces.
    body: Vec<u8>,
    pending: Pending,
    entry: Entry,
    /// A header of `entry` was read, and its end was not yet reported.
    within: bool,
    map: Map,
    /// Memory of the entry's map while the entry has none.
    segments: Vec<Segment>,
    /// Entries read so far.
    entries: u64,
    /// Logical size of all files so far.
    bytes: u64,
}

enum State {
    Header,
    /// The data of an extension header whose block was at `offset`.
    Extension {
        what: Extension,
        offset: u64,
        size: u64,
    },
    /// The next block continues the map of an old GNU sparse file.
    GnuMap {
        stored: u64,
    },
    /// The next block of data belongs to the map.
    MapInData {
        stored: u64,
        text: MapText,
    },
    Data {
        stored: u64,
        left: u64,
        segment: usize,
        within: u64,
    },
    /// After a block of zeros: one more makes the end marker.
    ZeroBlock,
    /// After the end marker.
    Over,
    Refused(ParseError),
}

/// How an archive ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ArchiveEnd {
    /// By its end marker, or by a lone block of zeros as the last thing in the stream.
    Marker,
    /// Without: the stream ended where a header could have begun, or in padding. Nothing in the
    /// archive tells whether that was all.
    Missing {
        /// Where it ended, in bytes of the uncompressed archive.
        offset: u64,
    },
    /// There was nothing at all, not one byte.
    Empty,
}

/// What [`Parser::step`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event<'i> {
    /// All of the input is used up.
    More,
    /// [`Parser::entry`] is complete. Its data follow, if it has any, and then `EntryEnd`.
    Entry,
    /// A piece of a file's content, never empty and never across a hole.
    Data {
        /// Where it belongs in the file.
        at: u64,
        /// The content itself.
        bytes: &'i [u8],
    },
    /// No more data for this entry.
    EntryEnd,
    /// A global PAX header was read that has records which would say something of entries:
    /// [`Parser::global_records`].
    Global,
    /// The archive's end marker, two blocks of zeros. What follows is taken and not looked at.
    End,
}

impl Parser {
    /// At the start of an archive. Of the limits, those on compression do not matter here.
    pub fn new(limits: &Limits) -> Parser {
        Parser {
            limits: *limits,
            state: State::Header,
            position: 0,
            padding: 0,
            block: [0; BLOCK],
            filled: 0,
            body: Vec::new(),
            pending: Pending::default(),
            entry: Entry::default(),
            within: false,
            map: Map::default(),
            segments: Vec::new(),
            entries: 0,
            bytes: 0,
        }
    }

    /// Takes bytes from the front of `input`; returns how many and what they were.
    ///
    /// To be called with what is left of the input, also when that is nothing, until it returns
    /// [`Event::More`]. A parser that failed fails from then on.
    ///
    /// # Errors
    ///
    /// The archive is malformed, or exceeds a limit.
    pub fn step<'i>(&mut self, input: &'i [u8]) -> Result<(usize, Event<'i>), ParseError> {
        let mut rest = input;
        match self.advance(&mut rest) {
            Ok(event) => Ok((input.len() - rest.len(), event)),
            Err(error) => {
                self.state = State::Refused(error.clone());
                Err(error)
            }
        }
    }

    /// The entry last reported by [`Event::Entry`], until the step after its `EntryEnd`.
    pub fn entry(&self) -> &Entry {
        &self.entry
    }

    /// Keys of the records behind the last [`Event::Global`], none of which is applied to entries.
    pub fn global_records(&self) -> &[Vec<u8>] {
        self.pending.global_records()
    }

    /// Where the parser is, for errors: the entry being read, or the one that would come next.
    pub fn place(&self) -> Place {
        match self.within {
            true => self.entry.place(),
            false => {
                let offset = self.position + self.padding - self.filled as u64;
                Place { entry: self.entries, path: Vec::new(), offset }
            }
        }
    }

    /// The input has ended. Says how the archive has: without an end marker it ends where Go's
    /// archive/tar takes that for the end as well, which is before a header, also one that an
    /// extension header announced, or in the padding behind data.
    ///
    /// # Errors
    ///
    /// [`TarError::Truncated`] anywhere else, or what [`Parser::step`] failed with before.
    pub fn finish(&self) -> Result<ArchiveEnd, ParseError> {
        match &self.state {
            State::Over => Ok(ArchiveEnd::Marker),
            State::Refused(error) => Err(error.clone()),
            State::ZeroBlock if self.filled == 0 => Ok(ArchiveEnd::Marker),
            State::Header if self.position == 0 => Ok(ArchiveEnd::Empty),
            State::Header if self.filled == 0 => Ok(ArchiveEnd::Missing { offset: self.position }),
            _ => Err(TarError::Truncated { offset: self.position }.into()),
        }
    }

    fn advance<'i>(&mut self, input: &mut &'i [u8]) -> Result<Event<'i>, ParseError> {
        loop {
            if !self.pass_padding(input) {
                return Ok(Event::More);
            }
            let event = match self.state {
                State::Header => self.header(input)?,
                State::ZeroBlock => self.zero_block(input)?,
                State::Extension { what, offset, size } => {
                    self.extension(input, what, offset, size)?
                }
                State::GnuMap { stored } => self.gnu_map(input, stored)?,
                State::MapInData { .. } => self.map_in_data(input)?,
                State::Data { .. } => Some(self.data(input)),
                State::Over => {
                    self.take(input, input.len());
                    Some(Event::More)
                }
                State::Refused(ref error) => return Err(error.clone()),
            };
            if let Some(event) = event {
                return Ok(event);
            }
        }
    }

    fn header<'i>(&mut self, input: &mut &'i [u8]) -> Result<Option<Event<'i>>, ParseError> {
        let Some(block) = self.take_block(input) else { return Ok(Some(Event::More)) };
        let offset = self.position - BLOCK as u64;
        if block == [0; BLOCK] {
            self.within = false;
            self.state = State::ZeroBlock;
            return Ok(None);
        }
        if !self.within {
            self.begin(offset);
        }
        let header = Header::new(&block, offset)?;
        match header.role()? {
            role @ (Role::Entry(_) | Role::GnuSparse) => self.entry_header(header, role),
            Role::Extension(what) => {
                let size = self.pending.expect(header, what)?;
                self.body.clear();
                self.state = State::Extension { what, offset, size };
                Ok(None)
            }
        }
    }

    /// Behind a block of zeros: GNU tar and bsdtar would end there with a warning or without one, Go
    /// fails. To end silently would drop entries that another reader sees.
    fn zero_block<'i>(&mut self, input: &mut &'i [u8]) -> Result<Option<Event<'i>>, ParseError> {
        let Some(block) = self.take_block(input) else { return Ok(Some(Event::More)) };
        if block != [0; BLOCK] {
            let offset = self.position - BLOCK as u64;
            return Err(TarError::LoneZeroBlock { offset }.into());
        }
        self.state = State::Over;
        Ok(Some(Event::End))
    }

    fn begin(&mut self, offset: u64) {
        self.within = true;
        self.entry.index = self.entries;
        self.entry.offset = offset;
        self.entry.name.clear();
        self.entry.link.clear();
        // An entry without xattrs is the rule; their memory stays where it is until it is known.
        if let Some(segments) = self.entry.sparse.take() {
            self.segments = segments;
        }
    }

    fn extension<'i>(
        &mut self,
        input: &mut &'i [u8],
        what: Extension,
        offset: u64,
        size: u64,
    ) -> Result<Option<Event<'i>>, ParseError> {
        // At most EXTENSIONS_MAX, which `expect` saw to.
        let missing = size as usize - self.body.len();
        let piece = self.take(input, missing);
        if piece.len() < missing {
            self.body.extend_from_slice(piece);
            return Ok(Some(Event::More));
        }
        let read = match self.body.is_empty() {
            true => self.pending.read(what, piece, offset),
            false => {
                self.body.extend_from_slice(piece);
                self.pending.read(what, &self.body, offset)
            }
        };
        if let Err(error) = read {
            // The block is still that of the extension header: where nothing better is known, its
            // own name has that of the entry in it.
            self.pending.name(&self.block, &mut self.entry.name);
            return Err(error.into());
        }
        self.padding = padding(size);
        self.state = State::Header;
        if what == Extension::PaxGlobal {
            // No part of the entry after it.
            self.within = false;
            return Ok((!self.global_records().is_empty()).then_some(Event::Global));
        }
        Ok(None)
    }

    fn entry_header<'i>(
        &mut self,
        header: Header,
        role: Role,
    ) -> Result<Option<Event<'i>>, ParseError> {
        if self.entries == self.limits.entries {
            return Err(LimitExceeded::Entries(self.limits.entries).into());
        }
        let Content { size: stored, map } =
            self.pending.fill(header, role, &mut self.entry, &mut self.map)?;
        self.check_limits()?;
        self.state = match map {
            MapState::Read => return self.announce(header.offset, stored),
            MapState::GnuBlocks => State::GnuMap { stored },
            MapState::InData => State::MapInData { stored, text: MapText::default() },
        };
        Ok(None)
    }

    fn check_limits(&mut self) -> Result<(), LimitExceeded> {
        let Limits { path_bytes, path_depth, bytes, .. } = self.limits;
        let entry = &self.entry;
        let got = entry.name.len().max(entry.link.len());
        if got > path_bytes {
            return Err(LimitExceeded::PathBytes { got, limit: path_bytes });
        }
        let components = entry.name.split(|&b| b == b'/');
        let got = components.filter(|name| !matches!(*name, b"" | b".")).count();
        if got > path_depth {
            return Err(LimitExceeded::PathDepth { got, limit: path_depth });
        }
        self.check_xattrs(entry.xattrs.iter().map(|(name, value)| name.len() + value.len()).sum())?;
        self.bytes = self.bytes.saturating_add(entry.size);
        let got = self.bytes;
        if got > bytes { Err(LimitExceeded::Bytes { got, limit: bytes }) } else { Ok(()) }
    }

    fn check_xattrs(&self, got: usize) -> Result<(), LimitExceeded> {
        let limit = self.limits.xattr_bytes;
        if got > limit { Err(LimitExceeded::XattrBytes { got, limit }) } else { Ok(()) }
    }

    fn gnu_map<'i>(
        &mut self,
        input: &mut &'i [u8],
        stored: u64,
    ) -> Result<Option<Event<'i>>, ParseError> {
        let Some(block) = self.take_block(input) else { return Ok(Some(Event::More)) };
        let offset = self.position - BLOCK as u64;
        match self.map.gnu_block(&block) {
            Ok(true) => Ok(None),
            Ok(false) => self.announce(offset, stored),
            Err(fault) => Err(TarError::Sparse { offset, fault }.into()),
        }
    }

    fn map_in_data<'i>(&mut self, input: &mut &'i [u8]) -> Result<Option<Event<'i>>, ParseError> {
        let Some(block) = self.take_block(input) else { return Ok(Some(Event::More)) };
        let offset = self.position - BLOCK as u64;
        let sparse = |fault| TarError::Sparse { offset, fault };
        let State::MapInData { stored, text } = &mut self.state else { return Ok(None) };
        // The map may not run on into the next entry.
        *stored = stored.checked_sub(BLOCK as u64).ok_or(sparse(SparseFault::NoMap))?;
        if text.feed(&block, &mut self.map).map_err(sparse)? {
            let stored = *stored;
            return self.announce(offset, stored);
        }
        Ok(None)
    }

    /// Everything about the entry is known.
    fn announce<'i>(&mut self, offset: u64, stored: u64) -> Result<Option<Event<'i>>, ParseError> {
        if let Some(segments) = &mut self.entry.sparse {
            let checked = self.map.check(self.entry.size, stored);
            checked.map_err(|fault| TarError::Sparse { offset, fault })?;
            *segments = std::mem::take(&mut self.segments);
            segments.clear();
            std::mem::swap(segments, &mut self.map.segments);
        }
        self.entries += 1;
        self.state = State::Data { stored, left: stored, segment: 0, within: 0 };
        Ok(Some(Event::Entry))
    }

    fn data<'i>(&mut self, input: &mut &'i [u8]) -> Event<'i> {
        let State::Data { stored, left, segment, within } = &mut self.state else {
            return Event::More;
        };
        if *left == 0 {
            self.padding = padding(*stored);
            self.within = false;
            self.state = State::Header;
            return Event::EntryEnd;
        }
        if input.is_empty() {
            return Event::More;
        }
        // The map has exactly as many bytes as are stored, so that there is a segment while some
        // are left.
        let (at, most) = match &self.entry.sparse {
            None => (*stored - *left, *left),
            Some(segments) => {
                let Segment { offset, length } = segments[*segment];
                (offset + *within, length - *within)
            }
        };
        let length = usize::try_from(most).map_or(input.len(), |most| most.min(input.len()));
        *left -= length as u64;
        *within += length as u64;
        if length as u64 == most {
            (*segment, *within) = (*segment + 1, 0);
        }
        Event::Data { at, bytes: self.take(input, length) }
    }

    /// False: the input ended first.
    fn pass_padding(&mut self, input: &mut &[u8]) -> bool {
        let most = usize::try_from(self.padding).unwrap_or(usize::MAX);
        self.padding -= self.take(input, most).len() as u64;
        self.padding == 0
    }

    fn take<'i>(&mut self, input: &mut &'i [u8], most: usize) -> &'i [u8] {
        let (taken, rest) = input.split_at(most.min(input.len()));
        *input = rest;
        self.position += taken.len() as u64;
        taken
    }

    /// A whole block, if that much has come.
    fn take_block(&mut self, input: &mut &[u8]) -> Option<Block> {
        let piece = self.take(input, BLOCK - self.filled);
        let end = self.filled + piece.len();
        self.block[self.filled..end].copy_from_slice(piece);
        self.filled = end % BLOCK;
        (end == BLOCK).then_some(self.block)
    }
}

/// From the end of `size` bytes to the next block.
fn padding(size: u64) -> u64 {
    size.wrapping_neg() % BLOCK as u64
}
