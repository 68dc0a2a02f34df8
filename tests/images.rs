// SPDX-License-Identifier: Apache-2.0
//! Whole images: into one directory and into layers of a store, as one layer after the other would be.

mod common;

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::archive::{archive, dir, file, gzip, layer, zstd};
use common::overlay::Overlay;
use common::runner::{Setting, Way, apply};
use common::seccomp::Openat2;
use common::stack::Stack;
use common::tree::{Kind, Private, Tree};
use common::{needs, random};
use ocilayer::image::{
    self, Choice, Image, ImageError, ImageObserver, ImageProgress, ImageReport, LayerState,
    LayerStore, Store, UnpackError,
};
use ocilayer::{Cancel, Errno, ErrorKind, Lowers, Mode, Options, Report, Source, Warning, unpack};
use proptest::prelude::*;
use proptest::test_runner::{TestCaseError, TestError, TestRunner};
use rustix::fs::{FlockOperation, flock};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

fn sha256(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

/// An image layout in the making.
struct Layout {
    place: TempDir,
    manifests: Vec<Value>,
}

impl Layout {
    fn new() -> Layout {
        let place = tempfile::Builder::new().prefix("ocilayer-image-").tempdir().unwrap();
        fs::create_dir_all(place.path().join("blobs/sha256")).unwrap();
        fs::write(place.path().join("oci-layout"), "{\"imageLayoutVersion\":\"1.0.0\"}").unwrap();
        Layout { place, manifests: Vec::new() }
    }

    fn blob(&self, bytes: &[u8]) -> Value {
        let digest = sha256(bytes);
        let path = self.place.path().join("blobs").join(digest.replacen(':', "/", 1));
        fs::write(path, bytes).unwrap();
        json!({ "digest": digest, "size": bytes.len() })
    }

    /// A manifest; `change` may make it wrong.
    fn manifest(&self, archives: &[Vec<u8>], change: impl Fn(&mut Value, &mut Value)) -> Value {
        let mut layers = Vec::new();
        for (number, archive) in archives.iter().enumerate() {
            // Mixed, as in real images.
            let (blob, suffix) = match number % 3 {
                0 => (gzip(archive), "+gzip"),
                1 => (zstd(archive), "+zstd"),
                _ => (archive.clone(), ""),
            };
            let mut descriptor = self.blob(&blob);
            descriptor["mediaType"] =
                json!(format!("application/vnd.oci.image.layer.v1.tar{suffix}"));
            layers.push(descriptor);
        }
        let diff_ids: Vec<String> = archives.iter().map(|archive| sha256(archive)).collect();
        let mut config = json!({ "os": "linux", "architecture": "amd64",
            "rootfs": { "type": "layers", "diff_ids": diff_ids } });
        let mut manifest = json!({ "schemaVersion": 2, "layers": layers });
        change(&mut manifest, &mut config);
        let mut own = self.blob(config.to_string().as_bytes());
        own["mediaType"] = json!("application/vnd.oci.image.config.v1+json");
        manifest["config"] = own;
        self.blob(manifest.to_string().as_bytes())
    }

    fn add(&mut self, archives: &[Vec<u8>], annotations: &[(&str, &str)], platform: Option<Value>) {
        let mut descriptor = self.manifest(archives, |_, _| {});
        for (key, value) in annotations {
            descriptor["annotations"][*key] = json!(value);
        }
        if let Some(platform) = platform {
            descriptor["platform"] = platform;
        }
        self.manifests.push(descriptor);
    }

    fn store(&self) -> Store {
        let index = json!({ "schemaVersion": 2, "manifests": self.manifests });
        fs::write(self.place.path().join("index.json"), index.to_string()).unwrap();
        image::open(self.place.path()).unwrap().expect("an image")
    }
}

fn of(archives: &[Vec<u8>]) -> (Layout, Store) {
    let mut layout = Layout::new();
    layout.add(archives, &[], None);
    let store = layout.store();
    (layout, store)
}

fn place(name: &str) -> TempDir {
    tempfile::Builder::new().prefix(&format!("ocilayer-{name}-")).tempdir().unwrap()
}

fn flattened(store: &Store, image: &Image, root: &Path) -> Result<ImageReport, UnpackError> {
    image::unpack(store, image, root, &Options::default(), &mut ())
}

fn layered(store: &Store, image: &Image, to: &Path) -> Result<ImageReport, UnpackError> {
    let options = Options::default().mode(Mode::Overlay);
    let layers = LayerStore::open(to, &options)?;
    image::unpack_layers(store, image, &layers, &options, &mut ())
}

/// What the stacks of layers are that images have.
const STACKS: &[&[&str]] = &[
    &["a=1 d/ d/x=1 d/y=2"],
    &["d/x=1 d/y=2 e/f=1", "d/.wh.x d/z=3", "d/.wh..wh..opq d/new=1"],
    &[
        "etc/@700 etc/a=1 bin->usr/bin usr/bin/ls=ls",
        "etc/b=2 bin/cat=cat",
        "hard=>etc/a etc/.wh.b",
    ],
    &["d/e/f=1 gone/x", ".wh.gone d/e=file", "d/e/ d/e/g=2", ".wh..wh..opq only=1"],
    // Two layers with one diffID.
    &["x=1 d/", ".wh.x y=2", "x=1 d/"],
    &["x=1", ".wh.x x/ x/y=1", ".wh.missing x/.wh.none", "x/y=file x/z/"],
];

fn archives(stack: &[&str]) -> Vec<Vec<u8>> {
    stack.iter().map(|text| archive(&layer(text))).collect()
}

/// The reference: each layer by itself, in order.
fn one_by_one(archives: &[Vec<u8>], root: &Path) {
    for archive in archives {
        unpack(Source::memory(archive), root, &Options::default()).unwrap();
    }
}

fn select(store: &Store) -> Image {
    image::select(store, &Choice::default()).unwrap()
}

#[test]
fn a_directory_is_what_its_layers_make_one_by_one() {
    if !needs::root() {
        return;
    }
    for stack in STACKS {
        let archives = archives(stack);
        let (_layout, store) = of(&archives);
        let (expected, got) = (place("expected"), place("got"));
        one_by_one(&archives, expected.path());
        let report = flattened(&store, &select(&store), got.path()).unwrap();
        let [mut one, mut other] = [expected.path(), got.path()].map(Tree::of);
        // Where no entry describes the root it stays as each directory was made.
        for tree in [&mut one, &mut other] {
            tree.0.remove(&b""[..]);
        }
        let differences = one.differences(&other, "one by one", "the image");
        assert!(differences.is_empty(), "{stack:?}:\n{}", differences.join("\n"));
        assert_eq!(report.layers.len(), stack.len());
        assert_eq!(report.lowerdir(), None);
        for (done, archive) in report.layers.iter().zip(&archives) {
            let own = done.report.as_ref().unwrap().diff_id.as_ref().unwrap();
            assert_eq!(own.to_string(), sha256(archive));
        }
        // Once more: what is there is not merged with.
        let error = flattened(&store, &select(&store), got.path()).unwrap_err();
        assert!(error.to_string().ends_with("is not empty"), "{error}");
    }
}

fn merged(layers: &[PathBuf]) -> Tree {
    let empty = place("empty");
    let all = [vec![empty.path().to_owned()], layers.to_vec()].concat();
    let mount = Overlay::mount(&all, false).unwrap();
    let mut tree = Tree::of_fd(mount.as_fd(), Private::Hide, &[]).without_ghosts();
    tree.0.remove(&b""[..]);
    tree
}

fn paths(report: &ImageReport) -> Vec<PathBuf> {
    report.layers.iter().rev().map(|done| done.path.clone().unwrap()).collect()
}

#[test]
fn layers_of_a_store_are_merged_to_the_directory() {
    if !needs::overlay() {
        return;
    }
    for stack in STACKS {
        let archives = archives(stack);
        let (_layout, store) = of(&archives);
        let (expected, layers) = (place("expected"), place("store"));
        one_by_one(&archives, expected.path());
        let report = layered(&store, &select(&store), layers.path()).unwrap();
        let mut tree = Tree::of(expected.path());
        tree.0.remove(&b""[..]);
        let differences = tree.differences(&merged(&paths(&report)), "one by one", "merged");
        assert!(differences.is_empty(), "{stack:?}:\n{}", differences.join("\n"));
        let lowerdir = report.lowerdir().unwrap();
        assert_eq!(lowerdir.split(':').count(), stack.len(), "{lowerdir}");

        // What is complete is used again, and every layer is as it was alone above its parents.
        let again = layered(&store, &select(&store), layers.path()).unwrap();
        assert!(again.layers.iter().all(|done| done.report.is_none()));
        assert_eq!(paths(&again), paths(&report));
        let mut lowers: Vec<PathBuf> = Vec::new();
        for (archive, done) in archives.iter().zip(&report.layers) {
            let alone = place("alone");
            let options =
                Options::default().mode(Mode::Overlay).lowers(Lowers::Known(lowers.clone()));
            unpack(Source::memory(archive), alone.path(), &options).unwrap();
            let [mut one, mut other] = [alone.path(), done.path.as_ref().unwrap()].map(Tree::of);
            // Whiteouts have the time at which they were made.
            for tree in [&mut one, &mut other] {
                tree.0.remove(&b""[..]);
            }
            assert_eq!(names(&one), names(&other), "{stack:?}");
            lowers.insert(0, done.path.clone().unwrap());
        }
    }
}

fn names(tree: &Tree) -> Vec<Vec<u8>> {
    tree.0.keys().cloned().collect()
}

/// `PROPTEST_CASES=10000 cargo test --release --test images random` looks longer.
#[test]
fn random_layers_at_once_are_what_one_by_one_are() {
    if !needs::overlay() {
        return;
    }
    let mut config = random::config();
    // Each makes and mounts all of its layers twice.
    config.cases /= 4;
    let mut runner = TestRunner::new(config);
    let result = runner.run(&random::stack(), |mut stack| {
        // So that the bottom layer says what the roots above it look like.
        stack.0[0].insert(0, dir("."));
        // Random layers are refused often. The entry at fault goes, and the rest is looked at.
        while let Some((layer, entry)) = at_once_is_one_by_one(&stack)? {
            stack.0[layer].remove(entry);
        }
        Ok(())
    });
    match result {
        Ok(()) => {}
        Err(TestError::Fail(reason, stack)) => panic!("{reason}\nfor the stack\n{stack:?}"),
        Err(abort) => panic!("{abort}"),
    }
}

/// Whether it was needed is told, too, of a whiteout in a directory that the layer replaces later.
#[test]
fn whiteouts_of_what_is_replaced_are_reported_as_one_by_one() {
    if !needs::overlay() {
        return;
    }
    for above in ["b/ b/.wh.a b=file", "b/ b/.wh.a b->c", "e=1 b/ b/.wh.a b=>e", "b/ b/.wh.a b/"] {
        for below in ["b/ b/a=1", "c=1"] {
            let layers = [&[dir(".")][..], &layer(below)].concat();
            let stack = Stack(vec![layers, layer(above)]);
            assert_eq!(at_once_is_one_by_one(&stack).map_err(|error| error.to_string()), Ok(None));
        }
    }
}

/// The layer and entry that both refuse, or none if both make the same layers.
fn at_once_is_one_by_one(stack: &Stack) -> Result<Option<(usize, usize)>, TestCaseError> {
    let one = apply(&stack.0, Setting { way: Way::Overlay, threads: 1, openat2: Openat2::Works });
    let archives: Vec<Vec<u8>> = stack.0.iter().map(|layer| archive(layer)).collect();
    let (_layout, store) = of(&archives);
    let to = place("store");
    let options = Options::default().mode(Mode::Overlay).threads(4);
    let layers = LayerStore::open(to.path(), &options).unwrap();
    let image = select(&store);
    let all = image::unpack_layers(&store, &image, &layers, &options, &mut ());
    let context = |what: &str| TestCaseError::fail(format!("{what}\n{stack:?}"));
    if let (Some((layer, alone)), Err(UnpackError::Layer { number, error, .. })) =
        (&one.failure, &all)
    {
        prop_assert_eq!(*number, layer + 1, "{}; alone: {}", error, alone);
        prop_assert_eq!(error.to_string(), alone.to_string());
        let place = error.place().ok_or_else(|| context("no entry named"))?;
        return Ok(Some((*layer, place.entry as usize)));
    }
    let all = all.map_err(|error| context(&error.to_string()))?;
    if let Some((layer, error)) = &one.failure {
        return Err(context(&format!("at once layer {layer} did not fail: {error}")));
    }
    for (number, done) in all.layers.iter().enumerate() {
        let [alone, together] =
            [one.upper(number), Tree::of(done.path.as_ref().unwrap())].map(without_whiteout_times);
        let differences = alone.differences(&together, "one by one", "at once");
        if !differences.is_empty() {
            return Err(context(&format!("layer {number}:\n{}", differences.join("\n"))));
        }
        let report = done.report.as_ref().unwrap();
        prop_assert_eq!(facts(&one.reports[number]), facts(report), "layer {}", number);
    }
    Ok(None)
}

/// Whiteouts have the time at which they were made.
fn without_whiteout_times(mut tree: Tree) -> Tree {
    tree.0
        .values_mut()
        .filter(|node| node.kind == Kind::Ghost)
        .for_each(|node| node.mtime = (0, 0));
    tree
}

fn facts(report: &Report) -> Value {
    let mut facts: Value = serde_json::from_str(&report.to_json()).unwrap();
    let fields = facts.as_object_mut().unwrap();
    for other in ["seconds", "blob_digest", "compression", "bytes"] {
        fields.remove(other);
    }
    facts
}

/// What a test hears, and answers.
#[derive(Default)]
struct Heard {
    last: Option<ImageProgress>,
    warnings: Vec<usize>,
    refuses: Option<usize>,
    panics: bool,
}

impl ImageObserver for Heard {
    fn filters(&self) -> bool {
        self.refuses.is_some() || self.panics
    }

    fn filter(&mut self, layer: usize, _: &ocilayer::Entry) -> Result<bool, Errno> {
        assert!(!self.panics, "as the test wants it");
        match self.refuses == Some(layer) {
            true => Err(Errno::ACCESS),
            false => Ok(true),
        }
    }

    fn progress(&mut self, progress: &ImageProgress) {
        self.last = Some(progress.clone());
    }

    fn warning(&mut self, layer: usize, _: &Warning) {
        self.warnings.push(layer);
    }
}

fn states(heard: &Heard) -> Vec<LayerState> {
    heard.last.as_ref().unwrap().layers.iter().map(|layer| layer.state).collect()
}

/// More layers than are begun at once, of which some are as good as empty and some are not.
fn many() -> Vec<Vec<u8>> {
    let texts: Vec<String> = (0..12)
        .map(|n| format!("{} d{n}/ d{n}/x={n} .wh.d{}", "f=1 ".repeat(n % 4 * 50), (n + 11) % 12))
        .collect();
    texts.iter().map(|text| archive(&layer(text))).collect()
}

fn at_once(
    store: &Store,
    to: &Path,
    options: &Options,
    heard: &mut Heard,
) -> Result<ImageReport, UnpackError> {
    let layers = LayerStore::open(to, options)?;
    image::unpack_layers(store, &select(store), &layers, options, heard)
}

#[test]
fn callbacks_tell_of_each_layer() {
    if !needs::root() {
        return;
    }
    let (_layout, store) = of(&many());
    let (to, mut heard) = (place("store"), Heard::default());
    let options = Options::default().mode(Mode::Overlay).threads(4);
    at_once(&store, to.path(), &options, &mut heard).unwrap();
    assert_eq!(states(&heard), [LayerState::Complete; 12]);
    // The bottom layer has a whiteout that no layer needs.
    assert!(heard.warnings.contains(&0), "{:?}", heard.warnings);
    let progress = heard.last.clone().unwrap();
    assert_eq!(Some(progress.blob_bytes()), progress.blob_size());

    at_once(&store, to.path(), &options, &mut heard).unwrap();
    assert_eq!(states(&heard), [LayerState::Reused; 12]);
    let again = heard.last.unwrap();
    assert_eq!(
        (again.blob_bytes(), again.blob_size()),
        (progress.blob_bytes(), progress.blob_size())
    );
}

#[test]
fn a_failure_ends_the_layers_above_and_not_those_below() {
    if !needs::root() {
        return;
    }
    let (_layout, store) = of(&many());
    for (threads, at) in [(1, 0), (2, 5), (8, 11)] {
        let (to, mut heard) = (place("store"), Heard { refuses: Some(at), ..Heard::default() });
        let options = Options::default().mode(Mode::Overlay).threads(threads);
        let error = at_once(&store, to.path(), &options, &mut heard).unwrap_err();
        let own = error.layer_error().unwrap();
        assert_eq!((own.kind(), own.errno()), (ErrorKind::Callback, Errno::ACCESS), "{error}");
        assert!(
            error.to_string().starts_with(&format!("layer {} of 12, sha256:", at + 1)),
            "{error}"
        );
        let made = |number: &usize| {
            LayerStore::open(to.path(), &options)
                .unwrap()
                .has(&select(&store).layers[*number].chain_id)
        };
        assert_eq!((0..12).filter(made).collect::<Vec<_>>(), (0..at).collect::<Vec<_>>());
        assert_eq!(fs::read_dir(to.path().join("partial")).unwrap().count(), 0);
        assert_eq!(states(&heard)[at], LayerState::Failed);
        // What is there is used again.
        let report = at_once(&store, to.path(), &options, &mut Heard::default()).unwrap();
        assert_eq!(report.layers.iter().filter(|done| done.report.is_none()).count(), at);
    }
}

#[test]
fn cancelled_or_with_a_panic_in_a_callback_no_layer_goes_on() {
    if !needs::root() {
        return;
    }
    let (_layout, store) = of(&many());
    let to = place("store");
    let cancel = Cancel::new().unwrap();
    cancel.cancel();
    let options = Options::default().mode(Mode::Overlay).threads(4).cancel(cancel);
    let error = at_once(&store, to.path(), &options, &mut Heard::default()).unwrap_err();
    assert_eq!(error.layer_error().unwrap().kind(), ErrorKind::Cancelled, "{error}");
    assert!(no_layer_is_there(to.path()));

    let options = Options::default().mode(Mode::Overlay).threads(4);
    let mut heard = Heard { panics: true, ..Heard::default() };
    let run = AssertUnwindSafe(|| at_once(&store, to.path(), &options, &mut heard));
    let panic = std::panic::catch_unwind(run).unwrap_err();
    assert_eq!(panic.downcast_ref::<&str>(), Some(&"as the test wants it"));
    assert_eq!(fs::read_dir(to.path().join("partial")).unwrap().count(), 0);
    assert!(no_layer_is_there(to.path()));
}

/// As many as overlayfs can stack, in a process with the usual limit of descriptors.
#[test]
fn five_hundred_layers_leave_descriptors_for_others() {
    if !needs::root() {
        return;
    }
    let limit = Rlimit { current: Some(1024), maximum: getrlimit(Resource::Nofile).maximum };
    setrlimit(Resource::Nofile, limit).unwrap();
    let text = |n: usize| format!("d{n}/ d{n}/x={n} .wh.d{} lost/y={n}", (n + 499) % 500);
    let archives: Vec<Vec<u8>> = (0..500).map(|n| archive(&layer(&text(n)))).collect();
    let (_layout, store) = of(&archives);
    let to = place("store");
    let options = Options::default().mode(Mode::Overlay).threads(8);
    let report = at_once(&store, to.path(), &options, &mut Heard::default()).unwrap();
    assert_eq!(report.layers.len(), 500);
    let last = Tree::of(report.layers[499].path.as_ref().unwrap());
    assert_eq!(last.at("d498").kind, Kind::Ghost);
    assert_eq!(names(&last).len(), 6, "{last}");
    // Below what no layer describes all are one directory: only the first had to make it.
    let implied =
        report.layers.iter().map(|done| done.report.as_ref().unwrap().implied_directories);
    assert_eq!(implied.sum::<u64>(), 500);
}

/// A file system of this many bytes.
struct Small(TempDir);

impl Small {
    fn new(size: &str) -> Small {
        let place = place("small");
        mount(&["-t", "tmpfs", "-o", size, "tmpfs"], place.path());
        Small(place)
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let umount = Command::new("umount").arg("--lazy").arg(self.0.path()).status();
        assert!(umount.is_ok_and(|status| status.success()));
    }
}

fn mount(words: &[&str], at: &Path) {
    let status = Command::new("mount").args(words).arg(at).status().expect("mount");
    assert!(status.success(), "mount {words:?}");
}

#[test]
fn full_disk_leaves_whole_layers_only() {
    if !needs::root() {
        return;
    }
    let large = format!("large={}", "0123456789".repeat(300_000));
    let (_layout, store) = of(&archives(&["a=1", &large, "b=2", "c=3"]));
    for threads in [1, 4] {
        let small = Small::new("size=1m");
        let (to, options) =
            (small.0.path(), Options::default().mode(Mode::Overlay).threads(threads));
        let error = at_once(&store, to, &options, &mut Heard::default()).unwrap_err();
        assert_eq!((error.kind(), error.errno()), (ErrorKind::Filesystem, Errno::NOSPC), "{error}");
        // The disk may be full when the first one is written, if the second one is written as well.
        let UnpackError::Layer { number, .. } = error else { panic!("{error}") };
        assert!(number == 2 || threads > 1 && number == 1, "{error}");
        let layers = LayerStore::open(to, &options).unwrap();
        let image = select(&store);
        let there = image.layers.iter().filter(|layer| layers.has(&layer.chain_id)).count();
        assert_eq!(there, number - 1);
        assert_eq!(fs::read_dir(to.join("partial")).unwrap().count(), 0);
        mount(&["-o", "remount,size=9m"], to);
        let report = at_once(&store, to, &options, &mut Heard::default()).unwrap();
        assert_eq!(report.layers.iter().filter(|done| done.report.is_none()).count(), there);
    }
}

#[test]
fn images_share_the_layers_below() {
    if !needs::overlay() {
        return;
    }
    let base = archives(&["a=1", "b=2"]);
    let with = |more: &str| [base.clone(), archives(&[more])].concat();
    let layers = place("store");
    let (_one, store) = of(&with("c=3"));
    let first = layered(&store, &select(&store), layers.path()).unwrap();
    let (_two, store) = of(&with("d=4"));
    let second = layered(&store, &select(&store), layers.path()).unwrap();
    let reused: Vec<bool> = second.layers.iter().map(|done| done.report.is_none()).collect();
    assert_eq!(reused, [true, true, false]);
    assert_eq!(paths(&first)[1..], paths(&second)[1..]);
    // The same content above another layer is another layer.
    let (_three, store) = of(&archives(&["x=1", "b=2"]));
    let third = layered(&store, &select(&store), layers.path()).unwrap();
    assert!(third.layers.iter().all(|done| done.report.is_some()));
}

fn no_layer_is_there(store: &Path) -> bool {
    let count = |name: &str| fs::read_dir(store.join(name)).map_or(0, Iterator::count);
    count("sha256") == 0 && count("partial") == 0
}

#[test]
fn what_an_image_says_wrongly_is_told_by_name_and_leaves_no_layer() {
    if !needs::overlay() {
        return;
    }
    type Change = fn(&mut Value, &mut Value);
    let zeros = "0".repeat(64);
    let table: [(&str, Change, &str); 8] = [
        (
            "diffID",
            |_, config| config["rootfs"]["diff_ids"][0] = json!(sha256(b"x")),
            "uncompressed layer has digest",
        ),
        ("size", |manifest, _| manifest["layers"][0]["size"] = json!(5), "its descriptor says 5"),
        (
            "missing",
            |manifest, _| manifest["layers"][0]["digest"] = json!(sha256(b"nowhere")),
            "is missing",
        ),
        (
            "more diffIDs",
            |_, config| {
                let ids = config["rootfs"]["diff_ids"].as_array_mut().unwrap();
                ids.push(json!(sha256(b"x")));
            },
            "diffIDs of 2 layers, the manifest has 1",
        ),
        ("no diffIDs", |_, config| config["rootfs"] = json!({}), "no diff_ids there"),
        (
            "no layer",
            |manifest, _| manifest["layers"][0]["mediaType"] = json!("text/plain"),
            "is no layer but \"text/plain\"",
        ),
        (
            "no digest",
            |manifest, _| manifest["layers"][0]["digest"] = json!("sha256:x"),
            "sha256:x",
        ),
        ("no layers", |manifest, _| manifest["layers"] = json!(5), "no layers there"),
    ];
    for (case, change, message) in table {
        let mut layout = Layout::new();
        let descriptor = layout.manifest(&archives(&["a=1"]), change);
        layout.manifests.push(descriptor);
        let (store, to, root) = (layout.store(), place("store"), place("root"));
        let image = image::select(&store, &Choice::default());
        let errors = match image {
            Err(error) => vec![error.to_string()],
            Ok(image) => vec![
                layered(&store, &image, to.path()).unwrap_err().to_string(),
                flattened(&store, &image, root.path()).unwrap_err().to_string(),
            ],
        };
        for error in errors {
            assert!(error.contains(message), "{case}: {error}");
        }
        assert!(no_layer_is_there(to.path()), "{case}");
    }
    // A blob that is not what its name says, in the place of the second layer.
    let (layout, store) = of(&archives(&["a=1", "b=2"]));
    let image = select(&store);
    let blob = layout.place.path().join(&image.layers[1].blob);
    let mut bytes = fs::read(&blob).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&blob, bytes).unwrap();
    let to = place("store");
    let error = layered(&store, &image, to.path()).unwrap_err();
    assert!(error.to_string().starts_with("layer 2 of 2, sha256:"), "{error}");
    let kind = error.layer_error().unwrap().kind();
    assert!(matches!(kind, ErrorKind::Digest | ErrorKind::Corrupt), "{error}");
    assert!(to.path().join(image.layers[0].chain_id.to_string().replacen(':', "/", 1)).is_dir());
    assert!(!to.path().join(image.layers[1].chain_id.to_string().replacen(':', "/", 1)).exists());
    assert_eq!(fs::read_dir(to.path().join("partial")).unwrap().count(), 0);
    // A descriptor whose blob is another one.
    let mut layout = Layout::new();
    layout.manifests.push(json!({ "digest": format!("sha256:{zeros}"), "size": 2 }));
    fs::write(layout.place.path().join("blobs/sha256").join(&zeros), "{}").unwrap();
    let error = image::select(&layout.store(), &Choice::default()).unwrap_err();
    assert!(error.to_string().contains("has digest sha256:"), "{error}");
}

