// SPDX-License-Identifier: Apache-2.0
//! PAX extended headers: records `LENGTH KEY=VALUE\n`, which override fields of the header.

use std::collections::HashMap;

use super::entry::Time;
use super::error::{NumberFault, PaxFault, Quoted, SparseFault};
use super::number;
use super::sparse::Map;
use crate::report::DETAIL_MAX;

/// From this many xattrs on, a name is looked up and not searched.
const INDEX_FROM: usize = 16;

/// More xattrs than this on one entry are refused.
/// xattr(7) cannot list more than 64 KiB of names; files in images have one or two.
pub(super) const XATTRS_MAX: usize = 1_024;

/// Keys of records without effect that are kept of one header: to tell of them, not to count them.
const IGNORED_MAX: usize = 64;

const GNU_SPARSE: &[u8] = b"GNU.sparse.";
const SCHILY_XATTR: &[u8] = b"SCHILY.xattr.";
const LIBARCHIVE_XATTR: &[u8] = b"LIBARCHIVE.xattr.";

/// What the records of an entry's header say. A record with an empty value says nothing: then the
/// header's own field holds.
#[derive(Debug, Default)]
pub(super) struct Records {
    /// Empty where there is none; an empty record means the same.
    pub(super) path: Vec<u8>,
    pub(super) link: Vec<u8>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
    pub(super) mtime: Option<Time>,
    pub(super) atime: Option<Time>,
    pub(super) major: Option<u32>,
    pub(super) minor: Option<u32>,
    pub(super) xattrs: Vec<Xattr>,
    /// Where in `xattrs` each name is, once there are enough for that to be of use.
    names: HashMap<Vec<u8>, usize>,
    pub(super) sparse: SparseRecords,
    /// Keys of records that would say more, at most [`IGNORED_MAX`].
    pub(super) ignored: Vec<Vec<u8>>,
    /// Memory of xattrs gone by.
    spare: Vec<Xattr>,
}

#[derive(Debug, Default)]
pub(super) struct Xattr {
    pub(super) name: Vec<u8>,
    pub(super) value: Vec<u8>,
    /// From SCHILY.xattr, which is exact where both are present.
    exact: bool,
}

/// What GNU.sparse records say, of whatever version.
#[derive(Debug, Default)]
pub(super) struct SparseRecords {
    /// Any such record was there.
    pub(super) present: bool,
    pub(super) name: Vec<u8>,
    pub(super) major: Option<u64>,
    pub(super) minor: Option<u64>,
    pub(super) size: Option<u64>,
    blocks: Option<u64>,
    /// The map of version 0.1, or 0.0.
    pub(super) map: Map,
    has_map: bool,
    has_pairs: bool,
    /// An offset of version 0.0 whose length is yet to come.
    offset: Option<u64>,
}

/// How the map of a PAX sparse file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MapPlace {
    InRecords,
    InData,
}

impl Records {
    /// Forgets the entry before, but keeps its memory.
    pub(super) fn clear(&mut self) {
        self.path.clear();
        self.link.clear();
        (self.size, self.uid, self.gid) = Default::default();
        (self.mtime, self.atime, self.major, self.minor) = Default::default();
        self.names.clear();
        self.spare.append(&mut self.xattrs);
        self.spare.truncate(XATTRS_MAX);
        self.spare.iter_mut().for_each(|xattr| recycle(&mut xattr.value));
        self.sparse.clear();
        self.ignored.clear();
    }

    /// Adds all records of a header. Of repeated records the last one counts, as POSIX says: a
    /// scanner that disagrees about `size` sees a different archive.
    pub(super) fn read(&mut self, mut body: &[u8]) -> Result<(), PaxFault> {
        while !body.is_empty() {
            let [key, value, rest] = record(body)?;
            self.set(key, value)?;
            body = rest;
        }
        if self.sparse.offset.is_some() {
            return Err(SparseFault::Unpaired.into());
        }
        Ok(())
    }

