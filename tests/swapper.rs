// SPDX-License-Identifier: Apache-2.0
//! Another process swaps directories of the root for symlinks that lead out of it, all the time that
//! a layer is being unpacked. Whatever becomes of the unpack, nothing outside changes.

mod common;

use std::os::unix::fs::symlink as make_symlink;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use common::archive::{Entry, archive, dir, file, gzip, hardlink, opaque, symlink, whiteout};
use common::needs;
use common::runner::{EVERY, Scene, plain_settings, watched};
use common::seccomp::{Openat2, with_openat2};
use ocilayer::{ErrorKind, Options, Source, unpack};
use rustix::fs::{CWD, RenameFlags, renameat_with};

/// Unpacks in each setting; `OCILAYER_SWAPS` asks for more.
fn rounds() -> usize {
    std::env::var("OCILAYER_SWAPS").ok().and_then(|text| text.parse().ok()).unwrap_or(6)
}

/// Everything that goes through a parent, often, with directories that are left and entered again so
/// that their descriptors are closed in between.
fn entries() -> Vec<Entry> {
    let mut entries = vec![dir("d"), dir("d/e")];
    for n in 0..40 {
        entries.extend([
            file(format!("d/e/f{n}")).data("inside"),
            file("d/file").data("again"),
            symlink(format!("d/e/s{n}"), "../file"),
            hardlink(format!("d/h{n}"), "d/e/f0"),
            dir(format!("d/e/sub{n}")).mode(0o700),
            whiteout(&format!("d/link{n}")),
            file(format!("other/{n}/x")),
        ]);
    }
    entries.extend([opaque("d/e"), whiteout("d/canary"), file("d/e/last")]);
    entries
}

/// Swaps the two names until told to stop; returns how often that worked.
fn swap(root: &Path, stop: &AtomicBool, swaps: &AtomicU64) {
    let pairs = [("d", "evil-d"), ("d/e", "d/evil-e")];
    while !stop.load(Ordering::Relaxed) {
        for (name, evil) in pairs {
            let (name, evil) = (root.join(name), root.join(evil));
            if renameat_with(CWD, &name, CWD, &evil, RenameFlags::EXCHANGE).is_ok() {
                swaps.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

#[test]
fn directories_swapped_for_symlinks_lead_nowhere_outside() {
    if !needs::overlay() {
        return;
    }
    let blob = gzip(&archive(&entries()));
    let swaps = AtomicU64::new(0);
    let mut ends = std::collections::BTreeMap::new();
    for openat2 in [Openat2::Works, Openat2::Enosys] {
        for setting in plain_settings(EVERY) {
            for threads in [1, 2] {
                for _ in 0..rounds() {
                    let scene = Scene::new();
                    let root = scene.root(0);
                    std::fs::create_dir_all(root.join("d/e")).expect("a directory");
                    make_symlink(scene.canary(), root.join("evil-d")).expect("a symlink");
                    make_symlink(scene.canary(), root.join("d/evil-e")).expect("a symlink");
                    let stop = AtomicBool::new(false);
                    let options = Options::default().mode(setting.way.mode()).threads(threads);
                    let result = std::thread::scope(|scope| {
                        scope.spawn(|| swap(&root, &stop, &swaps));
                        let result = watched("swapped", || {
                            with_openat2(openat2, || unpack(Source::memory(&blob), &root, &options))
                        });
                        stop.store(true, Ordering::Relaxed);
                        result
                    });
                    scene.assert_untouched();
                    let end = result.map_or_else(|error| error.kind(), |_| ErrorKind::Unsupported);
                    assert_ne!(end, ErrorKind::Panic);
                    *ends.entry(format!("{end:?}")).or_insert(0) += 1;
                }
            }
        }
    }
    let swaps = swaps.into_inner();
    eprintln!("{swaps} swaps; {ends:?}, Unsupported standing for success");
    assert!(swaps > 1_000, "too few swaps to say anything: {swaps}");
}
