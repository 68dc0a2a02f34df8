// SPDX-License-Identifier: Apache-2.0
//! Parents that a mount has written, and not a layer: what was renamed in one says by an xattr where
//! the layers below it have their part. The merged view is the one that directory mode makes in a
//! mount of the same parents.

mod common;

use std::ffi::OsStr;
use std::fs;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use common::archive::{Entry, archive, layer};
use common::overlay::Overlay;
use common::tree::{Private, Tree};
use common::{needs, random};
use ocilayer::{
    AuditLayer, AuditObserver, AuditOptions, Damage, Errno, Error, Lowers, Mode, Observer, Options,
    Report, Source, audit, scan, unpack, unpack_with,
};
use proptest::prelude::*;
use proptest::test_runner::{TestCaseError, TestError, TestRunner};
use rustix::fs::{XattrFlags, setxattr};
use tempfile::TempDir;

/// What somebody did in one mount after the other, and layers to try on what that left.
struct Case {
    name: &'static str,
    mounts: &'static [fn(&Path)],
    layers: &'static [&'static str],
}

fn rename(root: &Path, from: &str, to: &str) {
    fs::rename(root.join(from), root.join(to)).unwrap();
}

const CASES: &[Case] = &[
    Case {
        name: "renamed in its directory",
        mounts: &[|root| rename(root, "srv/www", "srv/site")],
        layers: &[
            "srv/.wh.site",
            "srv/.wh.www",
            "srv/site/.wh.index",
            "srv/site/.wh.missing",
            "srv/site/img/.wh.logo",
            "srv/site/.wh..wh..opq srv/site/new=1",
            "srv/site/img/.wh..wh..opq",
            "srv/site/img/new=1",
            "srv/site=file",
            "srv/site/ srv/www/x=1",
            "hard=>srv/site/index",
            "hard=>srv/site/link",
            "srv/site/link/new=1",
            "hard=>srv/www/index",
            ".wh.srv srv/site/x=1",
            ".wh..wh..opq",
        ],
    },
    Case {
        name: "moved to another directory",
        mounts: &[|root| rename(root, "srv/www", "etc/moved")],
        layers: &[
            "etc/.wh.moved",
            "etc/moved/.wh.index",
            "etc/moved/img/.wh.logo",
            "etc/moved/img/deep/.wh.file",
            "etc/moved/.wh..wh..opq",
            "etc/moved/img/new=1",
            "hard=>etc/moved/img/logo",
            "srv/www/x=1",
            "srv/www/.wh.index",
            "srv/.wh..wh..opq etc/moved/x=1",
        ],
    },
    Case {
        name: "its place was taken",
        mounts: &[|root| {
            rename(root, "srv/www", "old");
            fs::create_dir(root.join("srv/www")).unwrap();
            fs::write(root.join("srv/www/index"), "new").unwrap();
        }],
        layers: &[
            "old/.wh.index",
            "srv/www/.wh.index",
            "srv/www/img/x=1",
            "srv/.wh.www",
            ".wh.old",
        ],
    },
    Case {
        name: "renamed in one mount and moved in the next",
        mounts: &[
            |root| rename(root, "srv", "serve"),
            |root| rename(root, "serve/www", "etc/w"),
            |root| fs::write(root.join("etc/w/img/third"), "3").unwrap(),
        ],
        layers: &[
            "etc/w/.wh.index",
            "etc/w/img/.wh.logo",
            "etc/w/img/.wh.third",
            "serve/.wh.log",
            "serve/www/x=1",
            "etc/w/img/deep/new=1 hard=>etc/w/img/logo",
            "etc/.wh.w",
        ],
    },
    Case {
        name: "moved, and then all above it renamed",
        mounts: &[
            |root| rename(root, "srv/www", "etc/app/www"),
            |root| rename(root, "etc/app", "etc/program"),
            |root| rename(root, "etc", "conf"),
            |root| fs::remove_file(root.join("conf/program/www/index")).unwrap(),
        ],
        layers: &[
            "conf/program/www/.wh.index",
            "conf/program/www/img/.wh.logo",
            "conf/program/.wh.x",
            "conf/program/www/img/deep/.wh..wh..opq conf/program/www/img/deep/new=1",
            "hard=>conf/program/www/img/logo",
            "conf/.wh.program",
        ],
    },
    Case {
        name: "moved up and down again",
        mounts: &[
            |root| rename(root, "srv/www/img", "img"),
            |root| rename(root, "img", "srv/img"),
            |root| rename(root, "srv/img", "srv/www/img"),
        ],
        layers: &["srv/www/img/.wh.logo", "srv/www/img/deep/.wh.file", "srv/www/.wh.img"],
    },
    Case {
        name: "emptied, and then renamed",
        mounts: &[
            |root| {
                fs::remove_dir_all(root.join("srv/www/img")).unwrap();
                fs::create_dir(root.join("srv/www/img")).unwrap();
                fs::write(root.join("srv/www/img/new"), "1").unwrap();
            },
            |root| rename(root, "srv/www", "srv/site"),
            |root| rename(root, "srv/site/img", "img"),
        ],
        layers: &["img/.wh.new", "img/.wh.logo", ".wh.img", "srv/site/img/x=1", "srv/.wh.site"],
    },
    Case {
        name: "moved out of a directory that was replaced",
        mounts: &[|root| {
            rename(root, "srv/www", "kept");
            fs::remove_dir_all(root.join("srv")).unwrap();
            fs::create_dir(root.join("srv")).unwrap();
            fs::create_dir(root.join("srv/www")).unwrap();
        }],
        layers: &["kept/img/.wh.logo", "srv/.wh.www", "srv/www/img/x=1", "srv/www/.wh.index"],
    },
];

