// SPDX-License-Identifier: Apache-2.0
//! Two kinds of entries in one layer, all of the one before all of the other: what is kept of the
//! first ones may be gone through for each of the others.

use crate::common::archive::{Entry, dir, file, hardlink, opaque, symlink, whiteout};
use crate::measure::Way::{self, Audit, Directory, Overlay, Scan};
use crate::shapes::{Shape, numbered};

/// One kind. Its names all begin with a letter that is told to it, in a directory that both share.
struct Half {
    name: &'static str,
    lower: fn(&str, usize) -> Vec<Entry>,
    layer: fn(&str, usize) -> Vec<Entry>,
}

const WAYS: &[Way] = &[Directory, Overlay, Scan, Audit];

/// What the name of a pair has between its halves.
pub const THEN: &str = ", then ";

const HALVES: [Half; 12] = [
    Half { name: "files", lower: none, layer: files },
    Half { name: "directories", lower: none, layer: dirs },
    Half { name: "own links", lower: none, layer: own_links },
    Half { name: "links to a lower file", lower: one, layer: links_to_one },
    Half { name: "links to lower files", lower: files, layer: links_to_many },
    Half { name: "whiteouts", lower: files, layer: whiteouts },
    Half { name: "whiteouts of nothing", lower: none, layer: whiteouts },
    Half { name: "files over lower files", lower: files, layer: files },
    Half { name: "markers", lower: dirs_with_files, layer: markers },
    Half { name: "one name again and again", lower: none, layer: again },
    Half { name: "namespaces that nobody has", lower: none, layer: namespaces },
    Half { name: "parents behind symlinks", lower: none, layer: behind },
];

/// Each kind before each other one.
pub fn pairs() -> Vec<Shape> {
    let both = |first: &'static Half| {
        let others = HALVES.iter().filter(|second| first.name != second.name);
        others.map(move |second| pair(first, second))
    };
    HALVES.iter().flat_map(both).collect()
}

fn pair(first: &'static Half, second: &'static Half) -> Shape {
    Shape::new(format!("{}{THEN}{}", first.name, second.name), WAYS, |n| {
        [(first.layer)("a", n / 2), (second.layer)("b", n / 2)].concat()
    })
    .lower(|n| [(first.lower)("a", n / 2), (second.lower)("b", n / 2)].concat())
    // A hardlink to a lower file is two.
    .names(2)
}

fn none(_: &str, _: usize) -> Vec<Entry> {
    vec![file("d/keep")]
}

fn one(letter: &str, _: usize) -> Vec<Entry> {
    vec![file(format!("d/{letter}"))]
}

fn files(letter: &str, n: usize) -> Vec<Entry> {
    numbered(n, |i| file(format!("d/{letter}{i}")))
}

fn dirs(letter: &str, n: usize) -> Vec<Entry> {
    numbered(n, |i| dir(format!("d/{letter}{i}")))
}

fn dirs_with_files(letter: &str, n: usize) -> Vec<Entry> {
    numbered(n, |i| file(format!("d/{letter}{i}/f")))
}

fn own_links(letter: &str, n: usize) -> Vec<Entry> {
    [one(letter, n), links_to_one(letter, n)].concat()
}

fn links_to_one(letter: &str, n: usize) -> Vec<Entry> {
    numbered(n, |i| hardlink(format!("d/{letter}{i}"), format!("d/{letter}")))
}

fn links_to_many(letter: &str, n: usize) -> Vec<Entry> {
    numbered(n, |i| hardlink(format!("d/{letter}l{i}"), format!("d/{letter}{i}")))
}

fn whiteouts(letter: &str, n: usize) -> Vec<Entry> {
    numbered(n, |i| whiteout(&format!("d/{letter}{i}")))
}

fn markers(letter: &str, n: usize) -> Vec<Entry> {
    numbered(n, |i| opaque(&format!("d/{letter}{i}")))
}

fn again(letter: &str, n: usize) -> Vec<Entry> {
    let name = format!("d/{letter}");
    numbered(n, |i| match i % 3 {
        0 => file(&name),
        1 => dir(&name),
        _ => symlink(&name, "keep"),
    })
}

fn namespaces(letter: &str, n: usize) -> Vec<Entry> {
    let xattr = |entry: Entry, i| entry.xattr(format!("{letter}{i}.x"), "v");
    numbered(n, |i| (4 * i..4 * i + 4).fold(file(format!("d/{letter}{i}")), xattr))
}

/// The parent is another one each time, so that none is remembered from the entry before.
fn behind(letter: &str, n: usize) -> Vec<Entry> {
    let links = (0..8).map(|i| symlink(format!("{letter}{i}"), format!("{letter}{}", i + 1)));
    let end = symlink(format!("{letter}8"), "d");
    let files = numbered(n, |i| file(format!("{letter}{}/{letter}{i}", i % 8)));
    links.chain([end]).chain(files).collect()
}
