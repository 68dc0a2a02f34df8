// SPDX-License-Identifier: Apache-2.0
//! Layers as ocilayer unpacks them, in both modes, seen as the merged tree.

use std::ffi::CString;
use std::fs;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use ocilayer::{Digest, Expect, Lowers, Mode, Options, Report, Source};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use super::tools::cache;
use super::tree::Tree;

/// A layer blob, and the digests that its image states.
#[derive(Debug, Clone)]
pub struct Layer {
    pub blob: PathBuf,
    pub digest: Option<Digest>,
    pub diff_id: Option<Digest>,
}

/// What the layers of an image became.
pub struct Unpacked {
    pub tree: Tree,
    /// Of each layer, bottom first.
    pub reports: Vec<Report>,
}

impl From<PathBuf> for Layer {
    fn from(blob: PathBuf) -> Layer {
        Layer { blob, digest: None, diff_id: None }
    }
}

/// Below the cache, so that it is on the disk: overlay wants a file system with every feature.
pub fn scratch() -> tempfile::TempDir {
    tempfile::tempdir_in(cache()).expect("scratch directory")
}

/// Applies `layers`, bottom first, one after the other to one directory.
pub fn in_a_directory(layers: &[Layer]) -> Unpacked {
    let scratch = scratch();
    let reports = layers.iter().map(|l| unpack(l, scratch.path(), Mode::Directory, &[])).collect();
    Unpacked { tree: read(scratch.path()), reports }
}

/// Applies `layers`, bottom first, each to a directory of its own, and mounts them.
pub fn in_an_overlay(layers: &[Layer]) -> Unpacked {
    let scratch = scratch();
    // A mount without an upper directory takes two lower ones at least.
    let bottom = scratch.path().join("bottom");
    fs::create_dir(&bottom).expect("bottom");
    let (mut below, mut reports) = (Vec::<PathBuf>::new(), Vec::new());
    for (number, layer) in layers.iter().enumerate() {
        let upper = scratch.path().join(number.to_string());
        fs::create_dir(&upper).expect("upper directory");
        reports.push(unpack(layer, &upper, Mode::Overlay, &below));
        below.insert(0, upper);
    }
    below.push(bottom);
    Unpacked { tree: merged(&below, &scratch.path().join("mount")), reports }
}

/// The tree in an overlay mount of `directories`, topmost first.
fn merged(directories: &[PathBuf], at: &Path) -> Tree {
    fs::create_dir(at).expect("mount point");
    let directories: Vec<&str> = directories.iter().map(|d| d.to_str().expect("UTF-8")).collect();
    let data = CString::new(format!("lowerdir={}", directories.join(":"))).expect("no NUL");
    mount("overlay", at, "overlay", MountFlags::RDONLY, data.as_c_str()).expect("overlay mount");
    let root = fs::File::open(at).expect("mounted root");
    // Detached while it is held open: a test that panics leaves no mount behind.
    unmount(at, UnmountFlags::DETACH).expect("unmount");
    read(Path::new(&format!("/proc/self/fd/{}/.", root.as_raw_fd())))
}

fn unpack(layer: &Layer, root: &Path, mode: Mode, lowers: &[PathBuf]) -> Report {
    let lowers = match mode {
        Mode::Directory => Lowers::Unknown,
        _ => Lowers::Known(lowers.to_vec()),
    };
    let mut expect = Expect::default();
    (expect.blob, expect.diff_id) = (layer.digest.clone(), layer.diff_id.clone());
    let options = Options::default().mode(mode).lowers(lowers).expect(expect);
    ocilayer::unpack(Source::path(&layer.blob), root, &options)
        .unwrap_or_else(|error| panic!("{} in {mode:?}: {error}", layer.blob.display()))
}

pub fn read(root: &Path) -> Tree {
    Tree::read(root).unwrap_or_else(|error| panic!("{}: {error}", root.display()))
}
