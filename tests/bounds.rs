// SPDX-License-Identifier: Apache-2.0
//! Small layers that break no rule of the format and would exhaust who unpacks them: stack,
//! descriptors, memory and time have bounds, whatever the layer.

mod common;

use std::fs::{self, File};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use common::agree::{self, Below};
use common::archive::{Entry, archive, dir, file, gzip, hardlink, opaque, symlink, whiteout};
use common::cases::{each, each_applied};
use common::child::is_child;
use common::memory::high_water;
use common::needs;
use common::overlay::Overlay;
use common::runner::{EVERY, KNOWING, Scene, Way, plain_settings, watched};
use ocilayer::{
    AuditLayer, AuditOptions, Cause, Error, ErrorKind, LimitExceeded, Limits, Lowers, Mode,
    Options, Report, Source, audit, audit_directories, unpack,
};
use rustix::fs::{Mode as Permissions, OFlags, mkdirat, openat};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Directories in directories, more than the stack of a thread would hold as calls, and deeper than
/// a path may be long.
const DEEP: usize = 3_000;

fn limit(error: &Error) -> LimitExceeded {
    match error.cause() {
        Cause::Limit(limit) => *limit,
        other => panic!("{other:?}"),
    }
}

/// A path of as many components, as a symlink's target.
fn steps(count: usize) -> String {
    vec!["d"; count].join("/")
}

fn make_deep(top: &Path) {
    fs::create_dir(top).expect("a new directory");
    let mut at: OwnedFd = File::open(top).expect("it is there").into();
    for _ in 0..DEEP {
        mkdirat(&at, "d", Permissions::RWXU).expect("mkdirat");
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        at = openat(&at, "d", flags, Permissions::empty()).expect("openat");
    }
}

#[test]
fn tree_is_held_to_the_depth_however_it_came_about() {
    if !needs::overlay() {
        return;
    }
    // Each name is short, and each symlink's target is one that symlink(2) takes.
    let most = Limits::default().path_depth;
    for (what, steps_down, then) in [
        ("marker", 2_043, opaque("top")),
        ("whiteout", 2_043, whiteout("top/x")),
        ("one too many", most - 1, opaque("top")),
    ] {
        let entries = vec![dir("top"), symlink("top/s", steps(steps_down)), file("top/s/x"), then];
        each(KNOWING, &[entries], |outcome| {
            let (_, error) = outcome.failure.as_ref().unwrap_or_else(|| panic!("{what}: accepted"));
            assert!(matches!(limit(error), LimitExceeded::PathDepth { .. }), "{what}: {error}");
            assert_eq!(error.place().expect("an entry").path, b"top/s/x", "{what}");
        });
    }
    let entries =
        vec![dir("top"), symlink("top/s", steps(most - 2)), file("top/s/x"), opaque("top")];
    each_applied(&[Way::Directory, Way::Overlay], &[entries], |outcome| {
        let deepest = format!("top/{}/x", steps(most - 2));
        assert!(outcome.tree.get(&deepest).is_some(), "as deep as the limit says");
    });
}

#[test]
fn deep_tree_of_an_earlier_layer_is_deleted() {
    if !needs::overlay() || !is_child("deep_tree_of_an_earlier_layer_is_deleted") {
        return;
    }
    let blob = archive(&[whiteout("top"), file("a")]);
    for threads in [1, 2] {
        let scene = Scene::new();
        make_deep(&scene.root(0).join("top"));
        let options = Options::default().threads(threads);
        watched("deep", || unpack(Source::memory(&blob), scene.root(0), &options))
            .expect("applied");
        assert!(!scene.root(0).join("top").exists());
        scene.assert_untouched();

        // In an overlay mount nothing can be moved out of the way: that answers EXDEV.
        let place = tempfile::tempdir().expect("a directory");
        for name in ["lower", "upper", "work"] {
            fs::create_dir(place.path().join(name)).expect("a new directory");
        }
        make_deep(&place.path().join("lower/top"));
        let mount = Overlay::for_writing(place.path(), "").expect("mounted");
        watched("deep", || unpack(Source::memory(&blob), mount.path(), &options)).expect("applied");
        assert!(!mount.path().join("top").exists());
    }
}

/// overlayfs lists whiteouts in a directory that it does not merge, and finds nothing of such a name:
/// rm(1) goes on, and so does the removal.
#[test]
fn directory_in_which_a_mount_lists_what_is_not_there_is_deleted() {
    if !needs::overlay() {
        return;
    }
    let place = tempfile::tempdir().expect("a directory");
    for name in ["lower/a/b", "upper", "work"] {
        fs::create_dir_all(place.path().join(name)).expect("a new directory");
    }
    for name in ["lower/a/ghost", "lower/a/b/ghost"] {
        let (kind, mode) = (rustix::fs::FileType::CharacterDevice, Permissions::empty());
        rustix::fs::mknodat(rustix::fs::CWD, place.path().join(name), kind, mode, 0)
            .expect("mknod");
    }
    let mount = Overlay::for_writing(place.path(), "").expect("mounted");
    let blob = archive(&[whiteout("a")]);
    let result =
        watched("ghost", || unpack(Source::memory(&blob), mount.path(), &Options::default()));
    result.expect("applied");
    assert!(!mount.path().join("a").exists());
}

