// SPDX-License-Identifier: Apache-2.0
//! The layers' directories on disk, read without ever following a symlink: what is in them may be
//! as hostile as a layer.

use std::collections::{BTreeMap, HashSet};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use rustix::fs::readlinkat;
use rustix::fs::{AtFlags, Dir, FileType, Mode as Permissions, OFlags, Stat, open, statat};
use rustix::io::{Errno, retry_on_intr};

use crate::errno;
use crate::error::Result;
use crate::layer::joined;
use crate::options::{Mode, OptionsError};
use crate::resolve::{
    Component, Found, Lower, LowerLayers, Opener, Place, ResolveError, SafeParent,
};
use crate::resolve::{is, is_whiteout, is_xwhiteout, look_in_lowers, open_child, overlay_xattrs};
use crate::sys::xattr;

/// Position in the stack, bottom first.
pub(super) type Level = usize;

pub(super) struct Stack {
    levels: Vec<LevelDir>,
    opener: Opener,
    mode: Mode,
    /// The directory that was opened last; archives stay near one for long stretches.
    last: Option<(Level, Vec<u8>, Arc<OwnedFd>)>,
}

struct LevelDir {
    root: OwnedFd,
    path: PathBuf,
    /// Directories whose mark was found to be wrong: for the layers above it is not there.
    wrong: HashSet<Vec<u8>>,
}

/// What a layer has of a directory of the merged view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) level: Level,
    /// Where it has that, which a redirect may have led to.
    pub(super) path: Rc<[u8]>,
}

/// What the layers below have of one name, merged as overlayfs does it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Below {
    Nothing,
    /// A directory, merged of these, topmost first.
    Dir(Vec<Part>),
    /// Anything else, and the directory that it is in.
    Other(Part, FileType),
}

impl Below {
    /// Of a directory; none of anything else.
    pub(super) fn parts(self) -> Vec<Part> {
        match self {
            Below::Dir(parts) => parts,
            Below::Nothing | Below::Other(..) => Vec::new(),
        }
    }
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
        Ok(Stack { levels, opener: Opener::new(), mode, last: None })
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
        overlay_xattrs(self.mode).opaque
    }

    pub(super) fn metacopy(&self) -> &'static str {
        overlay_xattrs(self.mode).metacopy
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
        match self.opened(level, path) {
            Ok(fd) => Ok(Some(fd)),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
            Err(errno) => Err(failed("openat", path, errno)),
        }
    }

    fn opened(&mut self, level: Level, path: &[u8]) -> std::result::Result<Arc<OwnedFd>, Errno> {
        if let Some((at, name, fd)) = &self.last
            && *at == level
            && name == path
        {
            return Ok(fd.clone());
        }
        let fd = Arc::new(self.opener.open(self.levels[level].root.as_fd(), path)?);
        self.last = Some((level, path.to_vec(), fd.clone()));
        Ok(fd)
    }

    /// The same, for names to be made in it.
    pub(super) fn parent(&mut self, level: Level, path: &[u8]) -> Result<Option<SafeParent>> {
        match self.opener.open_parent(self.levels[level].root.as_fd(), path) {
            Ok(parent) => Ok(Some(parent)),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
            Err(errno) => Err(failed("openat", path, errno)),
        }
    }

    /// Directories may have been removed.
    pub(super) fn forget_opened(&mut self) {
        self.last = None;
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

    /// Where a symlink of a layer leads; nowhere if its directory is not there.
    pub(super) fn target(&mut self, level: Level, path: &[u8]) -> Result<Vec<u8>> {
        let (parent, name) = split(path);
        let Some(dir) = self.dir(level, parent)? else { return Ok(Vec::new()) };
        let target = readlinkat(&*dir, name, Vec::new());
        Ok(target.map_err(|errno| failed("readlinkat", path, errno))?.into_bytes())
    }

    /// Whether a directory of a layer carries the mark, right or wrong.
    pub(super) fn is_marked(&mut self, level: Level, path: &[u8]) -> Result<bool> {
        let Some(dir) = self.dir(level, path)? else { return Ok(false) };
        let value = xattr::get(&*dir, self.mark().as_bytes())
            .map_err(|errno| failed("fgetxattr", path, errno))?;
        Ok(value.as_deref() == Some(b"y"))
    }

    /// The roots of all layers below this one, topmost first.
    pub(super) fn roots_below(&self, level: Level) -> Vec<Part> {
        let root: Rc<[u8]> = Rc::default();
        (0..level).rev().map(|level| Part { level, path: root.clone() }).collect()
    }

    /// What layers have of the last name of a path, given what they have of its directory.
    pub(super) fn below(&mut self, parts: &[Part], path: &[u8]) -> Result<Below> {
        let (parent, name) = split(path);
        let Some(name) = Component::new(name) else { return Ok(Below::Nothing) };
        let lowers: Vec<Lower> = parts.iter().map(|part| self.lower(part.level)).collect();
        let mut view = LowersOf { stack: self, parts, parent };
        let found = look_in_lowers(&mut view, &lowers, name)
            .map_err(|error| crate::Error::from(crate::Cause::from(error)))?;
        Ok(match found {
            Found::Nothing => Below::Nothing,
            Found::Other(lower, stat) => {
                let part = view.part(lower).expect("it was found there").clone();
                Below::Other(part, FileType::from_raw_mode(stat.st_mode))
            }
            Found::Dir(found) => {
                let mut parts: Vec<Part> = Vec::new();
                for (lower, place) in found {
                    let path = view.path_of(lower, &place);
                    // Most have it at one path, which is kept once.
                    let path = match parts.last() {
                        Some(last) if *last.path == *path => last.path.clone(),
                        _ => path.into(),
                    };
                    parts.push(Part { level: view.stack.level(lower), path });
                }
                Below::Dir(parts)
            }
        })
    }

    /// The same for any path, from the root down.
    pub(super) fn below_root(&mut self, level: Level, path: &[u8]) -> Result<Below> {
        let mut parts = self.roots_below(level);
        let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
        for end in ends.collect::<Vec<_>>() {
            match self.below(&parts, &path[..end])? {
                Below::Dir(next) => parts = next,
                Below::Nothing | Below::Other(..) => return Ok(Below::Nothing),
            }
        }
        self.below(&parts, path)
    }

    fn lower(&self, level: Level) -> Lower {
        // Overlayfs takes 500.
        Lower::try_from(self.levels.len() - 1 - level).unwrap_or(Lower::MAX)
    }

    fn level(&self, lower: Lower) -> Level {
        self.levels.len() - 1 - Level::from(lower)
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
    pub(super) fn merged(&mut self, parts: &[Part]) -> Result<BTreeMap<Vec<u8>, (Level, Stat)>> {
        let mut merged = BTreeMap::new();
        for part in parts {
            for (name, stat) in self.names(part.level, &part.path)? {
                let hides = is_whiteout(&stat) || self.is_xwhiteout(part, &name, &stat)?;
                merged.entry(name).or_insert((!hides).then_some((part.level, stat)));
            }
        }
        Ok(merged.into_iter().filter_map(|(name, shown)| Some((name, shown?))).collect())
    }

    fn is_xwhiteout(&mut self, part: &Part, name: &[u8], stat: &Stat) -> Result<bool> {
        let mode = self.mode;
        let Some(dir) = self.dir(part.level, &part.path)? else { return Ok(false) };
        let name = Component::new(name).expect("a directory lists components");
        is_xwhiteout(dir.as_fd(), name, stat, mode)
            .map_err(|errno| failed("fgetxattr", &joined(&part.path, name.as_bytes()), errno))
    }
}

/// The layers below one of a stack, for a name in one directory.
struct LowersOf<'s> {
    stack: &'s mut Stack,
    /// What they have of the directory.
    parts: &'s [Part],
    parent: &'s [u8],
}

