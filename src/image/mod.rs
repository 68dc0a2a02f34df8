// SPDX-License-Identifier: Apache-2.0
//! The layers of an OCI image layout, from its index down to the blobs.
//!
//! An image is input as untrusted as its layers: every blob is looked up by its digest and held
//! against it, and nothing is found by a path that the image itself names.

mod at_once;
mod blobs;
mod chain;
mod error;
mod flatten;
mod json;
mod layers;
mod observer;
mod recognize;
mod select;
mod store;
mod unpack;

use std::collections::HashSet;
use std::path::Path;

use serde_json::Value;

use crate::digest::Digest;

use error::{DEPTH_MAX, Result};
use json::{Json, array, blob, digest, is_layer, text};

pub use blobs::{Blobs, Layers};
pub use chain::{ChainLayer, Image, Platform};
pub use error::ImageError;
pub use flatten::unpack;
pub use layers::LayerStore;
pub use observer::{ImageObserver, ImageProgress, LayerProgress, LayerState};
pub use recognize::Stream;
pub use select::{Choice, list, select};
pub use store::Store;
pub use unpack::{ImageReport, LayerDone, UnpackError, unpack_layers};

/// One layer of an image.
#[derive(Debug)]
#[non_exhaustive]
pub struct Layer {
    /// Where it is in the store.
    pub blob: String,
    /// The blob's, where the image says it.
    pub digest: Option<Digest>,
    /// Of the uncompressed archive, where the image says it.
    pub diff_id: Option<Digest>,
    /// No layer lies below it.
    pub bottom: bool,
}

/// What an image has, in the order of its manifests.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Contents {
    /// Each once, bottom first in each manifest.
    pub layers: Vec<Layer>,
    /// What is left out, and why.
    pub notes: Vec<String>,
}

/// Opens a directory or an archive; none if `path` is a layer and no image. A compressed archive is
/// decompressed into a file without a name in the directory for temporary files.
///
/// # Errors
///
/// What is there could not be read, or is a directory without an image layout.
pub fn open(path: &Path) -> Result<Option<Store>> {
    Store::open(path)
}

/// What the image's index leads to.
///
/// # Errors
///
/// The index, a manifest or a config is missing, malformed, too large, or not what its digest says.
pub fn read(store: &Store) -> Result<Contents> {
    let (json, seen) = (Json::of(store), HashSet::new());
    let mut reading = Reading { store, json, contents: Contents::default(), seen };
    if store.has("index.json") {
        let index = reading.json.read("index.json", None)?;
        reading.index(&index, "index.json", 0)?;
    } else {
        reading.docker_archive()?;
    }
    Ok(reading.contents)
}

struct Reading<'s> {
    store: &'s Store,
    json: Json<'s>,
    contents: Contents,
    /// Blobs that were met already: platforms share layers.
    seen: HashSet<String>,
}

impl Reading<'_> {
    fn index(&mut self, index: &Value, name: &str, depth: usize) -> Result<()> {
        if depth == DEPTH_MAX {
            return Err(ImageError::TooDeep);
        }
        for descriptor in array(index, "manifests", name)? {
            let digest = digest(&descriptor["digest"], name)?;
            let blob = blob(&digest);
            if !self.seen.insert(blob.clone()) {
                continue;
            }
            self.json.count()?;
            // A copy for one platform may keep the index of all.
            if !self.store.has(&blob) {
                self.contents.notes.push(format!("{digest}{} is not here", platform(descriptor)));
                continue;
            }
            let manifest = self.json.read(&blob, Some(&digest))?;
            match manifest.get("manifests") {
                Some(_) => self.index(&manifest, &blob, depth + 1)?,
                None => self.manifest(&manifest, &blob)?,
            }
        }
        Ok(())
    }

    fn manifest(&mut self, manifest: &Value, name: &str) -> Result<()> {
        let config = digest(&manifest["config"]["digest"], name)?;
        let descriptors = array(manifest, "layers", name)?;
        let diff_ids = self.diff_ids(&blob(&config), Some(&config), descriptors.len())?;
        for (number, descriptor) in descriptors.iter().enumerate() {
            let digest = digest(&descriptor["digest"], name)?;
            let media_type = descriptor["mediaType"].as_str().unwrap_or_default();
            if !is_layer(media_type) {
                self.contents.notes.push(format!("{digest} is no layer but {media_type:?}"));
                continue;
            }
            let blob = blob(&digest);
            if self.seen.insert(blob.clone()) {
                let diff_id = diff_ids.get(number).cloned();
                let layer = Layer { blob, digest: Some(digest), diff_id, bottom: number == 0 };
                self.contents.layers.push(layer);
            }
        }
        Ok(())
    }

    /// What `docker save` wrote before it wrote an image layout.
    fn docker_archive(&mut self) -> Result<()> {
        let name = "manifest.json";
        let manifest = self.json.read(name, None)?;
        for image in manifest.as_array().ok_or(ImageError::Field(name.into(), "array"))? {
            self.json.count()?;
            let config = text(&image["Config"], name, "Config")?;
            let layers = array(image, "Layers", name)?;
            let diff_ids = self.diff_ids(config, None, layers.len())?;
            for (number, layer) in layers.iter().enumerate() {
                let blob = text(layer, name, "layer")?.to_owned();
                if self.seen.insert(blob.clone()) {
                    let diff_id = diff_ids.get(number).cloned();
                    let layer = Layer { blob, digest: None, diff_id, bottom: number == 0 };
                    self.contents.layers.push(layer);
                }
            }
        }
        Ok(())
    }

    /// The layers' diffIDs, as many as there are layers; none where the config is of another kind.
    fn diff_ids(
        &mut self,
        config: &str,
        digest: Option<&Digest>,
        layers: usize,
    ) -> Result<Vec<Digest>> {
        if !self.store.has(config) {
            return Ok(Vec::new());
        }
        let config_json = match self.json.read(config, digest) {
            // An artifact's config may be anything.
            Err(ImageError::Json(..)) => return Ok(Vec::new()),
            result => result?,
        };
        let ids = config_json["rootfs"]["diff_ids"].as_array().map_or(&[][..], Vec::as_slice);
        if ids.len() != layers {
            return Ok(Vec::new());
        }
        ids.iter().map(|id| self::digest(id, config)).collect()
    }
}

fn platform(descriptor: &Value) -> String {
    let platform = &descriptor["platform"];
    match (platform["os"].as_str(), platform["architecture"].as_str()) {
        (Some(os), Some(architecture)) => format!(" for {os:?} {architecture:?}"),
        _ => String::new(),
    }
}
