// SPDX-License-Identifier: Apache-2.0
//! Damage done to unpacked layers is found, listed and mended, and nothing else is called damage.

mod common;

use std::ffi::CString;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use common::archive::{self, archive, layer};
use common::child::is_child;
use common::overlay::Overlay;
use common::runner::{Setting, Way, apply, apply_with};
use common::seccomp::Openat2;
use common::{memory, needs};
use ocilayer::{
    AuditLayer, AuditObserver, AuditOptions, AuditReport, Damage, DamageKind, Devices, Errno,
    ErrorKind, IdRange, Lowers, Mode, Options, Owners, Source, audit, audit_directories,
    overlay_mounts, unpack,
};
use rustix::fs::{XattrFlags, setxattr};
use tempfile::TempDir;

/// The field case: one directory in each of five layers, opaque in the second.
const FIELD_CASE: [&str; 5] = [
    "srv/ srv/app/ srv/app/one=1",
    "srv/ srv/app/ srv/app/.wh..wh..opq srv/app/two=2 etc/ etc/conf=2",
    "srv/ srv/app/ srv/app/three=3 etc/ etc/.wh.conf",
    "srv/ srv/app/ srv/app/sub/ srv/app/sub/four=4 l->srv/app",
    "srv/ srv/app/ srv/app/five=5 l/six=6 srv/app/.wh.two",
];

struct Stack {
    base: TempDir,
    blobs: Vec<Vec<u8>>,
    userxattr: bool,
}

impl Stack {
    fn unpacked(userxattr: bool) -> Stack {
        Stack::of(&FIELD_CASE, userxattr)
    }

    fn of(layers: &[&str], userxattr: bool) -> Stack {
        let base = tempfile::Builder::new().prefix("ocilayer-audit-").tempdir().expect("tempdir");
        let blobs: Vec<_> = layers.iter().map(|text| archive(&layer(text))).collect();
        let stack = Stack { base, blobs, userxattr };
        for (number, blob) in stack.blobs.iter().enumerate() {
            let directory = stack.directory(number);
            fs::create_dir(&directory).expect("mkdir");
            let lowers = (0..number).rev().map(|below| stack.directory(below)).collect();
            let mode = if userxattr { Mode::OverlayUserxattr } else { Mode::Overlay };
            let options = Options::default().mode(mode).lowers(Lowers::Known(lowers));
            unpack(Source::memory(blob), &directory, &options).expect("unpack");
        }
        stack
    }

    fn directory(&self, number: usize) -> PathBuf {
        self.base.path().join((number + 1).to_string())
    }

    fn options(&self) -> AuditOptions {
        AuditOptions::default().userxattr(self.userxattr)
    }

    fn audit(&self, options: &AuditOptions) -> ocilayer::Result<(Vec<Damage>, AuditReport)> {
        let layers =
            self.blobs.iter().enumerate().map(|(number, blob)| {
                AuditLayer::new(Source::memory(blob), self.directory(number))
            });
        let mut kept = Kept::default();
        let report = audit(layers.collect(), options, &mut kept)?;
        Ok((kept.0, report))
    }

    fn differences(&self) -> Vec<(String, String)> {
        let (damage, _) = self.audit(&self.options()).expect("audit");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(damage.iter().all(|damage| damage.kind == DamageKind::Differs), "{damage:?}");
        damage.iter().map(|damage| (text(&damage.path), text(&damage.detail))).collect()
    }

    fn mark(&self, number: usize, path: &str) {
        let name = if self.userxattr { "user.overlay.opaque" } else { "trusted.overlay.opaque" };
        let path = self.directory(number).join(path);
        setxattr(&path, name, b"y", XattrFlags::empty()).expect("setxattr");
    }

    /// Kinds and paths below the base directory, in the order of the findings.
    fn shown(&self, damage: &[Damage]) -> Vec<String> {
        let shown = |damage: &Damage| {
            let directory = damage.directory.strip_prefix(self.base.path()).expect("below");
            let path = String::from_utf8_lossy(&damage.path);
            format!("{} {}/{path}", damage.kind.describe(), directory.display())
        };
        damage.iter().map(shown).collect()
    }
}