/// Lower directories, topmost last, and where the mounts are made.
struct Place {
    base: TempDir,
    layers: Vec<PathBuf>,
}

impl Place {
    fn new() -> Place {
        let place = Place::bare();
        let root = place.layers[0].clone();
        for dir in ["etc/app", "srv/www/img/deep"] {
            fs::create_dir_all(root.join(dir)).unwrap();
        }
        for file in ["etc/conf", "etc/app/x", "srv/log", "srv/www/index", "srv/www/img/logo"] {
            fs::write(root.join(file), file).unwrap();
        }
        fs::write(root.join("srv/www/img/deep/file"), "").unwrap();
        symlink("img/deep", root.join("srv/www/link")).unwrap();
        // An attribute that shows whose copy is looked at.
        fs::set_permissions(root.join("srv/www"), fs::Permissions::from_mode(0o711)).unwrap();
        chown(root.join("srv/www/img"), Some(7), Some(8)).unwrap();
        place
    }

    fn bare() -> Place {
        let base = tempfile::Builder::new().prefix("ocilayer-parents-").tempdir().unwrap();
        let root = base.path().join("0");
        fs::create_dir(&root).unwrap();
        Place { base, layers: vec![root] }
    }

    fn lowers(&self) -> Vec<PathBuf> {
        self.layers.iter().rev().cloned().collect()
    }

    fn mount(&mut self, options: &str, act: impl Fn(&Path)) {
        let base = self.base.path().join(format!("mount{}", self.layers.len()));
        let mount = writable(&base, &self.lowers(), options);
        act(&mount.path());
        drop(mount);
        self.layers.push(base.join("upper"));
    }

    fn overlay_mode(&self, root: &Path, mode: Mode, blob: &[u8]) -> Result<Report, Error> {
        fs::create_dir(root).unwrap();
        let options = Options::default().mode(mode).lowers(Lowers::Known(self.lowers()));
        unpack(Source::memory(blob), root, &options)
    }