#[test]
fn audit_takes_trees_that_are_deeper_than_a_path_is_long() {
    if !needs::root() {
        return;
    }
    let scene = Scene::new();
    for number in 0..2 {
        make_deep(&scene.root(number).join("top"));
    }
    let directories = [scene.root(1), scene.root(0)];
    let report = audit_directories(&directories, &AuditOptions::default(), &mut ());
    assert!(report.expect("audited").is_clean());
}

/// `count` times a directory and a file in it, each below the one before.
fn one_file_in_each(count: usize) -> Vec<Entry> {
    (0..count).flat_map(|n| [dir(format!("{n}")), file(format!("{n}/f")).data("x")]).collect()
}

#[test]
fn descriptors_have_a_bound() {
    if !needs::overlay() || !is_child("descriptors_have_a_bound") {
        return;
    }
    let blob = gzip(&archive(&one_file_in_each(1_000)));
    let before = getrlimit(Resource::Nofile);
    for threads in [1, 2, 4, 8] {
        for _ in 0..2 {
            let scene = Scene::new();
            let options = Options::default().threads(threads);
            let next = File::open("/").map(|file| file.as_raw_fd()).expect("open") as u64;
            // What docs/threat-model.md says.
            let most = 80 + 8 * threads.saturating_sub(4) as u64;
            let tight = Rlimit { current: Some(next + most), maximum: before.maximum };
            setrlimit(Resource::Nofile, tight).expect("setrlimit");
            let result =
                watched("files", || unpack(Source::memory(&blob), scene.root(0), &options));
            setrlimit(Resource::Nofile, before).expect("setrlimit");
            let report = result.unwrap_or_else(|error| panic!("{threads} threads: {error}"));
            assert_eq!(report.entries.files, 1_000);
        }
    }
}

#[test]
fn memory_has_a_limit_of_its_own() {
    if !needs::overlay() {
        return;
    }
    let directories = |count: usize| -> Vec<Entry> {
        (0..count).map(|n| dir(format!("{}/{n}", n % 7))).collect()
    };
    // Directories that no entry describes are made as well, and count.
    let implied = |count: usize| -> Vec<Entry> {
        (0..count).map(|n| file(format!("{n}/{}/x", steps(100)))).collect()
    };
    for (what, entries) in [("described", directories(4_000)), ("implied", implied(40))] {
        for setting in plain_settings(EVERY) {
            let scene = Scene::new();
            let mode = setting.way.mode();
            let options = Options::default().mode(mode).limits(Limits::default().memory(1 << 20));
            let blob = archive(&entries);
            let result = unpack(Source::memory(&blob), scene.root(0), &options);
            agree::check(&blob, &options, Below::Nothing, &result);
            let error = result.expect_err(what);
            assert_eq!(error.kind(), ErrorKind::Limit, "{what}: {error}");
            assert!(matches!(limit(&error), LimitExceeded::Memory { .. }), "{what}: {error}");
            assert!(error.place().is_some(), "{what}: {error}");
        }
    }
}

#[test]
fn links_to_a_lower_file_cost_no_memory_each() {
    if !needs::root() || !is_child("links_to_a_lower_file_cost_no_memory_each") {
        return;
    }
    let scene = Scene::new();
    // A short name for a path of some 3.7 KB.
    let long = vec!["n".repeat(200); 18].join("/");
    let lower = archive(&[file(format!("{long}/f")).data("x"), symlink("s", &long)]);
    unpack(Source::memory(&lower), scene.root(0), &Options::default()).expect("applied");
    let links: Vec<Entry> = (0..60_000).map(|_| hardlink("l", "s/f")).collect();
    let blob = archive(&links);
    drop(links);
    let before = high_water();
    let options = Options::default().limits(Limits::default().memory(1 << 20));
    unpack(Source::memory(&blob), scene.root(0), &options).expect("applied");
    let grown = high_water() - before;
    // Each path kept would be 230 MB.
    assert!(grown < 32 << 20, "{grown} bytes");
}

#[test]
fn copied_up_files_count_against_the_limit() {
    if !needs::overlay() {
        return;
    }
    let size = 64 << 10;
    let stack = |limit: u64| -> Result<Report, Error> {
        let scene = Scene::new();
        let lower = archive(&[file("big").data(vec![b'x'; size])]);
        let options = Options::default().mode(Mode::Overlay).lowers(Lowers::Known(Vec::new()));
        unpack(Source::memory(&lower), scene.root(0), &options).expect("applied");
        let options = Options::default()
            .mode(Mode::Overlay)
            .lowers(Lowers::Known(vec![scene.root(0)]))
            .limits(Limits::default().bytes(limit));
        let blob = archive(&[hardlink("link", "big")]);
        unpack(Source::memory(&blob), scene.root(1), &options)
    };
    let error = stack(size as u64 - 1).expect_err("more than the limit");
    assert!(matches!(limit(&error), LimitExceeded::Bytes { .. }), "{error}");
    let report = stack(size as u64).expect("just enough");
    assert_eq!((report.copied_up, report.bytes.files), (1, size as u64));
}

