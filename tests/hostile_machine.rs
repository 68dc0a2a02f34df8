// SPDX-License-Identifier: Apache-2.0
//! Roots, disks and limits that are not as they should be, halfway or from the start.

mod common;

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use common::archive::{Entry, archive, file, gzip, layer, zstd};
use common::child::is_child;
use common::needs;
use common::runner::{EVERY, Scene, apply, settings, watched};
use ocilayer::{Cancel, Errno, Error, ErrorKind, Options, Source, unpack};
use rustix::mount::{MountFlags, UnmountFlags, mount, mount_bind, mount_remount, unmount};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// A mount that goes away when the test ends, however it does.
struct Mounted(PathBuf);

impl Mounted {
    fn tmpfs(at: PathBuf, options: &str) -> Mounted {
        let data = std::ffi::CString::new(options).expect("no NUL");
        mount("tmpfs", &at, "tmpfs", MountFlags::empty(), data.as_c_str()).expect("tmpfs");
        Mounted(at)
    }

    fn read_only(at: PathBuf) -> Mounted {
        mount_bind(&at, &at).expect("bind");
        let mounted = Mounted(at);
        mount_remount(&mounted.0, MountFlags::BIND | MountFlags::RDONLY, c"").expect("remount");
        mounted
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = unmount(&self.0, UnmountFlags::DETACH);
    }
}

/// Fails with one thread, two and many, and never hangs.
fn fails(what: &str, blob: &[u8], root: &Path) -> Vec<Error> {
    let fail = |threads| {
        let options = Options::default().threads(threads);
        let result = watched(what, || unpack(Source::memory(blob), root, &options));
        result.err().unwrap_or_else(|| panic!("{what}: accepted"))
    };
    [1, 2, 8].map(fail).into()
}

#[test]
fn root_that_is_no_directory_is_refused() {
    if !needs::root() {
        return;
    }
    let scene = Scene::new();
    let blob = archive(&layer("a=1"));
    let canary = scene.canary();
    let roots = [
        ("missing", canary.join("no"), Errno::NOENT),
        ("below nothing", canary.join("no/no"), Errno::NOENT),
        ("file", canary.join("file"), Errno::NOTDIR),
        ("below a file", canary.join("file/x"), Errno::NOTDIR),
        ("link to a file", canary.join("link"), Errno::NOTDIR),
        ("empty path", PathBuf::new(), Errno::NOENT),
    ];
    for (what, root, errno) in roots {
        for error in fails(what, &blob, &root) {
            assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{what}: {error}");
            assert_eq!(error.errno(), errno, "{what}: {error}");
        }
        scene.assert_untouched();
    }
}

#[test]
fn lower_directory_that_is_missing_is_refused() {
    if !needs::root() {
        return;
    }
    let scene = Scene::new();
    for lower in [scene.canary().join("no"), scene.canary().join("file")] {
        let options = Options::default()
            .mode(ocilayer::Mode::Overlay)
            .lowers(ocilayer::Lowers::Known(vec![lower]));
        let blob = archive(&layer("a=1"));
        let error = unpack(Source::memory(&blob), scene.root(0), &options).expect_err("no lower");
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
        scene.assert_untouched();
    }
}

#[test]
fn read_only_root_fails_and_names_the_entry() {
    if !needs::root() {
        return;
    }
    let scene = Scene::new();
    let mounted = Mounted::read_only(scene.root(0));
    for layers in ["a=1", "d/", "l->x", "p|", "d/x=1", "c%1:3", "./"] {
        for error in fails(layers, &archive(&layer(layers)), &mounted.0) {
            assert_eq!(error.kind(), ErrorKind::Filesystem, "{error}");
            assert_eq!(error.errno(), Errno::ROFS, "{error}");
        }
    }
    for error in fails("name", &archive(&layer("a=1")), &mounted.0) {
        assert_eq!(error.place().expect("a place").path, b"a");
    }
    drop(mounted);
    scene.assert_untouched();
}