    /// A layer in both modes, on ever new upper directories.
    fn check(&self, case: &str, text: &str) {
        let case = format!("{case}: {text}");
        let blob = archive(&layer(text));
        let place = TempDir::new_in(self.base.path()).unwrap();
        let root = place.path().join("root");
        let ours = self.overlay_mode(&root, Mode::Overlay, &blob);
        let mount = writable(&place.path().join("mounted"), &self.lowers(), ",redirect_dir=on");
        let theirs = unpack(Source::memory(&blob), mount.path(), &Options::default());
        if theirs.is_err() || ours.is_err() {
            let kinds = [&ours, &theirs].map(|it| it.as_ref().map(drop).map_err(Error::kind));
            assert_eq!(kinds[0], kinds[1], "{case}: {ours:?} and {theirs:?}");
            return;
        }
        let merged = Overlay::mount(&[vec![root.clone()], self.lowers()].concat(), false).unwrap();
        let differences = tree(&merged).differences(&tree(&mount), "overlay mode", "in the mount");
        assert!(differences.is_empty(), "{case}:\n{}", differences.join("\n"));
        drop((merged, mount));
        self.audit(&case, &root, &blob);
    }

    /// The parents came without layers, so only what is said of the topmost one counts.
    fn audit(&self, case: &str, root: &Path, blob: &[u8]) {
        let empty = archive(&[]);
        let mut layers: Vec<AuditLayer<'_>> =
            self.layers.iter().map(|dir| AuditLayer::new(Source::memory(&empty), dir)).collect();
        layers.push(AuditLayer::new(Source::memory(blob), root));
        let mut damages = Damages { of: root.to_owned(), seen: Vec::new() };
        audit(layers, &AuditOptions::default(), &mut damages).unwrap();
        assert!(damages.seen.is_empty(), "{case}: audit: {:#?}", damages.seen);
    }
}

struct Damages {
    of: PathBuf,
    seen: Vec<String>,
}

impl AuditObserver for Damages {
    fn damage(&mut self, damage: &Damage) -> Result<(), Errno> {
        if damage.directory == self.of {
            self.seen.push(format!("{damage:?}"));
        }
        Ok(())
    }
}

fn writable(base: &Path, lowers: &[PathBuf], options: &str) -> Overlay {
    for name in ["upper", "work"] {
        fs::create_dir_all(base.join(name)).unwrap();
    }
    Overlay::over(lowers, base, options).unwrap()
}

/// Without hardlinks, which come apart in a mount when one of them changes, and without the root, whose
/// attributes are the upper directory's.
fn tree(mount: &Overlay) -> Tree {
    let mut tree = Tree::of_fd(mount.as_fd(), Private::Hide, &[]).without_ghosts();
    tree.0.values_mut().for_each(|node| node.linked = None);
    tree.0.remove(&b""[..]);
    tree
}

fn set(path: PathBuf, name: &str, value: &[u8]) {
    setxattr(path, name, value, XattrFlags::empty()).unwrap();
}

#[test]
fn renamed_directories_are_followed_as_the_kernel_does() {
    if !needs::overlay() {
        return;
    }
    for case in CASES {
        let mut place = Place::new();
        for act in case.mounts {
            place.mount(",redirect_dir=on", act);
        }
        for text in case.layers {
            place.check(case.name, text);
        }
    }
}

#[test]
fn what_changed_below_a_renamed_directory_is_seen() {
    if !needs::overlay() {
        return;
    }
    for case in CASES {
        let mut place = Place::new();
        for act in case.mounts {
            place.mount(",redirect_dir=on", act);
            // A mount after each, that changes something everywhere and renames nothing.
            place.mount(",redirect_dir=on", |root| {
                for name in Tree::of(root).0.keys() {
                    let path = root.join(OsStr::from_bytes(name));
                    if path.is_dir() && !path.is_symlink() {
                        fs::write(path.join("added"), "added").unwrap();
                    }
                }
            });
        }
        for text in case.layers {
            place.check(case.name, text);
        }
    }
}