impl LowersOf<'_> {
    fn part(&self, lower: Lower) -> Option<&Part> {
        let level = self.stack.level(lower);
        self.parts.iter().find(|part| part.level == level)
    }

    fn path_of(&self, lower: Lower, place: &Place) -> Vec<u8> {
        match place {
            Place::At(path) => path.to_vec(),
            Place::Beside(name) => joined(self.part(lower).map_or(&[], |part| &part.path), name),
        }
    }
}

impl LowerLayers for LowersOf<'_> {
    fn mode(&self) -> Mode {
        self.stack.mode
    }

    fn bottom(&self) -> Lower {
        self.stack.lower(0)
    }

    fn root(&mut self, layer: Lower) -> std::result::Result<Arc<OwnedFd>, ResolveError> {
        self.open(layer, &[])
    }

    fn parent(&mut self, layer: Lower) -> std::result::Result<Arc<OwnedFd>, ResolveError> {
        let path = self.part(layer).expect("only layers that have it are asked").path.clone();
        self.open(layer, &path)
    }

    fn open_child(
        &mut self,
        at: BorrowedFd<'_>,
        name: &[u8],
    ) -> std::result::Result<OwnedFd, Errno> {
        open_child(at, name)
    }

    fn ignores_mark(&self, layer: Lower, place: &Place) -> bool {
        let level = &self.stack.levels[self.stack.level(layer)];
        !level.wrong.is_empty() && level.wrong.contains(&self.path_of(layer, place))
    }

    fn path(&self) -> Vec<u8> {
        self.parent.to_vec()
    }
}

impl LowersOf<'_> {
    fn open(
        &mut self,
        layer: Lower,
        path: &[u8],
    ) -> std::result::Result<Arc<OwnedFd>, ResolveError> {
        let level = self.stack.level(layer);
        self.stack
            .opened(level, path)
            .map_err(|errno| ResolveError::new("openat", path.to_vec(), errno))
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
