// SPDX-License-Identifier: Apache-2.0
//! `sync=files`: which calls bring a layer to the disk, and in which order. That it is there after
//! a power cut takes a machine whose power is cut.

mod common;

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use common::archive::{archive, dir, file, hardlink, symlink};
use common::mounted::Mounted;
use common::needs;
use common::trap::{Answer, Trapped, trapped};
use common::tree::{Kind, Tree};
use ocilayer::{Lowers, Mode, Options, Source, Sync, unpack};
use tempfile::TempDir;

/// One call, and the file it was about.
#[derive(Debug)]
struct Call {
    number: i64,
    path: PathBuf,
    /// Of an ioctl.
    request: u64,
    flags: u64,
}

/// linux/fiemap.h and linux/btrfs.h.
const FS_IOC_FIEMAP: u64 = 0xc020_660b;
const BTRFS_IOC_WAIT_SYNC: u64 = 0x4008_9416;

impl Call {
    fn of(trapped: &Trapped) -> Call {
        let [fd, request, _, flags, ..] = trapped.arguments();
        let path = fs::read_link(format!("/proc/self/fd/{fd}")).expect("an open file");
        Call { number: trapped.number(), path, request, flags }
    }

    fn waits_for_data(&self) -> bool {
        self.number == libc::SYS_sync_file_range
            && self.flags & u64::from(libc::SYNC_FILE_RANGE_WAIT_AFTER) != 0
    }

    fn asks(&self, request: u64) -> bool {
        self.number == libc::SYS_ioctl && self.request == request
    }

    fn is_fsync(&self) -> bool {
        self.number == libc::SYS_fsync
    }
}

const CALLS: [i64; 6] = [
    libc::SYS_ioctl,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_sync_file_range,
    libc::SYS_syncfs,
    libc::SYS_fchmod,
];

/// More files than are written out at one time, small and large, one of them of the lower layer.
fn unpacked_below(at: &Path, threads: usize) -> (TempDir, Vec<Call>) {
    let place = TempDir::new_in(at).expect("tempdir");
    let (lower, upper) = (place.path().join("lower"), place.path().join("upper"));
    fs::create_dir(&lower).expect("mkdir");
    fs::create_dir(&upper).expect("mkdir");
    let below = archive(&[dir("d"), file("d/target").data("lower")]);
    unpack(Source::memory(&below), &lower, &Options::default()).expect("a lower layer");
    let mut entries = vec![dir("e"), dir("e/deep"), symlink("e/symlink", "deep"), file("e/empty")];
    for number in 0..100 {
        entries.push(file(format!("e/deep/{number}")).data(format!("{number}")));
    }
    entries.push(file("e/large").data(vec![7; 3 << 20]));
    entries.push(hardlink("e/link", "d/target"));
    let layer = archive(&entries);
    let options = Options::default()
        .mode(Mode::Overlay)
        .lowers(Lowers::Known(vec![lower.clone()]))
        .threads(threads)
        .sync(Sync::Files);
    let mut calls = Vec::new();
    let answer = |trapped: &Trapped| {
        calls.push(Call::of(trapped));
        Answer::Go
    };
    let work = || unpack(Source::memory(&layer), &upper, &options);
    trapped("sync=files", &CALLS, answer, work).expect("a trap").expect("the layer");
    (place, calls)
}

/// Files whose data must be on the disk, and directories. One file has two names.
fn made(root: &Path) -> (BTreeSet<PathBuf>, BTreeSet<PathBuf>) {
    let Tree(nodes) = Tree::of(root);
    let those = |wanted: fn(&Kind) -> bool| {
        let nodes = nodes.iter().filter(|(path, node)| wanted(&node.kind) && *path != b"e/link");
        nodes.map(|(path, _)| root.join(OsStr::from_bytes(path))).collect()
    };
    (
        those(|kind| matches!(kind, Kind::File { size, .. } if *size > 0)),
        those(|kind| matches!(kind, Kind::Directory)),
    )
}

/// What a file system has for its metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Metadata {
    Journal,
    Transaction,
    Others,
}

