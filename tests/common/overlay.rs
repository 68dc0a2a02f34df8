// SPDX-License-Identifier: Apache-2.0
//! Overlay mounts that no one else sees.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
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
        Overlay::attach(&point, &data, MountFlags::RDONLY)
    }

    /// `base/upper` over `base/lower`, with more options.
    pub fn for_writing(base: &Path, options: &str) -> Result<Overlay> {
        Overlay::over(&[base.join("lower")], base, options)
    }

    /// `base/upper` over these, topmost first.
    pub fn over(lowers: &[PathBuf], base: &Path, options: &str) -> Result<Overlay> {
        let point = tempfile::Builder::new().prefix("ocilayer-mount-").tempdir().expect("tempdir");
        let lowers: Vec<String> = lowers.iter().map(|path| path.display().to_string()).collect();
        let (lower, base) = (lowers.join(":"), base.display());
        let data = format!("lowerdir={lower},upperdir={base}/upper,workdir={base}/work{options}");
        Overlay::attach(&point, &data, MountFlags::empty())
    }

    /// A path for as long as this lives.
    pub fn path(&self) -> PathBuf {
        format!("/proc/self/fd/{}", self.0.as_raw_fd()).into()
    }

    fn attach(point: &tempfile::TempDir, data: &str, flags: MountFlags) -> Result<Overlay> {
        let data = std::ffi::CString::new(data).expect("no NUL");
        mount("overlay", point.path(), "overlay", flags, data.as_c_str())?;
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
