// SPDX-License-Identifier: Apache-2.0
//! An image in one directory, the newest layer first: the tree of one after the other, and nothing is
//! written that does not show.

mod common;

use std::collections::HashSet;
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::archive::{Entry, archive, dir, layer};
use common::stack::Stack;
use common::tree::Tree;
use common::{needs, random};
use ocilayer::image::{self, ImageObserver, ImageProgress, ImageReport, Layers, UnpackError};
use ocilayer::{Digest, Errno, Options, Source, unpack};
use proptest::prelude::*;
use proptest::test_runner::{TestCaseError, TestError, TestRunner};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

fn diff_id(archive: &[u8]) -> Digest {
    let hex: String = Sha256::digest(archive).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}").parse().expect("a digest")
}

fn root() -> TempDir {
    tempfile::Builder::new().prefix("ocilayer-flatten-").tempdir().expect("tempdir")
}

fn flatten(
    archives: &[Vec<u8>],
    root: &Path,
    options: &Options,
    observer: &mut dyn ImageObserver,
) -> Result<ImageReport, UnpackError> {
    let mut layers = Layers::new();
    for archive in archives {
        layers.push(Source::memory(archive), None, diff_id(archive));
    }
    image::unpack(&layers, &layers.image(), root, options, observer)
}

/// Unpacks both ways and compares; whether the newest layer came first, or else what both refuse.
fn compare(stack: &[Vec<Entry>]) -> Result<Result<ImageReport, (usize, usize)>, TestCaseError> {
    let context =
        |what: String| TestCaseError::fail(format!("{what}\n{:?}", Stack(stack.to_vec())));
    let archives: Vec<_> = stack.iter().map(|entries| archive(entries)).collect();
    let (alone, root) = (root(), root());
    let options = Options::default().threads(2);
    let mut one_by_one = archives.iter().enumerate().map(|(number, archive)| {
        let layer = unpack(Source::memory(archive), alone.path(), &options);
        layer.map_err(|error| (number, error))
    });
    let failure = one_by_one.find_map(Result::err);
    let all = flatten(&archives, root.path(), &options, &mut ());
    if let Some((number, error)) = &failure {
        let place = error.place().ok_or_else(|| context(format!("no entry named: {error}")))?;
        return match all {
            Ok(_) => Err(context(format!("not refused: layer {number}, {error}"))),
            Err(_) => Ok(Err((*number, place.entry as usize))),
        };
    }
    let report = all.map_err(|error| context(error.to_string()))?;
    let differences =
        Tree::of(alone.path()).differences(&Tree::of(root.path()), "one by one", "flattened");
    match differences.is_empty() {
        true => Ok(Ok(report)),
        false => Err(context(differences.join("\n"))),
    }
}

/// `PROPTEST_CASES=10000 cargo test --release --test flatten random` looks longer.
#[test]
fn random_images_are_what_their_layers_make_one_by_one() {
    if !needs::overlay() {
        return;
    }
    let (certain, all) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let mut runner = TestRunner::new(random::config());
    let result = runner.run(&(random::stack(), any::<bool>()), |(mut stack, explicit)| {
        // So that it is said what the root looks like.
        stack.0[0].insert(0, dir("."));
        if explicit {
            stack.0.iter_mut().for_each(describe_parents);
        }
        // Random layers are refused often. The entry at fault goes, and the rest is looked at.
        loop {
            match compare(&stack.0)? {
                Err((layer, entry)) => drop(stack.0[layer].remove(entry)),
                Ok(report) => {
                    if explicit && stack.0.len() > 1 {
                        all.fetch_add(1, Ordering::Relaxed);
                        certain.fetch_add(report.newest_first.into(), Ordering::Relaxed);
                    }
                    return Ok(());
                }
            }
        }
    });
    match result {
        Ok(()) => {}
        Err(TestError::Fail(reason, (stack, _))) => panic!("{reason}\nfor the stack\n{stack:?}"),
        Err(abort) => panic!("{abort}"),
    }
    let (certain, all) = (certain.into_inner(), all.into_inner());
    println!("{certain} of {all} the newest layer first");
    assert!(certain * 10 > all, "{certain} of {all}: the others compare one way with itself");
}

