// SPDX-License-Identifier: Apache-2.0
//! The 512 bytes in front of every entry, in the dialects of v7, POSIX, star and GNU tar.

use std::ops::Range;

use super::entry::Kind;
use super::error::{NumberFault, Quoted, TarError};
use super::number;

pub(super) const BLOCK: usize = 512;
pub(super) type Block = [u8; BLOCK];

pub(super) const NAME: Range<usize> = 0..100;
const MODE: Range<usize> = 100..108;
const UID: Range<usize> = 108..116;
const GID: Range<usize> = 116..124;
const SIZE: Range<usize> = 124..136;
const MTIME: Range<usize> = 136..148;
const CHECKSUM: Range<usize> = 148..156;
const TYPEFLAG: usize = 156;
const LINK: Range<usize> = 157..257;
/// The magic and the version: GNU tar's magic runs over both.
const MAGIC: Range<usize> = 257..265;
const MAJOR: Range<usize> = 329..337;
const MINOR: Range<usize> = 337..345;
const PREFIX: Range<usize> = 345..500;
/// Where GNU tar has two times in place of a prefix.
const GNU_TIMES: [Range<usize>; 2] = [345..357, 357..369];
/// star keeps times behind a shorter prefix, and signs the end of the block.
const STAR_PREFIX: Range<usize> = 345..476;
const STAR_MAGIC: Range<usize> = 508..512;

/// A header whose checksum was right.
#[derive(Clone, Copy)]
pub(super) struct Header<'b> {
    block: &'b Block,
    /// Where it stands in the archive.
    pub(super) offset: u64,
    dialect: Dialect,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    V7,
    Posix,
    Star,
    Gnu,
}

/// What a header is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Entry(Kind),
    /// A file whose map starts in the header.
    GnuSparse,
    Extension(Extension),
}

/// A header whose data say something about entries that follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extension {
    LongName,
    LongLink,
    Pax,
    PaxGlobal,
}

impl<'b> Header<'b> {
    pub(super) fn new(block: &'b Block, offset: u64) -> Result<Header<'b>, TarError> {
        let stored = number::field(&block[CHECKSUM]).ok();
        let computed = unsigned_sum(block);
        if stored != Some(computed) && stored != Some(signed_sum(block)) {
            let stored = Quoted::new(&block[CHECKSUM]);
            return Err(match offset {
                0 => TarError::NotTar,
                _ => TarError::Checksum { offset, stored, computed },
            });
        }
        let dialect = match &block[MAGIC] {
            b"ustar  \0" => Dialect::Gnu,
            magic if magic.starts_with(b"ustar\0") => match &block[STAR_MAGIC] {
                b"tar\0" => Dialect::Star,
                _ => Dialect::Posix,
            },
            _ => Dialect::V7,
        };
        Ok(Header { block, offset, dialect })
    }

    /// Anything but the known types is refused: types that a reader does not know may or may not
    /// have data, so that a guess would see another archive than the next reader.
    pub(super) fn role(&self) -> Result<Role, TarError> {
        Ok(match self.block[TYPEFLAG] {
            // 7 is a contiguous file, which POSIX lets readers treat as any other.
            0 | b'0' | b'7' => Role::Entry(Kind::File),
            b'1' => Role::Entry(Kind::Hardlink),
            b'2' => Role::Entry(Kind::Symlink),
            b'3' => Role::Entry(Kind::CharDevice),
            b'4' => Role::Entry(Kind::BlockDevice),
            b'5' => Role::Entry(Kind::Directory),
            b'6' => Role::Entry(Kind::Fifo),
            b'L' => Role::Extension(Extension::LongName),
            b'K' => Role::Extension(Extension::LongLink),
            // X is what Solaris wrote before POSIX settled on x.
            b'x' | b'X' => Role::Extension(Extension::Pax),
            b'g' => Role::Extension(Extension::PaxGlobal),
            b'S' => Role::GnuSparse,
            other => {
                let found = Quoted::new(&[other]);
                return Err(TarError::UnknownType { offset: self.offset, found });
            }
        })
    }

    pub(super) fn is_gnu(&self) -> bool {
        self.dialect == Dialect::Gnu
    }

    pub(super) fn block(&self) -> &'b Block {
        self.block
    }