/// Small files that would take years, or all memory, if they were taken by their word.
#[test]
fn what_multiplies_itself_is_refused() {
    let index = |manifests: &[Value]| json!({ "schemaVersion": 2, "manifests": manifests });
    let error = |layout: &Layout| {
        image::select(&layout.store(), &Choice::default()).unwrap_err().to_string()
    };
    // An index that names one index a thousand times, which names another one as often, and so on.
    let mut layout = Layout::new();
    let mut innermost = layout.manifest(&archives(&["a=1"]), |_, _| {});
    innermost["annotations"]["vnd.docker.reference.type"] = json!("attestation-manifest");
    let mut named = innermost.clone();
    for _ in 0..3 {
        let all = index(&vec![named; 1_000]);
        named = layout.blob(all.to_string().as_bytes());
    }
    layout.manifests = vec![named];
    assert_eq!(error(&layout), "more than 4096 manifests");
    // One index in the other, deeper than any.
    let mut layout = Layout::new();
    let mut named = innermost.clone();
    for _ in 0..20 {
        named = layout.blob(index(&[named]).to_string().as_bytes());
    }
    layout.manifests = vec![named];
    assert!(error(&layout).contains("indexes inside of indexes"), "{}", error(&layout));
    // One that names itself can only say so falsely.
    let mut layout = Layout::new();
    let own = json!({ "digest": sha256(b"itself"), "size": 1 });
    let path = format!("blobs/{}", sha256(b"itself").replacen(':', "/", 1));
    fs::write(layout.place.path().join(path), index(std::slice::from_ref(&own)).to_string())
        .unwrap();
    layout.manifests = vec![own];
    assert!(error(&layout).contains("has digest sha256:"), "{}", error(&layout));
    // A manifest of 8 MB, named some hundred times.
    let mut layout = Layout::new();
    let padding = "x".repeat(8_000_000);
    let mut named = layout.manifest(&archives(&["a=1"]), |manifest, _| {
        manifest["annotations"] = json!({ "padding": padding });
    });
    named["annotations"]["vnd.docker.reference.type"] = json!("attestation-manifest");
    layout.manifests = vec![named; 100];
    assert!(error(&layout).contains("bytes of indexes, manifests"), "{}", error(&layout));
    // One of 100 MB.
    let mut layout = Layout::new();
    layout.manifests = vec![json!({ "digest": sha256(b"large"), "size": 100_000_000 })];
    let path = format!("blobs/{}", sha256(b"large").replacen(':', "/", 1));
    let large = fs::File::create(layout.place.path().join(path)).unwrap();
    large.set_len(100_000_000).unwrap();
    assert!(error(&layout).contains("larger than 8388608 bytes"), "{}", error(&layout));
    // An archive by docker save that has one image very often.
    let place = place("docker");
    let config = json!({ "rootfs": { "diff_ids": [] } }).to_string();
    let one = json!({ "Config": "config.json", "RepoTags": [], "Layers": [] });
    let manifest = json!(vec![one; 20_000]).to_string();
    let entries = [file("manifest.json").data(&manifest), file("config.json").data(&config)];
    let path = place.path().join("image.tar");
    fs::write(&path, archive(&entries)).unwrap();
    let store = image::open(&path).unwrap().expect("an image");
    let error = image::select(&store, &Choice::default()).unwrap_err();
    assert_eq!(error.to_string(), "more than 4096 manifests");
    assert_eq!(image::read(&store).unwrap_err().to_string(), "more than 4096 manifests");
}

