// SPDX-License-Identifier: Apache-2.0
//! One entry of an archive, after all of its headers were read.

use std::fmt;

use crate::escape::{Escaped, debug_with_text};

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(u32)]
#[non_exhaustive]
pub enum Kind {
    /// A regular file, also a sparse or a contiguous one.
    #[default]
    File = 1,
    /// A directory, also one that an old tar wrote as an empty file whose name ends with a slash.
    Directory = 2,
    /// A symbolic link (symlink(7)).
    Symlink = 3,
    /// One more name of what an earlier entry or a lower layer has (link(2)).
    Hardlink = 4,
    /// A named pipe (fifo(7)).
    Fifo = 5,
    /// A character device (mknod(2)).
    CharDevice = 6,
    /// A block device (mknod(2)).
    BlockDevice = 7,
}

/// A time before or after 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Time {
    /// Whole seconds since the start of 1970 in UTC, negative before it.
    pub seconds: i64,
    /// 0 to 999,999,999, counted forward from `seconds` also where that is negative.
    pub nanoseconds: u32,
}

/// A part of a sparse file that has data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Segment {
    /// Where it starts in the file, in bytes.
    pub offset: u64,
    /// Its bytes, at least one.
    pub length: u64,
}

/// One entry. Names are bytes as they stand in the archive: not yet safe, not yet interpreted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Entry {
    /// Counted from 0; headers that only describe the next entry are not counted.
    pub index: u64,
    /// Where the first header of this entry starts, in bytes of the archive.
    pub offset: u64,
    /// The name with all directories in it; empty for a directory that is the root.
    pub name: Vec<u8>,
    /// What the entry is.
    pub kind: Kind,
    /// Target of a symlink or hardlink.
    pub link: Vec<u8>,
    /// Permission bits, setuid, setgid and sticky: 0 to 0o7777.
    pub mode: u32,
    /// The owner's number, 0 to 4,294,967,294; names of owners are not read.
    pub uid: u32,
    /// The group's number, 0 to 4,294,967,294.
    pub gid: u32,
    /// When the content was last modified; in whole seconds unless a PAX record tells more.
    pub mtime: Time,
    /// Only where the archive has one.
    pub atime: Option<Time>,
    /// Logical size of a file, holes included.
    pub size: u64,
    /// Data of a sparse file, ascending, not overlapping and inside `size`; none for a plain file.
    pub sparse: Option<Vec<Segment>>,
    /// Major and minor, at most 12 and 20 bits.
    pub device: (u32, u32),
    /// Name and value, each name once, in the order of the archive.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Keys of PAX records that say something of the entry which is not read: star's text ACLs and
    /// file flags, SELinux labels, Windows attributes. The first 64 of them.
    pub ignored: Vec<Vec<u8>>,
}

/// Which entry of the archive an error is about.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Place {
    /// Counted from 0, metadata entries not counted.
    pub entry: u64,
    /// The name as it stands in the archive; empty if it could not be read.
    pub path: Vec<u8>,
    /// Where the entry starts in the uncompressed archive, in bytes.
    pub offset: u64,
}

debug_with_text!(Place { entry, offset; path });

/// `entry 412 "usr/bin/su" at 1536000`
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "entry {} {} at {}", self.entry, Escaped(&self.path), self.offset)
    }
}

impl Entry {
    /// Where it is, for errors and findings.
    pub(crate) fn place(&self) -> Place {
        Place { entry: self.index, path: self.name.clone(), offset: self.offset }
    }
}