/// As real layers do: an entry for each directory that something is in.
fn describe_parents(entries: &mut Vec<Entry>) {
    let mut described = HashSet::new();
    for entry in std::mem::take(entries) {
        let name = String::from_utf8(entry.name.clone()).expect("random names are text");
        let name = name.trim_end_matches('/');
        for (slash, _) in name.match_indices('/') {
            if described.insert(name[..slash].to_owned()) {
                entries.push(dir(&name[..slash]).mtime(slash as i64, 0));
            }
        }
        if entry.typeflag == b'5' {
            described.insert(name.to_owned());
        }
        entries.push(entry);
    }
}

/// Stacks, whether the newest layer comes first, and how many entries are never written.
const STACKS: [(&[&str], bool, u64); 22] = [
    (&["a=old b=old", "a=new"], true, 1),
    (&["d/ d/a=old d/b=old e=1", "d/ d/.wh.a", ".wh.e"], true, 2),
    (&["d/ d/a=1 d/e/ d/e/f=1", "d/ d/.wh..wh..opq d/new=1"], true, 3),
    (&["a=1 d/ d/b=2", ".wh..wh..opq c=3"], true, 3),
    // A directory's attributes are those of the newest layer that describes it.
    (&["d/@700 d/a=1", "d/b=2", "d/@2755 d/c=3"], true, 0),
    (&["d/@700 d/a=1", "d/b=2", "d/c=3"], true, 0),
    (&["d/@700 d/a=1", "d/b=2 .wh.d", "d/c=3"], true, 2),
    // What another type has replaced for a while hides what was there before.
    (&["d/ d/a=1", "d=file", "d/ d/b=2"], true, 3),
    (&["d/ d/a=1", "d->e e/", "d/ d/b=2"], true, 3),
    (&["d/ d/a=1", "d d/ d/b=2"], true, 2),
    (&["d=file", "d/ d/b=2"], true, 1),
    (&["a=1 b=>a", "a=2 b=2"], true, 2),
    (&["a=1 b=>a c=>a", "d/ .wh.b"], true, 1),
    // Below a symlink that an upper layer replaces.
    (&["l->d d/ l/a=1", "l/ l/b=2"], false, 0),
    (&["l->d d/", "l/a=1"], false, 0),
    (&["l->d d/ d/a=1", "l/.wh.a"], false, 0),
    (&["l->d d/", "d/b=2 l/a=1", ".wh.l"], false, 0),
    // Hardlinks to a lower file, and to one that is hidden itself.
    (&["a=1", "b=>a"], false, 0),
    (&["a=1 b=>a", "a=2"], false, 0),
    (&["d/ d/a=1 b=>d/a", ".wh.d"], false, 0),
    (&["d=1", "d/a=1"], false, 0),
    (&["d/ d/a=1 d=file", "d/ d/b=1"], false, 0),
];

#[test]
fn what_does_not_show_is_never_written() {
    if !needs::root() {
        return;
    }
    for (texts, newest_first, hidden) in STACKS {
        let stack: Vec<Vec<Entry>> = texts.iter().map(|text| layer(text)).collect();
        let archives: Vec<_> = stack.iter().map(|entries| archive(entries)).collect();
        let (one, all) = (root(), root());
        for archive in &archives {
            unpack(Source::memory(archive), one.path(), &Options::default()).expect("unpack");
        }
        let report = flatten(&archives, all.path(), &Options::default(), &mut ()).expect("image");
        let (mut expected, mut got) = (Tree::of(one.path()), Tree::of(all.path()));
        // The root, which no entry describes, is as each was made.
        expected.0.remove(&b""[..]);
        got.0.remove(&b""[..]);
        let differences = expected.differences(&got, "one by one", "newest first");
        assert_eq!(differences, [""; 0], "{texts:?}");
        assert_eq!(report.newest_first, newest_first, "{texts:?}");
        let reports = || report.layers.iter().map(|done| done.report.as_ref().expect("a report"));
        assert_eq!(reports().map(|report| report.hidden).sum::<u64>(), hidden, "{texts:?}");
        if newest_first {
            let shown = bytes_below(all.path(), &mut HashSet::new());
            let written: u64 = reports().map(|report| report.bytes.files).sum();
            assert_eq!(written, shown, "{texts:?}");
        }
    }
}

