// SPDX-License-Identifier: Apache-2.0
//! What can be wrong with an archive.

use std::fmt;

use crate::limits::LimitExceeded;

/// A malformed or truncated archive. The offset is that of the block in question.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TarError {
    #[error("archive ends in the middle, at {offset}")]
    Truncated { offset: u64 },
    /// The very first block is no header: the blob was never an archive.
    #[error("not a tar archive")]
    NotTar,
    #[error("header at {offset}: checksum is {computed}, the header says {stored}")]
    Checksum { offset: u64, stored: Quoted, computed: i64 },
    #[error("header at {offset}: {field} {found}: {fault}")]
    Number { offset: u64, field: &'static str, found: Quoted, fault: NumberFault },
    #[error("header at {offset}: unknown typeflag {found}")]
    UnknownType { offset: u64, found: Quoted },
    #[error("header at {offset}: {field}: {fault}")]
    Name { offset: u64, field: &'static str, fault: NameFault },
    /// Readers disagree whether this is a directory, and so where the next header is.
    #[error("header at {offset}: file of {size} bytes with a directory's name")]
    FileNamedAsDirectory { offset: u64, size: u64 },
    #[error("PAX header at {offset}: {fault}")]
    Pax { offset: u64, fault: PaxFault },
    #[error("header at {offset}: sparse map: {fault}")]
    Sparse { offset: u64, fault: SparseFault },
    /// Extension headers in front of one entry, all together.
    #[error("header at {offset}: {got} bytes of extension headers, at most {limit} are read")]
    ExtensionsTooLong { offset: u64, got: u64, limit: u64 },
    /// Readers disagree which one counts.
    #[error("header at {offset}: second {what} for one entry")]
    RepeatedExtension { offset: u64, what: &'static str },
    /// Readers disagree what becomes of the extension headers.
    #[error("header at {offset}: global PAX header between an extension header and its entry")]
    MisplacedGlobal { offset: u64 },
    #[error("archive ends at {offset} after an extension header without its entry")]
    Dangling { offset: u64 },
}

/// Why the parser stopped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseError {
    #[error(transparent)]
    Tar(#[from] TarError),
    #[error(transparent)]
    Limit(#[from] LimitExceeded),
}

/// Why a number was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NumberFault {
    #[error("not a number")]
    Malformed,
    #[error("out of range")]
    Range,
}

/// Why a name or link target was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameFault {
    #[error("is empty")]
    Empty,
    #[error("contains a NUL")]
    Nul,
}

/// Why a PAX header was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PaxFault {
    #[error("record without a valid length")]
    Length,
    #[error("record does not end with a newline")]
    NoNewline,
    #[error("record without '='")]
    NoEquals,
    #[error("record without a key")]
    NoKey,
    #[error("{key}: contains a NUL")]
    Nul { key: Quoted },
    #[error("{key} {found}: {fault}")]
    Number { key: Quoted, found: Quoted, fault: NumberFault },
    #[error("{key}: xattr name or value is not encoded as it should be")]
    Encoding { key: Quoted },
    #[error("more than {limit} xattrs")]
    TooManyXattrs { limit: usize },
    #[error(transparent)]
    Sparse(#[from] SparseFault),
}

/// Why the map of a sparse file was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SparseFault {
    #[error("malformed number")]
    Malformed,
    #[error("offset without length, or the reverse")]
    Unpaired,
    #[error("more than {limit} segments")]
    TooMany { limit: usize },
    #[error("segments overlap or go backwards")]
    Order,
    #[error("segment ends past the file's size")]
    PastSize,
    #[error("segments have {mapped} bytes, the archive has {stored}")]
    Stored { mapped: u64, stored: u64 },
    #[error("announces {announced} segments, has {got}")]
    Count { announced: u64, got: u64 },
    #[error("no size of the whole file")]
    NoSize,
    #[error("no map")]
    NoMap,
    #[error("more than one map, or one that ends and goes on")]
    Ambiguous,
    #[error("unknown version {major}.{minor}")]
    Version { major: u64, minor: u64 },
    #[error("on something other than a file")]
    NotAFile,
    /// The map of an old GNU sparse file lies where other dialects keep other fields.
    #[error("old GNU sparse file without GNU magic")]
    NotGnu,
}

/// Bytes out of an archive, fit to be shown: escaped and not long.
#[derive(Clone, PartialEq, Eq)]
pub struct Quoted(Vec<u8>);

impl Quoted {
    /// Enough for every number and keyword; an error must not carry a megabyte.
    const LONGEST: usize = 48;

    pub(super) fn new(bytes: &[u8]) -> Quoted {
        Quoted(bytes[..bytes.len().min(Quoted::LONGEST)].to_vec())
    }
}

impl fmt::Display for Quoted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.escape_ascii())
    }
}

impl fmt::Debug for Quoted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
