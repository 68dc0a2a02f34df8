// SPDX-License-Identifier: Apache-2.0
//! The merged view of one unpack: its root, and the directories of the parent layers below that.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use rustix::fs::readlinkat;
use rustix::fs::{FileType, Mode as Permissions, OFlags, Stat, fstat, open};
use rustix::io::{Errno, retry_on_intr};

use super::error::ResolveError;
use super::fds::{Fds, LayerIndex};
use super::inode::{has_xattr, is, is_marked, is_whiteout, overlay_xattrs, stat_child, times_of};
use super::lowers::{Found, Lower, LowerLayers, Place, look_in_lowers};
use super::open::{Opener, open_child, open_locked, unlock};
use super::path::Component;
use super::safe_parent::SafeParent;
use super::tree::{Below, Dir, DirId, Merged, Tree};
use super::walk::{Seen, View};
use crate::errno;
use crate::options::{Lowers, Mode, Options, OptionsError};

/// What a name is in the lower layers alone.
#[derive(Debug)]
pub(crate) enum SeenBelow {
    /// The parents were not given.
    Unknown,
    Nothing,
    /// A directory, merged of these.
    Dir(Rc<Merged>),
    /// Anything else, in this layer.
    Other(LayerIndex, Box<Stat>),
}

/// What a name is in the root.
enum SeenInRoot {
    Nothing,
    Whiteout,
    Dir,
    Symlink,
    Other,
}

/// Names to directories, for one unpack.
pub(crate) struct Resolver {
    pub(crate) tree: Tree,
    mode: Mode,
    /// Permission bits bind this process, its own directories' too.
    plain_user: bool,
    opener: Opener,
    fds: Fds,
    /// The root, then the lowers, topmost first.
    layers: Vec<Arc<OwnedFd>>,
    /// The upper directory of the mount that the root is, if it was named.
    upper: Option<OwnedFd>,
    /// The parent of the entry before: most entries have the same.
    last: Option<(Vec<u8>, DirId)>,
}

impl Resolver {
    /// A view of the root above the lowers that the options name.
    pub(crate) fn new(root: OwnedFd, options: &Options) -> Result<Self, OptionsError> {
        let below = match &options.lowers {
            Lowers::Unknown | Lowers::Later if options.mode != Mode::Directory => Below::Unknown,
            _ => Below::nothing(),
        };
        let upper = options.upper.as_ref().map(|path| {
            open_layer(path).map_err(|errno| OptionsError::Upper {
                path: path.clone(),
                errno: errno::Errno::of(errno),
            })
        });
        let mut resolver = Resolver {
            tree: Tree::new(Dir::new(DirId::ROOT, b"", below)),
            mode: options.mode,
            plain_user: !rustix::process::geteuid().is_root(),
            opener: Opener::new(),
            fds: Fds::default(),
            layers: vec![Arc::new(root)],
            upper: upper.transpose()?,
            last: None,
        };
        resolver.tree.dir_mut(DirId::ROOT).in_root = true;
        if let Lowers::Known(paths) = &options.lowers {
            resolver.put_above(open_lowers(paths)?)?;
        }
        Ok(resolver)
    }

    /// The parents are still being made: nothing may be looked up in them until
    /// [`put_above`](Resolver::put_above).
    pub(crate) fn await_lowers(&mut self) {
        self.tree.set_below(DirId::ROOT, Below::Awaited);
    }

    /// From now on the root lies above these, topmost first. Nothing was looked up there before.
    pub(crate) fn put_above(&mut self, lowers: Vec<Arc<OwnedFd>>) -> Result<(), OptionsError> {
        let count = Lower::try_from(lowers.len()).map_err(|_| OptionsError::TooManyLowers)?;
        self.layers.extend(lowers);
        self.tree.set_below(DirId::ROOT, Below::Layers(Rc::new(Merged::all(1..=count))));
        Ok(())
    }

    pub(crate) fn overlay(&self) -> bool {
        self.mode != Mode::Directory
    }

    /// The directory in the root. It must exist there.
    pub(crate) fn parent(&mut self, dir: DirId) -> Result<SafeParent, ResolveError> {
        self.fd(dir, 0).map(SafeParent::new)
    }

