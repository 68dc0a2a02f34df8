// SPDX-License-Identifier: Apache-2.0
//! Images on disk as umoci, buildah and skopeo write them, read for their layers.

use std::fs;
use std::path::Path;

use ocilayer::Digest;
use serde_json::Value;

use super::unpacked::Layer;

/// The layers, bottom first, of `reference` in an OCI image layout.
pub fn oci_layout(layout: &Path, reference: &str) -> Vec<Layer> {
    let index = json(&layout.join("index.json"));
    let named = |manifest: &&Value| {
        manifest["annotations"]["org.opencontainers.image.ref.name"] == reference
    };
    let manifest = array(&index["manifests"]).iter().find(named);
    let manifest = manifest.unwrap_or_else(|| panic!("no {reference} in {index}"));
    let blob = |digest: &Digest| {
        let hex = digest.to_string();
        layout.join("blobs").join(hex.replace(':', "/"))
    };
    manifest_layers(&json(&blob(&digest(&manifest["digest"]))), blob)
}

/// The layers of skopeo's `dir:`, which keeps blobs beside their manifest under their bare hash.
pub fn directory(image: &Path) -> Vec<Layer> {
    manifest_layers(&json(&image.join("manifest.json")), |digest| {
        image.join(digest.to_string().split_once(':').expect("digest").1)
    })
}

fn manifest_layers(manifest: &Value, blob: impl Fn(&Digest) -> std::path::PathBuf) -> Vec<Layer> {
    let config = json(&blob(&digest(&manifest["config"]["digest"])));
    let diff_ids = array(&config["rootfs"]["diff_ids"]).iter().map(digest);
    let digests = array(&manifest["layers"]).iter().map(|layer| digest(&layer["digest"]));
    assert_eq!(diff_ids.len(), digests.len(), "{manifest}");
    let layer = |(digest, diff_id): (Digest, Digest)| Layer {
        blob: blob(&digest),
        digest: Some(digest),
        diff_id: Some(diff_id),
    };
    digests.zip(diff_ids).map(layer).collect()
}

/// The layers of an extracted docker archive, by the manifest that `docker load` reads.
pub fn docker_archive(image: &Path) -> Vec<Layer> {
    let manifest = &json(&image.join("manifest.json"))[0];
    let config = json(&image.join(text(&manifest["Config"])));
    let diff_ids = array(&config["rootfs"]["diff_ids"]);
    let layers = array(&manifest["Layers"]);
    assert_eq!(diff_ids.len(), layers.len(), "{manifest}");
    let layer = |(path, diff_id)| Layer {
        blob: image.join(text(path)),
        digest: None,
        diff_id: Some(digest(diff_id)),
    };
    layers.iter().zip(diff_ids).map(layer).collect()
}

/// The same by docker's layout from before the manifest: a directory for each layer, with its
/// `layer.tar` and the name of its parent.
pub fn docker_legacy(image: &Path) -> Vec<Layer> {
    let repositories = json(&image.join("repositories"));
    let tags = repositories.as_object().and_then(|r| r.values().next()).expect("a repository");
    let mut id = tags.as_object().and_then(|t| t.values().next()).map(|v| text(v).to_owned());
    let mut layers = Vec::new();
    while let Some(layer) = id {
        layers.insert(0, Layer::from(image.join(&layer).join("layer.tar")));
        id = json(&image.join(&layer).join("json"))["parent"].as_str().map(str::to_owned);
    }
    layers
}

fn json(path: &Path) -> Value {
    let bytes = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn array(value: &Value) -> &[Value] {
    value.as_array().unwrap_or_else(|| panic!("{value} is no array"))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is no string"))
}

fn digest(value: &Value) -> Digest {
    text(value).parse().expect("digest")
}
