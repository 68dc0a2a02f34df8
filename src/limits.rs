// SPDX-License-Identifier: Apache-2.0
//! How much a layer may ask for before it is refused.

use crate::setters::setters;

/// Bounds on what one layer may contain or make.
///
/// The defaults are far above every real image and far below what a decompression bomb needs.
/// Reaching a limit fails the unpack with [`ErrorKind::Limit`](crate::ErrorKind::Limit).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Entries in the archive, metadata entries not counted.
    pub entries: u64,
    /// Uncompressed bytes: the archive and, separately, the logical size of all files together,
    /// so that a sparse file cannot claim more than a plain one.
    pub bytes: u64,
    /// Uncompressed bytes per compressed byte, looked at once [`RATIO_FLOOR`] bytes came out.
    pub ratio: u64,
    /// Bytes in a name or a link target.
    pub path_bytes: usize,
    /// Components in a name.
    pub path_depth: usize,
    /// Bytes of all xattr names and values of one entry.
    pub xattr_bytes: usize,
    /// Bytes of memory for what has to be remembered of the layer until its end, its directories above
    /// all: some 500 for each, and the bytes of its name.
    pub memory: u64,
    /// Bytes of decompression window that a zstd frame may ask for, as a power of two.
    pub zstd_window_log: u32,
}

impl Limits {
    setters! {
        /// Sets [`entries`](field@Limits::entries).
        entries: u64;
        /// Sets [`bytes`](field@Limits::bytes).
        bytes: u64;
        /// Sets [`ratio`](field@Limits::ratio).
        ratio: u64;
        /// Sets [`path_bytes`](field@Limits::path_bytes).
        path_bytes: usize;
        /// Sets [`path_depth`](field@Limits::path_depth).
        path_depth: usize;
        /// Sets [`xattr_bytes`](field@Limits::xattr_bytes).
        xattr_bytes: usize;
        /// Sets [`memory`](field@Limits::memory).
        memory: u64;
        /// Sets [`zstd_window_log`](field@Limits::zstd_window_log).
        zstd_window_log: u32;
    }
}

/// Output below this size is never a bomb, whatever its ratio.
pub const RATIO_FLOOR: u64 = 1 << 30;

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            entries: 10_000_000,
            bytes: 1 << 40,
            // A bomb made of DEFLATE nears 1032, one of zstd goes far beyond; disk images that are
            // mostly zeros stay below.
            ratio: 400,
            // PATH_MAX: longer names could be made here, but no program could open them.
            path_bytes: 4_096,
            path_depth: 512,
            xattr_bytes: 1 << 20,
            // Two million directories; the largest images have some ten thousand.
            memory: 1 << 30,
            // RFC 8878 asks decoders for 8 MiB; `zstd --ultra -22` and `--long` write 128 MiB.
            zstd_window_log: 27,
        }
    }
}

/// Which limit a layer exceeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LimitExceeded {
    /// More entries than [`Limits::entries`](field@Limits::entries), which is the number.
    #[error("more than {0} entries")]
    Entries(u64),
    /// More bytes in the archive, or in all its files with their holes, than
    /// [`Limits::bytes`](field@Limits::bytes), which is the number.
    #[error("more than {0} uncompressed bytes")]
    Bytes(u64),
    /// More uncompressed bytes for each compressed one than
    /// [`Limits::ratio`](field@Limits::ratio), which is the number.
    #[error("decompresses to more than {0} times its size")]
    Ratio(u64),
    /// A zstd frame asks for a larger window (RFC 8878) than
    /// [`Limits::zstd_window_log`](field@Limits::zstd_window_log) allows, which is the number.
    #[error("zstd frame asks for a window of more than 2^{0} bytes")]
    ZstdWindow(u32),
    /// What has to be remembered of the layer takes more than
    /// [`Limits::memory`](field@Limits::memory), which is the number, in bytes.
    #[error("more than {0} bytes of memory for the layer's directories and links")]
    Memory(u64),
    /// A name or a link target is too long.
    #[error("path of {got} bytes, the limit is {limit}")]
    PathBytes {
        /// Bytes of the longer one of the two.
        got: usize,
        /// [`Limits::path_bytes`](field@Limits::path_bytes).
        limit: usize,
    },
    /// A name is too deep.
    #[error("path of {got} components, the limit is {limit}")]
    PathDepth {
        /// Its components, `.` and empty ones not counted.
        got: usize,
        /// [`Limits::path_depth`](field@Limits::path_depth).
        limit: usize,
    },
    /// The xattrs of an entry, or of all global PAX headers together, are too long.
    #[error("{got} bytes of xattrs, the limit is {limit}")]
    XattrBytes {
        /// Bytes of all names and values.
        got: usize,
        /// [`Limits::xattr_bytes`](field@Limits::xattr_bytes).
        limit: usize,
    },
}
