// SPDX-License-Identifier: Apache-2.0
//! Stacks of layers out of an input: entries of every kind over so few names that they meet all the
//! time.

use std::fmt;

use arbitrary::{Arbitrary, Result, Unstructured};

use crate::common::archive::{
    Entry, SparseForm, block_device, char_device, dir, fifo, file, gzip, hardlink, opaque, symlink,
    zstd,
};
use crate::common::runner::CANARY;
use crate::common::stack::Stack;
use crate::records::{self, pick};

const LAYERS: usize = 4;

/// How a layer's archive becomes its blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    Plain,
    Gzip,
    /// In two members, divided at so many 256ths.
    GzipMembers(u8),
    Zstd,
    /// In two frames, with a skippable one between.
    ZstdFrames(u8),
}

impl Encoding {
    fn from_bytes(kind: u8, cut: u8) -> Encoding {
        match kind % 8 {
            0 => Encoding::Gzip,
            1 => Encoding::GzipMembers(cut),
            2 => Encoding::Zstd,
            3 => Encoding::ZstdFrames(cut),
            _ => Encoding::Plain,
        }
    }

    pub fn blob(self, archive: Vec<u8>) -> Vec<u8> {
        let halves = |cut: u8| archive.split_at(archive.len() * usize::from(cut) / 256);
        match self {
            Encoding::Plain => archive,
            Encoding::Gzip => gzip(&archive),
            Encoding::GzipMembers(cut) => {
                let (left, right) = halves(cut);
                [gzip(left), gzip(right)].concat()
            }
            Encoding::Zstd => zstd(&archive),
            Encoding::ZstdFrames(cut) => {
                let (left, right) = halves(cut);
                let skippable = b"\x50\x2a\x4d\x18\x03\0\0\0abc".to_vec();
                [zstd(left), skippable, zstd(right)].concat()
            }
        }
    }
}

/// Layers, and how they are applied.
#[derive(Clone)]
pub struct Recipe {
    pub stack: Stack,
    pub encodings: [Encoding; LAYERS],
    /// Of the unpacks that are compared with one on one thread.
    pub threads: [usize; 3],
    /// Picks what openat2(2) answers.
    pub openat2: u8,
}

impl fmt::Debug for Recipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:?}", self.stack)?;
        write!(f, "{:?}, threads {:?}, openat2 {}", self.encodings, self.threads, self.openat2)
    }
}

impl<'a> Arbitrary<'a> for Recipe {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Recipe> {
        let mut records = records::each(u.peek_bytes(u.len()).expect("all of it"));
        let mut head = records.next().unwrap_or(Unstructured::new(&[]));
        let mut encodings = [Encoding::Plain; LAYERS];
        for encoding in &mut encodings {
            *encoding = Encoding::from_bytes(head.arbitrary()?, head.arbitrary()?);
        }
        let mut threads = [1; 3];
        for count in &mut threads {
            *count = *pick(&mut head, &[1, 2, 3])?;
        }
        let openat2 = *pick(&mut head, &[0, 0, 0, 0, 1, 2])?;
        Ok(Recipe { stack: stack(records)?, encodings, threads, openat2 })
    }
}

/// A layer ends where a record says so.
pub fn stack<'a>(records: impl Iterator<Item = Unstructured<'a>>) -> Result<Stack> {
    let mut layers = vec![Vec::new()];
    for mut record in records {
        if pick(&mut record, &[false, false, false, true])? & (layers.len() < LAYERS) {
            layers.push(Vec::new());
        }
        layers.last_mut().expect("one").extend(entries(&mut record)?);
    }
    Ok(Stack(layers))
}

/// Names that meet, names that are resolved away, the longest name, and one that is not text.
const NAMES: &[&[u8]] = &[
    b"a", b"b", b"c", b"a", b"b", b"c", b"a", b"b", b"c", b"a", b"b", b"c", b"..", b".", LONG,
    b"\xff\n", b".wh.a", b"",
];
const LONG: &[u8] = &[b'l'; 255];

fn path(u: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    let depth = *pick(u, &[1, 1, 1, 2, 2, 2, 3, 4])?;
    let mut path = pick(u, &[&b""[..], b"", b"", b"", b"", b"", b"./", b"/"])?.to_vec();
    for level in 0..depth {
        if level > 0 {
            path.push(b'/');
        }
        path.extend_from_slice(pick(u, NAMES)?);
    }
    Ok(path)
}