#[test]
fn files_whose_data_are_elsewhere_are_refused_only_where_the_data_are_needed() {
    if !needs::overlay() {
        return;
    }
    let mut place = Place::new();
    place.mount(",redirect_dir=on,metacopy=on", |root| {
        chown(root.join("srv/log"), Some(5), Some(5)).unwrap();
        rename(root, "srv", "serve");
    });
    for (number, text) in ["serve/.wh.log", "serve/log=new", "serve/x=1"].iter().enumerate() {
        let root = place.base.path().join(format!("root{number}"));
        place.overlay_mode(&root, Mode::Overlay, &archive(&layer(text))).unwrap();
    }
    let root = place.base.path().join("refused");
    let blob = archive(&layer("hard=>serve/log"));
    let error = place.overlay_mode(&root, Mode::Overlay, &blob).unwrap_err();
    assert_eq!(error.errno(), Errno::OPNOTSUPP, "{error}");
    assert!(error.to_string().contains("metacopy"), "{error}");
}

#[test]
fn redirects_that_no_kernel_follows_are_refused() {
    if !needs::overlay() {
        return;
    }
    let long = vec![b'x'; 5_000];
    let table: [(&str, Mode, &[u8], Errno); 9] = [
        ("trusted.overlay.redirect", Mode::Overlay, b"", Errno::INVAL),
        ("trusted.overlay.redirect", Mode::Overlay, b".", Errno::INVAL),
        ("trusted.overlay.redirect", Mode::Overlay, b"..", Errno::INVAL),
        ("trusted.overlay.redirect", Mode::Overlay, b"a/b", Errno::INVAL),
        ("trusted.overlay.redirect", Mode::Overlay, b"/", Errno::INVAL),
        ("trusted.overlay.redirect", Mode::Overlay, b"/a//b", Errno::INVAL),
        ("trusted.overlay.redirect", Mode::Overlay, b"/../etc", Errno::INVAL),
        ("trusted.overlay.redirect", Mode::Overlay, &long, Errno::NAMETOOLONG),
        ("user.overlay.redirect", Mode::OverlayUserxattr, b"www", Errno::PERM),
    ];
    for (name, mode, value, errno) in table {
        let mut place = Place::new();
        let upper = place.base.path().join("1");
        fs::create_dir_all(upper.join("srv/site")).unwrap();
        // The file system may hold no value of that size.
        if setxattr(upper.join("srv/site"), name, value, XattrFlags::empty()).is_err() {
            assert!(value.len() > 4_000, "{name}");
            continue;
        }
        place.layers.push(upper);
        let root = place.base.path().join("root");
        let blob = archive(&layer("srv/site/.wh.index"));
        let error = place.overlay_mode(&root, mode, &blob).unwrap_err();
        let value = value.escape_ascii();
        assert_eq!(error.errno(), errno, "{name} {value}: {error}");
        assert!(error.to_string().contains("overlay.redirect"), "{name} {value}: {error}");
        assert!(error.to_string().contains("srv/site"), "{name} {value}: {error}");
        // The other kind of mount does not look at it, nor does any at the bottom layer.
        let other = match mode {
            Mode::OverlayUserxattr => Mode::Overlay,
            _ => Mode::OverlayUserxattr,
        };
        place.overlay_mode(&place.base.path().join("other"), other, &blob).unwrap();
        place.layers.remove(0);
        place.overlay_mode(&place.base.path().join("bottom"), mode, &blob).unwrap();
    }
}

#[test]
fn a_redirect_in_the_root_itself_is_refused() {
    if !needs::overlay() {
        return;
    }
    let mut place = Place::new();
    place.mount(",redirect_dir=on", |root| rename(root, "srv", "serve"));
    let root = place.layers.pop().unwrap();
    let options = Options::default().mode(Mode::Overlay).lowers(Lowers::Known(place.lowers()));
    let blob = archive(&layer("serve/.wh.log"));
    let error = unpack(Source::memory(&blob), &root, &options).unwrap_err();
    assert_eq!(error.errno(), Errno::OPNOTSUPP, "{error}");
    assert!(error.to_string().contains("redirect"), "{error}");
}

