// SPDX-License-Identifier: Apache-2.0
//! An image into one directory.

use std::fs;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use super::at_once::{self, Failure, Made, Making, Order};
use super::blobs::Blobs;
use super::chain::Image;
use super::error::ImageError;
use super::observer::ImageObserver;
use super::unpack::{ImageReport, LayerDone, UnpackError, failed_in, sizes};
use crate::apply::{Chain, Uppers, remove_all};
use crate::options::{Mode, Options};
use crate::pipeline::Source;
use crate::report::Report;
use crate::unpack::{open_root, unpack_in};

/// Applies all layers of an image to one directory, which must be empty.
///
/// The newest layer is applied first, and what it replaces or hides of those below is never written. It
/// is the tree that the layers make one after the other, whose [`Report::hidden`] is 0. Some images do
/// not tell what that is before their lower layers are there: where a layer has something in a directory
/// that a lower one has as a symlink, or a hardlink to a file of a lower layer, or to one of its own that
/// an upper one hides. Then all that was written is removed, and the layers are applied one after the
/// other: progress begins again, and the filter is asked again. So are those of [`Blobs`] that cannot be
/// [opened again](Blobs::opens_again).
///
/// Each blob's digest and size and each diffID are held against what the image says. After a failure the
/// directory holds a part of the image.
///
/// # Errors
///
/// An [`UnpackError`] names the layer at fault. [`Options::mode`](field@Options::mode) must be
/// [`Mode::Directory`].
pub fn unpack(
    blobs: &dyn Blobs,
    image: &Image,
    root: impl AsRef<Path>,
    options: &Options,
    observer: &mut dyn ImageObserver,
) -> Result<ImageReport, UnpackError> {
    let (begin, root) = (Instant::now(), root.as_ref());
    let failed = |error| ImageError::Io(root.display().to_string(), error);
    options.check_image().map_err(ImageError::Options)?;
    if options.mode != Mode::Directory {
        return Err(ImageError::Mode("directory").into());
    }
    if fs::read_dir(root).map_err(failed)?.next().is_some() {
        return Err(ImageError::NotEmpty(root.display().to_string()).into());
    }
    let flatten = Flatten { blobs, image, root, options };
    let mut layers = None;
    if image.layers.len() > 1 && blobs.opens_again() {
        layers = flatten.newest_first(observer)?;
        if layers.is_none() {
            // All that is in the root was made here.
            let dir = open_root(root).map_err(ImageError::Options)?;
            let removed = remove_all(dir, options.cancel.as_ref());
            removed.map_err(|errno| failed(errno.into()))?;
        }
    }
    let newest_first = layers.is_some();
    let layers = match layers {
        Some(layers) => layers,
        None => flatten.one_by_one(observer)?,
    };
    let (image, wall) = (image.clone(), begin.elapsed());
    Ok(ImageReport { image, layers, newest_first, wall })
}

struct Flatten<'f> {
    blobs: &'f dyn Blobs,
    image: &'f Image,
    root: &'f Path,
    options: &'f Options,
}

impl Flatten<'_> {
    fn one_by_one(&self, observer: &mut dyn ImageObserver) -> Result<Vec<LayerDone>, UnpackError> {
        self.run(Order::BottomUp, observer, &|making| {
            let (source, options) = self.layer(&making)?;
            Ok(unpack_in(Chain::Alone, source, self.root, &options, making.observer)?)
        })
    }

    /// None if the outcome would not be certain.
    fn newest_first(
        &self,
        observer: &mut dyn ImageObserver,
    ) -> Result<Option<Vec<LayerDone>>, UnpackError> {
        let uppers = Mutex::new(Uppers::none());
        let layers = self.run(Order::TopDown, observer, &|making| {
            let (source, options) = self.layer(&making)?;
            // One layer at a time.
            let mut uppers = uppers.lock().unwrap_or_else(PoisonError::into_inner);
            let chain = Chain::Below(&mut uppers);
            Ok(unpack_in(chain, source, self.root, &options, making.observer)?)
        });
        let uppers = uppers.into_inner().unwrap_or_else(PoisonError::into_inner);
        if uppers.is_uncertain() { Ok(None) } else { layers.map(Some) }
    }

    fn layer(&self, making: &Making<'_>) -> Result<(Source<'_>, Options), ImageError> {
        let layer = &self.image.layers[making.number];
        let source = self.blobs.open(making.number, layer)?;
        Ok((source, making.options.clone().expecting(layer)))
    }

    fn run(
        &self,
        order: Order,
        observer: &mut dyn ImageObserver,
        apply: &(dyn Fn(Making<'_>) -> Result<Report, Failure> + Sync),
    ) -> Result<Vec<LayerDone>, UnpackError> {
        let sizes = sizes(self.blobs, self.image);
        let layers = at_once::run(&sizes, order, self.options, observer, |making| {
            let layer = self.image.layers[making.number].clone();
            let report = Some(apply(making)?);
            let done = LayerDone { layer, path: None, report };
            Ok(Made { done, root: None, reused: false })
        });
        layers.map_err(|failure| failed_in(self.image, failure))
    }
}
