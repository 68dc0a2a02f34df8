// SPDX-License-Identifier: Apache-2.0
//! Layers that were reported complete when the power went: a cut is a copy of what the block device
//! has received so far, made in one step by FICLONE, and mounted elsewhere with its journal replayed.
//!
//! The device is taken to keep what it has received, unless `OCILAYER_FORGETFUL` names the program of
//! tests/forgetful: then it loses any part of what it was not told to flush. `OCILAYER_CUTS` says how many
//! cuts for each file system and kind of sync.

mod common;

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use common::archive::{archive, dir, file, hardlink, symlink};
use common::mounted::{Mounted, SIZE};
use common::needs;
use common::tree::Tree;
use ocilayer::{Options, Source, Sync, unpack};
use rustix::fs::{ioctl_ficlone, syncfs};
use tempfile::TempDir;

/// That of the file system which has the images.
const AROUND: u64 = 2 << 30;

/// Layers that are unpacked one after the other while a cut is waited for.
const LAYERS: usize = 12;

/// A cut comes at any time up to this one, or when the layers are complete.
const LATEST: Duration = Duration::from_millis(600);

struct Kind {
    name: &'static str,
    make: &'static [&'static str],
    /// For a second one with the same identity.
    mount: &'static str,
}

const KINDS: [Kind; 3] = [
    Kind { name: "ext4", make: &["mkfs.ext4", "-q", "-F", "-O", "has_journal"], mount: "rw" },
    Kind { name: "xfs", make: &["mkfs.xfs", "-q", "-f"], mount: "nouuid" },
    Kind { name: "btrfs", make: &["mkfs.btrfs", "-q", "-f"], mount: "rw" },
];

fn layer(number: usize) -> Vec<u8> {
    let mut entries =
        vec![dir("./").mtime(9, 9), dir("d").mode(0o750), dir("d/empty"), file("d/nothing")];
    for directory in 0..10 {
        entries.push(dir(format!("d/{directory}")));
        for one in 0..12 {
            let data = format!("{number} {directory} {one} ").repeat(1 + one * 60);
            let name = format!("d/{directory}/{one}");
            entries.push(file(&name).data(data).mode(0o640).owner(7, 8).mtime(1_000_000_000, 5));
        }
    }
    entries.push(file("large").data(vec![number as u8 + 1; 700_000]).xattr("user.key", "value"));
    entries.push(symlink("symlink", "d/3/4"));
    entries.push(hardlink("link", "d/3/4"));
    archive(&entries)
}

/// Layers as they have to be, and what they are made of.
struct Layers {
    blobs: Vec<Vec<u8>>,
    trees: Vec<Tree>,
    _made: TempDir,
}

impl Layers {
    fn new() -> Layers {
        let made = TempDir::new().expect("tempdir");
        let blobs: Vec<_> = (0..LAYERS).map(layer).collect();
        let make = |(number, blob): (usize, &Vec<u8>)| {
            let root = root(made.path(), number);
            unpack(Source::memory(blob), &root, &Options::default()).expect("a layer");
            Tree::of(&root)
        };
        let trees = blobs.iter().enumerate().map(make).collect();
        Layers { blobs, trees, _made: made }
    }

    /// What is wrong with the first ones.
    fn damage(&self, at: &Path, complete: usize) -> Vec<String> {
        let differences = |number: usize| {
            let found = Tree::of(&at.join(number.to_string()));
            self.trees[number].differences(&found, "the layer", "after the cut")
        };
        (0..complete).flat_map(differences).collect()
    }
}

fn root(at: &Path, number: usize) -> PathBuf {
    let root = at.join(number.to_string());
    fs::create_dir(&root).expect("mkdir");
    root
}

/// How long until the cut. Another one each time: what counts is that any moment will do.
fn some_time() -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    Duration::from_micros(u64::from(now.subsec_nanos()) / 7 % LATEST.as_micros() as u64)
}

/// What the file system is on.
struct Device {
    image: PathBuf,
    forgetful: Option<Child>,
    /// Where its files are.
    _place: TempDir,
}