const TARGETS: &[&[u8]] = &[
    b"a",
    b"b",
    b"c",
    b"a/b",
    b"b/a",
    b"c/a",
    b"../a",
    b"../b",
    b"../c",
    b"/a",
    b"/b",
    b"/b/c",
    b"../../../c",
    b"no/where",
    b"no",
    b".",
    b"..",
    b"/",
    b"a/..",
    b"b/.",
    b"a/",
    b"../a/../b",
    b"/CANARY/dir",
    b"/CANARY/file",
    b"/CANARY",
    b"chain0",
    b"chain39",
    b"",
    LONG,
];

fn target(u: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    Ok(pick(u, TARGETS)?.to_vec())
}

/// One entry as a rule; a chain of symlinks, and a directory deep down, are more.
pub fn entries(u: &mut Unstructured<'_>) -> Result<Vec<Entry>> {
    let kind: u8 = u.arbitrary()?;
    let path = path(u)?;
    let entry = match kind % 32 {
        0..=5 => content(file(path), u)?,
        6..=10 => dir(path),
        11..=14 => symlink(path, target(u)?),
        15 | 16 => hardlink(path, target(u)?),
        17..=21 => marked(&path, b".wh."),
        22 | 23 => marked(&[&path[..], b"/"].concat(), b".wh..wh..opq"),
        24 => opaque(""),
        25 => fifo(path),
        26 => {
            // Not 0:0, which is refused in overlay modes only.
            let (major, minor) = *pick(u, &[(1, 3), (5, 0), (4095, 1_048_575), (4096, 0)])?;
            char_device(path, major, minor)
        }
        27 => block_device(path, 7, 200),
        28 => dir("."),
        29 => sparse(file(path), u)?,
        30 => return Ok(chain(*pick(u, &[3, 38, 39, 40, 41])?, target(u)?)),
        _ => match *pick(u, &[0, 1, 2, 3, 4])? {
            0 => marked(&path, b".wh..wh.plnk/"),
            1 => hardlink(path, ".wh..wh.plnk/a"),
            2 => file([CANARY, b"/new"].concat()),
            3 => dir(vec!["d"; *pick(u, &[30, 400, 513])?].join("/")),
            _ => file(path).typeflag(*pick(u, b"7\0Zgx")?),
        },
    };
    Ok(vec![attributes(entry, u)?])
}

/// `mark` in front of the last name.
fn marked(path: &[u8], mark: &[u8]) -> Entry {
    let at = path.iter().rposition(|byte| *byte == b'/').map_or(0, |at| at + 1);
    file([&path[..at], mark, &path[at..]].concat())
}

/// Each symlink to the next, and the last to `end`.
fn chain(length: usize, end: Vec<u8>) -> Vec<Entry> {
    let name = |number: usize| format!("chain{number}").into_bytes();
    let to = |number: usize| if number + 1 < length { name(number + 1) } else { end.clone() };
    (0..length).map(|number| symlink(name(number), to(number))).collect()
}

fn content(entry: Entry, u: &mut Unstructured<'_>) -> Result<Entry> {
    let size = *pick(u, &[0usize, 1, 2, 3, 511, 512, 513, 5000])?;
    Ok(entry.data(vec![b'0' + (size % 10) as u8; size]))
}

/// Segments whose bytes are there; what of the map is wrong is for the parser's own target.
fn sparse(entry: Entry, u: &mut Unstructured<'_>) -> Result<Entry> {
    use SparseForm::{Gnu, Pax00, Pax01, Pax10};
    let form = *pick(u, &[Gnu, Pax00, Pax01, Pax10])?;
    let (mut at, mut segments) = (0, Vec::new());
    for _ in 0..*pick(u, &[0, 1, 2])? {
        at += *pick(u, &[0, 1, 512, 4096, 1 << 20])?;
        let length = *pick(u, &[1, 512, 700])?;
        segments.push((at, length));
        at += length;
    }
    let size = at + *pick(u, &[0, 1, 4096, 1 << 20])?;
    let stored: u64 = segments.iter().map(|(_, length)| length).sum();
    let entry = entry.data(vec![b's'; stored as usize]).sparse(form, &segments, size);
    Ok(if form == Gnu { entry.gnu().typeflag(b'S') } else { entry })
}

const MODES: &[u32] = &[0o755, 0o644, 0o700, 0o4755, 0o2775, 0o1777, 0, 0o7777];
const OWNERS: &[(i64, i64)] =
    &[(0, 0), (0, 0), (0, 0), (1, 2), (2, 1), (4_294_967_294, 2_097_152), (-1, 0), (0, 1 << 32)];
const TIMES: &[(i64, u32)] =
    &[(1, 0), (1, 0), (1, 1), (-2, 999_999_999), (0, 0), (1 << 33, 0), (-(1 << 33), 1)];

