// SPDX-License-Identifier: Apache-2.0
//! The JSON of an image: what its fields are, each held against what the specification wants.

use serde_json::Value;

use super::error::{ImageError, JSON_ALL_MAX, MANIFESTS_MAX, Result};
use super::store::{Store, digest_of};
use crate::digest::Digest;

/// The JSON of a store, as long as that is of a reasonable amount: a small index may name one manifest very
/// often, and one index in another.
pub(super) struct Json<'s> {
    store: &'s Store,
    /// Bytes that may still be read.
    left: usize,
    /// Manifests that were named so far, also several times by one name.
    named: usize,
}

impl<'s> Json<'s> {
    pub(super) fn of(store: &'s Store) -> Json<'s> {
        Json { store, left: JSON_ALL_MAX, named: 0 }
    }

    /// A file of the image, which must have this digest.
    pub(super) fn read(&mut self, name: &str, expected: Option<&Digest>) -> Result<Value> {
        let bytes = self.store.read(name)?;
        self.left = self.left.checked_sub(bytes.len()).ok_or(ImageError::TooMuch)?;
        if let Some(expected) = expected {
            let got = digest_of(&bytes, expected);
            if got != *expected {
                return Err(ImageError::Differs { expected: expected.clone(), got });
            }
        }
        serde_json::from_slice(&bytes)
            .map_err(|error| ImageError::Json(name.into(), error.to_string()))
    }

    /// One more manifest is named.
    pub(super) fn count(&mut self) -> Result<()> {
        self.named += 1;
        if self.named > MANIFESTS_MAX { Err(ImageError::TooMany) } else { Ok(()) }
    }
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
