// SPDX-License-Identifier: Apache-2.0
//! Overlay mounts that no one else sees.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, open};
use rustix::io::Result;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

/// A read-only overlay of layers. It has no path and goes away with its descriptor, so that a
/// test that panics or is killed leaves no mount behind.
pub struct Overlay(OwnedFd);

impl Overlay {
    /// `layers` topmost first, at least two.
    pub fn mount(layers: &[PathBuf], userxattr: bool) -> Result<Overlay> {
        let point = tempfile::Builder::new().prefix("ocilayer-mount-").tempdir().expect("tempdir");
        let lowers: Vec<&str> = layers.iter().map(|path| path.to_str().expect("path")).collect();
        let mut data = format!("lowerdir={}", lowers.join(":"));
        if userxattr {
            data += ",userxattr";
        }
        let data = std::ffi::CString::new(data).expect("no NUL");
        mount("overlay", point.path(), "overlay", MountFlags::RDONLY, data.as_c_str())?;
        let root = open(point.path(), OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
        unmount(point.path(), UnmountFlags::DETACH)?;
        Ok(Overlay(root?))
    }
}

impl AsFd for Overlay {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Whether this process may mount an overlay of directories in the temporary directory.
pub fn works() -> bool {
    let base = tempfile::Builder::new().prefix("ocilayer-probe-").tempdir().expect("tempdir");
    let layers = ["a", "b"].map(|name| base.path().join(name));
    for layer in &layers {
        std::fs::create_dir(layer).expect("mkdir");
    }
    Overlay::mount(&layers, false).is_ok()
}

/// Opens a directory for a snapshot.
pub fn plain(directory: &Path) -> OwnedFd {
    open(directory, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).expect("open directory")
}
