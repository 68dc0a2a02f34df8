// SPDX-License-Identifier: Apache-2.0
//! How a blob is compressed: by its first bytes, and never by a name.

use crate::report::Compression;

/// What a blob's first bytes say.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Magic {
    Known(Compression),
    Unsupported(&'static str),
}

/// The longest magic.
pub(super) const MAGIC: usize = 10;

impl Magic {
    /// An archive begins with a file's name, so a magic that is a plausible name is not one.
    pub(super) fn of(head: &[u8]) -> Magic {
        match head {
            [0x1f, 0x8b, ..] => Magic::Known(Compression::Gzip),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Magic::Known(Compression::Zstd),
            // A skippable frame: zstd:chunked and pzstd may begin with one.
            [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Magic::Known(Compression::Zstd),
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Magic::Unsupported("xz"),
            // With the first block's magic, or the end's in an empty file.
            [b'B', b'Z', b'h', b'1'..=b'9', b'1', b'A', b'Y', b'&', b'S', b'Y', ..]
            | [b'B', b'Z', b'h', b'1'..=b'9', 0x17, 0x72, 0x45, 0x38, 0x50, 0x90, ..] => {
                Magic::Unsupported("bzip2")
            }
            [0x04, 0x22, 0x4d, 0x18, ..] | [0x02, 0x21, 0x4c, 0x18, ..] => {
                Magic::Unsupported("lz4")
            }
            [b'L', b'Z', b'I', b'P', 1, ..] => Magic::Unsupported("lzip"),
            [0x1f, 0x9d, ..] => Magic::Unsupported("compress"),
            _ => Magic::Known(Compression::None),
        }
    }
}
