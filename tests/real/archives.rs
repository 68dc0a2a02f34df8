// SPDX-License-Identifier: Apache-2.0
//! Archives by GNU tar and bsdtar, and the trees that those extract from them.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::tools::{cache, command, run, shell};
use super::tree::Tree;
use super::unpacked::{read, scratch};

/// GNU tar's options for everything that a container layer can hold.
const GNU: &[&str] = &["--xattrs", "--xattrs-include=*", "--numeric-owner"];

/// The Debian layer, as packed by GNU tar.
pub struct Debian {
    pub plain: PathBuf,
    pub gzip: PathBuf,
    pub zstd: PathBuf,
    pub root: PathBuf,
}

/// Made once and kept below the target directory: it takes a minute and a mirror.
pub fn debian() -> &'static Debian {
    static DEBIAN: OnceLock<Debian> = OnceLock::new();
    DEBIAN.get_or_init(|| {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/debian-layer");
        run(command(script.to_str().expect("UTF-8")).arg(cache()));
        let file = |name: &str| cache().join(name);
        let (root, plain) = (file("debian"), file("debian.tar"));
        let (gzip, zstd) = (file("debian.tar.gz"), file("debian.tar.zst"));
        Debian { plain, gzip, zstd, root }
    })
}

/// A directory with one of each thing that an archive can hold.
pub fn everything() -> tempfile::TempDir {
    let directory = scratch();
    shell(directory.path(), include_str!("everything.sh"), &[]);
    directory
}

pub fn gnu_tar(directory: &Path, archive: &Path, options: &[&str]) {
    let mut tar = command("tar");
    tar.args(GNU).args(options).arg("--sort=name").arg("-C").arg(directory);
    run(tar.arg("-cf").arg(archive).arg("."));
}

/// What bsdtar warns of: it packs names that are no text as the bytes they are, and leaves out a
/// device that the format cannot hold.
const BSDTAR_WARNS: &[&str] = &["Can't translate", "Minor device number too large"];

pub fn bsd_tar(directory: &Path, archive: &Path, options: &[&str]) {
    let mut tar = command("bsdtar");
    tar.args(["--xattrs", "--acls", "--numeric-owner"]).args(options).arg("-C").arg(directory);
    let output = tar.arg("-cf").arg(archive).arg(".").output().expect("bsdtar");
    let said = String::from_utf8_lossy(&output.stderr);
    let expected = |line: &str| BSDTAR_WARNS.iter().any(|warning| line.contains(warning));
    assert!(said.lines().all(expected), "{tar:?}: {}\n{said}", output.status);
}

/// What GNU tar extracts.
pub fn gnu_extracts(archive: &Path) -> Tree {
    let directory = scratch();
    let mut tar = command("tar");
    tar.args(GNU).arg("-xpf").arg(archive).arg("-C").arg(directory.path());
    run(&mut tar);
    read(directory.path())
}

/// What bsdtar extracts.
pub fn bsd_extracts(archive: &Path) -> Tree {
    let directory = scratch();
    let mut tar = command("bsdtar");
    tar.args(["--xattrs", "--acls", "--fflags", "--numeric-owner", "-xpf"]).arg(archive);
    run(tar.arg("-C").arg(directory.path()));
    read(directory.path())
}
