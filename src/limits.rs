// SPDX-License-Identifier: Apache-2.0
//! How much a layer may ask for before it is refused.

use crate::setters::setters;

/// Bounds on what one layer may contain or make.
///
/// The defaults are far above every real image.
/// Reaching a limit fails the unpack with [`ErrorKind::Limit`](crate::ErrorKind::Limit).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Entries in the archive, metadata entries not counted.
    pub entries: u64,
    /// Uncompressed bytes: the archive and, separately, the logical size of all files together,
    /// so that a sparse file cannot claim more than a plain one.
    pub bytes: u64,
    /// Uncompressed bytes per compressed byte, looked at once [`RATIO_FLOOR`] bytes came out; by
    /// default there is no such limit, [`u64::MAX`]. Real layers reach any ratio: a user with a large
    /// id makes a lastlog of gigabytes, all zeros.
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
    /// Bytes of decompression window that a zstd frame may ask for, as a power of two. The unpack
    /// takes as much memory.
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
            ratio: u64::MAX,
            // PATH_MAX: longer names could be made here, but no program could open them.
            path_bytes: 4_096,
            path_depth: 512,
            xattr_bytes: 1 << 20,
            // Two million directories; the largest images have some ten thousand.
            memory: 1 << 30,
            // RFC 8878 asks decoders for 8 MiB; `zstd --ultra -22` and `--long` write 128 MiB, and
            // containerd takes 512 MiB.
            zstd_window_log: 29,
        }
    }
}

/// Which limit a layer exceeded, by how much it is known to, and the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LimitExceeded {
    /// More entries than [`Limits::entries`](field@Limits::entries), which is the number.
    #[error("more than {0} entries, the limit entries is {0}")]
    Entries(u64),
    /// More bytes in the archive, or in all its files with their holes, than
    /// [`Limits::bytes`](field@Limits::bytes).
    #[error("{got} uncompressed bytes, the limit bytes is {limit}")]
    Bytes {
        /// Bytes so far, those of the whole next file included.
        got: u64,
        /// [`Limits::bytes`](field@Limits::bytes).
        limit: u64,
    },
    /// More uncompressed bytes for each compressed one than [`Limits::ratio`](field@Limits::ratio).
    #[error("decompresses to {got} times its size, the limit ratio is {limit}")]
    Ratio {
        /// The ratio so far, rounded down.
        got: u64,
        /// [`Limits::ratio`](field@Limits::ratio).
        limit: u64,
    },
    /// A zstd frame asks for a larger window (RFC 8878) than
    /// [`Limits::zstd_window_log`](field@Limits::zstd_window_log) allows, which is the number.
    #[error("zstd window of more than 2^{0} bytes, the limit zstd_window_log is {0}")]
    ZstdWindow(u32),
    /// What has to be remembered of the layer takes more than
    /// [`Limits::memory`](field@Limits::memory), in bytes.
    #[error(
        "{got} bytes of memory for the layer's directories and links, the limit memory is {limit}"
    )]
    Memory {
        /// Bytes so far.
        got: u64,
        /// [`Limits::memory`](field@Limits::memory).
        limit: u64,
    },
    /// A name or a link target is too long.
    #[error("path of {got} bytes, the limit path_bytes is {limit}")]
    PathBytes {
        /// Bytes of the longer one of the two.
        got: usize,
        /// [`Limits::path_bytes`](field@Limits::path_bytes).
        limit: usize,
    },
    /// A name is too deep.
    #[error("path of {got} components, the limit path_depth is {limit}")]
    PathDepth {
        /// Its components, `.` and empty ones not counted.
        got: usize,
        /// [`Limits::path_depth`](field@Limits::path_depth).
        limit: usize,
    },
    /// The xattrs of an entry are too long.
    #[error("{got} bytes of xattrs, the limit xattr_bytes is {limit}")]
    XattrBytes {
        /// Bytes of all names and values.
        got: usize,
        /// [`Limits::xattr_bytes`](field@Limits::xattr_bytes).
        limit: usize,
    },
}

impl LimitExceeded {
    /// The limit's name, which is that of its field in [`Limits`].
    pub fn name(&self) -> &'static str {
        match self {
            LimitExceeded::Entries(_) => "entries",
            LimitExceeded::Bytes { .. } => "bytes",
            LimitExceeded::Ratio { .. } => "ratio",
            LimitExceeded::ZstdWindow(_) => "zstd_window_log",
            LimitExceeded::Memory { .. } => "memory",
            LimitExceeded::PathBytes { .. } => "path_bytes",
            LimitExceeded::PathDepth { .. } => "path_depth",
            LimitExceeded::XattrBytes { .. } => "xattr_bytes",
        }
    }
}