#[derive(Default)]
struct Kept(Vec<Damage>);

impl AuditObserver for Kept {
    fn damage(&mut self, damage: &Damage) -> Result<(), Errno> {
        self.0.push(damage.clone());
        Ok(())
    }
}

#[test]
fn what_the_library_unpacked_is_clean() {
    if !needs::overlay() {
        return;
    }
    for userxattr in [false, true] {
        let stack = Stack::unpacked(userxattr);
        let (damage, report) = stack.audit(&stack.options()).expect("audit");
        assert_eq!(stack.shown(&damage), [""; 0]);
        assert!(report.is_clean() && report.layers == 5);
    }
}

/// Layers of which an entry makes what another one was, deletes or hides.
#[test]
fn what_the_library_unpacked_is_clean_in_whatever_order_it_came() {
    if !needs::overlay() {
        return;
    }
    for stack in [
        // A directory that an entry only implies, after its whiteout and before it.
        &["a/ a/lower=1", ".wh.a a/b/"][..],
        &["a/ a/lower=1", "a/b/ .wh.a"],
        &["a/ a/c/ a/c/lower=1", ".wh.a a/c/b=1"],
        // A directory that a symlink replaces, after something was in it.
        &["b/b->c b->no/where"],
        &["b/b=1 b=2"],
        // Nothing is below a FIFO or a file.
        &["a/b/", "a| a/.wh.b"],
        &["a/b/", "a/.wh.b a=1"],
        // A marker that hides the symlink through which it was reached.
        &["b/", "b/a->../b", "b/a/.wh..wh..opq b/a/x=1"],
    ] {
        let base = tempfile::tempdir().expect("tempdir");
        let blobs: Vec<_> = stack.iter().map(|text| archive(&layer(text))).collect();
        let directory = |number: usize| base.path().join(number.to_string());
        for (number, blob) in blobs.iter().enumerate() {
            fs::create_dir(directory(number)).expect("mkdir");
            let lowers = Lowers::Known((0..number).rev().map(directory).collect());
            let options = Options::default().mode(Mode::Overlay).lowers(lowers);
            unpack(Source::memory(blob), directory(number), &options).expect("unpack");
        }
        let layers = blobs.iter().enumerate();
        let layers = layers.map(|(n, blob)| AuditLayer::new(Source::memory(blob), directory(n)));
        let mut kept = Kept::default();
        let repair = AuditOptions::default().repair(true);
        let report = audit(layers.collect(), &repair, &mut kept).expect("audit");
        assert!(kept.0.is_empty(), "{stack:?}: {:#?}", kept.0);
        assert_eq!((report.repaired, report.whiteouts), (0, 0), "{stack:?}");
    }
}

#[test]
fn what_a_wrong_mark_kept_from_being_deleted_is_deleted_by_the_repair() {
    if !needs::overlay() {
        return;
    }
    let stack = Stack::unpacked(false);
    // As the kernel does it: the mark is there before the whiteout, which then has nothing to hide.
    stack.mark(4, "srv/app");
    let top = stack.directory(4).join("srv/app");
    let time = fs::metadata(&top).and_then(|it| it.modified()).expect("mtime");
    fs::remove_file(top.join("two")).expect("the whiteout");
    let put_back = || fs::File::open(&top).and_then(|it| it.set_modified(time)).expect("mtime");
    put_back();
    let repair = stack.options().repair(true);
    let (damage, report) = stack.audit(&repair).expect("audit");
    let shown = stack.shown(&damage);
    assert!(shown.contains(&"missing whiteout 5/srv/app/two".into()), "{shown:?}");
    assert!(!shown.contains(&"lost 5/srv/app/two".into()), "{shown:?}");
    assert_eq!((report.repaired, report.whiteouts), (1, 1));
    assert_eq!(fs::metadata(&top).and_then(|it| it.modified()).expect("mtime"), time);
    let (damage, report) = stack.audit(&repair).expect("second run");
    assert_eq!((stack.shown(&damage), report.whiteouts), (vec![], 0));

    // Without a mark it is an accident of another kind, which is told of and left.
    fs::remove_file(top.join("two")).expect("the whiteout");
    put_back();
    let (damage, report) = stack.audit(&repair).expect("audit");
    assert_eq!(stack.shown(&damage), ["missing whiteout 5/srv/app/two"]);
    assert_eq!((report.repaired, report.whiteouts), (0, 0));
}