    fn set(&mut self, key: &[u8], value: &[u8]) -> Result<(), PaxFault> {
        match key {
            b"path" => text(key, value, &mut self.path)?,
            b"linkpath" => text(key, value, &mut self.link)?,
            b"size" => self.size = signed(key, value, number::size)?,
            b"uid" => self.uid = signed(key, value, number::owner)?,
            b"gid" => self.gid = signed(key, value, number::owner)?,
            b"SCHILY.devmajor" => self.major = signed(key, value, number::major)?,
            b"SCHILY.devminor" => self.minor = signed(key, value, number::minor)?,
            b"mtime" => self.mtime = setting(key, value, number::time)?,
            b"atime" => self.atime = setting(key, value, number::time)?,
            _ => {
                if let Some(name) = key.strip_prefix(SCHILY_XATTR) {
                    // An empty value is no deletion here: an xattr may be empty, and GNU tar,
                    // bsdtar and containerd all write and read it so. The name is taken as it
                    // stands: GNU tar and bsdtar write % as %25, but Go, which made nearly all
                    // layers, does not, and containerd does not decode.
                    self.xattr(key, name, true, |to| {
                        to.extend_from_slice(value);
                        Some(())
                    })?;
                } else if let Some(name) = key.strip_prefix(LIBARCHIVE_XATTR) {
                    let mut decoded = Vec::with_capacity(name.len());
                    percent_decode(name, &mut decoded)
                        .ok_or_else(|| PaxFault::Encoding { key: Quoted::new(key) })?;
                    self.xattr(key, &decoded, false, |to| base64_decode(value, to))?;
                } else if let Some(name) = key.strip_prefix(GNU_SPARSE) {
                    self.sparse.set(key, name, value)?;
                } else if is_unread(key) {
                    note(key, &mut self.ignored);
                }
            }
        }
        Ok(())
    }

    fn xattr(
        &mut self,
        key: &[u8],
        name: &[u8],
        exact: bool,
        fill: impl FnOnce(&mut Vec<u8>) -> Option<()>,
    ) -> Result<(), PaxFault> {
        if name.is_empty() {
            return Err(PaxFault::NoKey);
        }
        if name.contains(&0) {
            return Err(PaxFault::Nul { key: Quoted::new(key) });
        }
        let mut new = self.spare.pop().unwrap_or_default();
        new.name.clear();
        new.name.extend_from_slice(name);
        new.exact = exact;
        fill(&mut new.value).ok_or_else(|| PaxFault::Encoding { key: Quoted::new(key) })?;
        match self.position(name) {
            Some(known) if self.xattrs[known].exact && !exact => {}
            Some(known) => self.xattrs[known] = new,
            None if self.xattrs.len() == XATTRS_MAX => {
                return Err(PaxFault::TooManyXattrs { limit: XATTRS_MAX });
            }
            None => self.xattrs.push(new),
        }
        Ok(())
    }

    fn position(&mut self, name: &[u8]) -> Option<usize> {
        if self.xattrs.len() < INDEX_FROM {
            return self.xattrs.iter().position(|known| known.name == name);
        }
        for (at, known) in self.xattrs.iter().enumerate().skip(self.names.len()) {
            self.names.insert(known.name.clone(), at);
        }
        self.names.get(name).copied()
    }
}

/// Reads the records of a global header, none of which is applied: `uid=0` in one would make every
/// setuid file behind it root's, and Go, bsdtar and containerd take no notice of it. Leaves in
/// `ignored` the keys of those that another reader might apply.
pub(super) fn global(mut body: &[u8], ignored: &mut Vec<Vec<u8>>) -> Result<(), PaxFault> {
    ignored.clear();
    while !body.is_empty() {
        let [key, _, rest] = record(body)?;
        let applies = matches!(key, b"path" | b"linkpath" | b"size" | b"uid" | b"gid")
            || matches!(key, b"mtime" | b"atime" | b"SCHILY.devmajor" | b"SCHILY.devminor")
            || [SCHILY_XATTR, LIBARCHIVE_XATTR, GNU_SPARSE].iter().any(|of| key.starts_with(of));
        if applies || is_unread(key) {
            note(key, ignored);
        }
        body = rest;
    }
    Ok(())
}