#[test]
fn full_disk_fails_and_names_the_entry() {
    if !needs::root() {
        return;
    }
    let big = vec![file("small").data("1"), file("d/big").data(vec![b'x'; 4 << 20])];
    let many: Vec<Entry> = (0..100).map(|n| file(format!("d/{n}"))).collect();
    let cases = [("size=1m", "bytes", big), ("size=8m,nr_inodes=50", "inodes", many)];
    for (limit, what, entries) in cases {
        let plain = archive(&entries);
        for blob in [plain.clone(), gzip(&plain), zstd(&plain)] {
            for threads in [1, 2, 8] {
                let scene = Scene::new();
                let mounted = Mounted::tmpfs(scene.root(0), limit);
                let options = Options::default().threads(threads);
                let error = watched(what, || unpack(Source::memory(&blob), &mounted.0, &options))
                    .expect_err("a full disk");
                assert_eq!(error.kind(), ErrorKind::Filesystem, "{what}: {error}");
                assert_eq!(error.errno(), Errno::NOSPC, "{what}: {error}");
                assert!(error.place().expect("a place").path.starts_with(b"d/"), "{error}");
                let report = error.report().expect("a report");
                assert!(report.partial);
                if what == "inodes" {
                    let made = std::fs::read_dir(mounted.0.join("d")).expect("d").count();
                    assert_eq!(report.entries.files, made as u64, "{threads} threads");
                }
                drop(mounted);
                scene.assert_untouched();
            }
        }
    }
}

#[test]
fn source_that_cannot_be_read_fails() {
    if !needs::root() {
        return;
    }
    let scene = Scene::new();
    let path = |path: PathBuf| {
        let result = unpack(Source::path(path), scene.root(0), &Options::default());
        result.expect_err("no source")
    };
    let error = path(scene.canary().join("no"));
    assert_eq!((error.kind(), error.errno()), (ErrorKind::Source, Errno::NOENT), "{error}");
    let error = path(scene.canary());
    assert_eq!((error.kind(), error.errno()), (ErrorKind::Source, Errno::ISDIR), "{error}");

    let blob = archive(&layer("a=1 b=2"));
    let mut left = 700;
    let failing = Source::reader(|buffer| {
        if left == 0 {
            return Err(Errno::CONNRESET);
        }
        let count = left.min(buffer.len()).min(100);
        let from = 700 - left;
        buffer[..count].copy_from_slice(&blob[from..from + count]);
        left -= count;
        Ok(count)
    });
    let error = unpack(failing, scene.root(0), &Options::default()).expect_err("a broken reader");
    assert_eq!((error.kind(), error.errno()), (ErrorKind::Callback, Errno::CONNRESET), "{error}");
    let lying = Source::reader(|buffer| Ok(buffer.len() + 1));
    let error = unpack(lying, scene.root(0), &Options::default()).expect_err("a lying reader");
    assert_eq!(error.kind(), ErrorKind::Source, "{error}");
    scene.assert_untouched();
}

#[test]
fn pipe_that_closes_early_is_a_truncated_layer() {
    if !needs::root() {
        return;
    }
    let blob = archive(&layer("a=1 b=2"));
    for threads in [1, 2, 8] {
        let scene = Scene::new();
        let (read, mut write) = std::io::pipe().expect("pipe");
        write.write_all(&blob[..700]).expect("write");
        drop(write);
        let options = Options::default().threads(threads);
        let source = Source::file(std::os::fd::OwnedFd::from(read));
        let error = watched("pipe", || unpack(source, scene.root(0), &options));
        assert_eq!(error.expect_err("a cut layer").kind(), ErrorKind::Archive);
    }
}

#[test]
fn cancelling_wakes_an_unpack_that_waits_for_its_source() {
    if !needs::root() {
        return;
    }
    for threads in [1, 2, 8] {
        let scene = Scene::new();
        let (read, mut write) = std::io::pipe().expect("pipe");
        write.write_all(&archive(&layer("a=1 b=2"))[..700]).expect("write");
        let taken = read.try_clone().expect("dup");
        let cancel = Cancel::new().expect("eventfd");
        let options = Options::default().threads(threads).cancel(cancel.clone());
        let root = scene.root(0);
        let error = watched("cancel", || {
            std::thread::scope(|scope| {
                let unpacking = scope.spawn(|| {
                    unpack(Source::file(std::os::fd::OwnedFd::from(read)), &root, &options)
                });
                // Taken from the pipe: what comes next is the read that waits.
                while rustix::io::ioctl_fionread(&taken) != Ok(0) {
                    std::thread::yield_now();
                }
                cancel.cancel();
                unpacking.join().expect("no panic").expect_err("cancelled")
            })
        });
        assert_eq!((error.kind(), error.errno()), (ErrorKind::Cancelled, Errno::CANCELED));
        drop(write);
    }
}

