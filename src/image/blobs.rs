// SPDX-License-Identifier: Apache-2.0
//! Where the blobs of an image's layers come from: a store, or the caller.

use std::sync::{Mutex, PoisonError};

use super::chain::{ChainLayer, Image, chain_id};
use super::error::{ImageError, Result};
use super::store::Store;
use crate::digest::Digest;
use crate::pipeline::Source;

/// The blobs of an image's layers. Several threads ask at once.
pub trait Blobs: Sync {
    /// The size of a layer's blob in bytes, if it can be told.
    fn size(&self, number: usize, layer: &ChainLayer) -> Option<u64>;

    /// Opens a layer's blob. Asked once for each layer that is unpacked, in any order, and once more where
    /// [`opens_again`](Blobs::opens_again) allows it.
    ///
    /// # Errors
    ///
    /// There is none, or it is not as large as the image says.
    fn open(&self, number: usize, layer: &ChainLayer) -> Result<Source<'_>>;

    /// Whether each can be opened a second time, and is read from its beginning then. If not,
    /// [`unpack`](super::unpack()) applies the lowest layer first.
    fn opens_again(&self) -> bool {
        false
    }
}

impl Blobs for Store {
    fn size(&self, _: usize, layer: &ChainLayer) -> Option<u64> {
        self.blob_size(&layer.blob).ok()
    }

    fn open(&self, _: usize, layer: &ChainLayer) -> Result<Source<'_>> {
        let has = self.blob_size(&layer.blob)?;
        match layer.size {
            Some(size) if size != has => {
                let blob = layer.blob.clone();
                Err(ImageError::Size { blob, says: size, has })
            }
            _ => self.source(&layer.blob),
        }
    }

    fn opens_again(&self) -> bool {
        true
    }
}

/// Layers that the caller has: of an engine that keeps blobs in its own way, or is still downloading
/// them into pipes.
///
/// A [`Source::reader`] is read on a thread of the library, and not on the one that calls.
#[derive(Debug, Default)]
pub struct Layers<'s> {
    sources: Vec<Mutex<Option<Source<'s>>>>,
    layers: Vec<ChainLayer>,
}

impl<'s> Layers<'s> {
    /// No layer yet.
    pub fn new() -> Layers<'s> {
        Layers::default()
    }

    /// Puts a layer upon those that there are. Its archive must have the diffID, and its blob the
    /// digest, if that is known.
    pub fn push(&mut self, source: Source<'s>, digest: Option<Digest>, diff_id: Digest) {
        let chain_id = chain_id(self.layers.last().map(|layer| &layer.chain_id), &diff_id);
        let blob = format!("layer {}", self.layers.len() + 1);
        self.layers.push(ChainLayer { blob, digest, size: None, diff_id, chain_id });
        self.sources.push(Mutex::new(Some(source)));
    }

    /// The image that they make.
    pub fn image(&self) -> Image {
        Image { names: Vec::new(), digest: None, platform: None, layers: self.layers.clone() }
    }
}

impl Blobs for Layers<'_> {
    fn size(&self, number: usize, _: &ChainLayer) -> Option<u64> {
        let source = self.sources[number].lock().unwrap_or_else(PoisonError::into_inner);
        source.as_ref().and_then(Source::size)
    }

    fn open(&self, number: usize, layer: &ChainLayer) -> Result<Source<'_>> {
        let mut source = self.sources[number].lock().unwrap_or_else(PoisonError::into_inner);
        let again = source.as_ref().and_then(Source::again);
        again.or_else(|| source.take()).ok_or_else(|| ImageError::Used(layer.blob.clone()))
    }

    fn opens_again(&self) -> bool {
        self.sources.iter().all(|source| {
            let source = source.lock().unwrap_or_else(PoisonError::into_inner);
            source.as_ref().is_some_and(|source| source.again().is_some())
        })
    }
}
