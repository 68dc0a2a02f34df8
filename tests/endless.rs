// SPDX-License-Identifier: Apache-2.0
//! Readers and pipes that give little at a time, stay open behind the archive's end, or fail there:
//! with `ReadTo::EndOfArchive` nothing is read that the archive does not need.

mod common;

use std::fs::File;
use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::archive::{archive, file, gzip, layer, zstd};
use common::runner::{Scene, watched};
use common::tree::Tree;
use ocilayer::{Errno, ErrorKind, Expect, Options, ReadTo, Report, Source, scan, unpack};

fn to_end_of_archive(threads: usize) -> Options {
    Options::default().threads(threads).read_to(ReadTo::EndOfArchive)
}

/// Unpacks from a reader that gives `piece` bytes at a time and must not be asked once more.
fn from_reader(
    blob: &[u8],
    piece: usize,
    threads: usize,
    scene: &Scene,
) -> Result<Report, ocilayer::Error> {
    let mut rest = blob;
    let read = move |into: &mut [u8]| {
        let count = rest.len().min(into.len()).min(piece);
        // A reader that stays open would wait here, and one that fails would say so.
        assert!(count > 0, "read past the archive's end");
        into[..count].copy_from_slice(&rest[..count]);
        rest = &rest[count..];
        Ok(count)
    };
    unpack(Source::reader(read), scene.root(0), &to_end_of_archive(threads))
}

#[test]
fn nothing_is_read_behind_the_archives_end() {
    let entries = layer("a=1 d/ d/x=2");
    let large = [entries.clone(), vec![file("large").data(vec![7; 700_000])]].concat();
    for entries in [&entries, &large] {
        let plain = archive(entries);
        for blob in [plain.clone(), gzip(&plain), zstd(&plain)] {
            for piece in [1, 512, 32 << 10, usize::MAX] {
                if piece == 1 && blob.len() > 100_000 {
                    continue;
                }
                for threads in [1, 2, 4] {
                    let scene = Scene::new();
                    let report = watched("unpack", || from_reader(&blob, piece, threads, &scene));
                    let report = report.expect("unpacked");
                    assert!(!report.partial && report.diff_id.is_none());
                    assert_eq!(report.entries.total, entries.len() as u64);
                    let tree = Tree::of(&scene.root(0));
                    assert!(tree.get("d/x").is_some() && tree.list().len() == entries.len());
                }
            }
        }
    }
}

#[test]
fn hostile_entry_ends_it_at_once() {
    let mut blob = archive(&[file("a").data("1"), file("../up").data("2")]);
    blob.truncate(1536);
    for threads in [1, 2, 4] {
        let scene = Scene::new();
        let result = watched("unpack", || from_reader(&blob, 512, threads, &scene));
        assert_eq!(result.expect_err("refused").kind(), ErrorKind::Layer);
        scene.assert_untouched();
    }
}

#[test]
fn pipe_that_stays_open_is_left_at_the_archives_end() {
    let plain = archive(&layer("a=1 d/ d/x=2"));
    for blob in [plain.clone(), gzip(&plain), zstd(&plain)] {
        for threads in [1, 2, 4] {
            let scene = Scene::new();
            let (read, write) = rustix::pipe::pipe().expect("a pipe");
            let mut write = File::from(write);
            write.write_all(&blob).expect("room in the pipe");
            let root = scene.root(0);
            let result =
                watched("unpack", || unpack(Source::file(read), root, &to_end_of_archive(threads)));
            assert_eq!(result.expect("unpacked").entries.total, 3);
            drop(write);
        }
    }
}

#[test]
fn reader_that_fails_before_the_archives_end_fails_the_unpack() {
    let blob = archive(&layer("a=1 b=2"));
    let calls = AtomicUsize::new(0);
    let read = |into: &mut [u8]| match calls.fetch_add(1, Ordering::Relaxed) {
        0 => {
            into[..700].copy_from_slice(&blob[..700]);
            Ok(700)
        }
        _ => Err(Errno::IO),
    };
    let scene = Scene::new();
    let error = unpack(Source::reader(read), scene.root(0), &to_end_of_archive(2))
        .expect_err("the reader failed");
    assert_eq!((error.kind(), error.errno()), (ErrorKind::Callback, Errno::IO));
}

#[test]
fn what_needs_the_whole_blob_is_refused() {
    let scene = Scene::new();
    let blob = archive(&layer("a=1"));
    let digest = format!("sha256:{}", "0".repeat(64)).parse().expect("a digest");
    let options = to_end_of_archive(1).expect(Expect::default().blob(digest));
    let error = unpack(Source::memory(&blob), scene.root(0), &options).expect_err("digests");
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    let error = scan(Source::memory(&blob), &to_end_of_archive(1), &mut ()).expect_err("a scan");
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
}
