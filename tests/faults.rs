// SPDX-License-Identifier: Apache-2.0
//! Every system call of an unpack fails in turn, with each errno that it can have.
//!
//! Whatever fails, unpack fails and says with what and where, or its tree is that of a run in which
//! nothing fails. It never hangs or panics, keeps no descriptor, and changes nothing outside of the
//! root.
//!
//! A sample of all failures is tried. `OCILAYER_FAULTS=all` tries all, any other value those whose
//! description it is a part of, such as `fsetxattr 3 fails with 28`; either also shows each before
//! it is tried, should one end the process.

mod common;

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use common::archive::{
    Entry, SparseForm, archive, block_device, char_device, dir, fifo, file, gzip, hardlink, opaque,
    symlink, whiteout, zstd,
};
use common::calls::Fault::Always;
use common::calls::{CALLS, Case, describe};
use common::child::is_child_of;
use common::needs;
use common::runner::{MTIME_ROOT, Scene, set_mtime};
use common::trap::{Answer, Trapped, trapped};
use common::tree::Tree;
use libc::{ENOSYS, EOPNOTSUPP};
use ocilayer::{Error, ErrorKind, Lowers, Mode, Options, Report, SkipReason, Source, Sync, unpack};

/// Of calls of one kind that may fail in one way, one in so many does.
const STRIDE: usize = 23;

/// Errors that name no entry begin so: each says what it is about, and that is none.
const NO_ENTRY: &[&str] = &[
    "open ",
    "root ",
    "lower directory ",
    "start of a thread: ",
    "start of the decompressor: ",
    // Before the first entry: whether the root is empty, and what it takes from the lower one.
    "fstat of the root: ",
    "getdents64: ",
    "fstat: ",
    "flistxattr: ",
    "fgetxattr: ",
    "fchown 0:0: ",
    "fsetxattr: ",
    // The directory that could not be opened again, at the end.
    "openat2 \"",
    "syncfs: ",
];

/// What the layer is put on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Onto {
    /// A directory with two layers in it.
    Tree,
    /// An empty directory.
    Nothing,
    /// Two lower directories.
    Lowers,
    /// A directory that takes more descriptors than are kept.
    Deep,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Blob {
    Plain,
    Gzip,
    /// A section of a file.
    Zstd,
    Pipe,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kernel {
    New,
    /// What it lacks the library, and glibc, do in other ways.
    Old,
}

impl Kernel {
    fn lacks(self, number: i64) -> bool {
        let new = [libc::SYS_openat2, libc::SYS_copy_file_range, libc::SYS_clone3];
        self == Kernel::Old && new.contains(&number)
    }
}

#[derive(Clone, Copy, Debug)]
struct Setting(Onto, usize, Sync, Blob, Kernel);

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Setting(onto, threads, sync, blob, kernel) = self;
        write!(f, "{onto:?}, threads {threads}, sync {sync:?}, {blob:?}, {kernel:?}")
    }
}

#[test]
fn whatever_fails_in_a_directory_is_told() {
    if !needs::trap() || !is_child_of("whatever_fails_in_a_directory_is_told", in_memory()) {
        return;
    }
    check(&[
        Setting(Onto::Tree, 1, Sync::None, Blob::Plain, Kernel::New),
        Setting(Onto::Tree, 1, Sync::Files, Blob::Gzip, Kernel::New),
        Setting(Onto::Tree, 2, Sync::None, Blob::Gzip, Kernel::New),
        Setting(Onto::Tree, 2, Sync::Files, Blob::Plain, Kernel::New),
        Setting(Onto::Nothing, 1, Sync::Filesystem, Blob::Pipe, Kernel::New),
        Setting(Onto::Nothing, 2, Sync::None, Blob::Pipe, Kernel::New),
        Setting(Onto::Nothing, 3, Sync::Files, Blob::Zstd, Kernel::New),
        Setting(Onto::Deep, 1, Sync::None, Blob::Plain, Kernel::New),
        Setting(Onto::Deep, 2, Sync::Files, Blob::Plain, Kernel::New),
    ]);
}

