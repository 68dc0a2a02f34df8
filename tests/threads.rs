// SPDX-License-Identifier: Apache-2.0
//! The same tree, however many threads make it: layers of many chunks, with few names, so that
//! entries meet files that others are still to make.

mod common;

use std::collections::BTreeMap;

use common::archive::{Entry, archive, dir, fifo, file, gzip, hardlink, opaque, symlink, whiteout};
use common::needs;
use common::runner::{Scene, watched};
use common::tree::Tree;
use ocilayer::{Lowers, Mode, Options, Source, unpack};

/// Numbers that look random, the same each time.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % limit
    }
}

/// A layer that is accepted: what is below a name that is no directory goes with it.
fn layer(random: &mut Random, entries: usize) -> Vec<Entry> {
    let mut kinds: BTreeMap<String, u8> = BTreeMap::new();
    let mut layer = vec![dir(".")];
    while layer.len() < entries {
        let top = format!("d{}", random.below(4));
        let parent =
            if random.below(3) == 0 { format!("{top}/n{}", random.below(30)) } else { top };
        let blocked = |path: &str| kinds.get(path).is_some_and(|kind| *kind != b'5');
        if blocked(&parent) || blocked(&parent[..2]) {
            continue;
        }
        let path = format!("{parent}/n{}", random.below(30));
        let number = random.below(100);
        let mode = [0o644, 0o755, 0o4755, 0o600][random.below(4)];
        let entry = match number {
            0..60 => {
                let len = if number == 0 { 300_000 } else { random.below(3_000) };
                file(&path).data(vec![layer.len() as u8; len])
            }
            60..70 => file(&path),
            70..78 => dir(&path),
            78..85 => symlink(&path, format!("n{}", random.below(30))),
            85..92 => {
                let files: Vec<&String> =
                    kinds.iter().filter(|(_, kind)| **kind == b'0').map(|(path, _)| path).collect();
                let Some(target) = files.get(random.below(files.len().max(1))) else { continue };
                // Not what the link itself replaces.
                if target.starts_with(&path) {
                    continue;
                }
                hardlink(&path, target.as_str())
            }
            92..94 => fifo(&path),
            94..98 => whiteout(&path),
            _ => opaque(&parent),
        };
        let entry = entry.mode(mode).owner(random.below(2) as i64, 0).mtime(layer.len() as i64, 0);
        let kind = match number {
            0..70 | 85..92 => Some(b'0'),
            70..78 => Some(b'5'),
            78..85 | 92..94 => Some(b'6'),
            _ => None,
        };
        if let Some(kind) = kind {
            kinds.insert(parent.clone(), b'5');
            if kind != b'5' {
                let below = format!("{path}/");
                kinds.retain(|path, _| !path.starts_with(&below));
            }
            kinds.insert(path, kind);
        }
        layer.push(entry);
    }
    layer
}

#[test]
fn any_number_of_threads_makes_the_same_tree() {
    if !needs::root() {
        return;
    }
    for seed in 0..4 {
        let blob = gzip(&archive(&layer(&mut Random(seed), 2_500)));
        for mode in [Mode::Directory, Mode::Overlay] {
            let scene = Scene::new();
            let lowers = match mode {
                Mode::Directory => Lowers::Unknown,
                _ => Lowers::Known(Vec::new()),
            };
            let mut reports = Vec::new();
            for (number, threads) in [1, 2, 3, 8].into_iter().enumerate() {
                let options = Options::default().mode(mode).lowers(lowers.clone()).threads(threads);
                let what = format!("seed {seed}, {mode:?}, {threads} threads");
                let root = scene.root(number);
                let report = watched(&what, || unpack(Source::memory(&blob), &root, &options))
                    .unwrap_or_else(|error| panic!("{what}: {error}"));
                let found = Tree::of(&root).differences(&Tree::of(&scene.root(0)), &what, "one");
                assert!(found.is_empty(), "{what}: {found:#?}");
                reports.push((report.entries, report.bytes.files, report.whiteouts));
            }
            assert!(reports.iter().all(|report| *report == reports[0]), "seed {seed}: {reports:?}");
            scene.assert_untouched();
        }
    }
}

/// What was made chunks ago is replaced, though its name is free as far as anybody remembers.
#[test]
fn later_entry_of_a_name_wins_over_chunks() {
    if !needs::root() {
        return;
    }
    let filler = |name: &str| file(name).data(vec![b'x'; 600_000]);
    let layer = [
        dir("d"),
        file("d/a").data("old"),
        file("d/b").data("old"),
        symlink("d/c", "a"),
        filler("d/1"),
        file("d/a").data("new"),
        hardlink("d/link", "d/a"),
        dir("d/b"),
        file("d/b/x").data("x"),
        file("d/c").data("new"),
        filler("d/2"),
        file("d/b").data("again"),
    ];
    let blob = gzip(&archive(&layer));
    for threads in [1, 2, 8] {
        let scene = Scene::new();
        let options = Options::default().threads(threads);
        unpack(Source::memory(&blob), scene.root(0), &options).expect("unpacked");
        let read = |name: &str| std::fs::read_to_string(scene.root(0).join(name)).expect(name);
        assert_eq!(["d/a", "d/link", "d/c", "d/b"].map(read), ["new", "new", "new", "again"]);
        assert!(Tree::of(&scene.root(0)).linked("d/a", "d/link"));
        scene.assert_untouched();
    }
}

/// What the report of a failed unpack counts is in the root, whoever was to make it.
#[test]
fn files_before_a_refused_entry_are_there_as_the_report_says() {
    if !needs::root() {
        return;
    }
    let files = |count: usize| (0..count).map(|n| file(format!("d/{n}")).data(vec![b'x'; n % 900]));
    for count in [1, 2_000] {
        let mut layer = vec![dir("d")];
        layer.extend(files(count));
        layer.push(file("d/.wh."));
        let blob = gzip(&archive(&layer));
        for threads in [1, 2, 8] {
            let scene = Scene::new();
            let options = Options::default().threads(threads);
            let what = format!("{count} files, {threads} threads");
            let error = watched(&what, || unpack(Source::memory(&blob), scene.root(0), &options))
                .expect_err("a whiteout of nothing");
            assert_eq!(error.place().expect("an entry").entry, count as u64 + 1, "{what}: {error}");
            let (made, bytes) = made(&scene.root(0).join("d"));
            let report = error.report().expect("a partial report");
            assert!(report.partial);
            assert_eq!((report.entries.files, report.bytes.files), (made, bytes), "{what}");
            assert_eq!(made, count as u64, "{what}");
        }
    }
}

/// Files in a directory, and their bytes.
fn made(directory: &std::path::Path) -> (u64, u64) {
    let sizes = std::fs::read_dir(directory)
        .expect("a directory")
        .map(|entry| entry.expect("an entry").metadata().expect("lstat").len());
    sizes.fold((0, 0), |(files, bytes), size| (files + 1, bytes + size))
}