/// Runs on file systems of both kinds.
fn on_each(mut check: impl FnMut(&Path, Metadata)) {
    if !needs::root() || !needs::trap() || !needs::tool("mount") {
        return;
    }
    check(&Mounted::new("tmpfs", None).at, Metadata::Others);
    let kinds = [
        ("ext4", &["mkfs.ext4", "-q", "-F", "-O", "has_journal"][..], Metadata::Journal),
        ("ext4", &["mkfs.ext4", "-q", "-F", "-O", "^has_journal"], Metadata::Others),
        ("xfs", &["mkfs.xfs", "-q", "-f"], Metadata::Journal),
        ("btrfs", &["mkfs.btrfs", "-q", "-f"], Metadata::Transaction),
    ];
    for (kind, make, metadata) in kinds {
        if needs::tool(make[0]) {
            check(&Mounted::new(kind, Some(make)).at, metadata);
        }
    }
}

#[test]
fn every_file_is_waited_for_and_what_leads_to_it_comes_last() {
    on_each(|at, metadata| {
        for threads in [1, 2, 4] {
            let (place, calls) = unpacked_below(at, threads);
            let root = place.path().join("upper");
            let (files, directories) = made(&root);
            assert_eq!(files.len(), 102);
            assert!(!calls.iter().any(|call| call.number == libc::SYS_syncfs), "{calls:?}");
            let waited = |call: &&Call| match metadata {
                Metadata::Journal => call.waits_for_data(),
                Metadata::Transaction => call.asks(FS_IOC_FIEMAP),
                Metadata::Others => call.is_fsync(),
            };
            let synced: BTreeSet<_> =
                calls.iter().filter(waited).map(|call| call.path.clone()).collect();
            let missing: Vec<_> = files.difference(&synced).collect();
            assert!(missing.is_empty(), "{metadata:?}: never waited for: {missing:?}");
            let last = calls.last().expect("calls");
            assert!(last.is_fsync() && last.path == root, "{metadata:?}: {last:?}");
            match metadata {
                Metadata::Journal => {
                    assert_eq!(calls.iter().filter(|call| call.is_fsync()).count(), 1);
                    let before = &calls[calls.len() - 2];
                    assert!(before.number == libc::SYS_fchmod && before.path == root, "{before:?}");
                }
                Metadata::Transaction => {
                    assert_eq!(calls.iter().filter(|call| call.is_fsync()).count(), 1);
                    let before = &calls[calls.len() - 2];
                    assert!(before.asks(BTRFS_IOC_WAIT_SYNC) && before.path == root, "{before:?}");
                }
                Metadata::Others => {
                    let missing: Vec<_> = directories.difference(&synced).collect();
                    assert!(missing.is_empty(), "{missing:?}");
                    let of_directory = |call: &Call| call.is_fsync() && call.path.is_dir();
                    let first = calls.iter().position(of_directory).expect("a directory");
                    assert!(calls[first..].iter().all(|call| call.path.is_dir()));
                }
            }
        }
    });
}

#[test]
fn data_that_cannot_be_written_fail_with_the_file_that_has_them() {
    let layer =
        archive(&(0..80).map(|number| file(format!("f{number}")).data("data")).collect::<Vec<_>>());
    let waits = |call: &Call| call.waits_for_data() || call.asks(FS_IOC_FIEMAP);
    on_each(|at, _| {
        for threads in [1, 4] {
            let place = TempDir::new_in(at).expect("tempdir");
            let answer = |trapped: &Trapped| {
                let call = Call::of(trapped);
                let is_it = call.path.ends_with("f41") && (waits(&call) || call.is_fsync());
                if is_it { Answer::Fail(libc::EIO) } else { Answer::Go }
            };
            let options = Options::default().threads(threads).sync(Sync::Files);
            let work = || unpack(Source::memory(&layer), place.path(), &options);
            let result = trapped("EIO", &CALLS, answer, work).expect("a trap");
            let error = result.expect_err("an error").to_string();
            assert!(error.contains("\"f41\"") && error.contains("Input/output error"), "{error}");
        }
    });
}
