// SPDX-License-Identifier: Apache-2.0
//! What can be wrong with an archive.

use std::fmt;

use crate::limits::LimitExceeded;

/// A malformed or truncated archive. The offset is that of the block in question.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TarError {
    /// The archive ends within a header or the data of an entry.
    #[error("archive ends in the middle, at {offset}")]
    Truncated {
        /// Where it ends, in bytes of the uncompressed archive.
        offset: u64,
    },
    /// The archive ends before a header or in padding, without an end marker, and nothing else proves
    /// it whole: neither the end of a gzip or zstd stream nor an expected digest.
    #[error("archive ends at {offset} without an end marker: give its digest to prove it whole")]
    NoEndMarker {
        /// Where it ends, in bytes of the uncompressed archive.
        offset: u64,
    },
    /// Behind a lone block of zeros comes something else. Some readers end there, Go does not.
    #[error("header at {offset} behind a lone block of zeros: the end marker has two")]
    LoneZeroBlock {
        /// Where that something starts, in bytes of the uncompressed archive.
        offset: u64,
    },
    /// The very first block is no header: the blob was never an archive.
    #[error("not a tar archive")]
    NotTar,
    /// A block after the first is no header: its checksum is wrong (POSIX pax, ustar format).
    #[error("header at {offset}: checksum is {computed}, the header says {stored}")]
    Checksum {
        /// Where the block starts, in bytes of the uncompressed archive.
        offset: u64,
        /// The checksum field as it stands.
        stored: Quoted,
        /// The sum of all bytes, unsigned, with those of the checksum field as spaces.
        computed: i64,
    },
    /// A field of a header is not a number, or not one that the field can have.
    #[error("header at {offset}: {field} {found}: {fault}")]
    Number {
        /// Where the header starts, in bytes of the uncompressed archive.
        offset: u64,
        /// The field in a word or two, such as `uid` or `device major`.
        field: &'static str,
        /// The field as it stands.
        found: Quoted,
        /// What is wrong with it.
        fault: NumberFault,
    },
    /// A typeflag that is none of POSIX's, nor GNU's `L`, `K` and `S`, nor Solaris's `X`. Readers
    /// disagree whether data follows such a header, and so where the next one is.
    #[error("header at {offset}: unknown typeflag {found}")]
    UnknownType {
        /// Where the header starts, in bytes of the uncompressed archive.
        offset: u64,
        /// The typeflag, one byte.
        found: Quoted,
    },
    /// A name or link target that cannot be one.
    #[error("header at {offset}: {field}: {fault}")]
    Name {
        /// Where the header starts, in bytes of the uncompressed archive.
        offset: u64,
        /// Which of them: `name`, `link target`, `long name` or `long link target`.
        field: &'static str,
        /// What is wrong with it.
        fault: NameFault,
    },
    /// Readers disagree whether this is a directory, and so where the next header is.
    #[error("header at {offset}: file of {size} bytes with a directory's name")]
    FileNamedAsDirectory {
        /// Where the header starts, in bytes of the uncompressed archive.
        offset: u64,
        /// Bytes of data that the file should have.
        size: u64,
    },
    /// The records of a PAX header are malformed, or say what no entry can have (POSIX pax).
    #[error("PAX header at {offset}: {fault}")]
    Pax {
        /// Where the PAX header starts, in bytes of the uncompressed archive.
        offset: u64,
        /// What is wrong with the records.
        fault: PaxFault,
    },
    /// The map of a sparse file is malformed, or does not fit the file.
    #[error("header at {offset}: sparse map: {fault}")]
    Sparse {
        /// Where the entry's header starts, or the block of the map that was read last, in bytes of
        /// the uncompressed archive.
        offset: u64,
        /// What is wrong with the map.
        fault: SparseFault,
    },
    /// Extension headers in front of one entry, all together.
    #[error("header at {offset}: {got} bytes of extension headers, at most {limit} are read")]
    ExtensionsTooLong {
        /// Where the header that is too much starts, in bytes of the uncompressed archive.
        offset: u64,
        /// Bytes of data of all of them, this one included.
        got: u64,
        /// How many are read: 1,048,576.
        limit: u64,
    },
    /// Readers disagree which one counts.
    #[error("header at {offset}: second {what} for one entry")]
    RepeatedExtension {
        /// Where the second one starts, in bytes of the uncompressed archive.
        offset: u64,
        /// What it is: `PAX header`.
        what: &'static str,
    },
    /// Readers disagree what becomes of the extension headers.
    #[error("header at {offset}: global PAX header between an extension header and its entry")]
    MisplacedGlobal {
        /// Where the global header starts, in bytes of the uncompressed archive.
        offset: u64,
    },
    /// A GNU long name and a PAX record name one entry, and not in the same way. Readers disagree
    /// which one counts.
    #[error("header at {offset}: a GNU {what} and a PAX record that differ")]
    TwoNames {
        /// Where the entry's own header starts, in bytes of the uncompressed archive.
        offset: u64,
        /// Which of them: `long name` or `long link target`.
        what: &'static str,
    },
}

