// SPDX-License-Identifier: Apache-2.0
//! Random layers, and how proptest is run on them.

use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed};

use crate::common::archive::{
    Entry, char_device, dir, fifo, file, hardlink, opaque, symlink, whiteout,
};
use crate::common::needs;
use crate::common::stack::Stack;

pub fn config() -> Config {
    let mut config =
        Config { failure_persistence: None, max_shrink_iters: 4096, ..Config::default() };
    if needs::ci() {
        // What fails there must fail for whoever looks at it. By hand, each run tries others.
        config.rng_seed = RngSeed::Fixed(1);
    }
    config
}

/// So few that entries of different layers meet all the time.
const NAMES: [&str; 3] = ["a", "b", "c"];

const TARGETS: [&str; 14] = [
    "a",
    "b",
    "c",
    "a/b",
    "b/a",
    "../a",
    "../b",
    "/a",
    "/b/c",
    "../../../c",
    "no/where",
    ".",
    "..",
    "/",
];

fn path() -> impl Strategy<Value = String> {
    let name = || prop::sample::select(&NAMES[..]);
    prop_oneof![
        3 => name().prop_map(String::from),
        3 => (name(), name()).prop_map(|(a, b)| format!("{a}/{b}")),
        1 => (name(), name(), name()).prop_map(|(a, b, c)| format!("{a}/{b}/{c}")),
    ]
}

fn entry() -> impl Strategy<Value = Entry> {
    let whole = prop_oneof![
        4 => (path(), 0..4u8).prop_map(|(path, text)| file(path).data(vec![b'0' + text; text.into()])),
        4 => path().prop_map(dir),
        3 => (path(), prop::sample::select(&TARGETS[..])).prop_map(|(path, to)| symlink(path, to)),
        2 => (path(), path()).prop_map(|(path, to)| hardlink(path, to)),
        4 => path().prop_map(|path| whiteout(&path)),
        2 => path().prop_map(|path| opaque(&path)),
        1 => Just(opaque("")),
        1 => path().prop_map(fifo),
        1 => path().prop_map(|path| char_device(path, 1, 3)),
        1 => Just(dir(".")),
    ];
    let mode = prop::sample::select(&[0o755, 0o644, 0o700, 0o4755, 0o2775, 0o1777, 0][..]);
    let owner = (0..3i64, 0..3i64);
    let mtime = (-2..3i64, prop::sample::select(&[0, 1, 999_999_999][..]));
    let xattrs = prop::collection::btree_map(0..3u8, 0..3u8, 0..2);
    (whole, mode, owner, mtime, xattrs).prop_map(|(entry, mode, owner, mtime, xattrs)| {
        let mut entry = entry.mode(mode).owner(owner.0, owner.1).mtime(mtime.0, mtime.1);
        for (name, value) in xattrs {
            entry = entry.xattr(format!("user.{name}"), [value]);
        }
        entry
    })
}

/// Layers that meet each other.
pub fn stack() -> impl Strategy<Value = Stack> {
    let layer = prop::collection::vec(entry(), 0..7);
    prop::collection::vec(layer, 1..5).prop_map(Stack)
}
