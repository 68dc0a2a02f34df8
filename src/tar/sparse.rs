// SPDX-License-Identifier: Apache-2.0
//! Maps of sparse files: where the stored bytes belong in the file.

use std::ops::Range;

use super::entry::Segment;
use super::error::SparseFault;
use super::header::Block;
use super::number;

/// More than this many pieces of data are refused. A map is held in memory, and this one has
/// 1 MiB; a disk image of 64 GiB with data in every second MiB still fits.
pub(super) const SEGMENTS_MAX: usize = 1 << 16;

const SLOT: usize = 24;
/// Four slots in the header of an old GNU sparse file, then whether blocks of more slots follow.
const GNU_SLOTS: Range<usize> = 386..482;
const GNU_MORE: usize = 482;
pub(super) const GNU_SIZE: Range<usize> = 483..495;
const GNU_BLOCK_SLOTS: Range<usize> = 0..504;
const GNU_BLOCK_MORE: usize = 504;

/// A map as it is read. Ascending from the first segment on, whatever the archive says.
#[derive(Debug, Default)]
pub(super) struct Map {
    /// Those with data only: GNU tar marks a hole at the end of a file by an empty one.
    pub(super) segments: Vec<Segment>,
    count: usize,
    end: u64,
    mapped: u64,
}

impl Map {
    /// Ready for the next file, with the memory of this one.
    pub(super) fn clear(&mut self) {
        self.segments.clear();
        (self.count, self.end, self.mapped) = (0, 0, 0);
    }

    pub(super) fn count(&self) -> u64 {
        self.count as u64
    }

    pub(super) fn push(&mut self, offset: u64, length: u64) -> Result<(), SparseFault> {
        if self.count == SEGMENTS_MAX {
            return Err(SparseFault::TooMany { limit: SEGMENTS_MAX });
        }
        if offset < self.end {
            return Err(SparseFault::Order);
        }
        self.end = offset.checked_add(length).ok_or(SparseFault::PastSize)?;
        self.count += 1;
        // No overflow: segments do not overlap, so their sum is at most `end`.
        self.mapped += length;
        if length > 0 {
            self.segments.push(Segment { offset, length });
        }
        Ok(())
    }

    /// The map is complete: it must fit the file and the bytes that the archive has for it.
    pub(super) fn check(&self, size: u64, stored: u64) -> Result<(), SparseFault> {
        if self.end > size {
            return Err(SparseFault::PastSize);
        }
        if self.mapped != stored {
            return Err(SparseFault::Stored { mapped: self.mapped, stored });
        }
        Ok(())
    }

    /// From the header of an old GNU sparse file. True: the map goes on in the next block.
    pub(super) fn gnu_header(&mut self, block: &Block) -> Result<bool, SparseFault> {
        self.gnu_slots(&block[GNU_SLOTS], block[GNU_MORE] != 0)
    }

    /// From a block after it.
    pub(super) fn gnu_block(&mut self, block: &Block) -> Result<bool, SparseFault> {
        self.gnu_slots(&block[GNU_BLOCK_SLOTS], block[GNU_BLOCK_MORE] != 0)
    }

    fn gnu_slots(&mut self, slots: &[u8], more: bool) -> Result<bool, SparseFault> {
        let read = |field| {
            let value = number::field(field).and_then(number::size);
            value.map_err(|_| SparseFault::Malformed)
        };
        for slot in slots.chunks_exact(SLOT) {
            let (offset, length) = slot.split_at(SLOT / 2);
            // GNU tar stops at an empty length, Go at an empty offset: one without the other is
            // two different files.
            match (offset[0], length[0]) {
                // GNU tar is done with the map here, and Go reads the next block of it.
                (0, 0) if more => return Err(SparseFault::Ambiguous),
                (0, 0) => break,
                (0, _) | (_, 0) => return Err(SparseFault::Unpaired),
                _ => self.push(read(offset)?, read(length)?)?,
            }
        }
        Ok(more)
    }
}

/// The map of version 1.0, which stands in front of the file's data: decimal numbers, each on a
/// line, first how many segments, then offset and length of each, then zeros up to a whole block.
#[derive(Debug, Default)]
pub(super) struct MapText {
    /// Segments still to come, once their number was read.
    expected: Option<u64>,
    offset: Option<u64>,
    /// The digits read so far; none at the start of a line.
    number: Option<u64>,
}

impl MapText {
    /// True when the map ended in this block; the rest of the block is padding.
    pub(super) fn feed(&mut self, block: &Block, map: &mut Map) -> Result<bool, SparseFault> {
        for &byte in block {
            if byte != b'\n' {
                let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'));
                let digit = digit.ok_or(SparseFault::Malformed)?;
                let shifted = self.number.unwrap_or(0).checked_mul(10);
                let number = shifted.and_then(|number| number.checked_add(digit));
                self.number = Some(number.ok_or(SparseFault::Malformed)?);
                continue;
            }
            let number = self.number.take().ok_or(SparseFault::Malformed)?;
            let left = match self.expected {
                None if number > SEGMENTS_MAX as u64 => {
                    return Err(SparseFault::TooMany { limit: SEGMENTS_MAX });
                }
                None => number,
                Some(left) => match self.offset.take() {
                    None => {
                        self.offset = Some(number);
                        left
                    }
                    Some(offset) => {
                        map.push(offset, number)?;
                        left - 1
                    }
                },
            };
            self.expected = Some(left);
            if left == 0 {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