#[test]
fn whatever_fails_on_lower_layers_is_told() {
    if !needs::trap() || !is_child_of("whatever_fails_on_lower_layers_is_told", in_memory()) {
        return;
    }
    check(&[
        Setting(Onto::Lowers, 1, Sync::None, Blob::Gzip, Kernel::New),
        Setting(Onto::Lowers, 1, Sync::Files, Blob::Plain, Kernel::New),
        Setting(Onto::Lowers, 2, Sync::None, Blob::Plain, Kernel::New),
        Setting(Onto::Lowers, 2, Sync::Files, Blob::Zstd, Kernel::New),
        Setting(Onto::Lowers, 2, Sync::None, Blob::Gzip, Kernel::Old),
    ]);
}

/// Has the child work where files cost next to nothing, if it finds there what the layer needs.
fn in_memory() -> &'static [&'static str] {
    let file = tempfile::Builder::new().prefix("ocilayer-probe-").tempfile_in("/dev/shm");
    let holds = |name: &str, value: &[u8]| {
        let file = file.as_ref().ok()?;
        rustix::fs::fsetxattr(file, name, value, rustix::fs::XattrFlags::empty()).ok()
    };
    match (holds("user.ocilayer", b"1"), holds("system.posix_acl_access", &acl())) {
        (Some(()), Some(())) => &["env", "TMPDIR=/dev/shm"],
        _ => &[],
    }
}

/// A POSIX ACL as the kernel stores it: u::rwx u:7:rwx g::r-x m::rwx o::---.
fn acl() -> Vec<u8> {
    let entries = [
        (1u8, 7u8, u32::MAX),
        (2, 7, 7),
        (4, 5, u32::MAX),
        (0x10, 7, u32::MAX),
        (0x20, 0, u32::MAX),
    ];
    let entry = |(tag, permission, id): (u8, u8, u32)| {
        [&[tag, 0, permission, 0][..], &id.to_le_bytes()].concat()
    };
    [vec![2, 0, 0, 0], entries.into_iter().flat_map(entry).collect()].concat()
}

const DEFAULT_ACL: &str = "system.posix_acl_default";

/// What is there before the layer, the bottom first.
fn parents(onto: Onto) -> Vec<Vec<Entry>> {
    match onto {
        Onto::Nothing => Vec::new(),
        Onto::Deep => {
            let deep: Vec<&str> = std::iter::repeat_n("deep", 27).collect();
            vec![vec![file(format!("{}/x", deep.join("/")))]]
        }
        Onto::Tree | Onto::Lowers => vec![
            vec![dir("opaque"), file("opaque/hidden"), file("opaque/both")],
            vec![
                dir("old").mode(0o751).owner(3, 4).xattr("user.old", "1"),
                dir("acl").mode(0o770).xattr(DEFAULT_ACL, acl()).xattr("user.old", "1"),
                file("acl/x"),
                file("old/file").data("old"),
                file("old/gone"),
                file("old/tree/a"),
                file("old/tree/b/c"),
                file("old/replaced").data("before"),
                file("old/way/x"),
                file("emptied/x"),
                file("emptied/y/z"),
                symlink("link", "old"),
                dir("opaque"),
                opaque("opaque"),
                file("opaque/both"),
                file("old/target")
                    .mode(0o4750)
                    .owner(5, 6)
                    .xattr("user.old", "1")
                    .data(vec![b't'; 5000])
                    .sparse(SparseForm::Pax10, &[(8192, 5000)], 100_000),
                symlink("old/sym", "target"),
                fifo("old/pipe").owner(1, 0),
                file("old/again/below"),
            ],
        ],
    }
}