    pub(super) fn name(&self, to: &mut Vec<u8>) {
        to.clear();
        let prefix = match self.dialect {
            Dialect::Posix => text(&self.block[PREFIX]),
            Dialect::Star => text(&self.block[STAR_PREFIX]),
            Dialect::Gnu => self.go_prefix(),
            Dialect::V7 => &[],
        };
        if !prefix.is_empty() {
            to.extend_from_slice(prefix);
            to.push(b'/');
        }
        to.extend_from_slice(text(&self.block[NAME]));
    }

    /// GNU keeps times there, but Go before 1.8, and so Docker up to 1.12, wrote a prefix beside GNU's
    /// magic where a long path met a large owner. By the rule of today's Go: it is one where the times
    /// are no numbers and the text is ASCII.
    fn go_prefix(&self) -> &'b [u8] {
        let is_time = |field: &[u8]| field[0] == 0 || number::field(field).is_ok();
        if GNU_TIMES.into_iter().all(|time| is_time(&self.block[time])) {
            return &[];
        }
        let prefix = text(&self.block[PREFIX]);
        if prefix.is_ascii() { prefix } else { &[] }
    }

    pub(super) fn link(&self) -> &'b [u8] {
        text(&self.block[LINK])
    }

    pub(super) fn mode(&self) -> Result<u32, TarError> {
        self.number("mode", MODE, number::mode)
    }

    pub(super) fn uid(&self) -> Result<u32, TarError> {
        self.number("uid", UID, number::owner)
    }

    pub(super) fn gid(&self) -> Result<u32, TarError> {
        self.number("gid", GID, number::owner)
    }

    pub(super) fn size(&self) -> Result<u64, TarError> {
        self.number("size", SIZE, number::size)
    }

    /// Whole seconds.
    pub(super) fn mtime(&self) -> Result<i64, TarError> {
        self.number("mtime", MTIME, Ok)
    }

    pub(super) fn major(&self) -> Result<u32, TarError> {
        self.device("device major", MAJOR, number::major)
    }

    pub(super) fn minor(&self) -> Result<u32, TarError> {
        self.device("device minor", MINOR, number::minor)
    }

    fn device(
        &self,
        field: &'static str,
        range: Range<usize>,
        accept: fn(i64) -> Result<u32, NumberFault>,
    ) -> Result<u32, TarError> {
        match self.dialect {
            // v7 had no such field: whatever is there means nothing.
            Dialect::V7 => Ok(0),
            _ => self.number(field, range, accept),
        }
    }

    pub(super) fn number<T>(
        &self,
        field: &'static str,
        range: Range<usize>,
        accept: fn(i64) -> Result<T, NumberFault>,
    ) -> Result<T, TarError> {
        let found = &self.block[range];
        number::field(found).and_then(accept).map_err(|fault| TarError::Number {
            offset: self.offset,
            field,
            found: Quoted::new(found),
            fault,
        })
    }
}

/// The checksum: the sum of all bytes, those of its own field counted as spaces.
fn unsigned_sum(block: &Block) -> i64 {
    let sum = |bytes: &[u8]| i64::from(bytes.iter().map(|&b| u32::from(b)).sum::<u32>());
    sum(block) - sum(&block[CHECKSUM]) + sum(&[b' '; CHECKSUM.end - CHECKSUM.start])
}

/// The same as tars of old summed it, where a char has a sign.
fn signed_sum(block: &Block) -> i64 {
    let sum = |bytes: &[u8]| i64::from(bytes.iter().map(|&b| i32::from(b as i8)).sum::<i32>());
    sum(block) - sum(&block[CHECKSUM]) + sum(&[b' '; CHECKSUM.end - CHECKSUM.start])
}

/// A field up to its first NUL, if it has one.
pub(super) fn text(field: &[u8]) -> &[u8] {
    &field[..field.iter().position(|&b| b == 0).unwrap_or(field.len())]
}
