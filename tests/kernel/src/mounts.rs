// SPDX-License-Identifier: Apache-2.0
//! Overlay mounts inside the guest.

use std::ffi::CString;
use std::fs::create_dir_all;
use std::path::{Path, PathBuf};

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use crate::Result;

/// A mount that ends with its owner.
pub struct Mount {
    pub path: PathBuf,
}

impl Mount {
    /// Nothing but a name for an existing file system.
    pub fn of(source: &str, path: &Path, kind: &str) -> Result<()> {
        Ok(mount(source, path, kind, MountFlags::empty(), None)?)
    }

    /// Layer `number` over the ones below it, each `DIR/N`, for writing.
    pub fn for_writing(dir: &Path, number: usize, options: &str) -> Result<Mount> {
        let (upper, work) = (dir.join(number.to_string()), dir.join(format!("work-{number}")));
        create_dir_all(&upper)?;
        create_dir_all(&work)?;
        let lower = lowers(dir, number - 1);
        let data = format!(
            "lowerdir={lower},upperdir={},workdir={}{options}",
            upper.display(),
            work.display()
        );
        Mount::overlay(dir, &data, MountFlags::empty())
    }

    /// Layers 1 to `count`, as a container would see them.
    pub fn for_reading(dir: &Path, count: usize, options: &str) -> Result<Mount> {
        let data = format!("lowerdir={}{options}", lowers(dir, count));
        Mount::overlay(dir, &data, MountFlags::RDONLY)
    }

    fn overlay(dir: &Path, data: &str, flags: MountFlags) -> Result<Mount> {
        let path = dir.join("merged");
        create_dir_all(&path)?;
        let data = CString::new(data)?;
        mount("overlay", &path, "overlay", flags, data.as_c_str())
            .map_err(|errno| format!("mount of {data:?}: {errno}"))?;
        Ok(Mount { path })
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if let Err(errno) = unmount(&self.path, UnmountFlags::empty()) {
            println!("umount {}: {errno}", self.path.display());
        }
    }
}

/// Topmost first, as overlayfs wants them.
fn lowers(dir: &Path, count: usize) -> String {
    let dirs: Vec<String> = (1..=count)
        .rev()
        .map(|number| dir.join(number.to_string()).display().to_string())
        .collect();
    dirs.join(":")
}