/// Every kind of entry, and every way to meet what is there.
fn layer(onto: Onto) -> Vec<Entry> {
    if onto == Onto::Deep {
        let mut layer = vec![whiteout("deep")];
        for number in 0..36 {
            layer.push(dir(format!("{number}")).mode(0o555));
            layer.push(file(format!("{number}/x")));
        }
        return layer;
    }
    let mut layer = vec![
        dir(".").owner(1, 1).xattr("user.new", "1"),
        dir("new").mode(0o2750).owner(3, 4).xattr("user.new", "1"),
        file("new/small").data("small"),
        file("new/empty"),
        file("new/suid").mode(0o4755).owner(1, 2).data("x"),
        file("new/xattr").xattr("user.new", "2").data("y"),
        file("new/big").data(vec![b'x'; 600_000]),
        file("new/sparse").data(vec![b'x'; 1000]).sparse(
            SparseForm::Pax10,
            &[(8192, 500), (65536, 500)],
            200_000,
        ),
        file("new/hole").sparse(SparseForm::Pax01, &[], 1 << 20),
        symlink("new/sym", "small"),
        symlink("new/owned", "small").xattr("security.ocilayer", "s").owner(5, 6),
        hardlink("new/hard", "new/small"),
        fifo("new/pipe").mode(0o620),
        char_device("new/char", 1, 3).mode(0o4620),
        block_device("new/block", 7, 0).xattr("security.ocilayer", "s"),
        file("implied/deep/file").data("1"),
        dir("newacl").mode(0o770).xattr(DEFAULT_ACL, acl()),
        file("newacl/x"),
        file("new/small").data("again"),
    ];
    if onto == Onto::Nothing {
        return layer;
    }
    layer.extend([
        dir("old").mode(0o710).xattr("user.new", "2"),
        file("old/replaced").data("after"),
        file("old/way").data("was a directory"),
        whiteout("old/gone"),
        whiteout("old/tree"),
        file("emptied/new"),
        opaque("emptied"),
        file("link/through").data("1"),
        file("acl/new"),
        dir("acl/dir"),
        fifo("acl/pipe"),
        hardlink("hard", "old/target"),
        hardlink("hardsym", "old/sym"),
        hardlink("hardpipe", "old/pipe"),
        whiteout("old/again"),
        dir("old/again"),
        file("old/again/x"),
        whiteout("opaque/hidden"),
        file("opaque/new"),
    ]);
    layer
}

/// What unpack made of it.
struct Outcome {
    result: Result<Report, Error>,
    tree: Tree,
    counts: BTreeMap<i64, usize>,
    /// The call that the case met, in words.
    met: Option<String>,
    damage: Vec<String>,
    /// More descriptors than before.
    kept: isize,
}

/// What all runs of a setting share.
struct Stage {
    setting: Setting,
    layer: Vec<Entry>,
    parents: Vec<Vec<u8>>,
    blob: Vec<u8>,
    _files: tempfile::TempDir,
    path: PathBuf,
}

impl Stage {
    fn new(setting: Setting) -> Stage {
        let Setting(onto, _, _, form, _) = setting;
        let layer = layer(onto);
        let plain = archive(&layer);
        let blob = match form {
            Blob::Plain | Blob::Pipe => plain,
            Blob::Gzip => gzip(&plain),
            Blob::Zstd => zstd(&plain),
        };
        let files = tempfile::Builder::new().prefix("ocilayer-blob-").tempdir().expect("tempdir");
        let path = files.path().join("layer");
        std::fs::write(&path, &blob).expect("write");
        let parents = parents(onto).iter().map(|entries| archive(entries)).collect();
        Stage { setting, layer, parents, blob, _files: files, path }
    }

    /// Unpacks once, with a failure or without.
    fn run(&self, case: Option<Case<'_>>) -> Outcome {
        let Setting(_, threads, sync, form, kernel) = self.setting;
        let scene = Scene::new();
        let root = scene.root(0);
        let lowers = self.put_parents(&scene);
        let before: Vec<Tree> = lowers.iter().flatten().map(|lower| Tree::of(lower)).collect();
        let mut options = options(&lowers, threads);
        options.sync = sync;
        let mut counts = BTreeMap::new();
        let mut met = None;
        let answer = |trapped: &Trapped| {
            let count = counts.entry(trapped.number()).or_insert(0);
            *count += 1;
            let otherwise = match kernel.lacks(trapped.number()) {
                true => Answer::Fail(ENOSYS),
                false => Answer::Go,
            };
            let Some(case) = case.filter(|case| case.call.number == trapped.number()) else {
                return otherwise;
            };
            match case.fault {
                Always(_) if *count > case.nth => return case.answer(trapped),
                _ if *count != case.nth => return otherwise,
                _ => {}
            }
            met = Some(describe(case.call, trapped));
            case.answer(trapped)
        };
        let what = case.map_or("nothing".into(), |case| format!("{}: {case}", self.setting));
        let numbers: Vec<i64> = CALLS.iter().map(|call| call.number).collect();
        let descriptors = || std::fs::read_dir("/proc/self/fd").expect("proc").count() as isize;
        let open = descriptors();
        let result = std::thread::scope(|scope| {
            let opened: Option<OwnedFd> = match form {
                Blob::Pipe => {
                    let (read, mut write) = std::io::pipe().expect("pipe");
                    // It fails where the reader gives up.
                    scope.spawn(move || write.write_all(&self.blob));
                    Some(read.into())
                }
                Blob::Zstd => Some(File::open(&self.path).expect("open").into()),
                Blob::Plain | Blob::Gzip => None,
            };
            let work = || {
                let source = match (opened, form) {
                    (None, _) => Source::path(&self.path),
                    (Some(file), Blob::Zstd) => Source::section(file, 0, self.blob.len() as u64),
                    (Some(file), _) => Source::file(file),
                };
                unpack(source, &root, &options)
            };
            trapped(&what, &numbers, answer, work).expect("a trap")
        });
        let kept = descriptors() - open;
        let mut damage = scene.damage();
        for (lower, before) in lowers.iter().flatten().zip(before) {
            damage.extend(before.differences(&Tree::of(lower), "lower before", "lower after"));
        }
        let tree = if result.is_ok() { Tree::of(&root) } else { Tree::default() };
        Outcome { result, tree, counts, met, damage, kept }
    }

