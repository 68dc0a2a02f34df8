// SPDX-License-Identifier: Apache-2.0
//! Archives: by the `tar` crate what any tool might write, and by our own writer what no honest tool
//! would.

mod ordinary;

use std::io::Write;

use crate::common::archive::Format::{Gnu, Pax};

pub const BLOCK: usize = 512;

/// How values go in that a plain ustar header has no room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Extended records.
    Pax,
    /// Base-256 numbers and `././@LongLink` entries.
    Gnu,
}

/// The four ways to write a sparse file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SparseForm {
    Gnu,
    Pax00,
    Pax01,
    Pax10,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub name: Vec<u8>,
    pub typeflag: u8,
    pub mode: u32,
    pub uid: i64,
    pub gid: i64,
    pub mtime: (i64, u32),
    pub data: Vec<u8>,
    pub link: Vec<u8>,
    pub device: (u32, u32),
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Records after those that the fields above need, so that these win.
    pub pax: Vec<(Vec<u8>, Vec<u8>)>,
    pub format: Format,
    pub sparse: Option<Sparse>,
    /// Written over the finished header, before its checksum is made.
    pub patches: Vec<(usize, Vec<u8>)>,
    /// Written over the finished header, checksum included.
    pub damage: Vec<(usize, Vec<u8>)>,
    /// Stands in the archive in front of the entry, as it is.
    pub before: Vec<u8>,
}

/// How the map is written, its ranges as (offset, length), and the size of the file.
pub type Sparse = (SparseForm, Vec<(u64, u64)>, u64);

/// The mtime of everything that says nothing else.
pub const MTIME: i64 = 1_000_000_000;

fn entry(name: impl AsRef<[u8]>, typeflag: u8, mode: u32) -> Entry {
    Entry {
        name: name.as_ref().to_vec(),
        typeflag,
        mode,
        uid: 0,
        gid: 0,
        mtime: (MTIME, 0),
        data: Vec::new(),
        link: Vec::new(),
        device: (0, 0),
        xattrs: Vec::new(),
        pax: Vec::new(),
        format: Pax,
        sparse: None,
        patches: Vec::new(),
        damage: Vec::new(),
        before: Vec::new(),
    }
}

pub fn file(name: impl AsRef<[u8]>) -> Entry {
    entry(name, b'0', 0o644)
}

pub fn dir(name: impl AsRef<[u8]>) -> Entry {
    let mut name = name.as_ref().to_vec();
    if !name.ends_with(b"/") {
        name.push(b'/');
    }
    entry(name, b'5', 0o755)
}

