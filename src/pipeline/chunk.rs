// SPDX-License-Identifier: Apache-2.0
//! Pieces of the archive, in buffers that are used again.

use std::ops::{Deref, Range};
use std::sync::{Arc, Weak};

/// Bytes in a chunk, a multiple of the archive's 512-byte blocks. Large enough that the locks and
/// wake-ups of one chunk vanish beside its decompression, small enough that what one core has just
/// decompressed is still in the shared cache when another hashes or writes it.
pub(crate) const CHUNK: usize = if cfg!(all(test, shuttle)) { 512 } else { 256 << 10 };

/// A piece of the archive. Clones share it; the last one gives its buffer back.
#[derive(Clone)]
pub(crate) struct Chunk(Arc<Piece>);

/// A part of a chunk, which it keeps.
pub(crate) struct ChunkSlice {
    chunk: Chunk,
    range: Range<usize>,
}

struct Piece {
    buffer: Box<[u8]>,
    len: usize,
    /// Weak: the queue holds chunks, and the two would keep each other alive.
    owner: Weak<dyn Recycle>,
}

/// Where a chunk's buffer goes to be used again.
pub(super) trait Recycle: Send + Sync {
    fn give_back(&self, buffer: Box<[u8]>);
}

impl Chunk {
    pub(super) fn new<O: Recycle + 'static>(
        owner: &Arc<O>,
        buffer: Box<[u8]>,
        len: usize,
    ) -> Chunk {
        let owner: Weak<O> = Arc::downgrade(owner);
        Chunk(Arc::new(Piece { buffer, len, owner }))
    }

    /// Keeps `part`; none if it is not a part of this chunk.
    pub(crate) fn slice(&self, part: &[u8]) -> Option<ChunkSlice> {
        let begin = part.as_ptr().addr().checked_sub(self.as_ptr().addr())?;
        let range = begin..begin.checked_add(part.len())?;
        (range.end <= self.len()).then(|| ChunkSlice { chunk: self.clone(), range })
    }
}

impl Deref for ChunkSlice {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.chunk[self.range.clone()]
    }
}

impl Deref for Chunk {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0.buffer[..self.0.len]
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        if let Some(owner) = self.owner.upgrade() {
            owner.give_back(std::mem::take(&mut self.buffer));
        }
    }
}
