// SPDX-License-Identifier: Apache-2.0
//! Digests of the blob and of the uncompressed archive.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};
use sha2::{Digest as _, Sha256, Sha512};

/// An algorithm of the OCI image specification (descriptor.md).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Algorithm {
    /// SHA-256, of 32 bytes, which every implementation has to verify.
    #[default]
    Sha256,
    /// SHA-512, of 64 bytes, which implementations may verify.
    Sha512,
}

/// `algorithm:hex`, as in an OCI descriptor.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Digest {
    algorithm: Algorithm,
    bytes: Vec<u8>,
}

/// A blob that is not the one that [`Expect`](crate::Expect) names.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DigestError {
    /// The blob as it was read, compressed or not, has another digest.
    #[error("blob has digest {got}, expected {expected}")]
    Blob {
        /// The one that the caller expected.
        expected: Digest,
        /// The one that it has.
        got: Digest,
    },
    /// The uncompressed archive has another digest: the diffID is wrong.
    #[error("uncompressed layer has digest {got}, expected {expected}")]
    DiffId {
        /// The one that the caller expected.
        expected: Digest,
        /// The one that it has.
        got: Digest,
    },
}

/// Text that is not a digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not sha256:HEX or sha512:HEX in lower case")]
pub struct ParseDigestError(String);

impl Digest {
    /// How it was made.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The hash itself, not as hexadecimal: 32 or 64 bytes, by the algorithm.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl FromStr for Digest {
    type Err = ParseDigestError;

    fn from_str(text: &str) -> Result<Digest, ParseDigestError> {
        let refuse = || ParseDigestError(text.chars().take(160).collect());
        let (name, hex) = text.split_once(':').ok_or_else(refuse)?;
        let algorithm = match name {
            "sha256" => Algorithm::Sha256,
            "sha512" => Algorithm::Sha512,
            _ => return Err(refuse()),
        };
        let nibble = |c: u8| match c {
            b'0'..=b'9' => Some(c - b'0'),
            b'a'..=b'f' => Some(c - b'a' + 10),
            _ => None,
        };
        if hex.len() != algorithm.length() * 2 {
            return Err(refuse());
        }
        let byte = |pair: &[u8]| Some(nibble(pair[0])? << 4 | nibble(pair[1])?);
        let bytes = hex.as_bytes().chunks(2).map(byte).collect::<Option<_>>();
        Ok(Digest { algorithm, bytes: bytes.ok_or_else(refuse)? })
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.algorithm {
            Algorithm::Sha256 => "sha256:",
            Algorithm::Sha512 => "sha512:",
        })?;
        self.bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl Algorithm {
    /// Bytes in a digest.
    fn length(self) -> usize {
        match self {
            Algorithm::Sha256 => 32,
            Algorithm::Sha512 => 64,
        }
    }
}

/// A digest in the making.
#[derive(Clone)]
pub(crate) enum Hasher {
    Sha256(Sha256),
    Sha512(Sha512),
}

impl Hasher {
    /// By the algorithm of the digest that is expected; SHA-256 where none is.
    pub(crate) fn towards(expected: Option<&Digest>) -> Hasher {
        match expected.map(Digest::algorithm).unwrap_or_default() {
            Algorithm::Sha256 => Hasher::Sha256(Sha256::new()),
            Algorithm::Sha512 => Hasher::Sha512(Sha512::new()),
        }
    }

    pub(crate) fn algorithm(&self) -> Algorithm {
        match self {
            Hasher::Sha256(_) => Algorithm::Sha256,
            Hasher::Sha512(_) => Algorithm::Sha512,
        }
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        match self {
            Hasher::Sha256(state) => state.update(bytes),
            Hasher::Sha512(state) => state.update(bytes),
        }
    }

    pub(crate) fn finish(self) -> Digest {
        let algorithm = self.algorithm();
        let bytes = match self {
            Hasher::Sha256(state) => state.finalize().to_vec(),
            Hasher::Sha512(state) => state.finalize().to_vec(),
        };
        Digest { algorithm, bytes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What sha256sum and sha512sum print.
    const KNOWN: [(&[u8], &str); 4] = [
        (b"", "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
        (b"abc", "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        (
            b"",
            "sha512:cf83e1357eefb8bdf1542850d66d8007d620e4050b5715dc83f4a921d36ce9ce47d0d13c5d85f2b0ff8318d2877eec2f63b931bd47417a81a538327af927da3e",
        ),
        (
            b"abc",
            "sha512:ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
        ),
    ];

    #[test]
    fn digests_are_those_of_coreutils() {
        for (bytes, text) in KNOWN {
            let expected: Digest = text.parse().unwrap();
            let mut hasher = Hasher::towards(Some(&expected));
            bytes.chunks(2).for_each(|piece| hasher.update(piece));
            assert_eq!(hasher.finish(), expected);
            assert_eq!(expected.to_string(), text);
        }
    }

    #[test]
    fn text_that_is_no_digest_is_refused() {
        let upper = KNOWN[0].1.to_uppercase();
        let short = &KNOWN[0].1[..KNOWN[0].1.len() - 2];
        let wrong_length = KNOWN[2].1.replace("sha512", "sha256");
        for text in
            ["", "sha256:", "md5:d41d8cd98f00b204e9800998ecf8427e", short, &upper, &wrong_length]
        {
            assert!(text.parse::<Digest>().is_err(), "{text}");
        }
    }
}