/// Records that say something of the file which is not read here, or only in another form: ACLs as
/// text (star, bsdtar), file flags, SELinux labels (GNU tar), Windows attributes.
fn is_unread(key: &[u8]) -> bool {
    key.starts_with(b"SCHILY.acl.")
        || key.starts_with(b"MSWINDOWS.")
        || matches!(key, b"SCHILY.fflags" | b"RHT.security.selinux")
}

fn note(key: &[u8], ignored: &mut Vec<Vec<u8>>) {
    if ignored.len() < IGNORED_MAX {
        ignored.push(key[..key.len().min(DETAIL_MAX)].to_vec());
    }
}

/// Empties a buffer and keeps its memory, unless it is a large one: a thousand xattrs that grew to
/// a MiB each, one per entry, would stay for good.
pub(super) fn recycle(buffer: &mut Vec<u8>) {
    const KEPT: usize = 1_024;
    if buffer.capacity() > KEPT { *buffer = Vec::new() } else { buffer.clear() }
}

/// The key and value of the first record, and what follows it.
fn record(body: &[u8]) -> Result<[&[u8]; 3], PaxFault> {
    // 20 digits hold every u64; without a bound a megabyte of zeros would be a length.
    let space = body.iter().take(21).position(|&b| b == b' ').ok_or(PaxFault::Length)?;
    let length = number::unsigned(&body[..space]).map_err(|_| PaxFault::Length)?;
    let length = usize::try_from(length).map_err(|_| PaxFault::Length)?;
    if length > body.len() || length <= space + 1 {
        return Err(PaxFault::Length);
    }
    let (record, rest) = body.split_at(length);
    let record = record[space + 1..].strip_suffix(b"\n").ok_or(PaxFault::NoNewline)?;
    let equals = record.iter().position(|&b| b == b'=').ok_or(PaxFault::NoEquals)?;
    let key = &record[..equals];
    if key.is_empty() {
        return Err(PaxFault::NoKey);
    }
    // A reader in C would see the key end there, and may know the shorter one.
    if key.contains(&0) {
        return Err(PaxFault::Nul { key: Quoted::new(key) });
    }
    Ok([key, &record[equals + 1..], rest])
}

fn text(key: &[u8], value: &[u8], to: &mut Vec<u8>) -> Result<(), PaxFault> {
    if value.contains(&0) {
        return Err(PaxFault::Nul { key: Quoted::new(key) });
    }
    to.clear();
    to.extend_from_slice(value);
    Ok(())
}

fn setting<T>(
    key: &[u8],
    value: &[u8],
    parse: impl FnOnce(&[u8]) -> Result<T, NumberFault>,
) -> Result<Option<T>, PaxFault> {
    if value.is_empty() {
        return Ok(None);
    }
    parse(value).map(Some).map_err(|fault| PaxFault::Number {
        key: Quoted::new(key),
        found: Quoted::new(value),
        fault,
    })
}

fn signed<T>(
    key: &[u8],
    value: &[u8],
    accept: fn(i64) -> Result<T, NumberFault>,
) -> Result<Option<T>, PaxFault> {
    setting(key, value, |text| number::decimal(text).and_then(accept))
}

impl SparseRecords {
    fn clear(&mut self) {
        if self.present {
            let mut map = std::mem::take(&mut self.map);
            map.clear();
            *self =
                SparseRecords { map, name: std::mem::take(&mut self.name), ..Default::default() };
            self.name.clear();
        }
    }