#[test]
fn an_image_is_chosen_by_name_digest_and_platform() {
    let mut layout = Layout::new();
    let platform = |text: &str| {
        let parts: Vec<&str> = text.split('/').collect();
        Some(json!({ "os": "linux", "architecture": parts[0], "variant": parts.get(1) }))
    };
    layout.add(
        &archives(&["a=1"]),
        &[("org.opencontainers.image.ref.name", "one")],
        platform("amd64"),
    );
    layout.add(
        &archives(&["b=1"]),
        &[("org.opencontainers.image.ref.name", "two")],
        platform("amd64"),
    );
    layout.add(
        &archives(&["c=1"]),
        &[("io.containerd.image.name", "example.org:5000/c:three")],
        platform("arm64/v8"),
    );
    layout.add(&archives(&["d=1"]), &[], platform("s390x"));
    // One more name for the first, and the last one behind an index of its own.
    let mut alias = layout.manifests[0].clone();
    alias["annotations"] = json!({ "org.opencontainers.image.ref.name": "alias" });
    layout.manifests.push(alias);
    let inner = json!({ "manifests": [layout.manifests.remove(3)] });
    let nested = layout.blob(inner.to_string().as_bytes());
    let index_digest = nested["digest"].as_str().unwrap().to_owned();
    layout.manifests.push(nested);
    let mut attestation = layout.manifests[1].clone();
    attestation["digest"] = layout.manifest(&archives(&["e=1"]), |_, _| {})["digest"].clone();
    attestation["annotations"] = json!({ "vnd.docker.reference.type": "attestation-manifest" });
    layout.manifests.push(attestation);
    let store = layout.store();

    let images = image::list(&store).unwrap();
    assert_eq!(images.len(), 4);
    assert_eq!(images[0].names, ["one", "alias"]);
    let diff_id = |text: &str| sha256(&archive(&layer(text)));
    let choice = |name: Option<&str>, digest: Option<&str>, platform: Option<&str>| {
        let mut choice = Choice::default();
        choice.name = name.map(str::to_owned);
        choice.digest = digest.map(|digest| digest.parse().unwrap());
        choice.platform = platform.map(|platform| platform.parse().unwrap());
        image::select(&store, &choice).map(|image| image.layers[0].diff_id.to_string())
    };
    let first = images[0].digest.as_ref().unwrap().to_string();
    for (name, digest, platform, expected) in [
        (Some("one"), None, None, Some("a=1")),
        (Some("alias"), None, None, Some("a=1")),
        (Some("two"), None, None, Some("b=1")),
        (Some("three"), None, None, Some("c=1")),
        (Some("example.org:5000/c:three"), None, None, Some("c=1")),
        (None, Some(&*first), None, Some("a=1")),
        (None, Some(&*index_digest), None, Some("d=1")),
        (None, None, Some("arm64"), Some("c=1")),
        (None, None, Some("linux/arm64/v8"), Some("c=1")),
        (None, None, Some("linux/s390x"), Some("d=1")),
        (Some("two"), None, Some("amd64"), Some("b=1")),
        (Some("none"), None, None, None),
        (Some("one"), None, Some("arm64"), None),
        (None, None, Some("amd64"), None),
        (None, None, Some("linux/arm/v6"), None),
    ] {
        let got = choice(name, digest, platform);
        match expected {
            Some(text) => {
                assert_eq!(got.unwrap(), diff_id(text), "{name:?} {digest:?} {platform:?}")
            }
            None => assert!(
                matches!(got, Err(ImageError::NoSuch { .. } | ImageError::Several(_))),
                "{name:?} {digest:?} {platform:?}: {got:?}"
            ),
        }
    }
}