#[test]
fn message_about_a_long_name_is_short() {
    if !needs::root() {
        return;
    }
    let scene = Scene::new();
    let name = vec!["n".repeat(200); 2_200].join("/");
    for entry in [file(&name), file("f").xattr("user.".to_owned() + &"x".repeat(440_000), "v")] {
        let blob = archive(&[entry]);
        let error = unpack(Source::memory(&blob), scene.root(0), &Options::default());
        let text = error.expect_err("refused").to_string();
        assert!(text.len() < 4_000, "{} bytes: {}", text.len(), &text[..300]);
    }
    let error =
        unpack(Source::memory(&archive(&[file(&name)])), scene.root(0), &Options::default());
    let text = error.expect_err("refused").to_string();
    assert!(text.contains(" bytes more at 0"), "{text}");
    scene.assert_untouched();
}

#[test]
fn audit_has_the_same_limit_of_memory() {
    if !needs::root() {
        return;
    }
    let scene = Scene::new();
    let long = vec!["n".repeat(200); 18].join("/");
    let mut entries = vec![dir(&long), symlink("s", &long)];
    entries.extend((0..1_000).map(|n| file(format!("s/{n}"))));
    let blob = archive(&entries);
    let options = Options::default().mode(Mode::Overlay).lowers(Lowers::Known(Vec::new()));
    unpack(Source::memory(&blob), scene.root(0), &options).expect("applied");
    let audited = |memory: u64| {
        let layer = AuditLayer::new(Source::memory(&blob), scene.root(0));
        let limits = Limits::default().memory(memory);
        audit(vec![layer], &AuditOptions::default().limits(limits), &mut ())
    };
    assert!(audited(8 << 20).expect("audited").is_clean());
    let error = audited(2 << 20).expect_err("too many long paths");
    assert!(matches!(limit(&error), LimitExceeded::Memory { .. }), "{error}");
}

/// Xattrs compress to next to nothing, and an audit keeps them until it has read the layer.
#[test]
fn xattrs_count_against_the_memory_of_an_audit() {
    if !needs::root() {
        return;
    }
    let value = vec![b'v'; 60_000];
    let of = |number: usize| file(format!("f{number}")).xattr("user.x", &value);
    let scene = Scene::new();
    let audited = |blob: &[u8], memory: u64| {
        let layer = AuditLayer::new(Source::memory(blob), scene.root(0));
        let limits = Limits::default().memory(memory);
        audit(vec![layer], &AuditOptions::default().limits(limits), &mut ())
    };
    let many = archive(&(0..200).map(of).collect::<Vec<_>>());
    audited(&many, 16 << 20).expect("audited");
    let error = audited(&many, 8 << 20).expect_err("12 MB of xattrs");
    assert!(matches!(limit(&error), LimitExceeded::Memory { .. }), "{error}");
    // Names of one inode have them once.
    let mut linked = vec![of(0)];
    linked.extend((1..200).map(|number| hardlink(format!("f{number}"), "f0")));
    audited(&archive(&linked), 1 << 20).expect("audited");
}

/// Each marker of the root would look at each name of the lower layer: a hundred million of them.
#[test]
fn root_that_is_hidden_again_and_again_is_looked_at_once() {
    if !needs::root() {
        return;
    }
    const MANY: usize = 10_000;
    let scene = Scene::new();
    let options = Options::default().mode(Mode::Overlay).lowers(Lowers::Known(Vec::new()));
    let files: Vec<Entry> = (0..MANY).map(|number| file(format!("f{number}"))).collect();
    unpack(Source::memory(&archive(&files)), scene.root(0), &options).expect("applied");
    let options = options.lowers(Lowers::Known(vec![scene.root(0)]));
    let blob = archive(&vec![opaque(""); MANY]);
    let result = watched("root markers", || unpack(Source::memory(&blob), scene.root(1), &options));
    assert_eq!(result.expect("applied").opaque_directories, 1);
    assert_eq!(fs::read_dir(scene.root(1)).expect("the root").count(), MANY, "whiteouts");
}

/// Each whiteout would be compared with each hardlink to a lower file: billions of long paths.
#[test]
fn whiteouts_are_not_compared_with_each_hardlink() {
    if !needs::root() {
        return;
    }
    const MANY: usize = 25_000;
    let scene = Scene::new();
    let long = vec!["n".repeat(200); 18].join("/");
    let lower = archive(&[file(format!("{long}/f")).data("x"), symlink("s", &long)]);
    unpack(Source::memory(&lower), scene.root(0), &Options::default()).expect("applied");
    let links = (0..MANY).map(|_| hardlink("l", "s/f"));
    // As long as the name of what is linked, and another.
    let entries: Vec<Entry> = links.chain((0..MANY).map(|_| whiteout("s/x"))).collect();
    let blob = archive(&entries);
    let options = Options::default();
    let result = watched("whiteouts", || unpack(Source::memory(&blob), scene.root(0), &options));
    assert_eq!(result.expect("applied").whiteouts, MANY as u64);
}
