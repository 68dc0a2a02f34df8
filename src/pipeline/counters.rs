// SPDX-License-Identifier: Apache-2.0
//! How far a stream has come, and what it came to.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::digest::{Digest, DigestError};
use crate::options::Expect;
use crate::report::Compression;

/// How far a pipeline has come, for whoever shows it.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// Bytes of the blob that went into the decompressor.
    pub(crate) blob_bytes: AtomicU64,
    /// Bytes that came out of it.
    pub(crate) layer_bytes: AtomicU64,
}

impl Counters {
    /// What is known of a stream before its end.
    pub(crate) fn so_far(&self) -> Amounts {
        self.amounts(Compression::default(), Duration::ZERO, Duration::ZERO)
    }

    pub(super) fn amounts(
        &self,
        compression: Compression,
        decompress: Duration,
        digest: Duration,
    ) -> Amounts {
        Amounts {
            blob_bytes: self.blob_bytes.load(Ordering::Relaxed),
            layer_bytes: self.layer_bytes.load(Ordering::Relaxed),
            compression,
            decompress,
            digest,
        }
    }
}

/// What is known of a stream that was not read to its end, too.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Amounts {
    pub(crate) blob_bytes: u64,
    pub(crate) layer_bytes: u64,
    pub(crate) compression: Compression,
    /// Reading the source, the blob's digest and decompression.
    pub(crate) decompress: Duration,
    /// The archive's digest.
    pub(crate) digest: Duration,
}

/// What a whole stream came to.
#[derive(Debug)]
pub(crate) struct Summary {
    /// None if it was to be skipped.
    pub(crate) blob_digest: Option<Digest>,
    /// The same.
    pub(crate) diff_id: Option<Digest>,
    pub(crate) amounts: Amounts,
}

impl Summary {
    /// Holds the digests against the expected ones.
    pub(crate) fn compare(&self, expect: &Expect) -> Result<(), DigestError> {
        let differs = |expected: &Option<Digest>, got: Option<&Digest>| match expected {
            None => None,
            Some(expected) => {
                let got = got.expect("a digest that is expected is made");
                (expected != got).then(|| (expected.clone(), got.clone()))
            }
        };
        if let Some((expected, got)) = differs(&expect.blob, self.blob_digest.as_ref()) {
            return Err(DigestError::Blob { expected, got });
        }
        match differs(&expect.diff_id, self.diff_id.as_ref()) {
            Some((expected, got)) => Err(DigestError::DiffId { expected, got }),
            None => Ok(()),
        }
    }
}