fn attributes(entry: Entry, u: &mut Unstructured<'_>) -> Result<Entry> {
    let (uid, gid) = *pick(u, OWNERS)?;
    let (seconds, nanoseconds) = *pick(u, TIMES)?;
    let mut entry = entry.mode(*pick(u, MODES)?).owner(uid, gid).mtime(seconds, nanoseconds);
    for (name, value) in *pick(u, XATTRS)? {
        entry = entry.xattr(name, value);
    }
    if *pick(u, &[false, false, false, true])? {
        entry = entry.gnu();
    }
    Ok(entry)
}

type Xattrs = &'static [(&'static str, &'static [u8])];

const XATTRS: &[Xattrs] = &[
    &[],
    &[],
    &[],
    &[],
    &[],
    &[],
    &[("user.0", b"0")],
    &[("user.0", b"1"), ("user.1", b"\0\n")],
    &[("user.1", b"")],
    &[("system.posix_acl_default", ACL)],
    &[("system.posix_acl_access", ACL), ("user.0", b"2")],
    &[("system.posix_acl_default", b"\x02\0\0\0")],
    &[("system.posix_acl_access", b"nonsense")],
    &[("security.capability", CAPABILITY)],
    &[("security.other", b"x")],
    &[("trusted.overlay.opaque", b"y"), ("user.overlay.opaque", b"y")],
    &[("trusted.overlay.redirect", b"/a"), ("user.overlay.redirect", b"/a")],
    &[("trusted.overlay.metacopy", b""), ("user.overlay.metacopy", b"")],
    &[("trusted.overlay.overlay.opaque", b"y"), ("user.overlay.overlay.opaque", b"y")],
    &[("trusted.other", b"x"), ("btrfs.compression", b"zstd")],
];

/// acl(5): `u::rwx,u:1:r,g::rx,m::rwx,o::-`.
const ACL: &[u8] = b"\x02\0\0\0\
    \x01\0\x07\0\xff\xff\xff\xff\
    \x02\0\x04\0\x01\0\0\0\
    \x04\0\x05\0\xff\xff\xff\xff\
    \x10\0\x07\0\xff\xff\xff\xff\
    \x20\0\0\0\xff\xff\xff\xff";

/// capabilities(7), version 2: `cap_net_raw=ep`.
const CAPABILITY: &[u8] = b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0";

impl Recipe {
    /// Everything that has one thing less.
    pub fn smaller(&self) -> Vec<Recipe> {
        let mut all: Vec<Recipe> = smaller(&self.stack)
            .into_iter()
            .map(|stack| Recipe { stack, ..self.clone() })
            .collect();
        for layer in 0..LAYERS {
            if self.encodings[layer] != Encoding::Plain {
                let mut recipe = self.clone();
                recipe.encodings[layer] = Encoding::Plain;
                all.push(recipe);
            }
        }
        for number in 0..self.threads.len() {
            if self.threads[number] > 1 {
                let mut recipe = self.clone();
                recipe.threads[number] = 1;
                all.push(recipe);
            }
        }
        if self.openat2 != 0 {
            all.push(Recipe { openat2: 0, ..self.clone() });
        }
        all
    }
}

/// Every stack with one layer, entry or attribute less.
pub fn smaller(stack: &Stack) -> Vec<Stack> {
    let mut all = Vec::new();
    for layer in 0..stack.0.len() {
        let mut less = stack.clone();
        less.0.remove(layer);
        if !less.0.is_empty() {
            all.push(less);
        }
    }
    for layer in 0..stack.0.len() {
        for entry in 0..stack.0[layer].len() {
            let mut less = stack.clone();
            less.0[layer].remove(entry);
            all.push(less);
        }
    }
    for layer in 0..stack.0.len() {
        for entry in 0..stack.0[layer].len() {
            for plainer in plainer(&stack.0[layer][entry]) {
                let mut less = stack.clone();
                less.0[layer][entry] = plainer;
                all.push(less);
            }
        }
    }
    all
}

fn plainer(entry: &Entry) -> Vec<Entry> {
    let plain = file("x");
    let data = if entry.sparse.is_some() { entry.data.clone() } else { Vec::new() };
    let mode = if entry.typeflag == b'5' { 0o755 } else { 0o644 };
    let all = [
        Entry { mode, ..entry.clone() },
        entry.clone().owner(plain.uid, plain.gid),
        entry.clone().mtime(plain.mtime.0, plain.mtime.1),
        Entry { xattrs: Vec::new(), ..entry.clone() },
        Entry { data, ..entry.clone() },
        Entry { format: plain.format, ..entry.clone() },
    ];
    all.into_iter().filter(|plainer| plainer != entry).collect()
}