#[test]
fn a_directory_that_is_there_for_a_whiteout_only_is_expected_and_its_mark_is_not() {
    if !needs::overlay() {
        return;
    }
    let base = tempfile::Builder::new().prefix("ocilayer-audit-").tempdir().expect("tempdir");
    let texts = ["a/ a/b/ a/b/gone=1 a/b/kept=1", "a/b/.wh.gone a/b/.wh.never"];
    let blobs: Vec<_> = texts.iter().map(|text| archive(&layer(text))).collect();
    let stack = Stack { base, blobs, userxattr: false };
    for number in 0..2 {
        fs::create_dir(stack.directory(number)).expect("mkdir");
        let lowers = (0..number).map(|below| stack.directory(below)).collect();
        let mode = Mode::Overlay;
        let options = Options::default().mode(mode).lowers(Lowers::Known(lowers));
        unpack(Source::memory(&stack.blobs[number]), stack.directory(number), &options)
            .expect("unpack");
    }
    let (damage, _) = stack.audit(&stack.options()).expect("audit");
    assert_eq!(stack.shown(&damage), [""; 0]);
    stack.mark(1, "a/b");
    let (damage, _) = stack.audit(&stack.options()).expect("audit");
    assert_eq!(stack.shown(&damage), ["wrongly opaque 2/a/b", "lost 2/a/b/kept"]);
}

#[test]
fn marks_that_the_defect_made_are_found_with_all_that_they_hide_and_removed() {
    if !needs::overlay() {
        return;
    }
    for userxattr in [false, true] {
        let stack = Stack::unpacked(userxattr);
        for number in 2..5 {
            stack.mark(number, "srv/app");
        }
        let expected = [
            "wrongly opaque 3/srv/app",
            "lost 3/srv/app/two",
            "wrongly opaque 4/srv/app",
            "lost 4/srv/app/three",
            "lost 4/srv/app/two",
            "wrongly opaque 5/srv/app",
            "lost 5/srv/app/sub",
            "lost 5/srv/app/three",
            "lost 5/srv/app/sub/four",
        ];
        let (damage, report) = stack.audit(&stack.options()).expect("audit");
        assert_eq!(stack.shown(&damage), expected);
        assert_eq!((report.count(DamageKind::WronglyOpaque), report.repaired), (3, 0));
        let lost = damage.iter().find(|damage| damage.path == b"srv/app/sub/four").expect("four");
        assert_eq!(lost.detail, stack.directory(3).to_str().expect("path").as_bytes());

        let mended = stack.options().repair(true);
        let (damage, report) = stack.audit(&mended).expect("repair");
        assert_eq!(stack.shown(&damage), expected, "the dry run shows the same");
        assert_eq!(report.repaired, 3);
        let (damage, report) = stack.audit(&mended).expect("second run");
        assert_eq!(stack.shown(&damage), [""; 0]);
        assert_eq!(report.repaired, 0);

        let layers: Vec<_> = (0..5).rev().map(|number| stack.directory(number)).collect();
        let mount = Overlay::mount(&layers, userxattr).expect("mount");
        let mut names: Vec<_> = fs::read_dir(mount.path().join("srv/app"))
            .expect("readdir")
            .map(|entry| entry.expect("entry").file_name().into_string().expect("text"))
            .collect();
        names.sort();
        assert_eq!(names, ["five", "six", "sub", "three"]);
    }
}

