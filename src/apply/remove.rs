// SPDX-License-Identifier: Apache-2.0
//! Removing a name and all below it, without following a symlink.
//!
//! However deep the tree is, three descriptors are open and nothing recurses: on the way up the parent
//! is opened as `..`, and believed only if it is the directory that was left on the way down. If not,
//! it is looked up anew from the top, component by component. So a process that moves a directory
//! meanwhile cannot lead the removal out of the tree.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{AtFlags, Dir, StatxAttributes, StatxFlags, fstat, statx, unlinkat};
use rustix::io::{Errno, retry_on_intr};

use crate::cancel::Cancel;
use crate::resolve::{Component, SafeParent, open_child, open_locked, stat_child, unlock};

/// Subdirectories of one directory that are remembered before the first of them is looked at.
const WAITING: usize = 64;

/// The same for all directories together, on the way down: past this each remembers one at a time.
const WAITING_MAX: usize = 4_096;

/// How often a directory is listed from begin to end without being found empty. A listing of a
/// directory that shrinks meanwhile may miss names, a few times; somebody who goes on making them may
/// not keep us here for good.
const LISTINGS: usize = 64;

/// Names that one removal takes away. No directory is that large, so somebody else fills it.
const NAMES_MAX: u64 = 1 << 28;

/// Removes whatever has this name. `ENOENT` if nothing has, and `ECANCELED` if the token says so.
pub(crate) fn remove(
    at: &SafeParent,
    name: Component<'_>,
    cancel: Option<&Cancel>,
) -> Result<(), Errno> {
    match unlink(at.as_fd(), name.as_bytes()) {
        Err(Errno::ISDIR) => {}
        result => return result,
    }
    let plain_user = !rustix::process::geteuid().is_root();
    let top = open_unlocked(at.as_fd(), name.as_bytes(), plain_user)?;
    Removal { top, levels: Vec::new(), waiting: 0, names: 0, plain_user, cancel }.empty()?;
    match rmdir(at.as_fd(), name.as_bytes()) {
        // Gone by now, unless the error came from elsewhere.
        Err(Errno::NOENT) if is_absent(at, name) => Ok(()),
        Err(Errno::NOENT) => Err(Errno::IO),
        result => result,
    }
}

/// Removes all that is in a directory.
pub(crate) fn remove_all(dir: OwnedFd, cancel: Option<&Cancel>) -> Result<(), Errno> {
    let at = SafeParent::new(Arc::new(dir));
    for name in names_in(&at)? {
        let name = Component::new(&name).expect("a directory lists components");
        remove(&at, name, cancel)?;
    }
    Ok(())
}

/// One tree on its way out.
struct Removal<'c> {
    top: OwnedFd,
    /// From the top down to the directory that is open.
    levels: Vec<Level>,
    /// Subdirectories that all levels together remember.
    waiting: usize,
    names: u64,
    /// A directory without write permission is emptied as well, by its owner.
    plain_user: bool,
    cancel: Option<&'c Cancel>,
}

/// A directory that is being emptied.
struct Level {
    /// In the directory above.
    name: Box<[u8]>,
    /// Device and inode: what it is known by when it is opened again as `..`.
    id: (u64, u64),
    /// Directories in it that are not empty.
    subdirectories: Vec<Box<[u8]>>,
    listings: usize,
}

