// SPDX-License-Identifier: Apache-2.0
//! Applies a stack of layers in every way that the library has, with a canary beside the root.

use std::fmt;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ocilayer::{Error, Lowers, Mode, Options, Report, Source, unpack};
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};
use tempfile::TempDir;

use crate::common::agree::{self, Below};
use crate::common::archive::{Entry, archive};
use crate::common::overlay::{Overlay, plain};
use crate::common::seccomp::{Openat2, with_openat2};
use crate::common::tree::{Private, Tree};

/// How layers become one tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// All into one directory.
    Directory,
    /// Each into an upper directory of its own, with the lower ones known.
    Overlay,
    /// The same without knowing the lower ones.
    OverlayBlind,
    Userxattr,
    UserxattrBlind,
}

use Way::{Directory, OverlayBlind, Userxattr, UserxattrBlind};

pub const EVERY: &[Way] = &[Directory, Way::Overlay, OverlayBlind, Userxattr, UserxattrBlind];
/// Where the library sees the parents.
pub const KNOWING: &[Way] = &[Directory, Way::Overlay, Userxattr];
pub const OVERLAYS: &[Way] = &[Way::Overlay, OverlayBlind, Userxattr, UserxattrBlind];
pub const KNOWING_OVERLAYS: &[Way] = &[Way::Overlay, Userxattr];
pub const BLIND: &[Way] = &[OverlayBlind, UserxattrBlind];

impl Way {
    pub fn mode(self) -> Mode {
        match self {
            Directory => Mode::Directory,
            Way::Overlay | OverlayBlind => Mode::Overlay,
            Userxattr | UserxattrBlind => Mode::OverlayUserxattr,
        }
    }

    pub fn blind(self) -> bool {
        BLIND.contains(&self)
    }

    pub fn overlay(self) -> bool {
        self != Directory
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setting {
    pub way: Way,
    pub threads: usize,
    pub openat2: Openat2,
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.threads == 1 { "" } else { "s" };
        write!(f, "{:?}, {} thread{plural}, openat2 {:?}", self.way, self.threads, self.openat2)
    }
}

/// One setting for each way.
pub fn plain_settings(ways: &[Way]) -> Vec<Setting> {
    let openat2 = Openat2::Works;
    ways.iter().map(|way| Setting { way: *way, threads: 1, openat2 }).collect()
}

/// Each way with one thread and several, with openat2 and without.
pub fn settings(ways: &[Way]) -> Vec<Setting> {
    let kinds = [
        (1, Openat2::Works),
        (2, Openat2::Works),
        (8, Openat2::Works),
        (1, Openat2::Enosys),
        (2, Openat2::Eperm),
    ];
    let all = |way: &Way| kinds.map(|(threads, openat2)| Setting { way: *way, threads, openat2 });
    ways.iter().flat_map(all).collect()
}

/// A directory with the roots of a test and a canary beside them.
pub struct Scene {
    base: TempDir,
    before: Tree,
}

/// Stands for the absolute path of the canary directory in names and link targets.
pub const CANARY: &[u8] = b"/CANARY";

/// A scene has at most this many roots.
const ROOTS: usize = 8;

impl Scene {
    pub fn new() -> Scene {
        let base = tempfile::Builder::new().prefix("ocilayer-test-").tempdir().expect("tempdir");
        let canary = base.path().join("canary");
        std::fs::create_dir_all(canary.join("dir/below")).expect("mkdir");
        std::fs::write(canary.join("file"), "canary").expect("write");
        std::fs::write(canary.join("dir/below/file"), "canary").expect("write");
        std::fs::write(canary.join("dir/x"), "canary").expect("write");
        symlink("file", canary.join("link")).expect("symlink");
        symlink("../root0", canary.join("dir/back")).expect("symlink");
        std::fs::hard_link(canary.join("file"), canary.join("dir/hard")).expect("link");
        std::fs::set_permissions(canary.join("dir"), PermissionsExt::from_mode(0o751))
            .expect("chmod");
        set_mtime(&canary.join("dir"), MTIME_CANARY);
        set_mtime(&canary, MTIME_CANARY);
        std::fs::set_permissions(base.path(), PermissionsExt::from_mode(0o711)).expect("chmod");
        for number in 0..ROOTS {
            std::fs::create_dir(base.path().join(format!("root{number}"))).expect("mkdir");
        }
        set_mtime(base.path(), MTIME_CANARY);
        let before = Tree::beside(base.path(), &Scene::roots());
        Scene { base, before }
    }

