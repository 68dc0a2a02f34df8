// SPDX-License-Identifier: Apache-2.0
//! The JSON of an image: what its fields are, each held against what the specification wants.

use serde_json::Value;

use super::error::{ImageError, Result};
use super::store::{Store, digest_of};
use crate::digest::Digest;

/// A file of the image, which must have this digest.
pub(super) fn read_json(store: &Store, name: &str, expected: Option<&Digest>) -> Result<Value> {
    let bytes = store.read(name)?;
    if let Some(expected) = expected {
        let got = digest_of(&bytes, expected);
        if got != *expected {
            return Err(ImageError::Differs { expected: expected.clone(), got });
        }
    }
    serde_json::from_slice(&bytes).map_err(|error| ImageError::Json(name.into(), error.to_string()))
}

/// Media types of layers, by OCI and by docker, compressed or not, distributable or not.
pub(super) fn is_layer(media_type: &str) -> bool {
    media_type.starts_with("application/vnd.oci.image.layer.")
        || media_type.starts_with("application/vnd.docker.image.rootfs.")
}

/// Where the image layout specification puts a blob.
pub(super) fn blob(digest: &Digest) -> String {
    format!("blobs/{}", digest.to_string().replacen(':', "/", 1))
}

pub(super) fn array<'v>(value: &'v Value, field: &'static str, name: &str) -> Result<&'v [Value]> {
    let array = value[field].as_array().map(Vec::as_slice);
    array.ok_or_else(|| ImageError::Field(name.into(), field))
}

pub(super) fn text<'v>(value: &'v Value, name: &str, field: &'static str) -> Result<&'v str> {
    value.as_str().ok_or_else(|| ImageError::Field(name.into(), field))
}

pub(super) fn digest(value: &Value, name: &str) -> Result<Digest> {
    let digest = text(value, name, "digest")?.parse();
    digest.map_err(|error| ImageError::Digest(name.into(), error))
}
