// SPDX-License-Identifier: Apache-2.0
//! Where layers are unpacked to: a file system that was made for this one run.
//!
//! Not a directory that one empties between runs: ext4 passes over inodes that were deleted in the
//! last minutes (`recently_deleted` in fs/ext4/ialloc.c), one by one, and after an `rm -rf` of
//! 75,000 files each new file then costs half a millisecond.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};

use crate::Result;
use crate::layers::run;

#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Filesystem {
    /// On a loop device over a file in memory, so that no disk is measured
    Ext4,
    /// The same
    Xfs,
    /// The same
    Btrfs,
    Tmpfs,
}

impl Filesystem {
    /// Why there can be none here, if so: a kernel without it, or a program that is missing.
    pub fn lacking(self, roots: &Path) -> Option<String> {
        Target::fresh(self, roots).err().map(|error| error.to_string())
    }

    pub fn name(self) -> &'static str {
        match self {
            Filesystem::Ext4 => "ext4",
            Filesystem::Xfs => "xfs",
            Filesystem::Btrfs => "btrfs",
            Filesystem::Tmpfs => "tmpfs",
        }
    }
}

/// Room for an image of all layers in a store that keeps it beside its metadata.
const SIZE: u64 = 6 << 30;

/// A mounted file system of its own; dropping it unmounts it.
pub struct Target {
    mounted: PathBuf,
    image: Option<PathBuf>,
}

impl Target {
    /// Makes and mounts one below `roots`, which must be in memory.
    pub fn fresh(filesystem: Filesystem, roots: &Path) -> Result<Target> {
        let mounted = roots.join("mounted");
        fs::create_dir_all(&mounted)?;
        // What a run that was killed has left.
        while is_mounted(&mounted) {
            unmount(&mounted)?;
        }
        let mut mount = Command::new("mount");
        let image = roots.join("image");
        let make: &[&str] = match filesystem {
            // Nothing is left for the kernel to do in the background.
            Filesystem::Ext4 => &[
                "mkfs.ext4",
                "-qF",
                "-N400000",
                "-Elazy_itable_init=0,lazy_journal_init=0,nodiscard",
            ],
            Filesystem::Xfs => &["mkfs.xfs", "-qf"],
            Filesystem::Btrfs => &["mkfs.btrfs", "-qf"],
            Filesystem::Tmpfs => {
                run(mount
                    .args(["-t", "tmpfs", "-o", "size=6g,nr_inodes=0", "tmpfs"])
                    .arg(&mounted))?;
                return Ok(Target { mounted, image: None });
            }
        };
        File::create(&image)?.set_len(SIZE)?;
        // mkfs.btrfs says things there even if asked to be quiet, and the table is to come there.
        run(Command::new(make[0]).args(&make[1..]).arg(&image).stdout(Stdio::null()))
            .map_err(|error| format!("{}: {error}", make[0]))?;
        run(mount.args(["-o", "loop"]).arg(&image).arg(&mounted))?;
        Ok(Target { mounted, image: Some(image) })
    }

    /// An empty directory on it.
    pub fn root(&self) -> Result<PathBuf> {
        let root = self.mounted.join("root");
        fs::create_dir(&root)?;
        Ok(root.canonicalize()?)
    }
}

fn is_mounted(path: &Path) -> bool {
    Command::new("mountpoint").arg("-q").arg(path).status().is_ok_and(|status| status.success())
}

/// With the mounts that a store makes in it, and those of it that an applier makes elsewhere.
fn unmount(path: &Path) -> Result<()> {
    run(Command::new("umount").args(["--recursive", "--all-targets"]).arg(path))
}

impl Drop for Target {
    fn drop(&mut self) {
        // The next run tells of a failure.
        let _ = unmount(&self.mounted);
        if let Some(image) = &self.image {
            let _ = fs::remove_file(image);
        }
    }
}