#[test]
fn each_kind_of_damage_is_told_of() {
    if !needs::overlay() {
        return;
    }
    let at = |stack: &Stack, path: &str| stack.base.path().join(path);
    type Harm = fn(&dyn Fn(&str) -> PathBuf);
    let table: [(Harm, &[&str]); 12] = [
        (|at| fs::remove_file(at("1/srv/app/one")).unwrap(), &["missing 1/srv/app/one"]),
        (|at| fs::write(at("1/srv/new"), "").unwrap(), &["unexpected 1/srv/new"]),
        (|at| fs::create_dir_all(at("1/new/dir")).unwrap(), &["unexpected 1/new"]),
        (|at| unmark(&at("2/srv/app")), &["not opaque 2/srv/app"]),
        (|at| fs::remove_file(at("3/etc/conf")).unwrap(), &["missing whiteout 3/etc/conf"]),
        (|at| whiteout(&at("4/srv/app/three")), &["unexpected whiteout 4/srv/app/three"]),
        (
            |at| fs::set_permissions(at("2/etc/conf"), PermissionsExt::from_mode(0o600)).unwrap(),
            &["differs 2/etc/conf"],
        ),
        (|at| rewrite(&at("2/etc/conf"), "3"), &["differs 2/etc/conf"]),
        (|at| rewrite(&at("2/etc/conf"), "22"), &["differs 2/etc/conf"]),
        (
            |at| setxattr(at("2/etc/conf"), "user.new", b"1", XattrFlags::empty()).unwrap(),
            &["differs 2/etc/conf"],
        ),
        (
            |at| {
                fs::remove_file(at("2/etc/conf")).unwrap();
                symlink("/etc/shadow", at("2/etc/conf")).unwrap();
            },
            &["differs 2/etc/conf"],
        ),
        // Bookkeeping of overlayfs, and a mark that hides nothing, are no damage.
        (
            |at| {
                for name in ["trusted.overlay.origin", "trusted.overlay.impure"] {
                    setxattr(at("3/srv/app"), name, b"y", XattrFlags::empty()).unwrap();
                }
                let opaque = "trusted.overlay.opaque";
                setxattr(at("4/srv/app/sub"), opaque, b"y", XattrFlags::empty()).unwrap();
            },
            &[],
        ),
    ];
    for (number, (harm, expected)) in table.iter().enumerate() {
        let stack = Stack::unpacked(false);
        harm(&|path| at(&stack, path));
        let (damage, report) = stack.audit(&stack.options()).expect("audit");
        // A change of a directory's content is one of its mtime, too.
        let shown: Vec<_> = stack
            .shown(&damage)
            .into_iter()
            .zip(&damage)
            .filter(|(_, damage)| !damage.detail.starts_with(b"mtime"))
            .map(|(text, _)| text)
            .collect();
        assert_eq!(shown, *expected, "row {number}");
        assert_eq!(report.is_damaged(), !damage.is_empty(), "row {number}");
    }
}

fn unmark(path: &Path) {
    rustix::fs::removexattr(path, "trusted.overlay.opaque").expect("removexattr");
}

fn whiteout(path: &Path) {
    let kind = rustix::fs::FileType::CharacterDevice;
    rustix::fs::mknodat(rustix::fs::CWD, path, kind, 0.into(), 0).expect("mknod");
}

fn rewrite(path: &Path, content: &str) {
    let before = fs::metadata(path).expect("stat").modified().expect("mtime");
    fs::write(path, content).expect("write");
    fs::File::open(path).and_then(|file| file.set_modified(before)).expect("utimens");
}

#[test]
fn without_layers_a_repeated_mark_is_a_suspect_only() {
    if !needs::overlay() {
        return;
    }
    let stack = Stack::unpacked(false);
    stack.mark(3, "srv/app");
    let directories: Vec<_> = (0..5).rev().map(|number| stack.directory(number)).collect();
    let mut kept = Kept::default();
    let report = audit_directories(&directories, &stack.options(), &mut kept).expect("audit");
    assert_eq!(stack.shown(&kept.0), ["suspect mark 4/srv/app"]);
    assert!(!report.is_damaged() && !report.is_clean());
    let mended = stack.options().repair(true);
    assert_eq!(audit_directories(&directories, &mended, &mut ()).expect("repair").repaired, 1);
    assert!(audit_directories(&directories, &mended, &mut ()).expect("again").is_clean());
    let (damage, _) = stack.audit(&stack.options()).expect("audit");
    assert_eq!(stack.shown(&damage), [""; 0], "the mark of the second layer is right, and stays");
}