#[test]
fn what_the_dead_have_left_goes_and_what_the_living_make_stays() {
    if !needs::overlay() {
        return;
    }
    let (_layout, store) = of(&archives(&["a=1"]));
    let to = place("store");
    layered(&store, &select(&store), to.path()).unwrap();
    let partial = to.path().join("partial");
    for name in ["dead", "living"] {
        fs::create_dir_all(partial.join(name).join("d/e")).unwrap();
        fs::write(partial.join(name).join("d/e/f"), "1").unwrap();
    }
    let living = File::open(partial.join("living")).unwrap();
    flock(&living, FlockOperation::LockExclusive).unwrap();
    layered(&store, &select(&store), to.path()).unwrap();
    assert!(!partial.join("dead").exists());
    assert!(partial.join("living/d/e/f").exists());
    drop(living);
    layered(&store, &select(&store), to.path()).unwrap();
    assert_eq!(fs::read_dir(partial).unwrap().count(), 0);
}

#[test]
fn many_on_one_store_get_the_same_layers() {
    if !needs::overlay() {
        return;
    }
    let texts: Vec<String> =
        (0..12).map(|n| format!("d{n}/x={n} same={n} .wh.d{}", n - 2)).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let archives = archives(&texts);
    let to = place("store");
    let reports: Vec<ImageReport> = std::thread::scope(|scope| {
        let run = || {
            let (_layout, store) = of(&archives);
            layered(&store, &select(&store), to.path()).unwrap()
        };
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(run)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    for report in &reports {
        assert_eq!(paths(report), paths(&reports[0]));
    }
    let expected = place("expected");
    one_by_one(&archives, expected.path());
    let mut tree = Tree::of(expected.path());
    tree.0.remove(&b""[..]);
    let differences = tree.differences(&merged(&paths(&reports[0])), "one by one", "merged");
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    assert_eq!(fs::read_dir(to.path().join("partial")).unwrap().count(), 0);
}

#[test]
fn a_store_has_layers_of_one_kind() {
    if !needs::overlay() {
        return;
    }
    let to = place("store");
    let overlay = Options::default().mode(Mode::Overlay);
    LayerStore::open(to.path(), &overlay).unwrap();
    LayerStore::open(to.path(), &overlay.clone().threads(2)).unwrap();
    let error =
        LayerStore::open(to.path(), &overlay.mode(Mode::OverlayUserxattr)).unwrap_err().to_string();
    assert!(error.contains("overlay-userxattr") && error.contains("unpacked with"), "{error}");
}

#[test]
fn an_archive_by_docker_is_an_image_as_well() {
    if !needs::root() {
        return;
    }
    let layers = archives(&["a=1 gone", ".wh.gone b=2"]);
    let diff_ids: Vec<String> = layers.iter().map(|archive| sha256(archive)).collect();
    let config =
        json!({ "os": "linux", "architecture": "amd64", "rootfs": { "diff_ids": diff_ids } });
    let manifest = json!([{
        "Config": "config.json", "RepoTags": ["example.org/x:latest"], "Layers": ["1/layer.tar", "2/layer.tar"],
    }]);
    let file = |name: &str, bytes: &[u8]| common::archive::file(name).data(bytes);
    let saved = archive(&[
        file("1/layer.tar", &layers[0]),
        file("2/layer.tar", &layers[1]),
        file("config.json", config.to_string().as_bytes()),
        file("manifest.json", manifest.to_string().as_bytes()),
    ]);
    let place = place("docker");
    let path = place.path().join("saved.tar");
    fs::write(&path, saved).unwrap();
    let store = image::open(&path).unwrap().expect("an image");
    let mut choice = Choice::default();
    choice.name = Some("latest".into());
    let image = image::select(&store, &choice).unwrap();
    assert_eq!(image.names, ["example.org/x:latest"]);
    let root = place.path().join("root");
    fs::create_dir(&root).unwrap();
    flattened(&store, &image, &root).unwrap();
    let mut names: Vec<_> =
        fs::read_dir(&root).unwrap().map(|it| it.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["a", "b"]);
}