    /// The directory in one of the layers.
    pub(crate) fn fd(
        &mut self,
        dir: DirId,
        layer: LayerIndex,
    ) -> Result<Arc<OwnedFd>, ResolveError> {
        if dir == DirId::ROOT {
            return Ok(self.layers[layer].clone());
        }
        if let Some(fd) = self.fds.get((dir, layer)) {
            return Ok(fd);
        }
        let path = match Lower::try_from(layer) {
            Ok(lower) if lower > 0 => self.tree.path_in(dir, lower),
            _ => self.tree.path(dir),
        };
        let base = self.layers[layer].clone();
        let fd = self
            .with_descriptors(|this| this.opener.open(base.as_fd(), &path))
            .map_err(|errno| ResolveError::new("openat2", path, errno))?;
        Ok(self.fds.keep((dir, layer), fd))
    }

    /// The directory as it is in the upper directory of the mount that the root is: none if that
    /// was not named or has no such directory.
    pub(crate) fn in_upper(&mut self, dir: DirId) -> Result<Option<OwnedFd>, ResolveError> {
        if self.upper.is_none() {
            return Ok(None);
        }
        let path = self.tree.path(dir);
        let found = self.with_descriptors(|this| {
            let upper = this.upper.as_ref().expect("looked at above");
            this.opener.open(upper.as_fd(), &path)
        });
        match found {
            Ok(fd) => Ok(Some(fd)),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
            Err(errno) => {
                let operation = "openat2 in the upper directory";
                Err(ResolveError::new(operation, path, errno))
            }
        }
    }

    /// Tries again with all cached descriptors closed when the process has run out of them.
    fn with_descriptors<T>(
        &mut self,
        open: impl Fn(&mut Self) -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        match open(self) {
            Err(Errno::MFILE | Errno::NFILE) if self.fds.close_all() => open(self),
            result => result,
        }
    }

    /// Gives back cached descriptors, for a caller that could not get one; false if there are none.
    pub(crate) fn spare_descriptors(&mut self) -> bool {
        self.fds.close_all()
    }

    /// Looks a name up in the merged view. What turns out to be a directory is remembered.
    fn look_at(&mut self, dir: DirId, name: Component<'_>) -> Result<Seen, ResolveError> {
        if let Some(child) = self.tree.child(dir, name.as_bytes()) {
            return Ok(Seen::Dir(child));
        }
        if self.tree.dir(dir).in_root {
            match self.look_in_root(dir, name)? {
                SeenInRoot::Nothing => {}
                SeenInRoot::Whiteout => return Ok(Seen::Whiteout),
                SeenInRoot::Dir => return self.adopt(dir, name).map(Seen::Dir),
                SeenInRoot::Symlink => return self.read_link(dir, 0, name).map(Seen::Symlink),
                SeenInRoot::Other => return Ok(Seen::Other),
            }
        }
        match self.look_below(dir, name)? {
            SeenBelow::Unknown | SeenBelow::Nothing => Ok(Seen::Nothing),
            SeenBelow::Dir(merged) => {
                let child = Dir::new(dir, name.as_bytes(), Below::Layers(merged));
                Ok(Seen::Dir(self.tree.add(child)))
            }
            SeenBelow::Other(layer, stat) if is(&stat, FileType::Symlink) => {
                self.read_link(dir, layer, name).map(Seen::Symlink)
            }
            SeenBelow::Other(..) => Ok(Seen::Other),
        }
    }

    /// Looks a name up in the lower layers alone, as overlayfs would merge them.
    pub(crate) fn look_below(
        &mut self,
        dir: DirId,
        name: Component<'_>,
    ) -> Result<SeenBelow, ResolveError> {
        let Some(above) = self.layers_below(dir)? else { return Ok(SeenBelow::Unknown) };
        let found = look_in_lowers(&mut LowersOf { resolver: self, dir }, &above.layers, name)?;
        Ok(match found {
            Found::Nothing => SeenBelow::Nothing,
            Found::Dir(found) => SeenBelow::Dir(Rc::new(Merged::new(name.as_bytes(), found))),
            Found::Other(layer, stat) => SeenBelow::Other(layer.into(), stat),
        })
    }