    fn roots() -> Vec<PathBuf> {
        (0..ROOTS).map(|number| PathBuf::from(format!("root{number}"))).collect()
    }

    pub fn base(&self) -> &Path {
        self.base.path()
    }

    pub fn canary(&self) -> PathBuf {
        self.base.path().join("canary")
    }

    pub fn root(&self, number: usize) -> PathBuf {
        self.base.path().join(format!("root{number}"))
    }

    /// Names and targets that begin with [`CANARY`] now mean this scene's.
    pub fn aim(&self, entries: &[Entry]) -> Vec<Entry> {
        let canary = self.canary();
        let aim = |bytes: &[u8]| match bytes.strip_prefix(CANARY) {
            Some(rest) => [canary.as_os_str().as_bytes(), rest].concat(),
            None => bytes.to_vec(),
        };
        let aimed = |entry: &Entry| Entry {
            name: aim(&entry.name),
            link: aim(&entry.link),
            ..entry.clone()
        };
        entries.iter().map(aimed).collect()
    }

    /// What changed beside the roots, a line each.
    pub fn damage(&self) -> Vec<String> {
        let now = Tree::beside(self.base.path(), &Scene::roots());
        self.before.differences(&now, "before", "after")
    }

    #[track_caller]
    pub fn assert_untouched(&self) {
        let damage = self.damage();
        assert!(damage.is_empty(), "changed outside the root:\n{}", damage.join("\n"));
    }
}

const MTIME_CANARY: i64 = 1_234_567_890;
/// Roots look like this before anything is unpacked.
pub const MTIME_ROOT: i64 = 1_600_000_000;

pub fn set_mtime(path: &Path, seconds: i64) {
    let time = Timespec { tv_sec: seconds, tv_nsec: 0 };
    let times = Timestamps { last_access: time, last_modification: time };
    utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).expect("utimensat");
}

/// What became of a stack.
pub struct Outcome {
    pub setting: Setting,
    pub reports: Vec<Report>,
    /// The layer that failed, and how; those above it were not tried.
    pub failure: Option<(usize, Error)>,
    /// The merged tree: after a failure in an overlay mode, without the layer that failed.
    pub tree: Tree,
    pub scene: Scene,
    /// The layers that were applied.
    pub blobs: Vec<Vec<u8>>,
    /// Upper directories of layers that others were put on, as they were before.
    lowers: Vec<Tree>,
}

impl Outcome {
    /// What changed outside the root that was unpacked into, lower directories included.
    pub fn damage(&self) -> Vec<String> {
        let mut damage = self.scene.damage();
        for (layer, before) in self.lowers.iter().enumerate() {
            let now = Tree::of(&self.scene.root(layer));
            damage.extend(before.differences(&now, "lower before", "lower after"));
        }
        damage
    }

    /// The upper directory of a layer as it is on disk.
    pub fn upper(&self, layer: usize) -> Tree {
        assert!(self.setting.way.overlay());
        Tree::of(&self.scene.root(layer))
    }

    #[track_caller]
    pub fn assert_applied(&self) {
        if let Some((layer, error)) = &self.failure {
            panic!("layer {layer} failed: {error}");
        }
    }
}

pub fn apply(stack: &[Vec<Entry>], setting: Setting) -> Outcome {
    apply_with(stack, setting, &|_| {})
}

/// `adjust` may change the options of every layer.
pub fn apply_with(
    stack: &[Vec<Entry>],
    setting: Setting,
    adjust: &(dyn Fn(&mut Options) + std::marker::Sync),
) -> Outcome {
    let outcome = apply_blobs(stack, setting, adjust, &|_, archive| archive);
    let way = setting.way;
    if outcome.failure.is_none() && way.overlay() && !way.blind() {
        let roots = (0..).map(|layer| outcome.scene.root(layer));
        let layers: Vec<_> = outcome.blobs.iter().zip(roots).collect();
        let mut options = Options::default().mode(way.mode());
        adjust(&mut options);
        agree::audited(&layers, &options, &outcome.reports);
    }
    outcome
}

