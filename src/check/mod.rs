// SPDX-License-Identifier: Apache-2.0
//! Facts about this kernel that no version number tells.

mod experiment;
mod mount;
mod report;
mod scratch;

use std::borrow::Cow;
use std::path::Path;

use rustix::fs::{Mode, OFlags, open};

use crate::errno::Errno;
use crate::error::Result;
use crate::options::OptionsError;
use crate::sys;

pub use report::{CopyUp, MountKind, Obstacle, OpaqueXattr, Outcome, OverlayCheck, Trial, Verdict};

/// Where the check works when the caller names no directory. The first that can tell decides:
/// in a container `/tmp` is often on overlayfs, which cannot hold an upper directory.
///
/// Not `$TMPDIR`: a library reads no environment variable.
const TEMPORARY: [&str; 3] = ["/tmp", "/var/tmp", "/dev/shm"];

/// Asks the running kernel whether its overlayfs carries opaque marks upwards: whether copying a
/// directory up from a lower layer copies its `trusted.overlay.opaque` (or, where only that is
/// possible, `user.overlay.opaque`) as well. Where it does, each layer that was applied through an
/// overlay mount of its parents may hide all files below it.
///
/// The check mounts a small overlay in a new directory below `dir` and looks; it never guesses
/// from a version number. The file system of `dir` matters, so name the directory that holds the
/// layers; `None` takes a temporary directory and tells about the kernel alone.
///
/// Returns what was seen. Whatever stands in the way (no privilege, no overlayfs, a file system
/// without the xattrs) is [`Verdict::Unknown`] with its [`Obstacle`], not an error. An unprivileged
/// caller gets an answer inside a user and mount namespace of its own making; the check makes none,
/// since that would need a fork of somebody else's process.
///
/// # Errors
/// [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument) if `dir` does not exist,
/// cannot be opened or is no directory.
///
/// # What it leaves behind
/// Nothing. The mount is attached nowhere, or only in a namespace of a thread of the check's own;
/// what a killed check left is removed by the next one in the same directory, if the same user
/// runs it. Before Linux 5.10, unmounting writes the file system's unsaved data to disk, which may
/// take a while on a busy one.
///
/// # Threads
/// May run on any number of threads at once, also in one directory. Needs four descriptors or so.
pub fn check_overlay_opaque_propagation(dir: Option<&Path>) -> Result<OverlayCheck> {
    if let Some(dir) = dir {
        return check_in(dir);
    }
    let mut first = None;
    for candidate in TEMPORARY {
        let check = check_in(Path::new(candidate));
        match &check {
            Ok(check) if !matches!(check.verdict, Verdict::Unknown { .. }) => {}
            _ => {
                first.get_or_insert(check);
                continue;
            }
        }
        return check;
    }
    first.expect("there is more than one candidate")
}

fn check_in(path: &Path) -> Result<OverlayCheck> {
    // O_PATH: the right to list the directory is not needed, except for finding stale leftovers.
    let dir = open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| OptionsError::Directory { path: path.into(), errno: Errno::of(errno) })?;
    let filesystem = sys::filesystem::name(&dir).map(Cow::into_owned).ok();

    let mut check = OverlayCheck::new(path.into(), filesystem);
    // A thread of its own: only there may the working directory, the umask and the mount
    // namespace change, and no signal handler of the caller runs there.
    let verdict = std::thread::scope(|scope| {
        let look = || experiment::look(&dir, &mut check);
        match sys::spawn(scope, "ocilayer-check", look) {
            Ok(thread) => match thread.join() {
                Ok(verdict) => verdict,
                Err(panic) => std::panic::resume_unwind(panic),
            },
            Err(error) => Err(Obstacle::Directory {
                operation: "starting a thread",
                errno: Errno::of_thread(&error),
            }),
        }
    });
    check.verdict = verdict.unwrap_or_else(|obstacle| Verdict::Unknown { obstacle });
    Ok(check)
}