    /// The lower layers that show through a directory, or none if the parents were not given.
    pub(crate) fn layers_below(&mut self, dir: DirId) -> Result<Option<Rc<Merged>>, ResolveError> {
        match &self.tree.dir(dir).below {
            Below::Unknown => return Ok(None),
            Below::Layers(merged) => return Ok(Some(merged.clone())),
            Below::Awaited => unreachable!("whoever may need the parents waits for them"),
            Below::Unasked => {}
        }
        let (parent, name) = (self.tree.dir(dir).parent, self.tree.dir(dir).name.clone());
        let name = Component::new(&name).expect("it was one when the directory was added");
        let below = match self.look_below(parent, name)? {
            SeenBelow::Unknown => Below::Unknown,
            SeenBelow::Dir(merged) => Below::Layers(merged),
            SeenBelow::Nothing | SeenBelow::Other(..) => Below::nothing(),
        };
        self.tree.set_below(dir, below.clone());
        Ok(match below {
            Below::Layers(merged) => Some(merged),
            _ => None,
        })
    }

    fn look_in_root(
        &mut self,
        dir: DirId,
        name: Component<'_>,
    ) -> Result<SeenInRoot, ResolveError> {
        let fd = self.fd(dir, 0)?;
        let stat = match stat_child(fd.as_fd(), name) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(SeenInRoot::Nothing),
            Err(errno) => return Err(self.failed("fstatat", dir, name, errno)),
        };
        Ok(match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => SeenInRoot::Dir,
            FileType::Symlink => SeenInRoot::Symlink,
            _ if self.overlay() && is_whiteout(&stat) => SeenInRoot::Whiteout,
            _ => SeenInRoot::Other,
        })
    }

    /// Remembers a directory that exists in the root and that this unpack has not made.
    pub(crate) fn adopt(
        &mut self,
        parent: DirId,
        name: Component<'_>,
    ) -> Result<DirId, ResolveError> {
        let failed =
            |operation, errno| ResolveError::new(operation, name.as_bytes().to_vec(), errno);
        let at = self.fd(parent, 0)?;
        let fd = self
            .with_descriptors(|this| match open_child(at.as_fd(), name.as_bytes()) {
                Err(Errno::ACCESS) if this.plain_user => open_locked(at.as_fd(), name.as_bytes()),
                result => result.map(|fd| (fd, None)),
            })
            .map_err(|errno| failed("openat", errno))?;
        let (fd, locked) = fd;
        let mut dir = Dir::new(parent, name.as_bytes(), Below::Unasked);
        self.take_note(&mut dir, fd.as_fd()).map_err(|errno| failed("fstat", errno))?;
        dir.locked = dir.locked.or(locked);
        dir.pending.mode = dir.locked;
        if self.overlay() {
            let xattrs = overlay_xattrs(self.mode);
            let marked = is_marked(fd.as_fd(), xattrs.opaque);
            if marked.map_err(|errno| failed("fgetxattr", errno))? {
                dir.below = Below::nothing();
            } else if has_xattr(fd.as_fd(), xattrs.redirect)
                .map_err(|errno| failed("fgetxattr", errno))?
            {
                // No layer leaves one. A mount did, and changed this directory since.
                return Err(failed("redirect of a directory in the root,", Errno::OPNOTSUPP));
            }
        }
        let id = self.tree.add(dir);
        self.fds.keep((id, 0), fd);
        // A copy-up brings all parents along, so below one that is not there nothing is.
        let only_below = self.tree.dir(parent).only_below || self.in_upper(id)?.is_none();
        self.tree.dir_mut(id).only_below = self.upper.is_some() && only_below;
        Ok(id)
    }

    /// The same for the root itself.
    pub(crate) fn adopt_root(&mut self) -> Result<(), Errno> {
        let fd = self.layers[0].clone();
        let below = self.tree.dir(DirId::ROOT).below.clone();
        let mut root = Dir::new(DirId::ROOT, b"", below);
        self.take_note(&mut root, fd.as_fd())?;
        root.pending.mode = root.locked;
        *self.tree.dir_mut(DirId::ROOT) = root;
        Ok(())
    }

    fn take_note(&self, dir: &mut Dir, fd: BorrowedFd<'_>) -> Result<(), Errno> {
        let stat = fstat(fd)?;
        dir.in_root = true;
        dir.adopted = true;
        dir.gid = stat.st_gid;
        dir.setgid = stat.st_mode & 0o2000 != 0;
        if self.plain_user {
            dir.locked = unlock(fd, &stat)?;
        }
        dir.whiteouts = self.overlay();
        dir.default_acl = has_xattr(fd, "system.posix_acl_default")?;
        // In overlay modes the upper directory is this layer's alone, whoever wrote to it.
        dir.found = !self.overlay();
        dir.pending.times = Some(times_of(&stat));
        Ok(())
    }

    /// Remembers a directory that was made just now, and keeps it open.
    pub(crate) fn made(&mut self, dir: Dir, fd: OwnedFd) -> DirId {
        let id = self.tree.add(dir);
        self.fds.keep((id, 0), fd);
        id
    }

    /// Keeps open what was a lower directory only, and is now in the root as well.
    pub(crate) fn now_in_root(&mut self, dir: DirId, fd: OwnedFd) {
        self.tree.dir_mut(dir).in_root = true;
        self.fds.keep((dir, 0), fd);
    }

    /// A name was removed or replaced: what was known below it is void.
    pub(crate) fn forget(&mut self, parent: DirId, name: Component<'_>) {
        self.last = None;
        if let Some(id) = self.tree.child(parent, name.as_bytes()) {
            let fds = &mut self.fds;
            self.tree.forget(id, |gone| fds.close(gone));
        }
    }

    fn read_link(
        &mut self,
        dir: DirId,
        layer: LayerIndex,
        name: Component<'_>,
    ) -> Result<Vec<u8>, ResolveError> {
        let fd = self.fd(dir, layer)?;
        readlinkat(&fd, name.as_bytes(), Vec::new())
            .map(|target| target.into_bytes())
            .map_err(|errno| self.failed("readlinkat", dir, name, errno))
    }
}