    fn set(&mut self, key: &[u8], name: &[u8], value: &[u8]) -> Result<(), PaxFault> {
        let number = || match value {
            b"" => Ok(None),
            _ => number::decimal(value).and_then(number::size).map(Some).map_err(|fault| {
                PaxFault::Number { key: Quoted::new(key), found: Quoted::new(value), fault }
            }),
        };
        match name {
            b"major" => self.major = number()?,
            b"minor" => self.minor = number()?,
            b"size" | b"realsize" => self.size = number()?,
            b"numblocks" => self.blocks = number()?,
            b"name" => text(key, value, &mut self.name)?,
            b"map" => self.whole_map(value)?,
            // The one pair of records that repeats with a meaning, in version 0.0.
            b"offset" => {
                self.pairs()?;
                let offset = number()?.ok_or(SparseFault::Malformed)?;
                if self.offset.replace(offset).is_some() {
                    return Err(SparseFault::Unpaired.into());
                }
            }
            b"numbytes" => {
                self.pairs()?;
                let offset = self.offset.take().ok_or(SparseFault::Unpaired)?;
                self.map.push(offset, number()?.ok_or(SparseFault::Malformed)?)?;
            }
            _ => return Ok(()),
        }
        self.present = true;
        Ok(())
    }

    fn pairs(&mut self) -> Result<(), SparseFault> {
        self.has_pairs = true;
        if self.has_map { Err(SparseFault::Ambiguous) } else { Ok(()) }
    }

    fn whole_map(&mut self, text: &[u8]) -> Result<(), SparseFault> {
        if self.has_pairs {
            return Err(SparseFault::Ambiguous);
        }
        self.has_map = true;
        self.map.clear();
        if text.is_empty() {
            return Ok(());
        }
        let mut numbers = text.split(|&b| b == b',').map(number::unsigned);
        while let Some(offset) = numbers.next() {
            let length = numbers.next().ok_or(SparseFault::Unpaired)?;
            let (Ok(offset), Ok(length)) = (offset, length) else {
                return Err(SparseFault::Malformed);
            };
            self.map.push(offset, length)?;
        }
        Ok(())
    }

    /// Size of the file, and where its map is.
    pub(super) fn settle(&self) -> Result<(u64, MapPlace), SparseFault> {
        let size = self.size.ok_or(SparseFault::NoSize)?;
        // 0.0 and 0.1 are told by their maps: GNU tar writes no version for them.
        let place = match (self.major, self.minor) {
            (None, None) | (Some(0), Some(0 | 1)) => MapPlace::InRecords,
            (Some(1), Some(0)) => MapPlace::InData,
            (major, minor) => {
                let (major, minor) = (major.unwrap_or(0), minor.unwrap_or(0));
                return Err(SparseFault::Version { major, minor });
            }
        };
        let mapped = self.has_map || self.has_pairs;
        match place {
            MapPlace::InData if mapped => return Err(SparseFault::Ambiguous),
            // A file that is one hole has no pairs in version 0.0, only their number.
            MapPlace::InRecords if !mapped && self.blocks != Some(0) => {
                return Err(SparseFault::NoMap);
            }
            MapPlace::InRecords => match self.blocks {
                Some(announced) if announced != self.map.count() => {
                    return Err(SparseFault::Count { announced, got: self.map.count() });
                }
                _ => {}
            },
            MapPlace::InData => {}
        }
        Ok((size, place))
    }
}

fn percent_decode(text: &[u8], to: &mut Vec<u8>) -> Option<()> {
    let mut bytes = text.iter();
    while let Some(&byte) = bytes.next() {
        to.push(match byte {
            b'%' => {
                let mut nibble = || char::from(*bytes.next()?).to_digit(16);
                (nibble()? << 4 | nibble()?) as u8
            }
            other => other,
        });
    }
    Some(())
}

/// RFC 4648, with or without the padding: libarchive leaves it out.
fn base64_decode(text: &[u8], to: &mut Vec<u8>) -> Option<()> {
    let padding = text.iter().rev().take_while(|&&b| b == b'=').count();
    if padding > 2 || (padding > 0 && !text.len().is_multiple_of(4)) {
        return None;
    }
    for group in text[..text.len() - padding].chunks(4) {
        let mut bits = 0u32;
        for &byte in group {
            bits = bits << 6 | sextet(byte)?;
        }
        bits <<= 6 * (4 - group.len());
        // One letter alone has too few bits for a byte.
        let length = group.len().checked_sub(1).filter(|&length| length > 0)?;
        to.extend_from_slice(&bits.to_be_bytes()[1..=length]);
    }
    Some(())
}

fn sextet(byte: u8) -> Option<u32> {
    Some(u32::from(match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    }))
}