#[test]
fn what_a_mount_uses_is_not_repaired_unless_asked_for() {
    if !needs::overlay() {
        return;
    }
    let stack = Stack::unpacked(false);
    stack.mark(4, "srv/app");
    // In a mount namespace of its own, so that nothing is left behind whatever happens.
    if std::env::var_os("OCILAYER_AUDIT_MOUNTED").is_none() {
        let own = std::env::current_exe().expect("own path");
        let done = Command::new("unshare")
            .arg("--mount")
            .arg(own)
            .args(["--exact", "what_a_mount_uses_is_not_repaired_unless_asked_for"])
            .env("OCILAYER_AUDIT_MOUNTED", "1")
            .status()
            .expect("unshare");
        assert!(done.success());
        return;
    }
    let point = stack.base.path().join("mnt point");
    fs::create_dir(&point).expect("mkdir");
    let (upper, lower) = (stack.directory(4), stack.directory(3));
    let work = stack.base.path().join("work");
    fs::create_dir(&work).expect("mkdir");
    let data = format!(
        "lowerdir={}:{},upperdir={},workdir={}",
        lower.display(),
        stack.directory(2).display(),
        upper.display(),
        work.display()
    );
    let data = CString::new(data).expect("no NUL");
    let flags = rustix::mount::MountFlags::empty();
    rustix::mount::mount("overlay", &point, "overlay", flags, data.as_c_str()).expect("mount");

    let mounts = overlay_mounts().expect("mountinfo");
    let mount = mounts.iter().find(|mount| mount.mount_point == point).expect("the mount");
    assert_eq!(mount.layers(), [upper, lower, stack.directory(2)]);

    let repair = stack.options().repair(true);
    let refused = stack.audit(&repair).expect_err("in use");
    assert_eq!((refused.kind(), refused.errno()), (ErrorKind::InvalidArgument, Errno::BUSY));
    assert!(refused.to_string().contains("mnt point"), "{refused}");
    assert!(!stack.audit(&stack.options()).expect("a look is free").0.is_empty());
    let live = repair.repair_live(true);
    assert_eq!(stack.audit(&live).expect("repair").1.repaired, 1);
    rustix::mount::unmount(&point, rustix::mount::UnmountFlags::DETACH).expect("umount");
}

#[test]
fn hostile_directories_are_not_followed_out_of_the_stack() {
    if !needs::overlay() {
        return;
    }
    let stack = Stack::unpacked(false);
    let outside = tempfile::tempdir().expect("tempdir");
    fs::create_dir(outside.path().join("app")).expect("mkdir");
    setxattr(outside.path().join("app"), "trusted.overlay.opaque", b"y", XattrFlags::empty())
        .expect("setxattr");
    let srv = stack.directory(4).join("srv");
    fs::remove_dir_all(&srv).expect("rm");
    symlink(outside.path(), &srv).expect("symlink");
    let repair = stack.options().repair(true);
    let (damage, report) = stack.audit(&repair).expect("audit");
    assert!(stack.shown(&damage).contains(&"differs 5/srv".to_owned()), "{damage:?}");
    assert_eq!(report.repaired, 0);
    let mut value = [0; 1];
    let kept = outside.path().join("app");
    assert_eq!(rustix::fs::getxattr(kept, "trusted.overlay.opaque", &mut value[..]), Ok(1));
}

#[test]
fn a_layer_that_cannot_be_read_is_an_error_and_repairs_nothing() {
    if !needs::overlay() {
        return;
    }
    let mut stack = Stack::unpacked(false);
    stack.mark(2, "srv/app");
    stack.blobs[4].truncate(700);
    let repair = stack.options().repair(true);
    assert_eq!(stack.audit(&repair).expect_err("cut").kind(), ErrorKind::Archive);
    stack.blobs[4] = archive(&layer(FIELD_CASE[4]));
    assert_eq!(stack.audit(&repair).expect("whole").1.repaired, 1);
}

struct Refusing;

impl AuditObserver for Refusing {
    fn damage(&mut self, _: &Damage) -> Result<(), Errno> {
        Err(Errno::PIPE)
    }
}