/// Kernels from 6.7 take an empty file for a whiteout if it has the xattr; before, none does.
#[test]
fn whiteouts_that_are_files_hide_what_is_below() {
    if !needs::overlay() {
        return;
    }
    for mode in [Mode::Overlay, Mode::OverlayUserxattr] {
        let namespace = if mode == Mode::Overlay { "trusted" } else { "user" };
        let mut place = Place::new();
        let upper = place.base.path().join("1");
        fs::create_dir_all(upper.join("srv/www")).unwrap();
        set(upper.join("srv/www"), &format!("{namespace}.overlay.opaque"), b"x");
        for (name, data) in [("index", ""), ("img", ""), ("full", "1")] {
            fs::write(upper.join("srv/www").join(name), data).unwrap();
            set(upper.join("srv/www").join(name), &format!("{namespace}.overlay.whiteout"), b"y");
        }
        place.layers.push(upper);
        let run = |name: &str, text: &str| {
            let root = place.base.path().join(name);
            place.overlay_mode(&root, mode, &archive(&layer(text))).map(|_| Tree::of(&root))
        };
        // There is nothing to hide, and a new directory shows nothing.
        assert!(run("a", "srv/www/.wh.index").unwrap().get("srv/www/index").is_none());
        assert!(run("b", "srv/www/.wh.full").unwrap().get("srv/www/full").is_some());
        let tree = run("c", "srv/www/img/.wh.logo srv/www/img/x=1").unwrap();
        assert!(tree.get("srv/www/img/logo").is_none());
        let error = run("d", "hard=>srv/www/index").unwrap_err();
        assert!(error.to_string().contains("srv/www/index"), "{error}");
        // In the other kind of mount they are files.
        let other = if mode == Mode::Overlay { Mode::OverlayUserxattr } else { Mode::Overlay };
        let root = place.base.path().join("e");
        place.overlay_mode(&root, other, &archive(&layer("srv/www/.wh.index"))).unwrap();
        assert!(Tree::of(&root).get("srv/www/index").is_some());
    }
}

/// Set in a mount, overlayfs's own xattrs are somebody else's: kernels from 6.7 keep them by other names.
#[test]
fn xattrs_of_a_nested_mount_are_neither_obeyed_nor_copied() {
    if !needs::overlay() {
        return;
    }
    let mut place = Place::new();
    let table: [(&str, &str, &[u8]); 4] = [
        ("srv/www", "opaque", b"y"),
        ("srv/www", "redirect", b"log"),
        ("srv/www/empty", "whiteout", b"y"),
        ("srv/www/file", "metacopy", b""),
    ];
    let escaped = |name: &str| format!("trusted.overlay.overlay.{name}");
    place.mount("", |root| {
        fs::write(root.join("srv/www/file"), "1").unwrap();
        fs::write(root.join("srv/www/empty"), "").unwrap();
        for (path, name, value) in table {
            let name = format!("trusted.overlay.{name}");
            // Older kernels refuse that; then it is written below, by its other name.
            let _ = setxattr(root.join(path), name, value, XattrFlags::empty());
        }
    });
    let upper = place.layers[1].clone();
    for (path, name, value) in table {
        set(upper.join(path), &escaped(name), value);
    }
    // One more mount, which has all of that below it.
    place.mount(",redirect_dir=on,metacopy=on", |root| {
        fs::write(root.join("srv/www/later"), "").unwrap();
    });
    for text in
        ["srv/www/.wh.index srv/www/.wh.empty", "hard=>srv/www/file", "srv/www/img/.wh.logo"]
    {
        place.check("nested", text);
    }
    let root = place.base.path().join("root");
    let blob = archive(&layer("srv/www/.wh.index srv/www/.wh.empty hard=>srv/www/file"));
    place.overlay_mode(&root, Mode::Overlay, &blob).unwrap();
    let tree = Tree::of(&root);
    for whiteout in ["srv/www/index", "srv/www/empty"] {
        assert!(tree.get(whiteout).is_some(), "{whiteout}: {:?}", tree.list());
    }
    for (path, name, _) in table.iter().filter(|(path, ..)| *path != "srv/www/empty") {
        assert_eq!(tree.at(path).xattr(&escaped(name)), None, "{path}");
    }
}

