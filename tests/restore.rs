// SPDX-License-Identifier: Apache-2.0
//! What an audit finds in a layer's directory is restored from the layer, and nothing else is touched.

mod common;

use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use common::archive::{self, Entry, archive, gzip, layer};
use common::child::is_child_of;
use common::mounted::{self, Mounted};
use common::tree::Tree;
use common::{needs, random};
use ocilayer::{
    AuditLayer, AuditObserver, AuditOptions, AuditReport, Compare, Damage, DamageKind, Digest,
    Errno, ErrorKind, Expect, Lowers, Mode, Options, Progress, Source, audit, audit_directories,
    unpack, verify,
};
use proptest::prelude::*;
use proptest::test_runner::{TestCaseError, TestError, TestRunner};
use rustix::fs::{XattrFlags, setxattr};
use tempfile::TempDir;

struct Stack {
    base: TempDir,
    blobs: Vec<Vec<u8>>,
    mode: Mode,
}

impl Stack {
    fn of(layers: &[Vec<Entry>], mode: Mode) -> Stack {
        let base = tempfile::Builder::new().prefix("ocilayer-restore-").tempdir().expect("tempdir");
        let blobs: Vec<_> = layers.iter().map(|entries| gzip(&archive(entries))).collect();
        let stack = Stack { base, blobs, mode };
        for number in 0..stack.blobs.len() {
            fs::create_dir(stack.at(number, "")).expect("mkdir");
            stack.unpack(number).expect("unpack");
        }
        stack
    }

    fn unpack(&self, number: usize) -> ocilayer::Result<ocilayer::Report> {
        let lowers = (0..number).rev().map(|below| self.at(below, "")).collect();
        let options = Options::default().mode(self.mode).lowers(Lowers::Known(lowers));
        unpack(Source::memory(&self.blobs[number]), self.at(number, ""), &options)
    }

    /// A path in a layer's directory.
    fn at(&self, number: usize, path: &str) -> PathBuf {
        self.base.path().join(number.to_string()).join(path)
    }

    fn trees(&self) -> Vec<Tree> {
        (0..self.blobs.len()).map(|number| Tree::of(&self.at(number, ""))).collect()
    }

    fn layers(&self) -> Vec<AuditLayer<'_>> {
        let mut layers = Vec::new();
        for (number, blob) in self.blobs.iter().enumerate() {
            layers.push(AuditLayer::new(Source::memory(blob), self.at(number, "")));
        }
        layers
    }

    fn options(&self) -> AuditOptions {
        AuditOptions::default().userxattr(self.mode == Mode::OverlayUserxattr)
    }

    fn audit(&self) -> (Vec<String>, AuditReport) {
        self.run(&self.options())
    }

    fn restore(&self) -> (Vec<String>, AuditReport) {
        self.run(&self.options().restore(true))
    }

    fn run(&self, options: &AuditOptions) -> (Vec<String>, AuditReport) {
        let mut kept = Kept::default();
        let report = audit(self.layers(), options, &mut kept).expect("audit");
        (kept.0, report)
    }
}

#[derive(Default)]
struct Kept(Vec<String>);

impl AuditObserver for Kept {
    fn damage(&mut self, damage: &Damage) -> Result<(), Errno> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (path, detail) = (text(&damage.path), text(&damage.detail));
        self.0.push(format!("{} {path} {detail}", damage.kind.describe()));
        Ok(())
    }
}