impl Device {
    fn new(around: &Path) -> Device {
        let place = TempDir::new_in(around).expect("tempdir");
        let Some(program) = std::env::var_os("OCILAYER_FORGETFUL") else {
            let image = place.path().join("image");
            File::create(&image).and_then(|file| file.set_len(SIZE)).expect("an image");
            return Device { image, forgetful: None, _place: place };
        };
        let at = place.path().join("at");
        fs::create_dir(&at).expect("mkdir");
        let child = Command::new(program)
            .args([at.as_os_str(), place.path().as_os_str()])
            .arg(SIZE.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let mut device = Device {
            image: at.join("image"),
            forgetful: Some(child.expect("spawn")),
            _place: place,
        };
        assert_eq!(device.answer(), "ready");
        device
    }

    /// Copies what a loss of power leaves now.
    fn cut(&mut self, to: &Path) {
        let Some(child) = &mut self.forgetful else {
            let (from, to) = (File::open(&self.image), File::create(to));
            return ioctl_ficlone(to.expect("create"), from.expect("open")).expect("FICLONE");
        };
        let input = child.stdin.as_mut().expect("a pipe");
        writeln!(input, "cut {}", to.display()).expect("write");
        self.answer().parse::<usize>().expect("a number of writes");
    }

    fn answer(&mut self) -> String {
        let output = self.forgetful.as_mut().expect("a child").stdout.as_mut().expect("a pipe");
        let mut line = Vec::new();
        let mut byte = [0];
        while output.read(&mut byte).expect("read") == 1 && byte[0] != b'\n' {
            line.push(byte[0]);
        }
        String::from_utf8(line).expect("text")
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        if let Some(child) = &mut self.forgetful {
            drop(child.stdin.take());
            let ended = child.wait().expect("wait");
            assert!(ended.success() || std::thread::panicking(), "{ended}");
        }
    }
}

/// One cut: layers that were complete, and what is wrong with them.
fn cut(around: &Path, kind: &Kind, sync: Sync, layers: &Layers) -> (usize, Vec<String>) {
    let cloned = around.join("clone");
    let before = {
        let mut device = Device::new(around);
        let mounted = Mounted::made_on(&device.image, kind.name, kind.make);
        let roots: Vec<_> = (0..LAYERS).map(|number| root(&mounted.at, number)).collect();
        // The roots' own names are the caller's to bring to the disk.
        syncfs(File::open(&mounted.at).expect("open")).expect("syncfs");
        let (complete, is_cut) = (AtomicUsize::new(0), AtomicBool::new(false));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let options = Options::default().sync(sync);
                for (blob, root) in layers.blobs.iter().zip(&roots) {
                    if is_cut.load(Ordering::Acquire) {
                        return;
                    }
                    unpack(Source::memory(blob), root, &options).expect("a layer");
                    complete.fetch_add(1, Ordering::Release);
                }
            });
            let mut left = some_time();
            while !left.is_zero() && complete.load(Ordering::Acquire) < LAYERS {
                let step = left.min(Duration::from_millis(1));
                std::thread::sleep(step);
                left -= step;
            }
            let before = complete.load(Ordering::Acquire);
            device.cut(&cloned);
            is_cut.store(true, Ordering::Release);
            before
        })
    };
    let put = |image: &Path| fs::rename(&cloned, image).expect("rename");
    let after = Mounted::put_in(around, kind.name, kind.mount, put);
    (before, layers.damage(&after.at, before))
}

#[test]
fn what_was_reported_complete_is_whole_after_a_cut() {
    if !needs::root() || !needs::tool("mount") || !needs::tool("mkfs.xfs") {
        return;
    }
    let cuts = std::env::var("OCILAYER_CUTS").map_or(4, |cuts| cuts.parse().expect("a number"));
    let around = Mounted::made_in(&std::env::temp_dir(), "xfs", &["mkfs.xfs", "-q", "-f"], AROUND);
    let layers = Layers::new();
    for kind in KINDS.iter().filter(|kind| needs::tool(kind.make[0])) {
        for sync in [Sync::None, Sync::Files, Sync::Filesystem] {
            let (mut complete, mut damaged) = (0, 0);
            for number in 0..cuts {
                let (before, damage) = cut(&around.at, kind, sync, &layers);
                complete += before;
                damaged += usize::from(!damage.is_empty());
                let fine = damage.is_empty() || sync == Sync::None;
                let name = kind.name;
                assert!(fine, "{name}, {sync:?}, cut {number}, {before} complete: {damage:#?}");
            }
            println!(
                "{}, sync {sync:?}: {cuts} cuts, {complete} layers complete before, damage after \
                 {damaged} cuts",
                kind.name
            );
            // Or else the cuts show nothing.
            assert!(sync != Sync::None || damaged > 0, "{}: no cut did any harm", kind.name);
        }
    }
}
