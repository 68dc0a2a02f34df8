// SPDX-License-Identifier: Apache-2.0
//! Which images a store has, and which of them is meant.

use serde_json::Value;

use super::chain::{ChainLayer, Image, Platform, chain_id};
use super::error::{DEPTH_MAX, ImageError, Result};
use super::json::{Json, array, blob, digest, is_layer, text};
use super::store::Store;
use crate::digest::Digest;

/// What an image is called by a layout (OCI image specification, "Pre-Defined Annotation Keys").
const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// The same by containerd, with the registry's name.
const CONTAINERD_NAME: &str = "io.containerd.image.name";

/// Media types of the configurations of images, by OCI and by docker.
const CONFIGS: [&str; 2] =
    ["application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json"];

/// Which image of a store is meant. Where nothing is said and the store has several, that for this
/// machine, if there is one.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Choice {
    /// A name or tag that the store has for it.
    pub name: Option<String>,
    /// The digest of its manifest, or of an index that leads to it.
    pub digest: Option<Digest>,
    /// What it is for.
    pub platform: Option<Platform>,
}

/// All images of a store, in the order of its index.
///
/// # Errors
///
/// The index, a manifest or a config is missing, malformed, too large, or not what its digest says.
pub fn list(store: &Store) -> Result<Vec<Image>> {
    candidates(store, &Choice::default())
}

/// The one that is meant.
///
/// # Errors
///
/// As for [`list`], and that there is none, or more than one.
pub fn select(store: &Store, choice: &Choice) -> Result<Image> {
    let mut found = candidates(store, choice)?;
    if let Some(platform) = &choice.platform {
        found.retain(|image| image.platform.as_ref().is_some_and(|own| platform.takes(own)));
    } else if found.len() > 1 {
        let here = Platform::here();
        let is_here = |image: &Image| image.platform.as_ref().is_some_and(|own| here.takes(own));
        if found.iter().any(is_here) {
            found.retain(is_here);
        }
    }
    match found.len() {
        1 => Ok(found.remove(0)),
        0 => Err(ImageError::NoSuch { wanted: wanted(choice), has: shown(&list(store)?) }),
        _ => Err(ImageError::Several(shown(&found))),
    }
}

fn wanted(choice: &Choice) -> String {
    let name = choice.name.as_ref().map(|name| format!("called {name:?}"));
    let digest = choice.digest.as_ref().map(|digest| format!("with digest {digest}"));
    let platform = choice.platform.as_ref().map(|platform| format!("for {platform}"));
    let parts: Vec<String> = [name, digest, platform].into_iter().flatten().collect();
    parts.join(" ")
}

fn shown(images: &[Image]) -> String {
    let one = |image: &Image| {
        let name = image.names.first().cloned();
        let digest = image.digest.as_ref().map(Digest::to_string);
        let platform = image.platform.as_ref().map(Platform::to_string);
        [name, digest, platform].into_iter().flatten().collect::<Vec<_>>().join(" ")
    };
    images.iter().take(16).map(one).collect::<Vec<_>>().join(", ")
}

fn candidates(store: &Store, choice: &Choice) -> Result<Vec<Image>> {
    let mut search = Search { store, json: Json::of(store), choice, found: Vec::new() };
    if store.has("index.json") {
        let index = search.json.read("index.json", None)?;
        search.index(&index, "index.json", 0, &Way::default())?;
    } else {
        search.docker_archive()?;
    }
    Ok(search.found)
}

struct Search<'s> {
    store: &'s Store,
    json: Json<'s>,
    choice: &'s Choice,
    found: Vec<Image>,
}

/// What the indexes on the way have said.
#[derive(Clone, Default)]
struct Way {
    names: Vec<String>,
    /// The name and the digest that are wanted were met.
    named: bool,
    digest: bool,
}