impl Removal<'_> {
    fn empty(mut self) -> Result<(), Errno> {
        let mut dir = self
            .top
            .try_clone()
            .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::MFILE))?;
        self.enter(&dir, b"")?;
        while let Some(level) = self.levels.last_mut() {
            if let Some(name) = level.subdirectories.pop() {
                self.waiting -= 1;
                match open_unlocked(dir.as_fd(), &name, self.plain_user) {
                    Ok(child) => {
                        self.enter(&child, &name)?;
                        dir = child;
                    }
                    // Gone, or something else by now: the next listing tells.
                    Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
                    Err(errno) => return Err(errno),
                }
            } else if self.clear(dir.as_fd())? {
                // It is empty; the next listing of the one above finds that out and removes it.
                self.levels.pop();
                if let Some(parent) = self.levels.last() {
                    dir = match open_if(dir.as_fd(), parent.id)? {
                        Some(above) => above,
                        None => self.open_again()?,
                    };
                }
            }
        }
        Ok(())
    }

    fn enter(&mut self, dir: &OwnedFd, name: &[u8]) -> Result<(), Errno> {
        // Somebody may have mounted something since it was looked for.
        if is_mount_root(dir) {
            return Err(Errno::BUSY);
        }
        let level =
            Level { name: name.into(), id: id(dir)?, subdirectories: Vec::new(), listings: 0 };
        self.levels.push(level);
        Ok(())
    }

    /// The directory of the last level, from the top down.
    fn open_again(&self) -> Result<OwnedFd, Errno> {
        let mut dir = open_child(self.top.as_fd(), b".")?;
        for level in &self.levels[1..] {
            dir = open_child(dir.as_fd(), &level.name)?;
        }
        Ok(dir)
    }

    /// Removes the names in a directory but for subdirectories that are not empty, which are
    /// remembered. True if there was nothing.
    fn clear(&mut self, dir: BorrowedFd<'_>) -> Result<bool, Errno> {
        let level = self.levels.last_mut().expect("a directory is open");
        let most = if self.waiting < WAITING_MAX { WAITING } else { 1 };
        let mut nothing = true;
        for entry in Dir::read_from(dir)? {
            if self.cancel.is_some_and(Cancel::is_cancelled) {
                return Err(Errno::CANCELED);
            }
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if matches!(name, b"." | b"..") {
                continue;
            }
            self.names += 1;
            if self.names > NAMES_MAX {
                return Err(Errno::BUSY);
            }
            let removed = match unlink(dir, name) {
                Err(Errno::ISDIR) => rmdir(dir, name),
                result => result,
            };
            match removed {
                Ok(()) => nothing = false,
                // Gone by now; or a mount lists what is not there: overlayfs does so with whiteouts
                // in a directory that it does not merge.
                Err(Errno::NOENT) => {}
                Err(Errno::NOTEMPTY | Errno::EXIST) => {
                    nothing = false;
                    level.subdirectories.push(name.into());
                    self.waiting += 1;
                    if level.subdirectories.len() >= most {
                        return Ok(false);
                    }
                }
                Err(errno) => return Err(errno),
            }
        }
        level.listings += 1;
        match nothing || level.listings < LISTINGS {
            true => Ok(nothing),
            false => Err(Errno::BUSY),
        }
    }
}

/// The directory above, if it is the one that is expected there. Moved away meanwhile, this one has
/// another above it.
fn open_if(dir: BorrowedFd<'_>, expected: (u64, u64)) -> Result<Option<OwnedFd>, Errno> {
    let above = open_child(dir, b"..")?;
    Ok((id(&above)? == expected).then_some(above))
}

fn open_unlocked(parent: BorrowedFd<'_>, name: &[u8], plain_user: bool) -> Result<OwnedFd, Errno> {
    match open_child(parent, name) {
        Err(Errno::ACCESS) if plain_user => open_locked(parent, name).map(|(fd, _)| fd),
        Ok(fd) if plain_user => unlock(fd.as_fd(), &fstat(&fd)?).map(|_| fd),
        result => result,
    }
}

/// Whether something is mounted here. Kernels before 5.8 do not tell.
fn is_mount_root(dir: &OwnedFd) -> bool {
    let attributes = StatxAttributes::MOUNT_ROOT;
    statx(dir, c"", AtFlags::EMPTY_PATH, StatxFlags::empty()).is_ok_and(|statx| {
        statx.stx_attributes_mask.contains(attributes) && statx.stx_attributes.contains(attributes)
    })
}

/// Device and inode.
fn id(dir: &OwnedFd) -> Result<(u64, u64), Errno> {
    fstat(dir).map(|stat| (stat.st_dev, stat.st_ino))
}

/// Whether there is nothing of this name.
pub(super) fn is_absent(at: &SafeParent, name: Component<'_>) -> bool {
    matches!(stat_child(at.as_fd(), name), Err(Errno::NOENT))
}

fn unlink(at: BorrowedFd<'_>, name: &[u8]) -> Result<(), Errno> {
    retry_on_intr(|| unlinkat(at, name, AtFlags::empty()))
}