/// Of regular files, each counted once however many names it has.
fn bytes_below(dir: &Path, inodes: &mut HashSet<u64>) -> u64 {
    let mut bytes = 0;
    for entry in std::fs::read_dir(dir).expect("a directory") {
        let entry = entry.expect("an entry");
        let stat = entry.metadata().expect("lstat");
        bytes += match stat.file_type() {
            kind if kind.is_dir() => bytes_below(&entry.path(), inodes),
            kind if kind.is_file() && inodes.insert(stat.ino()) => stat.len(),
            _ => 0,
        };
    }
    bytes
}

#[derive(Default)]
struct Watch {
    progress: Option<ImageProgress>,
    asked: usize,
}

impl ImageObserver for Watch {
    fn filters(&self) -> bool {
        true
    }

    fn filter(&mut self, _: usize, entry: &ocilayer::Entry) -> Result<bool, Errno> {
        self.asked += 1;
        Ok(entry.name != b"unwanted")
    }

    fn progress(&mut self, progress: &ImageProgress) {
        self.progress = Some(progress.clone());
    }
}

#[test]
fn who_begins_again_tells_of_all_layers_as_complete() {
    let archives = ["a=1 unwanted=1", "b=>a unwanted=2", "c=1"].map(|text| archive(&layer(text)));
    let (root, mut watch) = (root(), Watch::default());
    let report = flatten(&archives, root.path(), &Options::default(), &mut watch).expect("image");
    assert!(!report.newest_first);
    let progress = watch.progress.expect("told at the end");
    assert_eq!(progress.complete(), 3);
    assert_eq!(Some(progress.blob_bytes()), progress.blob_size());
    // Three entries of the two upper layers twice.
    assert_eq!(watch.asked, 5 + 2);
    assert!(!root.path().join("unwanted").exists());
}

/// Names that are remembered take memory: where there is too little for both, the lowest comes first.
#[test]
fn little_memory_means_one_by_one() {
    let many =
        |what: &str| (0..2_000).map(|n| format!("d/{what}{n}")).collect::<Vec<_>>().join(" ");
    let archives = [format!("d/ {}", many("n")), format!("d/ {}", many(".wh.n"))]
        .map(|text| archive(&layer(&text)));
    for (memory, newest_first) in [(300_000, true), (150_000, false)] {
        let (root, mut options) = (root(), Options::default());
        options.limits.memory = memory;
        let report = flatten(&archives, root.path(), &options, &mut ()).expect("image");
        assert_eq!(report.newest_first, newest_first, "{memory}");
        assert_eq!(std::fs::read_dir(root.path().join("d")).expect("d").count(), 0);
    }
}

/// Who reads a pipe reads it once.
#[test]
fn sources_that_are_read_once_are_applied_one_by_one() {
    let archives = ["a=1", "a=2"].map(|text| archive(&layer(text)));
    let root = root();
    let mut layers = Layers::new();
    for archive in &archives {
        let mut rest = &archive[..];
        let read = move |to: &mut [u8]| Ok(std::io::Read::read(&mut rest, to).expect("memory"));
        layers.push(Source::reader(read), None, diff_id(archive));
    }
    let options = Options::default();
    let report = image::unpack(&layers, &layers.image(), root.path(), &options, &mut ());
    assert!(!report.expect("image").newest_first);
    assert_eq!(std::fs::read(root.path().join("a")).expect("a"), b"2");
}

/// A file is read from where it stands, also by who begins again.
#[test]
fn files_are_read_from_where_they_stand() {
    let archives = ["a=1", "b=>a"].map(|text| archive(&layer(text)));
    let root = root();
    let mut layers = Layers::new();
    for archive in &archives {
        let mut file = tempfile::tempfile().expect("tempfile");
        file.write_all(&[&b"in front"[..], archive].concat()).expect("write");
        file.seek(SeekFrom::Start(8)).expect("seek");
        layers.push(Source::file(file), None, diff_id(archive));
    }
    let options = Options::default();
    let report = image::unpack(&layers, &layers.image(), root.path(), &options, &mut ());
    assert!(!report.expect("image").newest_first);
    assert_eq!(std::fs::read(root.path().join("b")).expect("b"), b"1");
}
