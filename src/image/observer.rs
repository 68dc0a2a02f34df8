// SPDX-License-Identifier: Apache-2.0
//! How a caller watches an image's unpack, and declines entries.

use crate::errno::Errno;
use crate::observer::{Progress, Warning};
use crate::tar::Entry;

/// Callbacks of an image's unpack, all on the calling thread. Layers are counted from 0, bottom first;
/// several may be unpacked at once.
pub trait ImageObserver {
    /// As [`Observer::filters`](crate::Observer::filters).
    fn filters(&self) -> bool {
        false
    }

    /// Whether to apply this entry of a layer.
    ///
    /// # Errors
    ///
    /// What the callback answers ends the layer's unpack, and becomes its errno.
    fn filter(&mut self, _layer: usize, _entry: &Entry) -> Result<bool, Errno> {
        Ok(true)
    }

    /// Called some ten times a second while the unpack goes on, and once at its end.
    fn progress(&mut self, _progress: &ImageProgress) {}

    /// Something of a layer was left out; its report has the count of each reason.
    fn warning(&mut self, _layer: usize, _warning: &Warning) {}
}

/// Observes nothing.
impl ImageObserver for () {}

/// How far an image's unpack has come.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ImageProgress {
    /// Bottom first.
    pub layers: Vec<LayerProgress>,
}

/// How far one layer has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LayerProgress {
    /// What happens to it now.
    pub state: LayerState,
    /// As far as it was unpacked; its size from the beginning on, where the image tells.
    pub progress: Progress,
}

/// What happens to a layer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum LayerState {
    /// Nothing yet.
    #[default]
    Waiting,
    /// It is being unpacked, or waits for the layers below.
    Unpacking,
    /// It was unpacked.
    Complete,
    /// The store had it already.
    Reused,
    /// It was not unpacked to its end.
    Failed,
}

impl ImageProgress {
    /// Bytes of the blobs that were read; of layers that were there already, all.
    pub fn blob_bytes(&self) -> u64 {
        self.layers.iter().map(LayerProgress::blob_bytes).sum()
    }

    /// Layers that are complete, or were there already.
    pub fn complete(&self) -> usize {
        let complete = |layer: &&LayerProgress| {
            matches!(layer.state, LayerState::Complete | LayerState::Reused)
        };
        self.layers.iter().filter(complete).count()
    }

    /// The sum of all layers.
    pub fn total(&self) -> Progress {
        let mut total = Progress {
            blob_bytes: self.blob_bytes(),
            blob_size: self.blob_size(),
            ..Progress::default()
        };
        for layer in &self.layers {
            total.layer_bytes += layer.progress.layer_bytes;
            total.entries.add(&layer.progress.entries);
        }
        total
    }

    /// Bytes of all blobs; none if the size of one is not known.
    pub fn blob_size(&self) -> Option<u64> {
        self.layers.iter().map(|layer| layer.progress.blob_size).sum()
    }
}

impl LayerProgress {
    fn blob_bytes(&self) -> u64 {
        match self.state {
            LayerState::Reused => self.progress.blob_size.unwrap_or(0),
            _ => self.progress.blob_bytes,
        }
    }
}
