// SPDX-License-Identifier: Apache-2.0
//! The blob on its way into a decompressor.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::digest::Hasher;
use crate::pipeline::counters::Counters;
use crate::pipeline::source::{Input, SourceError};

/// The blob as it is read: hashed and counted on its way into the decompressor.
pub(super) struct Blob<'a> {
    pub(super) input: Input<'a>,
    /// None where the archive's digest is the blob's as well, or nobody wants it.
    pub(super) hasher: Option<Hasher>,
    pub(super) counters: Arc<Counters>,
    pub(super) offset: u64,
}

impl Blob<'_> {
    /// Shows the next bytes to `work`, none at the blob's end, and moves past those it used.
    pub(super) fn pass<T>(
        &mut self,
        work: impl FnOnce(&[u8]) -> (usize, T),
    ) -> Result<T, SourceError> {
        let shown = self.input.fill()?;
        let (used, result) = work(shown);
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&shown[..used]);
        }
        self.input.consume(used);
        self.count(used);
        Ok(result)
    }

    /// Whether the next [`pass`](Blob::pass) may wait for ever, with all that came decompressed.
    pub(super) fn may_wait(&self) -> bool {
        self.input.on_demand && self.input.buffered().is_empty()
    }

    /// Reads straight into `into`.
    pub(super) fn read(&mut self, into: &mut [u8]) -> Result<usize, SourceError> {
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

    pub(super) fn is_at_end(&mut self) -> Result<bool, SourceError> {
        Ok(self.input.fill()?.is_empty())
    }
}