/// `compress` makes of a layer's number and its archive the blob that is unpacked.
pub fn apply_blobs(
    stack: &[Vec<Entry>],
    setting: Setting,
    adjust: &(dyn Fn(&mut Options) + std::marker::Sync),
    compress: &dyn Fn(usize, Vec<u8>) -> Vec<u8>,
) -> Outcome {
    let scene = Scene::new();
    let way = setting.way;
    let mut reports = Vec::new();
    let mut failure = None;
    let mut lowers_before = Vec::new();
    let mut blobs = Vec::new();
    for (layer, entries) in stack.iter().enumerate() {
        let root = scene.root(if way.overlay() { layer } else { 0 });
        if way.overlay() || layer == 0 {
            prepare_root(&root, layer, way);
        }
        let lowers = (0..layer).rev().map(|lower| scene.root(lower)).collect();
        let mut options = Options::default().mode(way.mode()).threads(setting.threads);
        if way.overlay() && !way.blind() {
            options.lowers = Lowers::Known(lowers);
        }
        adjust(&mut options);
        let blob = compress(layer, archive(&scene.aim(entries)));
        let result =
            with_openat2(setting.openat2, || unpack(Source::memory(&blob), &root, &options));
        let below = if layer == 0 { Below::Nothing } else { Below::Something };
        agree::check(&blob, &options, below, &result);
        match result {
            Ok(report) => reports.push(report),
            Err(error) => {
                failure = Some((layer, error));
                break;
            }
        }
        if way.overlay() {
            lowers_before.push(Tree::of(&root));
        }
        blobs.push(blob);
    }
    let tree = merged(&scene, way, reports.len());
    Outcome { setting, reports, failure, tree, scene, blobs, lowers: lowers_before }
}

/// Upper directories look different from the bottom one where the library knows better than to
/// leave them so.
fn prepare_root(root: &Path, layer: usize, way: Way) {
    let odd = layer > 0 && !way.blind();
    let mode = if odd { 0o700 } else { 0o755 };
    std::fs::set_permissions(root, PermissionsExt::from_mode(mode)).expect("chmod");
    if odd {
        // A user namespace may not have this owner; the mode and time are odd enough then.
        let _ = lchown(root, Some(7), Some(7));
    }
    set_mtime(root, if odd { MTIME_ROOT + 1 } else { MTIME_ROOT });
}

fn merged(scene: &Scene, way: Way, layers: usize) -> Tree {
    let private = Private::Hide;
    if !way.overlay() || layers < 2 {
        // A single layer is read as it is, so that a whiteout in it is seen.
        let tree = Tree::of_fd(plain(&scene.root(0)).as_fd(), private, &[]);
        return if way.blind() { tree.without_ghosts() } else { tree };
    }
    let layers: Vec<PathBuf> = (0..layers).rev().map(|layer| scene.root(layer)).collect();
    let userxattr = way.mode() == Mode::OverlayUserxattr;
    let mount = Overlay::mount(&layers, userxattr).expect("overlay mount");
    let tree = Tree::of_fd(mount.as_fd(), private, &[]);
    // A whiteout that hides nothing is listed by its directory; who doesn't know the parents
    // cannot know that.
    if way.blind() { tree.without_ghosts() } else { tree }
}

/// Runs `work` and ends the process, naming the test, when it hangs: a hang would otherwise only
/// show as a suite that never ends.
pub fn watched<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let (done, wait) = std::sync::mpsc::channel::<()>();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            use std::sync::mpsc::RecvTimeoutError::Timeout;
            if wait.recv_timeout(HANG) == Err(Timeout) {
                eprintln!("{what}: hangs");
                std::process::abort();
            }
        });
        let value = work();
        drop(done);
        value
    })
}

/// Far beyond what a tiny layer takes on a loaded machine.
const HANG: Duration = Duration::from_secs(120);