/// Everything that a layer can say of a name, above another one.
fn rich() -> [Vec<Entry>; 2] {
    let mut lower = layer("d/ d/old=old d/low=low e/ e/a=1 e/b=2 gone=1 h/ h/x=lower");
    lower.push(archive::file("h/y").data("lower y").mode(0o4711).xattr("user.y", "yes"));
    let mut upper = layer(
        "d/ d/.wh..wh..opq d/new=new .wh.gone e/ e/.wh.a \
         f=content g=>f i/ i/j=>f s->f p| c%1:3 b#8:0 i/k/ i/k/l=deep@600 h/z=>h/y empty q=one r=>q q=two",
    );
    upper.push(archive::dir("own").mode(0o2750).owner(7, 8).mtime(12345, 6789));
    upper.push(archive::file("own/file").data(vec![7; 300_000]).owner(9, 10).mode(0o6755));
    upper.push(archive::file("own/x").data("x").xattr("user.one", "1").mode(0o400));
    upper.push(archive::file("own/cap").data("x").xattr(
        "security.capability",
        [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    ));
    [lower, upper]
}

type Harm = fn(&dyn Fn(&str) -> PathBuf);

/// Each is done to the upper one of the two layers.
const HARMS: [(&str, Harm); 33] = [
    ("cut", |at| cut(&at("own/file"), 1000)),
    ("emptied", |at| cut(&at("f"), 0)),
    ("zeroed", |at| zero(&at("own/file"))),
    ("zeroed to the end of a page", |at| {
        let file = OpenOptions::new().write(true).open(at("own/file")).unwrap();
        file.write_all_at(&vec![0; 300_000 - 4096], 4096).unwrap();
    }),
    ("longer", |at| fs::write(at("empty"), "longer").unwrap()),
    ("removed", |at| fs::remove_file(at("f")).unwrap()),
    ("all names of one inode removed", |at| {
        ["f", "g", "i/j"].into_iter().for_each(|name| fs::remove_file(at(name)).unwrap());
    }),
    ("a name of one inode is another one", |at| {
        fs::remove_file(at("g")).unwrap();
        fs::write(at("g"), "content").unwrap();
    }),
    ("the only name with that content", |at| fs::remove_file(at("r")).unwrap()),
    ("a replaced name has its old content", |at| {
        fs::remove_file(at("q")).unwrap();
        fs::write(at("q"), "one").unwrap();
        fs::remove_file(at("r")).unwrap();
        fs::write(at("r"), "").unwrap();
    }),
    ("directory removed with all in it", |at| fs::remove_dir_all(at("i")).unwrap()),
    ("everything removed", |at| {
        for name in fs::read_dir(at("")).unwrap() {
            let path = name.unwrap().path();
            fs::remove_dir_all(&path).or_else(|_| fs::remove_file(&path)).unwrap();
        }
    }),
    ("mode", |at| fs::set_permissions(at("own/file"), PermissionsExt::from_mode(0o600)).unwrap()),
    ("mode of a directory", |at| {
        fs::set_permissions(at("own"), PermissionsExt::from_mode(0o700)).unwrap();
    }),
    ("owner", |at| std::os::unix::fs::chown(at("own/file"), Some(1), Some(1)).unwrap()),
    ("owner of a symlink", |at| std::os::unix::fs::lchown(at("s"), Some(1), Some(1)).unwrap()),
    ("time", |at| {
        File::open(at("own")).unwrap().set_modified(std::time::SystemTime::now()).unwrap()
    }),
    ("xattr of another value", |at| set_xattr(&at("own/x"), "user.one", b"2")),
    ("xattr that is not the layer's", |at| set_xattr(&at("own/file"), "user.two", b"2")),
    ("capability lost", |at| {
        rustix::fs::removexattr(at("own/cap"), "security.capability").unwrap()
    }),
    ("target of a symlink", |at| {
        fs::remove_file(at("s")).unwrap();
        symlink("/etc/shadow", at("s")).unwrap();
    }),
    ("symlink to the outside in a file's place", |at| {
        fs::remove_file(at("own/file")).unwrap();
        symlink("/etc/hostname", at("own/file")).unwrap();
    }),
    ("symlink to the outside in a directory's place", |at| {
        fs::remove_dir_all(at("own")).unwrap();
        symlink("/tmp", at("own")).unwrap();
    }),
    ("directory in a file's place", |at| {
        fs::remove_file(at("own/file")).unwrap();
        fs::create_dir_all(at("own/file/deep/er")).unwrap();
    }),
    ("device", |at| {
        fs::remove_file(at("c")).unwrap();
        node(&at("c"), rustix::fs::FileType::CharacterDevice, rustix::fs::makedev(1, 5));
    }),
    ("FIFO removed", |at| fs::remove_file(at("p")).unwrap()),
    ("mark removed", |at| rustix::fs::removexattr(at("d"), "trusted.overlay.opaque").unwrap()),
    ("mark too many", |at| set_xattr(&at("e"), "trusted.overlay.opaque", b"y")),
    ("whiteout removed, and one too many", |at| {
        fs::remove_file(at("e/a")).unwrap();
        node(&at("e/b"), rustix::fs::FileType::CharacterDevice, 0);
    }),
    ("directory in a whiteout's place", |at| {
        fs::remove_file(at("gone")).unwrap();
        fs::create_dir_all(at("gone/deep/er")).unwrap();
    }),
    ("copied up from below, zeroed", |at| zero(&at("h/z"))),
    ("copied up from below, mode", |at| {
        fs::set_permissions(at("h/y"), PermissionsExt::from_mode(0o600)).unwrap();
    }),
    ("copied up from below, removed", |at| fs::remove_dir_all(at("h")).unwrap()),
];

fn cut(path: &Path, size: u64) {
    OpenOptions::new().write(true).open(path).unwrap().set_len(size).unwrap();
}

fn zero(path: &Path) {
    let size = fs::metadata(path).unwrap().len() as usize;
    OpenOptions::new().write(true).open(path).unwrap().write_all_at(&vec![0; size], 0).unwrap();
}

fn set_xattr(path: &Path, name: &str, value: &[u8]) {
    setxattr(path, name, value, XattrFlags::empty()).expect("setxattr");
}

fn node(path: &Path, kind: rustix::fs::FileType, device: u64) {
    let path = CString::new(path.as_os_str().as_bytes()).expect("no NUL");
    rustix::fs::mknodat(rustix::fs::CWD, &path, kind, 0o644.into(), device).expect("mknod");
}

#[test]
fn each_kind_of_damage_is_mended_and_a_second_audit_is_clean() {
    if !needs::overlay() {
        return;
    }
    for (what, harm) in HARMS {
        let stack = Stack::of(&rich(), Mode::Overlay);
        let before = stack.trees();
        assert_eq!(stack.audit().0, [""; 0], "{what}: before");
        harm(&|path| stack.at(1, path));
        let (found, dry) = stack.audit();
        assert!(dry.is_damaged() && dry.restored == 0, "{what}: not found");
        let (told, report) = stack.restore();
        assert_eq!(told, found, "{what}: the dry run lists the same");
        assert!(report.restored > 0, "{what}");
        assert_eq!(stack.audit().0, [""; 0], "{what}: afterwards");
        for (number, (was, is)) in before.iter().zip(&stack.trees()).enumerate() {
            // Times of directories that no entry describes: nobody knows what they were.
            let differences = was.differences(is, "before", "after");
            let real = |line: &&String| !implied(line);
            let real: Vec<_> = differences.iter().filter(real).collect();
            assert!(real.is_empty(), "{what}: layer {number}: {real:#?}");
        }
    }
}

/// The root, and a directory that is there for a hardlink only.
fn implied(line: &str) -> bool {
    line.starts_with("\"\"") || line.starts_with("\"h\"")
}

/// By size and holes alone what a power cut does is found; by content, all.
#[test]
fn verification_finds_what_was_cut_or_never_written() {
    if !needs::overlay() {
        return;
    }
    let table: [(&str, Harm, Compare, bool); 7] = [
        ("nothing", |_| (), Compare::Content, false),
        ("emptied", |at| cut(&at("own/file"), 0), Compare::Sizes, true),
        ("a hole", |at| hole(&at("own/file")), Compare::Sizes, true),
        ("removed", |at| fs::remove_file(at("f")).unwrap(), Compare::Sizes, true),
        ("mark too many", HARMS[27].1, Compare::Sizes, true),
        ("zeros that were written", |at| zero(&at("own/file")), Compare::Sizes, false),
        ("zeros that were written", |at| zero(&at("own/file")), Compare::Content, true),
    ];
    for (what, harm, compare, found) in table {
        let stack = Stack::of(&rich(), Mode::Overlay);
        let time = fs::metadata(stack.at(1, "own/file")).unwrap().modified().unwrap();
        harm(&|path| stack.at(1, path));
        File::open(stack.at(1, "own/file")).unwrap().set_modified(time).unwrap();
        for threads in [1, 2, 5] {
            let options = stack.options().compare(compare).threads(threads);
            let mut done = Done::default();
            // Two images that share both layers.
            let stacks = vec![stack.layers(), stack.layers()];
            let report = verify(stacks, &options, &mut done).expect("verify");
            assert_eq!((report.layers, report.failed), (2, 0), "{what}");
            assert_eq!(report.is_damaged(), found, "{what}: {:?}", report.damage);
            assert_eq!(done.layers.len(), 2, "{what}");
            assert!(done.progress.blob_bytes > 0, "{what}");
            assert_eq!(Some(done.progress.blob_bytes), done.progress.blob_size, "{what}");
        }
    }
}

#[derive(Default)]
struct Done {
    layers: Vec<PathBuf>,
    failed: Vec<String>,
    progress: Progress,
}

impl AuditObserver for Done {
    fn progress(&mut self, progress: &Progress) {
        self.progress = *progress;
    }

    fn layer_done(&mut self, directory: &Path, result: &ocilayer::Result<AuditReport>) {
        self.layers.push(directory.to_owned());
        self.failed.extend(result.as_ref().err().map(ToString::to_string));
    }
}

fn hole(path: &Path) {
    let size = fs::metadata(path).unwrap().len();
    cut(path, 0);
    cut(path, size);
}

#[test]
fn one_layer_that_cannot_be_read_does_not_keep_others_from_being_verified() {
    if !needs::overlay() {
        return;
    }
    let stack = Stack::of(&rich(), Mode::Overlay);
    let damaged = &stack.blobs[0][..stack.blobs[0].len() - 20];
    let mut layers = stack.layers();
    layers[0] = AuditLayer::new(Source::memory(damaged), stack.at(0, ""));
    layers.push(AuditLayer::new(Source::path(stack.at(7, "none")), stack.at(7, "")));
    let mut done = Done::default();
    let report = verify(vec![layers], &stack.options(), &mut done).expect("verify");
    assert_eq!((report.layers, report.failed), (1, 2));
    assert_eq!(done.failed.len(), 2);
    for options in [stack.options().repair(true), stack.options().restore(true)] {
        let error = verify(vec![stack.layers()], &options, &mut ()).expect_err("changes");
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    }
    cut(&stack.at(1, "f"), 0);
    let error = verify(vec![stack.layers()], &stack.options(), &mut Refuses).expect_err("refused");
    assert_eq!(error.errno(), Errno::NOSPC);
    let cancel = ocilayer::Cancel::new().expect("a token");
    cancel.cancel();
    let options = stack.options().cancel(cancel);
    let error = verify(vec![stack.layers()], &options, &mut ()).expect_err("cancelled");
    assert_eq!(error.kind(), ErrorKind::Cancelled);
}

#[test]
fn what_an_open_file_shows_stays_as_it_is() {
    if !needs::overlay() {
        return;
    }
    let stack = Stack::of(&rich(), Mode::Overlay);
    zero(&stack.at(1, "own/file"));
    let mut open = File::open(stack.at(1, "own/file")).expect("open");
    stack.restore();
    let mut content = Vec::new();
    open.read_to_end(&mut content).expect("read");
    assert_eq!(content, vec![0; 300_000]);
    assert_eq!(fs::read(stack.at(1, "own/file")).expect("read"), vec![7; 300_000]);
}

#[test]
fn what_is_linked_to_another_place_does_not_change_there() {
    if !needs::overlay() {
        return;
    }
    for name in ["own/file", "own/x", "f", "s", "p"] {
        let stack = Stack::of(&rich(), Mode::Overlay);
        let outside = stack.base.path().join("outside");
        fs::hard_link(stack.at(1, name), &outside).expect("link");
        assert_eq!(stack.audit().0, [""; 0], "{name}");
        std::os::unix::fs::lchown(&outside, Some(1), Some(1)).expect("chown");
        let before = Tree::of(stack.base.path()).at("outside").clone();
        let (_, report) = stack.restore();
        assert!(report.restored > 0, "{name}");
        assert_eq!(stack.audit().0, [""; 0], "{name}");
        let after = Tree::of(stack.base.path()).at("outside").clone();
        assert_eq!((before.uid, before.mode, before.mtime), (after.uid, after.mode, after.mtime));
        assert!(after.linked.is_none(), "{name}");
    }
}

#[test]
fn names_of_others_stay_and_what_a_killed_restore_left_goes() {
    if !needs::overlay() {
        return;
    }
    let stack = Stack::of(&rich(), Mode::Overlay);
    fs::write(stack.at(1, "own/new"), "precious").expect("write");
    fs::write(stack.at(1, "own/.ocilayer-restore-1"), "half").expect("write");
    let time = fs::metadata(stack.at(1, "own/new")).expect("stat").mtime();
    let (_, report) = stack.restore();
    assert_eq!(report.count(DamageKind::Unexpected), 2);
    assert_eq!(fs::read_to_string(stack.at(1, "own/new")).expect("read"), "precious");
    assert_eq!(fs::metadata(stack.at(1, "own/new")).expect("stat").mtime(), time);
    assert_eq!(stack.audit().0, ["unexpected own/new "]);
}

/// Whether restored from a lower layer that is itself damaged, or found only when that is whole.
#[test]
fn lower_layers_are_restored_before_what_needs_them() {
    if !needs::overlay() {
        return;
    }
    let stack = Stack::of(&rich(), Mode::Overlay);
    let before = stack.trees();
    fs::remove_dir_all(stack.at(0, "h")).expect("rm");
    fs::remove_dir_all(stack.at(1, "h")).expect("rm");
    fs::remove_dir_all(stack.at(0, "e")).expect("rm");
    fs::remove_file(stack.at(1, "e/a")).expect("rm");
    stack.restore();
    assert_eq!(stack.audit().0, [""; 0]);
    for (was, is) in before.iter().zip(&stack.trees()) {
        let differences = was.differences(is, "before", "after");
        assert!(differences.iter().all(|line| implied(line)), "{differences:#?}");
    }
}

/// For a hardlink to it, of every type and with all xattrs, also where new files inherit an ACL.
#[test]
fn what_was_copied_up_is_copied_up_again() {
    if !needs::overlay() {
        return;
    }
    let inheritable =
        [&2u32.to_le_bytes()[..], &acl(&[(1, 7), (4, 5), (16, 7), (32, 0)], 1000)].concat();
    let lower = vec![
        archive::dir("d").xattr("system.posix_acl_default", inheritable),
        archive::file("d/f").data("1").mode(0o640).xattr("user.note", "n"),
        archive::fifo("d/p").mode(0o640),
        archive::char_device("d/c", 5, 6).mode(0o640),
        archive::symlink("d/l", "f"),
    ];
    let mut stack = Stack::of(&[lower], Mode::Overlay);
    for name in ["f", "p", "c", "l"] {
        let path = CString::new(stack.at(0, "d").join(name).as_os_str().as_bytes()).unwrap();
        rustix::fs::lsetxattr(&path, "trusted.note", b"n", XattrFlags::empty()).expect("lsetxattr");
    }
    stack.blobs.push(gzip(&archive(&layer("d/f2=>d/f d/p2=>d/p d/c2=>d/c d/l2=>d/l"))));
    fs::create_dir(stack.at(1, "")).expect("mkdir");
    stack.unpack(1).expect("unpack");
    let before = stack.trees();
    assert!(before[1].at("d/p2").xattr("trusted.note").is_some());
    for name in ["d/f2", "d/p2", "d/c2", "d/l2", "d/f", "d/p", "d/c", "d/l"] {
        fs::remove_file(stack.at(1, name)).expect("rm");
    }
    let (_, report) = stack.restore();
    assert_eq!(report.restored, 8);
    let mut differences = before[1].differences(&stack.trees()[1], "before", "after");
    // The directory's time: no entry describes it.
    differences.retain(|line| !line.starts_with("\"d\""));
    assert_eq!(differences, [""; 0]);

    set_xattr(&stack.at(0, "d/f"), "trusted.overlay.metacopy", b"");
    fs::remove_file(stack.at(1, "d/f2")).expect("rm");
    fs::remove_file(stack.at(1, "d/f")).expect("rm");
    let error =
        audit(stack.layers(), &stack.options().restore(true), &mut ()).expect_err("refused");
    assert_eq!(error.errno(), Errno::OPNOTSUPP, "{error}");
    assert!(error.to_string().contains("metacopy"), "{error}");
}

/// Entries of one (linux/posix_acl_xattr.h): tags with permissions, and one named user's.
fn acl(entries: &[(u16, u16)], user: u32) -> Vec<u8> {
    let entry = |tag: u16, permissions: u16, id: u32| {
        [&tag.to_le_bytes()[..], &permissions.to_le_bytes(), &id.to_le_bytes()].concat()
    };
    let named = entry(2, 7, user);
    let others = entries.iter().map(|(tag, permissions)| entry(*tag, *permissions, u32::MAX));
    let mut all: Vec<_> = others.collect();
    all.insert(1, named);
    all.concat()
}

#[test]
fn a_marker_at_the_root_is_restored_name_by_name() {
    if !needs::overlay() {
        return;
    }
    let layers = [layer("a=1 b/ b/c=1 d=1"), layer(".wh..wh..opq b/ b/new=2")];
    let stack = Stack::of(&layers, Mode::Overlay);
    let before = stack.trees();
    fs::remove_file(stack.at(1, "a")).expect("a whiteout");
    rustix::fs::removexattr(stack.at(1, "b"), "trusted.overlay.opaque").expect("a mark");
    assert_eq!(stack.restore().0, ["not opaque b ", "missing whiteout a "]);
    assert_eq!(stack.audit().0, [""; 0]);
    let differences = before[1].differences(&stack.trees()[1], "before", "after");
    assert!(differences.iter().all(|line| implied(line)), "{differences:#?}");
}

#[test]
fn what_a_mount_uses_is_not_restored_unless_asked_for() {
    // In a mount namespace of its own, so that nothing is left behind whatever happens.
    let test = "what_a_mount_uses_is_not_restored_unless_asked_for";
    if !needs::overlay() || !is_child_of(test, &["unshare", "--mount"]) {
        return;
    }
    let stack = Stack::of(&rich(), Mode::Overlay);
    cut(&stack.at(1, "f"), 0);
    let before = stack.trees();
    let point = stack.base.path().join("point");
    fs::create_dir(&point).expect("mkdir");
    let layers = [stack.at(1, ""), stack.at(0, "")].map(|path| path.display().to_string());
    let options = format!("lowerdir={}", layers.join(":"));
    mounted::run("mount", &["-t", "overlay", "-o", &options, "overlay"], &[&point]);
    let options = stack.options().restore(true);
    let error = audit(stack.layers(), &options, &mut ()).expect_err("live");
    assert_eq!(error.errno(), Errno::BUSY);
    assert_eq!(stack.trees(), before);
    let (_, report) = stack.run(&options.repair_live(true));
    assert_eq!(report.restored, 1);
    mounted::run("umount", &[], &[&point]);
    assert_eq!(stack.audit().0, [""; 0]);
}

#[test]
fn a_blob_that_is_another_one_restores_nothing() {
    if !needs::overlay() {
        return;
    }
    let stack = Stack::of(&rich(), Mode::Overlay);
    cut(&stack.at(1, "f"), 0);
    let before = stack.trees();
    let options = stack.options().restore(true);
    let digest: Digest = format!("sha256:{}", "0".repeat(64)).parse().expect("a digest");
    for expect in [Expect::default().blob(digest.clone()), Expect::default().diff_id(digest)] {
        let mut layers = stack.layers();
        let upper = layers.pop().expect("two").expect(expect);
        layers.push(upper);
        let error = audit(layers, &options, &mut ()).expect_err("another blob");
        assert_eq!(error.kind(), ErrorKind::Digest, "{error}");
        assert_eq!(stack.trees(), before);
    }
    let mut damaged = stack.blobs[1].clone();
    let at = damaged.len() - 6;
    damaged[at] ^= 1;
    let layer = AuditLayer::new(Source::memory(&damaged), stack.at(1, ""));
    let error = audit(vec![layer], &options, &mut ()).expect_err("damaged");
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert_eq!(stack.trees(), before);
}

struct Refuses;

impl AuditObserver for Refuses {
    fn damage(&mut self, _: &Damage) -> Result<(), Errno> {
        Err(Errno::NOSPC)
    }
}

#[test]
fn a_callback_that_fails_ends_it_before_anything_is_restored() {
    if !needs::overlay() {
        return;
    }
    let stack = Stack::of(&rich(), Mode::Overlay);
    cut(&stack.at(1, "f"), 0);
    let before = stack.trees();
    let options = stack.options().restore(true);
    let error = audit(stack.layers(), &options, &mut Refuses).expect_err("refused");
    assert_eq!(error.errno(), Errno::NOSPC);
    assert_eq!(stack.trees(), before);
    let error = audit_directories(&[stack.at(1, "")], &options, &mut ()).expect_err("no layers");
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
}

#[test]
fn a_full_disk_ends_it_and_the_next_one_goes_on() {
    if !needs::overlay() {
        return;
    }
    let base = tempfile::tempdir().expect("tempdir");
    let disk = Mounted::made_in(base.path(), "ext4", &["mkfs.ext4", "-q"], 24 << 20);
    let entries: Vec<_> = (0..8)
        .map(|number| archive::file(format!("f{number}")).data(vec![number + 1; 1 << 20]))
        .collect();
    let blob = archive(&entries);
    let root = disk.at.join("root");
    fs::create_dir(&root).expect("mkdir");
    unpack(Source::memory(&blob), &root, &Options::default().mode(Mode::Overlay)).expect("unpack");
    let before = Tree::of(&root);
    let remove =
        || (0..8).for_each(|number| fs::remove_file(root.join(format!("f{number}"))).expect("rm"));
    remove();
    let filler = disk.at.join("filler");
    let full = fs::write(&filler, vec![1; 24 << 20]).expect_err("the disk is full");
    assert_eq!(full.raw_os_error(), Some(28));
    cut(&filler, fs::metadata(&filler).expect("stat").len() - (12 << 20));
    let options = AuditOptions::default().restore(true);
    let run = || {
        let layer = AuditLayer::new(Source::memory(&blob), &root);
        audit(vec![layer], &options, &mut ())
    };
    let error = run().expect_err("full");
    assert_eq!(error.errno(), Errno::NOSPC, "{error}");
    fs::remove_file(&filler).expect("rm");
    run().expect("there is room now");
    let differences = before.differences(&Tree::of(&root), "before", "after");
    assert!(differences.iter().all(|line| implied(line)), "{differences:#?}");
}

/// Anything at all done to stacks of any layers.
#[test]
fn whatever_happened_to_a_stack_is_mended() {
    if !needs::overlay() {
        return;
    }
    let mut runner = TestRunner::new(random::config());
    let result = runner.run(&(random::stack(), any::<u64>()), |(layers, seed)| {
        let Some(stack) = unpackable(&layers.0) else { return Ok(()) };
        let before: Vec<_> = stack.trees().iter().map(Tree::list).collect();
        let mut random = Random(seed | 1);
        for _ in 0..1 + random.below(6) {
            let number = random.below(stack.blobs.len());
            random.harm(&stack.at(number, ""));
        }
        let _ = stack.restore();
        let (found, _) = stack.audit();
        let fail = |what: String| Err(TestCaseError::fail(what));
        let real: Vec<_> = found.iter().filter(|line| !line.starts_with("unexpected ")).collect();
        if !real.is_empty() {
            return fail(format!("found again: {found:#?}"));
        }
        for (was, is) in before.iter().zip(stack.trees()) {
            let is = is.list();
            // Unless something stands there that the layer has no name for.
            let taken = |line: &str| {
                let name = line.split(['/', '<', '=', '-', '|', '%', '#']).next().unwrap_or(line);
                // A directory that only a whiteout in it would need, where a marker at the root hides
                // all there was: nothing tells whether unpack made it.
                let needless = line.ends_with("<ghost>") && is.contains(&format!("{name}/"));
                needless || found.iter().any(|found| found.split([' ', '/']).nth(1) == Some(name))
            };
            if let Some(lost) = was.iter().find(|line| !is.contains(line) && !taken(line)) {
                return fail(format!("lost {lost}, there is {is:#?}"));
            }
        }
        Ok(())
    });
    match result {
        Ok(()) => {}
        Err(TestError::Fail(reason, (stack, seed))) => {
            panic!("{reason}\nwith seed {seed} for the stack\n{stack:?}")
        }
        Err(abort) => panic!("{abort}"),
    }
}

/// Without the entries that an unpack refuses.
fn unpackable(layers: &[Vec<Entry>]) -> Option<Stack> {
    let mut layers = layers.to_vec();
    let base = tempfile::Builder::new().prefix("ocilayer-restore-").tempdir().expect("tempdir");
    let mut stack = Stack { base, blobs: Vec::new(), mode: Mode::Overlay };
    for (number, entries) in layers.iter_mut().enumerate() {
        stack.blobs.push(Vec::new());
        loop {
            stack.blobs[number] = archive(entries);
            let _ = fs::remove_dir_all(stack.at(number, ""));
            fs::create_dir(stack.at(number, "")).expect("mkdir");
            match stack.unpack(number) {
                Ok(_) => break,
                Err(error) => entries.remove(error.place()?.entry as usize),
            };
        }
    }
    Some(stack)
}

struct Random(u64);

impl Random {
    fn below(&mut self, most: usize) -> usize {
        // Xorshift.
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % most as u64) as usize
    }

    /// Does something to some name below a directory.
    fn harm(&mut self, root: &Path) {
        let mut all = Vec::new();
        let mut todo = vec![root.to_owned()];
        while let Some(dir) = todo.pop() {
            for entry in fs::read_dir(dir).expect("readdir") {
                let entry = entry.expect("readdir");
                all.push(entry.path());
                if entry.file_type().expect("type").is_dir() {
                    todo.push(entry.path());
                }
            }
        }
        all.sort();
        if all.is_empty() {
            return;
        }
        let path = all[self.below(all.len())].clone();
        let is_dir = fs::symlink_metadata(&path).expect("stat").is_dir();
        let is_file = fs::symlink_metadata(&path).expect("stat").is_file();
        let remove = || {
            if is_dir { fs::remove_dir_all(&path) } else { fs::remove_file(&path) }
                .expect("remove");
        };
        match self.below(9) {
            0 => remove(),
            1 if is_file => cut(&path, 0),
            2 if is_file => {
                let content = fs::read(&path).expect("read");
                remove();
                fs::write(&path, content).expect("write");
            }
            3 if is_file || is_dir => {
                fs::set_permissions(&path, PermissionsExt::from_mode(0o711)).expect("chmod");
            }
            4 if is_dir => set_xattr(&path, "trusted.overlay.opaque", b"y"),
            5 if is_dir => {
                rustix::fs::removexattr(&path, "trusted.overlay.opaque").unwrap_or_default();
            }
            6 => {
                remove();
                symlink("/etc/shadow", &path).expect("symlink");
            }
            7 => {
                remove();
                fs::create_dir_all(path.join("x/y")).expect("mkdir");
            }
            8 => {
                remove();
                node(&path, rustix::fs::FileType::CharacterDevice, 0);
            }
            _ => {}
        }
    }
}
