// SPDX-License-Identifier: Apache-2.0
//! File systems to try things on.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use tempfile::TempDir;

/// Room for xfs, which makes none below 300 MB; a hole, but for what is in it.
pub const SIZE: u64 = 320 << 20;

/// A file system of its own, for as long as this lives.
pub struct Mounted {
    pub at: PathBuf,
    /// The block device's content, unless it is in memory.
    pub image: PathBuf,
    _base: TempDir,
}

impl Mounted {
    /// `make` makes the file system in a file; without it, one in memory.
    pub fn new(kind: &str, make: Option<&[&str]>) -> Mounted {
        match make {
            None => Mounted::mount(&std::env::temp_dir(), |_, at| {
                run("mount", &["-t", kind, kind], &[at]);
            }),
            Some(make) => Mounted::made_in(&std::env::temp_dir(), kind, make, SIZE),
        }
    }

    /// In a file below `dir`.
    pub fn made_in(dir: &Path, kind: &str, make: &[&str], size: u64) -> Mounted {
        Mounted::mount(dir, |image, at| {
            File::create(image).and_then(|file| file.set_len(size)).expect("an image");
            run(make[0], &make[1..], &[image]);
            run("mount", &["-t", kind, "-o", "loop"], &[image, at]);
        })
    }

    /// In a file that is there already.
    pub fn made_on(image: &Path, kind: &str, make: &[&str]) -> Mounted {
        let mut mounted = Mounted::mount(&std::env::temp_dir(), |_, at| {
            run(make[0], &make[1..], &[image]);
            run("mount", &["-t", kind, "-o", "loop"], &[image, at]);
        });
        mounted.image = image.to_owned();
        mounted
    }

    /// What `put` has put into the file that it is told.
    pub fn put_in(dir: &Path, kind: &str, options: &str, put: impl FnOnce(&Path)) -> Mounted {
        Mounted::mount(dir, |image, at| {
            put(image);
            run("mount", &["-t", kind, "-o", &format!("loop,{options}")], &[image, at]);
        })
    }

    fn mount(dir: &Path, mount: impl FnOnce(&Path, &Path)) -> Mounted {
        let base =
            tempfile::Builder::new().prefix("ocilayer-fs-").tempdir_in(dir).expect("tempdir");
        let (image, at) = (base.path().join("image"), base.path().join("mounted"));
        fs::create_dir(&at).expect("mkdir");
        mount(&image, &at);
        Mounted { at, image, _base: base }
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // A program that another thread is starting has all descriptors until it runs.
        for _ in 0..100 {
            if output("umount", &["--recursive"], &[&self.at]).status.success() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        // With what a test that failed has left mounted in it.
        run("umount", &["--recursive"], &[&self.at]);
    }
}

fn output(program: &str, words: &[&str], paths: &[&Path]) -> Output {
    let mut command = Command::new(program);
    command.args(words).args(paths.iter().map(|path| path.as_os_str()));
    command.output().unwrap_or_else(|error| panic!("{program}: {error}"))
}

pub fn run(program: &str, words: &[&str], paths: &[&Path]) {
    let output = output(program, words, paths);
    assert!(output.status.success(), "{program} {words:?}: {output:?}");
}