/// Why the parser stopped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseError {
    /// The archive is malformed or truncated.
    #[error(transparent)]
    Tar(#[from] TarError),
    /// The archive exceeds one of the [`Limits`](crate::Limits).
    #[error(transparent)]
    Limit(#[from] LimitExceeded),
}

/// Why a number was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NumberFault {
    /// Neither octal nor base-256 in a header, or not decimal in a PAX record.
    #[error("not a number")]
    Malformed,
    /// A number that the field cannot have: a negative size or mode, an owner outside of 0 to
    /// 4,294,967,294 (-1 is none, chown(2)), a device's major number past 12 or minor number past
    /// 20 bits, or what does not fit 64 bits with a sign.
    #[error("out of range")]
    Range,
}

/// Why a name or link target was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameFault {
    /// Nothing is there, or nothing before a NUL.
    #[error("is empty")]
    Empty,
}

/// Why a PAX header was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PaxFault {
    /// A record does not begin with its length in decimal and a space, or the length is too small
    /// for a record or larger than what is left of the header's data.
    #[error("record without a valid length")]
    Length,
    /// The last byte of a record, by its length, is no newline.
    #[error("record does not end with a newline")]
    NoNewline,
    /// Nothing separates a record's key from its value.
    #[error("record without '='")]
    NoEquals,
    /// Nothing stands before the `=`, or between `SCHILY.xattr.` or `LIBARCHIVE.xattr.` and it.
    #[error("record without a key")]
    NoKey,
    /// A NUL in a key, in the name of an xattr, or in the value of `path`, `linkpath` or
    /// `GNU.sparse.name`. A reader in C would see the text end there.
    #[error("{key}: contains a NUL")]
    Nul {
        /// The record's key.
        key: Quoted,
    },
    /// A value is not the number or time that its key takes.
    #[error("{key} {found}: {fault}")]
    Number {
        /// The record's key.
        key: Quoted,
        /// The value as it stands.
        found: Quoted,
        /// What is wrong with it.
        fault: NumberFault,
    },
    /// The name of a `LIBARCHIVE.xattr` record is not percent-encoded, or its value is not Base64
    /// (RFC 4648).
    #[error("{key}: xattr name or value is not encoded as it should be")]
    Encoding {
        /// The record's key.
        key: Quoted,
    },
    /// An entry has too many xattrs.
    #[error("more than {limit} xattrs")]
    TooManyXattrs {
        /// How many are read: 1,024.
        limit: usize,
    },
    /// `GNU.sparse.*` records are malformed or contradict each other.
    #[error(transparent)]
    Sparse(#[from] SparseFault),
}

/// Why the map of a sparse file was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SparseFault {
    /// An offset, a length or the number of segments is missing, no number, or out of range.
    #[error("malformed number")]
    Malformed,
    /// A segment has only one of its two numbers.
    #[error("offset without length, or the reverse")]
    Unpaired,
    /// The map has, or announces, too many segments, those without data included.
    #[error("more than {limit} segments")]
    TooMany {
        /// How many are read: 65,536.
        limit: usize,
    },
    /// A segment begins before the end of the one before it.
    #[error("segments overlap or go backwards")]
    Order,
    /// A segment ends past the size of the whole file, or past what 64 bits hold.
    #[error("segment ends past the file's size")]
    PastSize,
    /// The map and the archive disagree how much data the file has.
    #[error("segments have {mapped} bytes, the archive has {stored}")]
    Stored {
        /// Bytes of all segments together.
        mapped: u64,
        /// Bytes of data in the archive, without a map in front of them.
        stored: u64,
    },
    /// `GNU.sparse.numblocks` and the map in the records disagree.
    #[error("announces {announced} segments, has {got}")]
    Count {
        /// Segments by `GNU.sparse.numblocks`.
        announced: u64,
        /// Segments in the map, those without data included.
        got: u64,
    },
    /// Neither `GNU.sparse.size` nor `GNU.sparse.realsize` is there.
    #[error("no size of the whole file")]
    NoSize,
    /// No record has the map, or the data ends before the map in front of it does.
    #[error("no map")]
    NoMap,
    /// Readers disagree which map counts, or where it ends.
    #[error("more than one map, or one that ends and goes on")]
    Ambiguous,
    /// A version of PAX sparse files other than 0.0, 0.1 and 1.0, or only half of one.
    #[error("unknown version {major}.{minor}")]
    Version {
        /// `GNU.sparse.major`; 0 if it is missing.
        major: u64,
        /// `GNU.sparse.minor`; 0 if it is missing.
        minor: u64,
    },
    /// `GNU.sparse.*` records on an entry of another type, or on an old GNU sparse file, which has
    /// a map of its own.
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