impl Search<'_> {
    fn index(&mut self, index: &Value, name: &str, depth: usize, way: &Way) -> Result<()> {
        if depth == DEPTH_MAX {
            return Err(ImageError::TooDeep);
        }
        for descriptor in array(index, "manifests", name)? {
            let digest = digest(&descriptor["digest"], name)?;
            let mut way = way.clone();
            let names =
                [REF_NAME, CONTAINERD_NAME].map(|key| descriptor["annotations"][key].as_str());
            way.names.extend(names.into_iter().flatten().map(str::to_owned));
            way.named |= self.choice.name.as_ref().is_none_or(|name| is_called(&way.names, name));
            way.digest |= self.choice.digest.as_ref().is_none_or(|wanted| *wanted == digest);
            let blob = blob(&digest);
            // One manifest may have several names, each in a descriptor of its own.
            if let Some(image) =
                self.found.iter_mut().find(|it| it.digest.as_ref() == Some(&digest))
            {
                image.names.extend(way.names);
                continue;
            }
            self.json.count()?;
            // A copy for one platform may keep the index of all.
            if !self.store.has(&blob) {
                continue;
            }
            let manifest = self.json.read(&blob, Some(&digest))?;
            if manifest.get("manifests").is_some() {
                self.index(&manifest, &blob, depth + 1, &way)?;
            } else if way.named && way.digest && !is_attestation(descriptor) {
                self.manifest(&manifest, &blob, descriptor, digest, way.names)?;
            }
        }
        Ok(())
    }

    fn manifest(
        &mut self,
        manifest: &Value,
        name: &str,
        descriptor: &Value,
        own: Digest,
        names: Vec<String>,
    ) -> Result<()> {
        // Signatures and other artifacts have manifests, too.
        let kind = manifest["config"]["mediaType"].as_str().unwrap_or(CONFIGS[0]);
        if !CONFIGS.contains(&kind) {
            return Ok(());
        }
        let config = digest(&manifest["config"]["digest"], name)?;
        let config_name = blob(&config);
        let config = self.json.read(&config_name, Some(&config))?;
        let descriptors = array(manifest, "layers", name)?;
        let mut layers = Vec::new();
        for descriptor in descriptors {
            let digest = digest(&descriptor["digest"], name)?;
            let media_type = descriptor["mediaType"].as_str().unwrap_or_default();
            if !is_layer(media_type) {
                return Err(ImageError::MediaType(digest.to_string(), media_type.into()));
            }
            let size = descriptor["size"].as_u64();
            layers.push((blob(&digest), Some(digest), size));
        }
        let platform = platform(&descriptor["platform"]).or_else(|| platform(&config));
        let layers = chain(layers, &config, &config_name)?;
        self.found.push(Image { names, digest: Some(own), platform, layers });
        Ok(())
    }

    /// What `docker save` wrote before it wrote an image layout.
    fn docker_archive(&mut self) -> Result<()> {
        let name = "manifest.json";
        let manifest = self.json.read(name, None)?;
        for image in manifest.as_array().ok_or(ImageError::Field(name.into(), "array"))? {
            let tags = image["RepoTags"].as_array().map_or(&[][..], Vec::as_slice);
            let names: Vec<String> =
                tags.iter().filter_map(Value::as_str).map(str::to_owned).collect();
            let named = self.choice.name.as_ref().is_none_or(|name| is_called(&names, name));
            if !named || self.choice.digest.is_some() {
                continue;
            }
            let config_name = text(&image["Config"], name, "Config")?;
            self.json.count()?;
            let config = self.json.read(config_name, None)?;
            let mut layers = Vec::new();
            for layer in array(image, "Layers", name)? {
                layers.push((text(layer, name, "layer")?.to_owned(), None, None));
            }
            let layers = chain(layers, &config, config_name)?;
            self.found.push(Image { names, digest: None, platform: platform(&config), layers });
        }
        Ok(())
    }
}

/// Each layer with the diffID that the configuration has for it.
fn chain(
    layers: Vec<(String, Option<Digest>, Option<u64>)>,
    config: &Value,
    name: &str,
) -> Result<Vec<ChainLayer>> {
    let diff_ids = array(&config["rootfs"], "diff_ids", name)?;
    if diff_ids.len() != layers.len() {
        let (layers, diff_ids) = (layers.len(), diff_ids.len());
        return Err(ImageError::Counts { config: name.into(), layers, diff_ids });
    }
    let mut chain: Vec<ChainLayer> = Vec::new();
    for ((blob, digest, size), diff_id) in layers.into_iter().zip(diff_ids) {
        let diff_id = self::digest(diff_id, name)?;
        let chain_id = chain_id(chain.last().map(|below| &below.chain_id), &diff_id);
        chain.push(ChainLayer { blob, digest, size, diff_id, chain_id });
    }
    Ok(chain)
}

/// Whether one of the names is the wanted one: all of it, or its tag.
fn is_called(names: &[String], wanted: &str) -> bool {
    let tag = |name: &str| {
        let (_, tag) = name.rsplit_once(':')?;
        (!tag.contains('/')).then(|| tag.to_owned())
    };
    names.iter().any(|name| name == wanted || tag(name).as_deref() == Some(wanted))
}

/// Buildkit's: statements about an image, in the form of one.
fn is_attestation(descriptor: &Value) -> bool {
    descriptor["annotations"]["vnd.docker.reference.type"] == "attestation-manifest"
}

fn platform(value: &Value) -> Option<Platform> {
    let (os, architecture) = (value["os"].as_str()?, value["architecture"].as_str()?);
    Some(Platform::new(os, architecture, value["variant"].as_str()))
}
