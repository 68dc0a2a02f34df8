// SPDX-License-Identifier: Apache-2.0
//! The layers' directories on disk, read without ever following a symlink: what is in them may be
//! as hostile as a layer.

use std::collections::{BTreeMap, HashSet};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, Dir, FileType, Mode as Permissions, OFlags, Stat, open, statat};
use rustix::io::{Errno, retry_on_intr};

use crate::errno;
use crate::error::Result;
use crate::layer::joined;
use crate::options::{Mode, OptionsError};
use crate::resolve::{Opener, ResolveError, is, is_whiteout, opaque_xattr};
use crate::sys::xattr;

/// Position in the stack, bottom first.
pub(super) type Level = usize;

pub(super) struct Stack {
    levels: Vec<LevelDir>,
    opener: Opener,
    mark: &'static str,
    /// The directory that was opened last; archives stay near one for long stretches.
    last: Option<(Level, Vec<u8>, Arc<OwnedFd>)>,
}

struct LevelDir {
    root: OwnedFd,
    path: PathBuf,
    /// Directories whose mark was found to be wrong: for the layers above it is not there.
    wrong: HashSet<Vec<u8>>,
}

/// What the layers below have of one name, merged as overlayfs does it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Below {
    Nothing,
    /// A directory, in these layers, topmost first.
    Dir(Vec<Level>),
    Other,
}

impl Stack {
    /// `paths` bottom first.
    pub(super) fn open(paths: &[PathBuf], mode: Mode) -> Result<Stack> {
        let open_level = |path: &PathBuf| -> Result<LevelDir, OptionsError> {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let root =
                retry_on_intr(|| open(path, flags, Permissions::empty())).map_err(|errno| {
                    OptionsError::Lower { path: path.clone(), errno: errno::Errno::of(errno) }
                })?;
            Ok(LevelDir { root, path: path.clone(), wrong: HashSet::new() })
        };
        let levels = paths.iter().map(open_level).collect::<Result<_, _>>()?;
        Ok(Stack { levels, opener: Opener::new(), mark: opaque_xattr(mode), last: None })
    }

    pub(super) fn len(&self) -> usize {
        self.levels.len()
    }

    pub(super) fn path(&self, level: Level) -> &Path {
        &self.levels[level].path
    }

    pub(super) fn root(&self, level: Level) -> &OwnedFd {
        &self.levels[level].root
    }

    pub(super) fn mark(&self) -> &'static str {
        self.mark
    }

    pub(super) fn believe_wrong(&mut self, level: Level, path: &[u8]) {
        self.levels[level].wrong.insert(path.to_vec());
    }

    /// Whether a wrong mark hides what lower layers have in this directory.
    pub(super) fn is_below_wrong(&self, level: Level, path: &[u8]) -> bool {
        let wrong = &self.levels[level].wrong;
        let mut above = path;
        while !wrong.contains(above) {
            if above.is_empty() {
                return false;
            }
            above = split(above).0;
        }
        true
    }

    /// A directory of a layer; none if there is none.
    pub(super) fn dir(&mut self, level: Level, path: &[u8]) -> Result<Option<Arc<OwnedFd>>> {
        if let Some((at, name, fd)) = &self.last
            && *at == level
            && name == path
        {
            return Ok(Some(fd.clone()));
        }
        match self.opener.open(self.levels[level].root.as_fd(), path) {
            Ok(fd) => {
                let fd = Arc::new(fd);
                self.last = Some((level, path.to_vec(), fd.clone()));
                Ok(Some(fd))
            }
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
            Err(errno) => Err(failed("openat", path, errno)),
        }
    }

    /// What a layer has of this name itself; not for the root.
    pub(super) fn stat(&mut self, level: Level, path: &[u8]) -> Result<Option<Stat>> {
        let (parent, name) = split(path);
        let Some(dir) = self.dir(level, parent)? else { return Ok(None) };
        match statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(failed("fstatat", path, errno)),
        }
    }

    /// Whether a directory of a layer carries the mark, right or wrong.
    pub(super) fn is_marked(&mut self, level: Level, path: &[u8]) -> Result<bool> {
        let Some(dir) = self.dir(level, path)? else { return Ok(false) };
        let value = xattr::get(&*dir, self.mark.as_bytes())
            .map_err(|errno| failed("fgetxattr", path, errno))?;
        Ok(value.as_deref() == Some(b"y"))
    }

    /// What `levels`, topmost first, have of a name in a directory that all of them have.
    pub(super) fn below(&mut self, levels: &[Level], path: &[u8]) -> Result<Below> {
        let mut found = Vec::new();
        for &level in levels {
            let Some(stat) = self.stat(level, path)? else { continue };
            if !is_dir(&stat) {
                return Ok(match found.is_empty() && !is_whiteout(&stat) {
                    true => Below::Other,
                    false if found.is_empty() => Below::Nothing,
                    false => Below::Dir(found),
                });
            }
            found.push(level);
            if self.is_marked(level, path)? && !self.levels[level].wrong.contains(path) {
                break;
            }
        }
        Ok(if found.is_empty() { Below::Nothing } else { Below::Dir(found) })
    }

    /// The same for any path, from the root down.
    pub(super) fn below_root(&mut self, level: Level, path: &[u8]) -> Result<Below> {
        let mut levels: Vec<Level> = (0..level).rev().collect();
        let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
        for end in ends.collect::<Vec<_>>() {
            match self.below(&levels, &path[..end])? {
                Below::Dir(next) => levels = next,
                Below::Nothing | Below::Other => return Ok(Below::Nothing),
            }
        }
        self.below(&levels, path)
    }

    /// The names in a directory of one layer.
    pub(super) fn names(&mut self, level: Level, path: &[u8]) -> Result<Vec<(Vec<u8>, Stat)>> {
        let Some(dir) = self.dir(level, path)? else { return Ok(Vec::new()) };
        let listing = Dir::read_from(&*dir).map_err(|errno| failed("getdents64", path, errno))?;
        let mut names = Vec::new();
        for entry in listing {
            let entry = entry.map_err(|errno| failed("getdents64", path, errno))?;
            let name = entry.file_name().to_bytes();
            if matches!(name, b"." | b"..") {
                continue;
            }
            match statat(&*dir, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => names.push((name.to_vec(), stat)),
                Err(Errno::NOENT) => {}
                Err(errno) => return Err(failed("fstatat", &joined(path, name), errno)),
            }
        }
        names.sort_by(|(a, _), (b, _)| a.cmp(b));
        Ok(names)
    }

    /// The names that show in a directory of several layers, topmost first, with whose they are.
    pub(super) fn merged(
        &mut self,
        levels: &[Level],
        path: &[u8],
    ) -> Result<BTreeMap<Vec<u8>, (Level, Stat)>> {
        let mut merged = BTreeMap::new();
        for &level in levels {
            for (name, stat) in self.names(level, path)? {
                merged.entry(name).or_insert((level, stat));
            }
        }
        merged.retain(|_, (_, stat)| !is_whiteout(stat));
        Ok(merged)
    }
}

pub(super) fn is_dir(stat: &Stat) -> bool {
    is(stat, FileType::Directory)
}

pub(super) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (&[], path),
    }
}

pub(super) fn failed(operation: &'static str, path: &[u8], errno: Errno) -> crate::Error {
    crate::Error::from(crate::Cause::from(ResolveError::new(operation, path.to_vec(), errno)))
}

/// For messages about a layer's directory.
pub(super) fn bytes(path: &Path) -> Vec<u8> {
    path.as_os_str().as_bytes().to_vec()
}