#[test]
fn cancelled_before_it_starts_makes_nothing() {
    if !needs::root() {
        return;
    }
    let scene = Scene::new();
    let cancel = Cancel::new().expect("eventfd");
    cancel.cancel();
    let options = Options::default().cancel(cancel);
    let blob = archive(&layer("a=1"));
    let error = unpack(Source::memory(&blob), scene.root(0), &options).expect_err("cancelled");
    assert_eq!(error.kind(), ErrorKind::Cancelled);
    scene.assert_untouched();
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("proc").count()
}

fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").expect("proc").count()
}

/// Layers of each kind of ending, a stack each.
fn endings() -> Vec<Vec<Vec<Entry>>> {
    let deep = layer("a/b/c/d/e/f=1 g/h/i/j=1 a/b/c/k=1 l->a/b l/x=1");
    let mut many: Vec<Entry> = (0..300).map(|n| file(format!("{n}/{n}/x")).data("1")).collect();
    many.push(file("a").data(vec![b'x'; 3 << 20]));
    vec![
        vec![deep.clone(), layer("l/y=2 a/.wh.b g/h/.wh..wh..opq h=>a/b/c/k")],
        vec![deep.clone(), layer("l/y=2 h=>a/b/c/k")],
        vec![deep, layer("x=1 x/y=2")],
        vec![many],
        vec![layer("../x=1")],
        vec![vec![file("x").damage(0, b"y")]],
        vec![vec![file("x").record("uid", "-1")]],
    ]
}

#[test]
fn no_descriptor_or_thread_is_left_behind() {
    if !needs::overlay() || !is_child("no_descriptor_or_thread_is_left_behind") {
        return;
    }
    // Once before counting: what stays open for the life of the process is not a leak.
    let run = || {
        for stack in endings() {
            for setting in settings(EVERY) {
                apply(&stack, setting);
            }
        }
    };
    run();
    let before = (descriptors(), threads());
    run();
    assert_eq!((descriptors(), threads()), before);
}

#[test]
fn running_out_of_descriptors_fails_cleanly() {
    if !needs::overlay() || !is_child("running_out_of_descriptors_fails_cleanly") {
        return;
    }
    let wide: Vec<Entry> = (0..80).map(|n| file(format!("{n}/{n}/{n}/x")).data("1")).collect();
    let blob = gzip(&archive(&wide));
    let limit = getrlimit(Resource::Nofile);
    let mut failed = 0;
    for threads in [1, 2, 8] {
        for spare in (0..12).chain((12..48).step_by(5)) {
            let scene = Scene::new();
            let root = scene.root(0);
            let options = Options::default().threads(threads);
            // A descriptor of its own tells the lowest free number, which the limit is about.
            let next = File::open("/").map(|f| std::os::fd::AsRawFd::as_raw_fd(&f)).expect("open");
            let tight = Rlimit { current: Some(next as u64 + spare), maximum: limit.maximum };
            setrlimit(Resource::Nofile, tight).expect("setrlimit");
            let result = watched("descriptors", || unpack(Source::memory(&blob), &root, &options));
            setrlimit(Resource::Nofile, limit).expect("setrlimit");
            let after = File::open("/").map(|f| std::os::fd::AsRawFd::as_raw_fd(&f)).expect("open");
            assert_eq!(next, after, "{threads} threads, {spare} spare: a descriptor leaked");
            scene.assert_untouched();
            if let Err(error) = result {
                failed += 1;
                assert_eq!(error.errno(), Errno::MFILE, "{threads} threads, {spare}: {error}");
            }
        }
    }
    assert!(failed > 0, "no limit was ever tight");
}

#[test]
fn memory_does_not_grow_with_every_layer() {
    if !needs::overlay() || !is_child("memory_does_not_grow_with_every_layer") {
        return;
    }
    let resident = || {
        let text = std::fs::read_to_string("/proc/self/statm").expect("proc");
        let pages: u64 = text.split(' ').nth(1).expect("field").parse().expect("number");
        pages * 4096
    };
    let good = gzip(&archive(&layer("a/b/c=1 d->a d/x=2 a/.wh.y")));
    let bad = gzip(&archive(&layer("a/b/c=1 ../x=2")));
    let scene = Scene::new();
    let run = |times| {
        for _ in 0..times {
            for blob in [&good, &bad] {
                let _ = unpack(Source::memory(blob), scene.root(0), &Options::default());
            }
        }
    };
    run(100);
    let before = resident();
    run(500);
    let grown = resident().saturating_sub(before);
    // 10 KiB for each unpack would show as 10 MiB; the allocator's own noise stays far below.
    assert!(grown < 5 << 20, "{grown} bytes more after 1000 unpacks");
}
