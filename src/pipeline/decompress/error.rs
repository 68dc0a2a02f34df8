// SPDX-License-Identifier: Apache-2.0
//! What can be wrong with a compressed stream.

/// A damaged compressed stream. Offsets count compressed bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecompressError {
    /// What RFC 1952 or RFC 1951 rules out: a damaged member, one whose CRC or length is wrong, or
    /// data that is no member after the last one.
    #[error("gzip stream at {offset}: {reason}")]
    Gzip {
        /// Where in the blob it showed, in compressed bytes.
        offset: u64,
        /// What is wrong, for people.
        reason: String,
    },
    /// What RFC 8878 rules out: a damaged frame, one whose checksum is wrong, or data that is no
    /// frame after the last one.
    #[error("zstd stream at {offset}: {reason}")]
    Zstd {
        /// Where in the blob it showed, in compressed bytes.
        offset: u64,
        /// What is wrong, in the words of libzstd.
        reason: String,
    },
    /// The blob ends within a gzip member or a zstd frame.
    #[error("compressed stream ends in the middle, at {offset}")]
    Truncated {
        /// Where in the blob the stream breaks off, in compressed bytes.
        offset: u64,
    },
    /// By its first bytes, the blob is of this compression: xz, bzip2, lz4, lzip or compress.
    #[error("{0} is not a compression that layers use")]
    Unsupported(&'static str),
}