fn rmdir(at: BorrowedFd<'_>, name: &[u8]) -> Result<(), Errno> {
    retry_on_intr(|| unlinkat(at, name, AtFlags::REMOVEDIR))
}

/// The names in a directory.
pub(super) fn names_in(dir: &impl AsFd) -> Result<Vec<Vec<u8>>, Errno> {
    let mut names = Vec::new();
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if !matches!(name, b"." | b"..") {
            names.push(name.to_vec());
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::path::Path;
    use std::process::Command;
    use std::sync::atomic::{AtomicBool, Ordering};

    use rustix::process::{Resource, getrlimit};

    use super::*;

    /// Deeper than there are descriptors, and than a path may be long.
    const DEEP: usize = 5_000;

    fn deep(top: &Path) {
        fs::create_dir(top).unwrap();
        let mut at: OwnedFd = File::open(top).unwrap().into();
        for depth in 0..DEEP {
            rustix::fs::mkdirat(&at, "d", 0o755.into()).unwrap();
            rustix::fs::symlinkat("/etc/passwd", &at, format!("f{depth}")).unwrap();
            at = open_child(at.as_fd(), b"d").unwrap();
        }
    }

    fn remove_top(base: &Path, cancel: Option<&Cancel>) -> Result<(), Errno> {
        let parent = SafeParent::for_tests(File::open(base).unwrap().into());
        remove(&parent, Component::new(b"top").unwrap(), cancel)
    }

    #[test]
    fn tree_deeper_than_there_are_descriptors_is_removed() {
        let open_files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let base = tempfile::tempdir().unwrap();
        deep(&base.path().join("top"));
        let descriptors = || fs::read_dir("/proc/self/fd").unwrap().count() as u64;
        assert!(descriptors() < open_files);
        // On a stack that one page for each level would use up.
        let thread = std::thread::Builder::new().stack_size(64 << 10);
        let base_path = base.path().to_owned();
        thread.spawn(move || remove_top(&base_path, None)).unwrap().join().unwrap().unwrap();
        assert!(!base.path().join("top").exists());
    }

    #[test]
    fn wide_tree_with_directories_in_directories_is_removed() {
        let base = tempfile::tempdir().unwrap();
        for one in 0..3 * WAITING {
            for two in 0..3 {
                fs::create_dir_all(base.path().join(format!("top/{one}/{two}/x"))).unwrap();
            }
        }
        remove_top(base.path(), None).unwrap();
        assert!(!base.path().join("top").exists());
        assert_eq!(remove_top(base.path(), None), Err(Errno::NOENT));
    }

    #[test]
    fn removal_ends_while_somebody_makes_files() {
        let base = tempfile::tempdir().unwrap();
        let top = base.path().join("top");
        fs::create_dir(&top).unwrap();
        let mut feeder = Command::new("sh")
            .arg("-c")
            .arg("i=0; while :; do i=$((i+1)); mkdir -p top/$((i % 7))/d; : >top/$((i % 5))f; done 2>/dev/null")
            .current_dir(base.path())
            .spawn()
            .unwrap();
        let cancel = Cancel::new().unwrap();
        let done = AtomicBool::new(false);
        let result = std::thread::scope(|scope| {
            scope.spawn(|| {
                // Long past what an idle directory would take.
                for _ in 0..200 {
                    std::thread::sleep(std::time::Duration::from_millis(50));
                    if done.load(Ordering::Relaxed) {
                        return;
                    }
                }
                cancel.cancel();
            });
            let result = remove_top(base.path(), Some(&cancel));
            done.store(true, Ordering::Relaxed);
            result
        });
        feeder.kill().unwrap();
        feeder.wait().unwrap();
        // Which of them depends on who was faster; that it came back is what counts.
        let ends = [Ok(()), Err(Errno::BUSY), Err(Errno::NOTEMPTY), Err(Errno::CANCELED)];
        assert!(ends.contains(&result), "{result:?}");
    }

    #[test]
    fn cancelled_removal_ends() {
        let base = tempfile::tempdir().unwrap();
        fs::create_dir_all(base.path().join("top/x")).unwrap();
        let cancel = Cancel::new().unwrap();
        cancel.cancel();
        assert_eq!(remove_top(base.path(), Some(&cancel)), Err(Errno::CANCELED));
        assert!(base.path().join("top/x").exists());
    }
}