    /// Unpacks the parents, and returns the lower directories if there are any.
    fn put_parents(&self, scene: &Scene) -> Option<Vec<PathBuf>> {
        let mut lowers = (self.setting.0 == Onto::Lowers).then(Vec::new);
        for (number, blob) in self.parents.iter().enumerate() {
            let at = scene.root(if lowers.is_some() { 1 + number } else { 0 });
            set_mtime(&at, MTIME_ROOT);
            unpack(Source::memory(blob), &at, &options(&lowers, 1)).expect("a parent");
            lowers.iter_mut().for_each(|lowers| lowers.insert(0, at.clone()));
        }
        set_mtime(&scene.root(0), MTIME_ROOT);
        lowers
    }

    /// What is wrong with an outcome, if anything is.
    fn judge(&self, undisturbed: &Outcome, case: Case<'_>, outcome: &Outcome) -> Vec<String> {
        let mut wrong = outcome.damage.clone();
        if outcome.kept != 0 {
            wrong.push(format!("{} more descriptors than before", outcome.kept));
        }
        match &outcome.result {
            Ok(report) => wrong.extend(differs(undisturbed, case, outcome, report)),
            Err(error) => wrong.extend(self.unclear(case, outcome, error)),
        }
        wrong
    }

    /// What is wrong with an error.
    fn unclear(&self, case: Case<'_>, outcome: &Outcome, error: &Error) -> Vec<String> {
        let mut wrong = Vec::new();
        let kinds = [ErrorKind::Filesystem, ErrorKind::Source, ErrorKind::InvalidArgument];
        if !kinds.contains(&error.kind()) {
            wrong.push(format!("{:?}: {error}", error.kind()));
        }
        if outcome.met.is_none() || case.errno() != Some(error.errno().raw_os_error()) {
            wrong.push(format!("another error: {error}"));
        }
        match error.place() {
            Some(place) => {
                let entry = self.layer.get(place.entry as usize);
                // What could not be read has no name.
                let text = error.to_string();
                let before = ["\" at 0: read at ", "\" at 0: start of a thread: "];
                let unread = before.iter().any(|before| text.contains(before));
                if !unread && entry.is_none_or(|entry| entry.name != place.path) {
                    wrong.push(format!("no such entry: {error}"));
                }
            }
            None if NO_ENTRY.iter().any(|start| error.to_string().starts_with(start)) => {}
            // At the end of the layer directories get their attributes.
            None if error.to_string().contains(" of directory \"") => {}
            None => wrong.push(format!("no entry named: {error}")),
        }
        if error.report().is_some_and(|report| !report.partial) {
            wrong.push(format!("the report says that it is whole: {error}"));
        }
        wrong
    }
}

fn options(lowers: &Option<Vec<PathBuf>>, threads: usize) -> Options {
    let mut options = Options::default();
    if let Some(lowers) = lowers {
        options.mode = Mode::Overlay;
        options.lowers = Lowers::Known(lowers.clone());
    }
    options.threads = threads;
    options
}