#[test]
fn a_callback_that_fails_ends_the_audit_before_anything_is_repaired() {
    if !needs::overlay() {
        return;
    }
    let stack = Stack::unpacked(false);
    stack.mark(2, "srv/app");
    let layers = stack
        .blobs
        .iter()
        .enumerate()
        .map(|(number, blob)| AuditLayer::new(Source::memory(blob), stack.directory(number)));
    let repair = stack.options().repair(true);
    let error = audit(layers.collect(), &repair, &mut Refusing).expect_err("callback");
    assert_eq!((error.kind(), error.errno()), (ErrorKind::Callback, Errno::PIPE));
    assert_eq!(stack.audit(&repair).expect("audit").1.repaired, 1);
}

#[test]
fn findings_do_not_grow_memory() {
    // Alone in a process: what other tests need would count as well.
    if !is_child("findings_do_not_grow_memory") {
        return;
    }
    const MANY: usize = 100_000;
    let name = |number: usize| format!("{:03}/{number}", number / 1000);
    let base = tempfile::tempdir().expect("tempdir");
    let lower = base.path().join("lower");
    let upper = base.path().join("upper");
    for dir in [&lower, &upper] {
        fs::create_dir(dir).expect("mkdir");
    }
    // The same whiteouts twice: first there is nothing that they would have to hide.
    let missing = || {
        let empty = AuditLayer::new(Source::memory(&[0; 1024]), &lower);
        let source = memory::made_as_read(MANY, |number| archive::whiteout(&name(number)));
        let layers = vec![empty, AuditLayer::new(source, &upper)];
        let report = audit(layers, &AuditOptions::default(), &mut ()).expect("audit");
        report.count(DamageKind::MissingWhiteout) as usize
    };
    assert_eq!(missing(), 0);
    let names = memory::high_water();
    for number in 0..MANY {
        let path = lower.join(name(number));
        if number % 1000 == 0 {
            fs::create_dir(path.parent().expect("parent")).expect("mkdir");
        }
        fs::File::create(path).expect("create");
    }
    assert_eq!(missing(), MANY);
    let both = memory::high_water();
    assert!(both < names + memory::UNDER_WAY, "{names} bytes for names, {both} with findings");
}

/// What overlay mode makes of the layers; the runner audits it.
#[track_caller]
fn assert_clean(stack: &[Vec<archive::Entry>]) {
    let setting = Setting { way: Way::Overlay, threads: 1, openat2: Openat2::Works };
    apply(stack, setting).assert_applied();
}

#[test]
fn hardlinks_are_compared_with_what_their_inode_was_given() {
    if !needs::overlay() {
        return;
    }
    let file = |name: &str, data: &str| archive::file(name).data(data);
    let link = archive::hardlink;
    // The target has another content by now, and other attributes; so has the link.
    assert_clean(&[layer("c h=>c c")]);
    assert_clean(&[vec![file("c", "1"), link("h", "c"), file("c", "2").mode(0o600)]]);
    // Also where the one begins as the other.
    assert_clean(&[vec![file("c", "1"), link("h", "c"), file("c", "12")]]);
    assert_clean(&[vec![file("c", ""), link("h", "c"), file("c", "12")]]);
    assert_clean(&[vec![file("c", "1"), link("h", "c"), link("i", "h"), file("h", "3")]]);
    assert_clean(&[vec![file("c", "1"), link("h", "c"), archive::dir("c"), file("c/x", "")]]);
    assert_clean(&[layer("old=1"), vec![link("h", "old"), file("old", "2"), link("i", "h")]]);
    // A link to a lower symlink leads where that does.
    assert_clean(&[layer("b->../../../c"), layer("a=>b a/a")]);
    // A symlink that a layer between hides leads nowhere.
    assert_clean(&[layer("b/a->a"), layer(".wh..wh..opq"), layer("b/a/a")]);
    // What this layer puts in a symlink's place leads nowhere either.
    assert_clean(&[layer("a->../a"), layer("a%1:3 a/.wh.a")]);
    // Behind what is no directory any more nothing of the lower layers is found.
    assert_clean(&[
        layer("d/ d/a=1 c/ c/l->../d"),
        vec![archive::fifo("c"), archive::whiteout("c/l/a")],
    ]);
    // What was copied up for a link makes way for a directory.
    assert_clean(&[layer("c=1"), layer("a/a=>c c/a/.wh..wh..opq")]);
    // One name's content is another's now: which of them it is told of does not matter.
    let stack = Stack::of(&["c=1 h=>c c=2"], false);
    rewrite(&stack.directory(0).join("h"), "3");
    assert_eq!(stack.differences(), [("h".to_owned(), "content".to_owned())]);
    let stack = Stack::of(&["c=1 h=>c"], false);
    fs::remove_file(stack.directory(0).join("h")).expect("remove");
    fs::copy(stack.directory(0).join("c"), stack.directory(0).join("h")).expect("copy");
    let apart = "no hardlink to its other names".to_owned();
    assert_eq!(stack.differences(), [("h".to_owned(), apart)]);
}