/// Tells the parents when it is asked, and not before.
struct Later {
    lowers: Result<Vec<PathBuf>, Errno>,
    asked: usize,
}

impl Observer for Later {
    fn lowers(&mut self) -> Result<Vec<PathBuf>, Errno> {
        self.asked += 1;
        self.lowers.clone()
    }
}

/// Two directories of one layer, whose parents were known from the beginning and told later.
fn both_ways(layers: &[Vec<Entry>]) -> Result<(), TestCaseError> {
    let place = TempDir::new().unwrap();
    let mut lowers: Vec<PathBuf> = Vec::new();
    for (number, entries) in layers.iter().enumerate() {
        let roots = ["known", "later"].map(|name| place.path().join(format!("{name}-{number}")));
        roots.iter().for_each(|root| fs::create_dir(root).unwrap());
        let blob = archive(entries);
        for threads in [1, 3] {
            let options = Options::default().mode(Mode::Overlay).threads(threads);
            let known = options.clone().lowers(Lowers::Known(lowers.clone()));
            let mut later = Later { lowers: Ok(lowers.clone()), asked: 0 };
            let [one, other] = &roots;
            let first = unpack(Source::memory(&blob), one, &known);
            let options = options.lowers(Lowers::Later);
            let second = unpack_with(Source::memory(&blob), other, &options, &mut later);
            match (first, second) {
                (Ok(_), Ok(_)) => {}
                (Err(first), Err(second)) => {
                    prop_assert_eq!(first.to_string(), second.to_string());
                    return Ok(());
                }
                (first, second) => {
                    return Err(TestCaseError::fail(format!("{first:?}, later {second:?}")));
                }
            }
            prop_assert_eq!(later.asked, 1);
            let differences = Tree::of(one).differences(&Tree::of(other), "known", "later");
            // Times at which a root that no entry describes was changed, and whiteouts were made.
            let time = |line: &&String| line.starts_with("\"\"") || line.contains("ghost");
            let real: Vec<_> = differences.iter().filter(|line| !time(line)).collect();
            prop_assert!(real.is_empty(), "{real:#?}");
            if threads == 1 {
                roots.iter().for_each(|root| {
                    fs::remove_dir_all(root).unwrap();
                    fs::create_dir(root).unwrap();
                });
            }
        }
        lowers.insert(0, roots[0].clone());
    }
    Ok(())
}

#[test]
fn parents_that_are_told_later_make_no_difference() {
    if !needs::overlay() {
        return;
    }
    let mut runner = TestRunner::new(random::config());
    match runner.run(&random::stack(), |stack| both_ways(&stack.0)) {
        Ok(()) => {}
        Err(TestError::Fail(reason, stack)) => panic!("{reason}\nfor the stack\n{stack:?}"),
        Err(abort) => panic!("{abort}"),
    }
}

#[test]
fn parents_that_never_come_end_the_unpack_and_are_for_unpacks_only() {
    if !needs::overlay() {
        return;
    }
    let (place, blob) = (TempDir::new().unwrap(), archive(&layer("a/b=1 a/.wh.c")));
    let options = Options::default().mode(Mode::Overlay).lowers(Lowers::Later);
    for (lowers, errno) in [
        (Err(Errno::TIMEDOUT), Errno::TIMEDOUT),
        (Ok(vec![place.path().join("none")]), Errno::NOENT),
    ] {
        let mut later = Later { lowers, asked: 0 };
        let error = unpack_with(Source::memory(&blob), place.path(), &options, &mut later);
        let error = error.expect_err("no parents");
        assert_eq!((error.errno(), later.asked), (errno, 1), "{error}");
        assert!(error.report().is_some_and(|report| report.partial));
    }
    let directory = options.clone().mode(Mode::Directory);
    let error = unpack(Source::memory(&blob), place.path(), &directory).expect_err("a directory");
    assert_eq!(error.errno(), Errno::INVAL, "{error}");
    let error = scan(Source::memory(&blob), &options, &mut ()).expect_err("a scan");
    assert_eq!(error.errno(), Errno::INVAL, "{error}");
}
