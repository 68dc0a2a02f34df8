// SPDX-License-Identifier: Apache-2.0
//! Well-formed archives, by our own writer and by the `tar` crate: what that crate reads in them is
//! what the library unpacks.
//!
//! Left out is what the crate (0.4.46) reads otherwise than POSIX says. It splits PAX records at
//! newlines and not by their length: here no value has one. Of repeated records it takes the first:
//! here none is repeated.

mod common;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io;

use common::archive::{
    BLOCK, Entry, MTIME, SparseForm, archive, block_device, char_device, dir, fifo, file, hardlink,
    symlink, unfinished,
};
use common::tree::{Kind, Node, Tree};
use common::{needs, random};
use ocilayer::{EntryCounts, Options, Source, unpack};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::sample::{Index, select};
use tar::EntryType;

/// What makes an entry; what it is called and links to depends on those before it, too.
#[derive(Clone, Debug)]
struct Seed {
    kind: u8,
    parent: Index,
    target: Index,
    /// Follows a number, so that no two are the same.
    name: Vec<u8>,
    link: Vec<u8>,
    size: usize,
    mode: u32,
    owner: (i64, i64),
    mtime: (i64, u32),
    xattrs: BTreeMap<u8, Vec<u8>>,
}

fn seed() -> impl Strategy<Value = Seed> {
    let name = prop_oneof![
        3 => Just(Vec::new()),
        2 => (60..200usize).prop_map(|length| vec![b'x'; length]),
        2 => vec(1..=255u8, 1..20),
    ];
    let ids = || select(&[0, 1, 1000, 0o777_7777, 0o1000_0000, 4_000_000_000][..]);
    // What ext4 can hold.
    let seconds = select(&[0, 1, MTIME, 0o777_7777_7777, 8_589_934_592, -1, -2_000_000_000][..]);
    let nanoseconds = select(&[0, 1, 500_000_000, 999_999_999][..]);
    let places = (0..10u8, any::<Index>(), any::<Index>(), name, vec(1..=255u8, 1..150));
    let size = select(&[0, 1, 511, 512, 513, 5_000][..]);
    let xattrs = btree_map(0..3u8, vec(any::<u8>(), 0..20), 0..3);
    let metadata = (0..=0o7777u32, (ids(), ids()), (seconds, nanoseconds), xattrs);
    (places, size, metadata).prop_map(|(places, size, (mode, owner, mtime, xattrs))| {
        let (kind, parent, target, name, link) = places;
        Seed { kind, parent, target, name, link, size, mode, owner, mtime, xattrs }
    })
}

fn entries() -> impl Strategy<Value = Vec<Entry>> {
    let seeds = vec(seed(), 1..14);
    (seeds, any::<bool>()).prop_map(|(seeds, gnu)| {
        let mut entries = Vec::new();
        seeds.into_iter().for_each(|seed| entries.push(entry(seed, gnu, &entries)));
        entries
    })
}

/// Parents stand before what is in them, and files before links to them.
fn entry(seed: Seed, gnu: bool, before: &[Entry]) -> Entry {
    let Seed { name, link, size, mtime, .. } = seed;
    // The crate knows no numbers below zero, and only records have nanoseconds.
    let mtime = if gnu { (mtime.0.max(0), 0) } else { mtime };
    let allowed = |byte: u8| if byte == b'\n' && !gnu { b' ' } else { byte };
    let link: Vec<u8> = link.into_iter().map(allowed).collect();
    let name = name.into_iter().map(allowed).map(|byte| if byte == b'/' { b'_' } else { byte });

    let directories = before.iter().filter(|entry| entry.typeflag == b'5');
    let parents: Vec<&[u8]> =
        std::iter::once(&b""[..]).chain(directories.map(|entry| &entry.name[..])).collect();
    let number = before.len().to_string();
    let mut path = [seed.parent.get(&parents), number.as_bytes()].concat();
    path.extend(name);

    let files: Vec<&Entry> = before.iter().filter(|entry| entry.typeflag == b'0').collect();
    let data: Vec<u8> = (0..size).map(|at| (at / 7) as u8).collect();
    let entry = match seed.kind {
        0 | 1 => dir(path).mode(seed.mode),
        2 => symlink(path, link),
        3 => fifo(path).mode(seed.mode),
        4 => char_device(path, 0xfff, 0xf_ffff).mode(seed.mode),
        5 => block_device(path, 8, 1).mode(seed.mode),
        6 if !files.is_empty() => {
            // A link says of itself what the file says.
            let target = seed.target.get(&files);
            let link = hardlink(path, &target.name).mode(target.mode);
            let link = link.owner(target.uid, target.gid).mtime(target.mtime.0, target.mtime.1);
            return Entry { format: target.format, ..link };
        }
        7 if gnu => {
            let (start, end) = (3 * BLOCK as u64, 1 << 16);
            let segments = [(start, size as u64), (end, 0)];
            file(path).data(data).sparse(SparseForm::Gnu, &segments, end).mode(seed.mode)
        }
        _ => file(path).data(data).mode(seed.mode),
    };
    let mut entry = entry.owner(seed.owner.0, seed.owner.1).mtime(mtime.0, mtime.1);
    if gnu {
        return entry.gnu();
    }
    // No others may have any.
    if matches!(entry.typeflag, b'0' | b'5') {
        for (name, value) in seed.xattrs {
            let value: Vec<u8> = value.into_iter().map(allowed).collect();
            entry = entry.xattr(format!("user.{name}"), value);
        }
    }
    entry
}