/// The lower layers, for a name in one directory.
struct LowersOf<'r> {
    resolver: &'r mut Resolver,
    dir: DirId,
}

impl LowerLayers for LowersOf<'_> {
    fn mode(&self) -> Mode {
        self.resolver.mode
    }

    fn bottom(&self) -> Lower {
        Lower::try_from(self.resolver.layers.len() - 1).expect("looked at when they were opened")
    }

    fn root(&mut self, layer: Lower) -> Result<Arc<OwnedFd>, ResolveError> {
        self.resolver.fd(DirId::ROOT, layer.into())
    }

    fn parent(&mut self, layer: Lower) -> Result<Arc<OwnedFd>, ResolveError> {
        self.resolver.fd(self.dir, layer.into())
    }

    fn open_child(&mut self, at: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd, Errno> {
        self.resolver.with_descriptors(|_| open_child(at, name))
    }

    fn ignores_mark(&self, _: Lower, _: &Place) -> bool {
        false
    }

    fn path(&self) -> Vec<u8> {
        self.resolver.tree.path(self.dir)
    }
}

impl View for Resolver {
    fn look(&mut self, dir: DirId, name: Component<'_>) -> Result<Seen, ResolveError> {
        self.look_at(dir, name)
    }

    fn above(&self, dir: DirId) -> DirId {
        self.tree.dir(dir).parent
    }

    fn depth(&self, dir: DirId) -> usize {
        self.tree.dir(dir).depth as usize
    }

    fn path(&self, dir: DirId) -> Vec<u8> {
        self.tree.path(dir)
    }
}

impl Resolver {
    /// The directory that `path` leads to, if it was the one asked for last.
    pub(crate) fn last_parent(&self, path: &[u8]) -> Option<DirId> {
        self.last.as_ref().filter(|(last, _)| last == path).map(|(_, dir)| *dir)
    }

    /// The directory that `path` leads to, if that can be told without looking at any.
    pub(crate) fn known(&self, path: &[u8]) -> Option<DirId> {
        self.last_parent(path).or_else(|| {
            let mut names = path.split(|byte| *byte == b'/').filter(|name| !name.is_empty());
            names.try_fold(DirId::ROOT, |dir, name| self.tree.child(dir, name))
        })
    }

    pub(crate) fn remember_parent(&mut self, path: &[u8], dir: DirId) {
        match &mut self.last {
            Some((last, id)) => {
                last.clear();
                last.extend_from_slice(path);
                *id = dir;
            }
            None => self.last = Some((path.to_vec(), dir)),
        }
    }
}

/// Opens the directories of lower layers.
pub(crate) fn open_lowers(paths: &[PathBuf]) -> Result<Vec<Arc<OwnedFd>>, OptionsError> {
    let open = |path: &PathBuf| match open_layer(path) {
        Ok(fd) => Ok(Arc::new(fd)),
        Err(errno) => {
            Err(OptionsError::Lower { path: path.clone(), errno: errno::Errno::of(errno) })
        }
    };
    paths.iter().map(open).collect()
}

fn open_layer(path: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    retry_on_intr(|| open(path, flags, Permissions::empty()))
}