#[test]
fn what_the_file_system_refuses_is_no_damage() {
    if !needs::overlay() {
        return;
    }
    assert_clean(&[vec![archive::file("a").xattr("system.posix_acl_access", "nonsense")]]);
    assert_clean(&[vec![archive::file("a").xattr("btrfs.compression", "zstd")]]);
    assert_clean(&[vec![archive::file("a").mtime(99_999_999_999, 5)]]);
    assert_clean(&[vec![archive::file("a").mtime(-99_999_999_999, 5)]]);
}

/// acl(5): `u::rwx,u:1:r,g::rx,m::rwx,o::-`, and the mode of the entry, 644, says `m::r`. One that says
/// no more than a mode is not kept.
#[test]
fn acls_are_compared_as_the_mode_leaves_them() {
    if !needs::overlay() {
        return;
    }
    let acl = b"\x02\0\0\0\x01\0\x07\0\xff\xff\xff\xff\x02\0\x04\0\x01\0\0\0\
        \x04\0\x05\0\xff\xff\xff\xff\x10\0\x07\0\xff\xff\xff\xff\x20\0\0\0\xff\xff\xff\xff";
    let minimal = b"\x02\0\0\0\x01\0\x07\0\xff\xff\xff\xff\
        \x04\0\x05\0\xff\xff\xff\xff\x20\0\0\0\xff\xff\xff\xff";
    assert_clean(&[vec![archive::file("a").xattr("system.posix_acl_default", [2, 0, 0, 0])]]);
    assert_clean(&[vec![archive::dir("d").xattr("system.posix_acl_default", [2, 0, 0, 0])]]);
    for acl in [&acl[..], minimal] {
        assert_clean(&[vec![archive::file("a").xattr("system.posix_acl_access", acl)]]);
        assert_clean(&[vec![archive::dir("d").xattr("system.posix_acl_access", acl)]]);
        assert_clean(&[vec![archive::dir("d").xattr("system.posix_acl_default", acl)]]);
    }
}

#[test]
fn capabilities_of_the_hosts_root_come_back_in_their_older_form() {
    if !needs::overlay() {
        return;
    }
    let capability = [&[1, 0, 0, 3][..], &[0, 4, 0, 0], &[0; 12], &[0; 4]].concat();
    assert_clean(&[vec![archive::file("ping").xattr("security.capability", capability)]]);
}

#[test]
fn owners_and_devices_are_compared_as_they_were_unpacked() {
    if !needs::overlay() {
        return;
    }
    let range = IdRange { container: 0, host: 100_000, count: 65_536 };
    let map = Owners::Map { uids: vec![range], gids: vec![range] };
    let entries = vec![
        archive::file("d/f").owner(1, 2),
        archive::char_device("d/null", 1, 3),
        archive::hardlink("zero", "d/null"),
    ];
    for (owners, devices) in
        [(map, Devices::Create), (Owners::Ignore, Devices::Create), (Owners::Keep, Devices::Skip)]
    {
        let setting = Setting { way: Way::Overlay, threads: 1, openat2: Openat2::Works };
        let adjust = move |options: &mut Options| {
            (options.owners, options.devices) = (owners.clone(), devices);
        };
        apply_with(std::slice::from_ref(&entries), setting, &adjust).assert_applied();
    }
}