/// The tree that the entries describe, by the crate.
fn second_reading(blob: &[u8]) -> io::Result<(Tree, EntryCounts)> {
    let mut nodes = BTreeMap::new();
    let mut links: BTreeMap<Vec<u8>, Vec<Vec<u8>>> = BTreeMap::new();
    let mut counts = EntryCounts::default();
    for entry in tar::Archive::new(blob).entries()? {
        let mut entry = entry?;
        counts.total += 1;
        let name = entry.path_bytes().into_owned();
        let name = name.strip_suffix(b"/").unwrap_or(&name).to_vec();
        let link = entry.link_name_bytes().map(Cow::into_owned).unwrap_or_default();
        let size = entry.size();
        let (kind, count) = match entry.header().entry_type() {
            EntryType::Link => {
                counts.hardlinks += 1;
                links.entry(link).or_default().push(name);
                continue;
            }
            EntryType::Regular | EntryType::GNUSparse => {
                (Kind::file(&mut entry, size)?, &mut counts.files)
            }
            EntryType::Directory => (Kind::Directory, &mut counts.directories),
            EntryType::Symlink => (Kind::Symlink(link), &mut counts.symlinks),
            EntryType::Fifo => (Kind::Fifo, &mut counts.fifos),
            EntryType::Char => (device(entry.header(), Kind::CharDevice)?, &mut counts.devices),
            EntryType::Block => (device(entry.header(), Kind::BlockDevice)?, &mut counts.devices),
            other => panic!("{other:?}"),
        };
        *count += 1;
        nodes.insert(name, node(&mut entry, kind)?);
    }
    for (target, mut names) in links {
        names.push(target.clone());
        let linked = names.iter().min().cloned();
        let node = Node { linked, ..nodes[&target].clone() };
        nodes.extend(names.into_iter().map(|name| (name, node.clone())));
    }
    Ok((Tree(nodes), counts))
}

fn device(header: &tar::Header, kind: fn(u32, u32) -> Kind) -> io::Result<Kind> {
    let (major, minor) = (header.device_major()?, header.device_minor()?);
    Ok(kind(major.expect("a field of ustar"), minor.expect("a field of ustar")))
}

fn node(entry: &mut tar::Entry<'_, &[u8]>, kind: Kind) -> io::Result<Node> {
    let header = entry.header();
    let mut node = Node {
        kind,
        mode: header.mode()?,
        uid: header.uid()?.try_into().expect("32 bits"),
        gid: header.gid()?.try_into().expect("32 bits"),
        mtime: (header.mtime()? as i64, 0),
        xattrs: BTreeMap::new(),
        linked: None,
    };
    // The crate leaves these records to its callers.
    for record in entry.pax_extensions()?.into_iter().flatten() {
        let record = record?;
        if record.key_bytes() == b"mtime" {
            node.mtime = time(record.value().expect("digits"));
        } else if let Some(name) = record.key_bytes().strip_prefix(b"SCHILY.xattr.") {
            node.xattrs.insert(name.to_vec(), record.value_bytes().to_vec());
        }
    }
    Ok(node)
}

/// `-1.5` is half a second after -2.
fn time(text: &str) -> (i64, u32) {
    let (sign, digits) = text.strip_prefix('-').map_or((1, text), |digits| (-1, digits));
    let (seconds, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let nanoseconds: i64 = format!("{seconds}{fraction:0<9}").parse().expect("digits");
    let total = sign * nanoseconds;
    (total.div_euclid(1_000_000_000), total.rem_euclid(1_000_000_000) as u32)
}

#[test]
fn the_tar_crate_reads_the_tree_that_was_unpacked() {
    if !needs::root() {
        return;
    }
    proptest!(random::config(), |(entries in entries())| {
        let own = [unfinished(&entries), vec![0; 2 * BLOCK]].concat();
        for (writer, blob) in [("our own writer", own), ("the crate's", archive(&entries))] {
            let (theirs, counts) = second_reading(&blob).expect("well-formed");
            let root = tempfile::tempdir().expect("tempdir");
            let report = unpack(Source::memory(&blob), root.path(), &Options::default());
            let mut ours = Tree::of(root.path());
            ours.0.remove(&b""[..]);
            let differences = ours.differences(&theirs, "unpacked", "read by the crate");
            prop_assert!(differences.is_empty(), "by {writer}:\n{}", differences.join("\n"));
            prop_assert_eq!(report.expect("unpacked").entries, counts);
        }
    });
}
