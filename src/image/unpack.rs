// SPDX-License-Identifier: Apache-2.0
//! An image into layers of a store, and what is told of an image that was unpacked.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::at_once::{self, Failure, Made, Order};
use super::blobs::Blobs;
use super::chain::{ChainLayer, Image};
use super::error::ImageError;
use super::layers::LayerStore;
use super::observer::ImageObserver;
use crate::apply::Chain;
use crate::digest::Digest;
use crate::errno::Errno;
use crate::error::{Error, ErrorKind};
use crate::options::{Mode, Options};
use crate::report::Report;
use crate::unpack::unpack_in;

/// Why an image was not unpacked, or not all of it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UnpackError {
    /// What it is unpacked to, or what the image says of itself.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// One of its layers.
    #[error("layer {number} of {of}, {layer}: {error}")]
    Layer {
        /// Counted from 1, bottom first.
        number: usize,
        /// How many there are.
        of: usize,
        /// Its digest, or where the archive has it.
        layer: String,
        /// What failed.
        error: Box<Error>,
    },
}

/// What became of one layer.
#[derive(Debug)]
#[non_exhaustive]
pub struct LayerDone {
    /// The layer.
    pub layer: ChainLayer,
    /// Its directory in the store; none where all layers go to one directory.
    pub path: Option<PathBuf>,
    /// What was done; none where the store had the layer already.
    pub report: Option<Report>,
}

/// What became of an image.
#[derive(Debug)]
#[non_exhaustive]
pub struct ImageReport {
    /// The image.
    pub image: Image,
    /// Bottom first.
    pub layers: Vec<LayerDone>,
    /// To one directory: what upper layers replace or hide was never written.
    pub newest_first: bool,
    /// How long it took.
    pub wall: Duration,
}

impl ImageReport {
    /// The layers for overlay's option `lowerdir`, topmost first, with `:` and `\` in names escaped. None
    /// where all layers went to one directory.
    pub fn lowerdir(&self) -> Option<String> {
        let mut paths = Vec::new();
        for layer in self.layers.iter().rev() {
            let path = layer.path.as_ref()?.to_string_lossy().into_owned();
            paths.push(path.replace('\\', "\\\\").replace(':', "\\:"));
        }
        (!paths.is_empty()).then(|| paths.join(":"))
    }

    /// All of it as one JSON object.
    pub fn to_json(&self) -> String {
        let layers: Vec<Value> = self.layers.iter().map(LayerDone::to_json).collect();
        json!({
            "image": self.image,
            "layers": layers,
            "lowerdir": self.lowerdir(),
            "newest_first": self.newest_first,
            "seconds": self.wall.as_secs_f64(),
        })
        .to_string()
    }
}

impl LayerDone {
    fn to_json(&self) -> Value {
        let report = self.report.as_ref().map(|report| {
            serde_json::from_str::<Value>(&report.to_json()).expect("a report is an object")
        });
        json!({
            "digest": self.layer.digest,
            "diff_id": self.layer.diff_id,
            "chain_id": self.layer.chain_id,
            "path": self.path.as_ref().map(|path| path.to_string_lossy()),
            "reused": report.is_none(),
            "report": report,
        })
    }
}

/// Makes the layers of an image that a store lacks, each a directory for overlayfs.
///
/// Each blob's digest and size and each diffID are held against what the image says before the layer is
/// put in its place. After a failure the store has the layers below the one that failed, and nothing of
/// that.
///
/// # Errors
///
/// An [`UnpackError`] names the layer at fault. [`Options::mode`](field@Options::mode) must be one of the overlay modes.
pub fn unpack_layers(
    blobs: &dyn Blobs,
    image: &Image,
    to: &LayerStore,
    options: &Options,
    observer: &mut dyn ImageObserver,
) -> Result<ImageReport, UnpackError> {
    let begin = Instant::now();
    options.check_image().map_err(ImageError::Options)?;
    if options.mode == Mode::Directory {
        return Err(ImageError::Mode("overlay").into());
    }
    let layers = at_once::run(&sizes(blobs, image), Order::AtOnce, options, observer, |making| {
        let layer = image.layers[making.number].clone();
        let path = to.path_of(&layer.chain_id);
        let mut report = None;
        match to.has(&layer.chain_id) {
            true => making.wait_below()?,
            false => {
                let partial = to.begin(&layer.chain_id)?;
                let source = blobs.open(making.number, &layer)?;
                let chain = Chain::Above(making.lowers());
                let options = making.options.expecting(&layer);
                report = Some(unpack_in(chain, source, &partial.path, &options, making.observer)?);
                to.complete(partial, &layer.chain_id, options.sync)?;
            }
        }
        let (root, reused) = (to.open_layer(&layer.chain_id)?, report.is_none());
        Ok(Made { done: LayerDone { layer, path: Some(path), report }, root: Some(root), reused })
    });
    let layers = layers.map_err(|failure| failed_in(image, failure))?;
    let (image, wall) = (image.clone(), begin.elapsed());
    Ok(ImageReport { image, layers, newest_first: false, wall })
}

impl Options {
    /// With the digests that a layer must have.
    pub(super) fn expecting(mut self, layer: &ChainLayer) -> Options {
        self.expect.blob.clone_from(&layer.digest);
        self.expect.diff_id = Some(layer.diff_id.clone());
        self
    }
}

pub(super) fn failed_in(image: &Image, (number, failure): (usize, Failure)) -> UnpackError {
    let layer = &image.layers[number];
    match failure {
        Failure::Image(error) => error.into(),
        Failure::Layer(error) => UnpackError::Layer {
            number: number + 1,
            of: image.layers.len(),
            layer: layer.digest.as_ref().map_or_else(|| layer.blob.clone(), Digest::to_string),
            error: Box::new(error),
        },
    }
}

/// The blobs' sizes, where they can be told.
pub(super) fn sizes(blobs: &dyn Blobs, image: &Image) -> Vec<Option<u64>> {
    let size = |(number, layer)| blobs.size(number, layer);
    image.layers.iter().enumerate().map(size).collect()
}

impl UnpackError {
    /// The kind of what failed.
    pub fn kind(&self) -> ErrorKind {
        match self {
            UnpackError::Image(error) => error.kind(),
            UnpackError::Layer { error, .. } => error.kind(),
        }
    }

    /// The errno that a C caller gets, positive.
    pub fn errno(&self) -> Errno {
        match self {
            UnpackError::Image(error) => error.errno(),
            UnpackError::Layer { error, .. } => error.errno(),
        }
    }

    /// The error of the layer at fault, if it was one's.
    pub fn layer_error(&self) -> Option<&Error> {
        match self {
            UnpackError::Layer { error, .. } => Some(error),
            UnpackError::Image(_) => None,
        }
    }
}