pub fn symlink(name: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Entry {
    entry(name, b'2', 0o777).link(target)
}

pub fn hardlink(name: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Entry {
    entry(name, b'1', 0o644).link(target)
}

pub fn fifo(name: impl AsRef<[u8]>) -> Entry {
    entry(name, b'6', 0o644)
}

pub fn char_device(name: impl AsRef<[u8]>, major: u32, minor: u32) -> Entry {
    Entry { device: (major, minor), ..entry(name, b'3', 0o600) }
}

pub fn block_device(name: impl AsRef<[u8]>, major: u32, minor: u32) -> Entry {
    Entry { device: (major, minor), ..entry(name, b'4', 0o600) }
}

/// `whiteout("a/x")` is the entry `a/.wh.x`.
pub fn whiteout(name: &str) -> Entry {
    match name.rsplit_once('/') {
        Some((parent, last)) => file(format!("{parent}/.wh.{last}")),
        None => file(format!(".wh.{name}")),
    }
}

/// The opaque marker of `directory`; of the root for an empty name.
pub fn opaque(directory: &str) -> Entry {
    match directory {
        "" => file(".wh..wh..opq"),
        _ => file(format!("{directory}/.wh..wh..opq")),
    }
}

impl Entry {
    pub fn typeflag(self, typeflag: u8) -> Entry {
        Entry { typeflag, ..self }
    }

    pub fn mode(self, mode: u32) -> Entry {
        Entry { mode, ..self }
    }

    pub fn owner(self, uid: i64, gid: i64) -> Entry {
        Entry { uid, gid, ..self }
    }

    pub fn mtime(self, seconds: i64, nanoseconds: u32) -> Entry {
        Entry { mtime: (seconds, nanoseconds), ..self }
    }

    pub fn data(self, data: impl AsRef<[u8]>) -> Entry {
        Entry { data: data.as_ref().to_vec(), ..self }
    }

    pub fn link(self, target: impl AsRef<[u8]>) -> Entry {
        Entry { link: target.as_ref().to_vec(), ..self }
    }

    pub fn xattr(mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Entry {
        self.xattrs.push((name.as_ref().to_vec(), value.as_ref().to_vec()));
        self
    }

    pub fn record(mut self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Entry {
        self.pax.push((key.as_ref().to_vec(), value.as_ref().to_vec()));
        self
    }

    pub fn gnu(self) -> Entry {
        Entry { format: Gnu, ..self }
    }

    /// `data` holds the segments' bytes one after the other.
    pub fn sparse(self, form: SparseForm, segments: &[(u64, u64)], size: u64) -> Entry {
        Entry { sparse: Some((form, segments.to_vec(), size)), ..self }
    }

    pub fn patch(mut self, at: usize, bytes: impl AsRef<[u8]>) -> Entry {
        self.patches.push((at, bytes.as_ref().to_vec()));
        self
    }

    pub fn damage(mut self, at: usize, bytes: impl AsRef<[u8]>) -> Entry {
        self.damage.push((at, bytes.as_ref().to_vec()));
        self
    }

    pub fn after(mut self, raw: impl AsRef<[u8]>) -> Entry {
        self.before.extend_from_slice(raw.as_ref());
        self
    }

    /// The entry by our own writer.
    pub fn bytes(&self) -> Vec<u8> {
        let mut out = self.before.clone();
        let records = self.records();
        if !records.is_empty() {
            out.extend(extended(b'x', &pax(&records)));
        }
        if self.format == Gnu && self.link.len() > 100 {
            out.extend(long_name(b'K', &self.link));
        }
        if self.format == Gnu && self.name.len() > 100 {
            out.extend(long_name(b'L', &self.name));
        }
        let mut body = self.data.clone();
        let mut more = Vec::new();
        let mut header = self.header();
        match &self.sparse {
            Some((SparseForm::Gnu, segments, size)) => {
                more = gnu_sparse(&mut header, segments, *size);
            }
            Some((SparseForm::Pax10, segments, _)) => {
                body = padded(sparse_map_10(segments));
                body.extend_from_slice(&self.data);
            }
            _ => {}
        }
        put(&mut header, 124, 12, body.len() as i64, self.format);
        for (at, bytes) in &self.patches {
            header[*at..*at + bytes.len()].copy_from_slice(bytes);
        }
        seal(&mut header);
        for (at, bytes) in &self.damage {
            header[*at..*at + bytes.len()].copy_from_slice(bytes);
        }
        out.extend_from_slice(&header);
        out.extend(more);
        out.extend(padded(body));
        out
    }

    fn records(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut records: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        let mut add = |key: &str, value: Vec<u8>| records.push((key.into(), value));
        if self.format == Pax {
            if self.name.len() > 100 {
                add("path", self.name.clone());
            }
            if self.link.len() > 100 {
                add("linkpath", self.link.clone());
            }
            for (key, id) in [("uid", self.uid), ("gid", self.gid)] {
                if !(0..=0o7777777).contains(&id) {
                    add(key, id.to_string().into());
                }
            }
        }
        let (seconds, nanoseconds) = self.mtime;
        let plain = nanoseconds == 0 && (0..=0o77777777777).contains(&seconds);
        if !plain && (self.format == Pax || nanoseconds != 0) {
            add("mtime", decimal_time(seconds, nanoseconds).into());
        }
        if let Some((form, segments, size)) = &self.sparse {
            let size = size.to_string().into_bytes();
            let count = segments.len().to_string().into_bytes();
            match form {
                SparseForm::Gnu => {}
                SparseForm::Pax00 => {
                    add("GNU.sparse.size", size);
                    add("GNU.sparse.numblocks", count);
                    for (offset, length) in segments {
                        add("GNU.sparse.offset", offset.to_string().into());
                        add("GNU.sparse.numbytes", length.to_string().into());
                    }
                }
                SparseForm::Pax01 => {
                    add("GNU.sparse.size", size);
                    add("GNU.sparse.numblocks", count);
                    let map: Vec<String> =
                        segments.iter().map(|(o, l)| format!("{o},{l}")).collect();
                    add("GNU.sparse.map", map.join(",").into());
                    add("GNU.sparse.name", self.name.clone());
                }
                SparseForm::Pax10 => {
                    add("GNU.sparse.major", "1".into());
                    add("GNU.sparse.minor", "0".into());
                    add("GNU.sparse.name", self.name.clone());
                    add("GNU.sparse.realsize", size);
                }
            }
        }
        for (name, value) in &self.xattrs {
            records.push(([b"SCHILY.xattr.", name.as_slice()].concat(), value.clone()));
        }
        records.extend(self.pax.iter().cloned());
        records
    }

    fn header(&self) -> [u8; BLOCK] {
        let mut header = [0; BLOCK];
        let name = &self.name[..self.name.len().min(100)];
        let link = &self.link[..self.link.len().min(100)];
        header[..name.len()].copy_from_slice(name);
        put(&mut header, 100, 8, self.mode.into(), self.format);
        put(&mut header, 108, 8, self.uid, self.format);
        put(&mut header, 116, 8, self.gid, self.format);
        put(&mut header, 136, 12, self.mtime.0, self.format);
        header[156] = self.typeflag;
        header[157..157 + link.len()].copy_from_slice(link);
        let magic: &[u8] = if self.format == Gnu { b"ustar  \0" } else { b"ustar\x0000" };
        header[257..265].copy_from_slice(magic);
        put(&mut header, 329, 8, self.device.0.into(), self.format);
        put(&mut header, 337, 8, self.device.1.into(), self.format);
        header
    }
}

/// Octal where it fits. Beyond that base-256 in GNU archives; zeros in PAX ones, where a record
/// has the value.
fn put(header: &mut [u8; BLOCK], at: usize, width: usize, value: i64, format: Format) {
    let digits = width - 1;
    let field = &mut header[at..at + width];
    if value >= 0 && value < 1i64.checked_shl(3 * digits as u32).unwrap_or(i64::MAX) {
        field[..digits].copy_from_slice(format!("{value:0digits$o}").as_bytes());
        return;
    }
    match format {
        Pax => field[..digits].fill(b'0'),
        Gnu => {
            let sign = if value < 0 { 0xff } else { 0 };
            field.fill(sign);
            let tail = value.to_be_bytes();
            let room = width.min(8);
            field[width - room..].copy_from_slice(&tail[8 - room..]);
            field[0] = if value < 0 { 0xff } else { 0x80 };
        }
    }
}

/// Fills in the checksum.
pub fn seal(header: &mut [u8]) {
    header[148..156].fill(b' ');
    let sum: u32 = header[..BLOCK].iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

/// An entry that describes others: `x` the next one, `g` all that follow.
pub fn extended(typeflag: u8, body: &[u8]) -> Vec<u8> {
    entry("pax/header", typeflag, 0o644).data(body).bytes()
}

fn long_name(typeflag: u8, name: &[u8]) -> Vec<u8> {
    let body = [name, b"\0"].concat();
    entry("././@LongLink", typeflag, 0).gnu().mtime(0, 0).data(body).bytes()
}

/// `LENGTH KEY=VALUE\n`, where the length counts its own digits.
pub fn pax<K: AsRef<[u8]>, V: AsRef<[u8]>>(records: &[(K, V)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (key, value) in records {
        let (key, value) = (key.as_ref(), value.as_ref());
        let rest = key.len() + value.len() + 3;
        let mut length = rest;
        while rest + length.to_string().len() != length {
            length = rest + length.to_string().len();
        }
        write!(out, "{length} ").expect("memory");
        out.extend([key, b"=", value, b"\n"].concat());
    }
    out
}

fn decimal_time(seconds: i64, nanoseconds: u32) -> String {
    let total = i128::from(seconds) * 1_000_000_000 + i128::from(nanoseconds);
    let sign = if total < 0 { "-" } else { "" };
    let size = total.unsigned_abs();
    format!("{sign}{}.{:09}", size / 1_000_000_000, size % 1_000_000_000)
}

/// The first four segments stand in the header, 21 in each block after it.
fn gnu_sparse(header: &mut [u8; BLOCK], segments: &[(u64, u64)], size: u64) -> Vec<u8> {
    header[156] = b'S';
    header[257..265].copy_from_slice(b"ustar  \0");
    let (inside, outside) = segments.split_at(segments.len().min(4));
    let write = |block: &mut [u8; BLOCK], at: usize, segments: &[(u64, u64)]| {
        for (index, (offset, length)) in segments.iter().enumerate() {
            put(block, at + index * 24, 12, *offset as i64, Gnu);
            put(block, at + index * 24 + 12, 12, *length as i64, Gnu);
        }
    };
    write(header, 386, inside);
    header[482] = u8::from(!outside.is_empty());
    put(header, 483, 12, size as i64, Gnu);
    let mut more = Vec::new();
    let mut chunks = outside.chunks(21).peekable();
    while let Some(chunk) = chunks.next() {
        let mut block = [0; BLOCK];
        write(&mut block, 0, chunk);
        block[504] = u8::from(chunks.peek().is_some());
        more.extend_from_slice(&block);
    }
    more
}

fn sparse_map_10(segments: &[(u64, u64)]) -> Vec<u8> {
    let mut map = format!("{}\n", segments.len());
    for (offset, length) in segments {
        map += &format!("{offset}\n{length}\n");
    }
    map.into_bytes()
}

fn padded(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
    bytes
}

/// The entries without an end, all of them by our own writer.
pub fn unfinished(entries: &[Entry]) -> Vec<u8> {
    entries.iter().map(Entry::bytes).collect::<Vec<_>>().concat()
}

/// A whole archive.
pub fn archive(entries: &[Entry]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for entry in entries {
        if !ordinary::append(&mut archive, entry) {
            archive.get_mut().extend(entry.bytes());
        }
    }
    archive.into_inner().expect("memory")
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    out.write_all(bytes).expect("memory");
    out.finish().expect("memory")
}

pub fn zstd(bytes: &[u8]) -> Vec<u8> {
    let mut out = zstd::stream::write::Encoder::new(Vec::new(), 3).expect("zstd");
    out.include_checksum(true).expect("zstd");
    out.write_all(bytes).expect("memory");
    out.finish().expect("memory")
}

/// Entries in short: `d/` directory, `x=text` file, `l->t` symlink, `h=>t` hardlink, `p|` FIFO,
/// `c%1:3` and `b#8:0` devices, anything else an empty file; `@4755` at the end is a mode.
pub fn layer(text: &str) -> Vec<Entry> {
    text.split_whitespace().map(word).collect()
}

fn word(word: &str) -> Entry {
    let (rest, mode) = match word.rsplit_once('@') {
        Some((rest, mode)) => {
            (rest, Some(u32::from_str_radix(mode, 8).expect("octal mode after @")))
        }
        None => (word, None),
    };
    let numbers = |text: &str| -> (u32, u32) {
        let (major, minor) = text.split_once(':').expect("major:minor");
        (major.parse().expect("major"), minor.parse().expect("minor"))
    };
    let entry = if let Some((name, target)) = rest.split_once("->") {
        symlink(name, target)
    } else if let Some((name, target)) = rest.split_once("=>") {
        hardlink(name, target)
    } else if let Some((name, text)) = rest.split_once('=') {
        file(name).data(text)
    } else if let Some((name, device)) = rest.split_once('%') {
        let (major, minor) = numbers(device);
        char_device(name, major, minor)
    } else if let Some((name, device)) = rest.split_once('#') {
        let (major, minor) = numbers(device);
        block_device(name, major, minor)
    } else if let Some(name) = rest.strip_suffix('|') {
        fifo(name)
    } else if rest.ends_with('/') {
        dir(rest)
    } else {
        file(rest)
    };
    match mode {
        Some(mode) => entry.mode(mode),
        None => entry,
    }
}