/// What is wrong with a success.
fn differs(
    undisturbed: &Outcome,
    case: Case<'_>,
    outcome: &Outcome,
    report: &Report,
) -> Vec<String> {
    let whole = undisturbed.result.as_ref().expect("undisturbed");
    let mut want = undisturbed.tree.clone();
    let mut wrong = Vec::new();
    // What is not supported is left out, and the report says so.
    let unsupported = SkipReason::XattrUnsupported;
    let left_out = report.skipped.get(unsupported).filter(|_| case.errno() == Some(EOPNOTSUPP));
    for example in left_out.iter().flat_map(|skipped| &skipped.examples) {
        let path = example.path.strip_suffix(b"/").unwrap_or(&example.path);
        let path = if path == b"." { b"" } else { path };
        let node = want.0.get_mut(path).expect("what lacks an xattr is there");
        node.xattrs.remove(&example.detail);
    }
    let skipped = |report: &Report| {
        let counts = report.skipped.iter().map(|(reason, skipped)| (reason, skipped.count));
        let others = |reason| reason != unsupported || left_out.is_none();
        counts.filter(|(reason, _)| others(*reason)).collect::<Vec<_>>()
    };
    if skipped(report) != skipped(whole) {
        wrong.push(format!("skipped other things: {}", report.to_json()));
    }
    let differences = want.differences(&outcome.tree, "undisturbed", "disturbed");
    if !differences.is_empty() {
        wrong.push(format!("another tree: {}", differences.join("\n  ")));
    }
    let counts = |report: &Report| {
        // Where holes cannot be asked for, what they read as is written.
        let files = (case.call.name != "lseek").then_some(report.bytes.files);
        let bytes = (report.bytes.blob, report.bytes.layer, files);
        let directories = (report.opaque_directories, report.implied_directories);
        let rest = (report.whiteouts, report.copied_up, report.partial, report.diff_id.clone());
        (report.entries, bytes, directories, rest, report.blob_digest.clone())
    };
    if counts(report) != counts(whole) {
        wrong.push(format!("another report: {}", report.to_json()));
    }
    wrong
}

/// Every call of a setting, as often as it is made, with every fault; by default, a sample.
fn cases(counts: &BTreeMap<i64, usize>, setting: Setting, number: usize) -> Vec<Case<'static>> {
    let chosen = std::env::var("OCILAYER_FAULTS").unwrap_or_default();
    let mut cases = Vec::new();
    for call in CALLS {
        let count = counts.get(&call.number).copied().unwrap_or(0);
        for (index, &fault) in call.faults.iter().enumerate() {
            // Each fault and each setting begins elsewhere, so that together they come around.
            let first = (7 * index + 5 * number) % STRIDE.min(count.max(1));
            cases.extend((1..=count).map(|nth| Case { call, nth, fault }).filter(|case| {
                match &*chosen {
                    "" => (case.nth - 1) % STRIDE == first,
                    "all" => true,
                    part => format!("{setting}: {case}").contains(part),
                }
            }));
        }
    }
    cases
}

#[track_caller]
fn check(settings: &[Setting]) {
    let mut findings = Vec::new();
    let mut outcomes = BTreeMap::new();
    let chosen = std::env::var_os("OCILAYER_FAULTS");
    for (number, &setting) in settings.iter().enumerate() {
        let stage = Stage::new(setting);
        let undisturbed = stage.run(None);
        assert!(undisturbed.result.is_ok(), "{setting}: {:?}", undisturbed.result);
        for case in cases(&undisturbed.counts, setting, number) {
            if chosen.is_some() {
                eprintln!("{setting}: {case}");
            }
            let outcome = stage.run(Some(case));
            let kind = match &outcome.result {
                _ if outcome.met.is_none() => "not met",
                Ok(_) => "absorbed",
                Err(_) => "told",
            };
            *outcomes.entry(kind).or_insert(0) += 1;
            let met = outcome.met.as_deref().unwrap_or("never");
            for text in stage.judge(&undisturbed, case, &outcome) {
                findings.push(format!("{setting}: {case}, {met}:\n  {text}"));
            }
        }
    }
    eprintln!("failures: {outcomes:?}");
    assert!(findings.is_empty(), "{} findings:\n{}", findings.len(), findings.join("\n"));
}
