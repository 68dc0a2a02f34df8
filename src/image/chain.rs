// SPDX-License-Identifier: Apache-2.0
//! One image of a store: its layers in order, each with the digests that it must have.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::error::{ImageError, Result};
use crate::digest::Digest;

/// What an image was built for: `linux/arm64/v8`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Platform {
    /// `linux`, as Go calls it.
    pub os: String,
    /// `amd64`, as Go calls it.
    pub architecture: String,
    /// `v8`, where the architecture has several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

impl Platform {
    pub(super) fn new(os: &str, architecture: &str, variant: Option<&str>) -> Platform {
        let variant = variant.filter(|variant| !variant.is_empty()).map(str::to_owned);
        Platform { os: os.into(), architecture: architecture.into(), variant }
    }

    /// That of this machine.
    pub fn here() -> Platform {
        let (architecture, variant) = match std::env::consts::ARCH {
            "x86_64" => ("amd64", None),
            "x86" => ("386", None),
            "aarch64" => ("arm64", Some("v8")),
            "arm" => ("arm", Some("v7")),
            "powerpc64" if cfg!(target_endian = "little") => ("ppc64le", None),
            other => (other, None),
        };
        Platform::new("linux", architecture, variant)
    }

    /// Whether an image for the other one is one for this: a variant counts where both say it.
    pub(super) fn takes(&self, other: &Platform) -> bool {
        let variants = match (self.variant.as_deref(), other.variant.as_deref()) {
            (Some(one), Some(other)) => one == other,
            // arm64 has one variant, which most leave out.
            _ => true,
        };
        self.os == other.os && self.architecture == other.architecture && variants
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        self.variant.iter().try_for_each(|variant| write!(f, "/{variant}"))
    }
}

impl FromStr for Platform {
    type Err = ImageError;

    /// `os/architecture[/variant]`, or an architecture alone, which is linux's.
    fn from_str(text: &str) -> Result<Platform> {
        let parts: Vec<&str> = text.split('/').collect();
        let word = |part: &&str| {
            !part.is_empty()
                && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
        };
        match parts[..] {
            _ if !parts.iter().all(word) => {}
            [architecture] => return Ok(Platform::new("linux", architecture, None)),
            [os, architecture] => return Ok(Platform::new(os, architecture, None)),
            [os, architecture, variant] => {
                return Ok(Platform::new(os, architecture, Some(variant)));
            }
            _ => {}
        }
        Err(ImageError::Platform(text.into()))
    }
}

/// One image of those that a store has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Image {
    /// What the store calls it.
    pub names: Vec<String>,
    /// The manifest's, in an image layout.
    pub digest: Option<Digest>,
    /// What the index or the configuration says that it is for.
    pub platform: Option<Platform>,
    /// Bottom first.
    pub layers: Vec<ChainLayer>,
}

impl Image {
    /// All of it as one JSON object.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("strings and numbers")
    }
}

/// One layer in its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ChainLayer {
    /// Where the store has it.
    pub blob: String,
    /// The blob's, in an image layout.
    pub digest: Option<Digest>,
    /// The blob's size in bytes, in an image layout.
    pub size: Option<u64>,
    /// Of the uncompressed archive, by the configuration.
    pub diff_id: Digest,
    /// Of this layer with all below it (OCI image configuration, "Layer ChainID").
    pub chain_id: Digest,
}

/// The chain ID of a layer above the others: all of them have one for the same content.
pub(super) fn chain_id(parent: Option<&Digest>, diff_id: &Digest) -> Digest {
    let Some(parent) = parent else { return diff_id.clone() };
    let bytes = Sha256::digest(format!("{parent} {diff_id}"));
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}").parse().expect("a digest")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn platforms_are_read_as_they_are_written() {
        for (text, expected) in [
            ("linux/arm64/v8", Some("linux/arm64/v8")),
            ("linux/amd64", Some("linux/amd64")),
            ("arm64", Some("linux/arm64")),
            ("", None),
            ("linux/", None),
            ("linux/arm/v7/x", None),
            ("linux/a b", None),
        ] {
            let platform = text.parse::<Platform>().ok().map(|platform| platform.to_string());
            assert_eq!(platform.as_deref(), expected, "{text:?}");
        }
        let arm: Platform = "linux/arm64".parse().unwrap();
        assert!(arm.takes(&"linux/arm64/v8".parse().unwrap()));
        assert!(!arm.takes(&"linux/amd64".parse().unwrap()));
        let seven: Platform = "linux/arm/v7".parse().unwrap();
        assert!(!seven.takes(&"linux/arm/v6".parse().unwrap()));
    }

    /// By hand: `printf 'sha256:… sha256:…' | sha256sum`.
    #[test]
    fn chain_ids_are_those_of_the_specification() {
        let digest = |byte: &str| format!("sha256:{}", byte.repeat(32)).parse::<Digest>().unwrap();
        let (a, b) = (digest("aa"), digest("bb"));
        assert_eq!(chain_id(None, &a), a);
        let two = chain_id(Some(&a), &b);
        assert_eq!(
            two.to_string(),
            "sha256:ccd722928bd92476ba1745586fed6e45a102504185ad88cd89e01ff116fd146c"
        );
        assert_ne!(chain_id(Some(&two), &a), chain_id(Some(&a), &two));
    }
}
