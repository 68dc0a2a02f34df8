// SPDX-License-Identifier: Apache-2.0
//! What a layer says that its directory has: an index of its names, made in one pass. The content of
//! files is compared as it streams past, and not kept.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use rustix::fs::{FileType, Mode as Permissions, OFlags, SeekFrom, openat, readlinkat, seek};
use rustix::io::{Errno, retry_on_intr};

use super::inode::{Content, Hashing, Inode};
use super::options::Compare;
use super::spool::{Extent, Spool};
use super::stack::{Below, Level, Stack, failed, split};
use crate::error::{Cause, Error, Result};
use crate::layer::{self, AUFS_LINKS, Action, Names, SkippedNames, joined};
use crate::limits::{LimitExceeded, Limits};
use crate::operation::entries::Sink;
use crate::options::{Devices, Mode, Owners};
use crate::pipeline::{Chunk, Pipeline};
use crate::tar::{Entry, Kind};

/// Memory that a name takes with what an entry says of it, but for its path.
const NAME_BYTES: u64 = 320;

/// Bytes of a file that are read again at a time.
pub(super) const COMPARED: usize = 256 << 10;

/// As the kernel allows in one path.
const SYMLINKS_MAX: usize = 40;

/// Names, each resolved: no component but the last is a symlink.
#[derive(Default)]
pub(super) struct Expected {
    names: BTreeMap<Vec<u8>, Name>,
    /// There are files that only hardlinks lead to.
    link_sources: bool,
    /// Memory that they have taken so far.
    bytes: u64,
    /// Files that lost the name that their content was compared at, and have others.
    displaced: Vec<Rc<Inode>>,
}

#[derive(Default)]
pub(super) struct Name {
    /// What an entry says; none for a directory that one only implies, or a whiteout.
    pub(super) described: Option<Rc<Inode>>,
    /// An entry is it or lies below it.
    pub(super) claimed: bool,
    pub(super) whiteout: bool,
    /// What is below in lower layers must not show.
    pub(super) opaque: bool,
    pub(super) seen: bool,
}

impl Name {
    pub(super) fn is_deleted(&self) -> bool {
        self.whiteout && !self.claimed
    }
}

impl Expected {
    pub(super) fn is_deleted(&self, path: &[u8]) -> bool {
        self.names.get(path).is_some_and(Name::is_deleted)
    }

    pub(super) fn get(&self, path: &[u8]) -> Option<&Name> {
        self.names.get(path)
    }

    pub(super) fn get_mut(&mut self, path: &[u8]) -> Option<&mut Name> {
        self.names.get_mut(path)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Vec<u8>, &Name)> {
        self.names.iter()
    }

    /// Whether nothing of the lower layers shows below this directory, by itself or one above it.
    pub(super) fn is_covered(&self, path: &[u8]) -> bool {
        let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
        let covers =
            |at: &[u8]| self.names.get(at).is_some_and(|name| name.opaque || name.is_deleted());
        covers(b"") || ends.into_iter().any(|end| covers(&path[..end])) || covers(path)
    }

    fn name(&mut self, path: &[u8]) -> &mut Name {
        // Not the entry API: it would want the key owned each time.
        if !self.names.contains_key(path) {
            self.names.insert(path.to_vec(), Name::default());
            self.bytes += NAME_BYTES + path.len() as u64;
        }
        self.names.get_mut(path).expect("was just made")
    }

    fn is_other(&self, path: &[u8]) -> bool {
        let described = self.names.get(path).and_then(|name| name.described.as_ref());
        described.is_some_and(|described| described.kind != Kind::Directory)
    }

    /// Whether an entry of this layer has the name, and nothing of lower layers is below it.
    fn is_no_directory(&self, path: &[u8]) -> bool {
        let described = self.names.get(path).and_then(|name| name.described.as_ref());
        described.is_some_and(|inode| inode.kind != Kind::Directory)
    }

    /// An entry is here: all that is above it is there as well.
    fn claim(&mut self, path: &[u8]) {
        let mut end = path.len();
        loop {
            let name = self.name(&path[..end]);
            // What was copied up for a hardlink makes way for a directory.
            let makes_way = |inode: &mut Rc<Inode>| inode.lower.is_some() && end != path.len();
            name.described.take_if(makes_way);
            if name.claimed && end != path.len() {
                return;
            }
            // As after deleting and making it: docs/layer-semantics.md.
            name.opaque |= name.whiteout && end != path.len();
            name.claimed = true;
            match path[..end].iter().rposition(|byte| *byte == b'/') {
                Some(slash) => end = slash,
                None if end > 0 => end = 0,
                None => return,
            }
        }
    }

    /// A whiteout is here: the directories above it may be there for it, if there is something to hide.
    fn delete(&mut self, path: &[u8]) {
        // Nothing is below what this layer has made something other than a directory.
        let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
        if ends.into_iter().any(|end| self.is_other(&path[..end])) {
            return;
        }
        let name = self.name(path);
        name.whiteout = true;
        name.opaque |= name.claimed;
        let mut above = path;
        while !above.is_empty() {
            above = split(above).0;
            self.name(above);
        }
    }

    fn describe(&mut self, path: &[u8], described: Rc<Inode>) {
        self.claim(path);
        if described.kind == Kind::Symlink {
            self.bytes += described.link.len() as u64;
        }
        let is_dir = described.kind == Kind::Directory;
        let name = self.name(path);
        let was_other = name.described.as_ref().is_some_and(|old| old.kind != Kind::Directory);
        // As after deleting and making it: docs/layer-semantics.md.
        name.opaque = is_dir && (name.opaque || name.whiteout || was_other);
        let displaced = name.described.replace(described);
        self.displaced.extend(displaced.filter(is_linked_file));
        if !is_dir {
            self.forget_below(path);
        }
    }

    /// What this layer has of this name so far.
    fn inode_at(&self, path: &[u8]) -> Option<Rc<Inode>> {
        self.names.get(path)?.described.clone()
    }

    /// The layer was read: what only its hardlinks lead to has gone.
    pub(super) fn finish(&mut self) {
        if std::mem::take(&mut self.link_sources) {
            self.forget_below(AUFS_LINKS);
            self.names.remove(AUFS_LINKS);
        }
    }

    /// A directory of this layer that something else has replaced takes its content along.
    fn forget_below(&mut self, path: &[u8]) {
        let prefix = [path, b"/"].concat();
        let below = (Bound::Excluded(prefix.clone()), Bound::Unbounded);
        let doomed: Vec<_> = self
            .names
            .range(below)
            .map(|(name, _)| name.clone())
            .take_while(|name| name.starts_with(&prefix))
            .collect();
        for name in doomed {
            let removed = self.names.remove(&name).and_then(|name| name.described);
            self.displaced.extend(removed.filter(is_linked_file));
        }
    }
}

/// Whether it has more names than the one that it was just taken from.
fn is_linked_file(inode: &Rc<Inode>) -> bool {
    inode.kind == Kind::File && Rc::strong_count(inode) > 1
}

/// Reads one layer into its index.
pub(super) struct Reading<'s, 'a> {
    pub(super) pipeline: Pipeline<'s, Error>,
    pub(super) stack: &'a mut Stack,
    pub(super) level: Level,
    pub(super) mode: Mode,
    pub(super) limits: Limits,
    pub(super) expected: Expected,
    pub(super) names: Names,
    /// The file that the entry's data is compared with.
    pub(super) file: Option<Compared>,
    pub(super) owners: Owners,
    pub(super) devices: Devices,
    /// Names that the layer has and unpack leaves out.
    pub(super) skipped_names: SkippedNames,
    /// The last parent as the archive has it, and where that is.
    pub(super) parent: Option<(Vec<u8>, Vec<u8>)>,
    /// Where content is kept that the directory does not have, if it is to be restored.
    pub(super) spool: Option<Spool>,
    pub(super) compare: Compare,
}

pub(super) struct Compared {
    path: Vec<u8>,
    inode: Rc<Inode>,
    sparse: bool,
    /// None where there is no file of this name, or it has turned out to be another one.
    file: Option<OwnedFd>,
    /// Bytes that were compared and are the same.
    same: u64,
    hashing: Hashing,
    buffer: Vec<u8>,
    kept: Vec<Extent>,
}

impl Sink for Reading<'_, '_> {
    fn next(&mut self) -> Result<Option<Chunk>> {
        self.pipeline.next()
    }

    fn begin(&mut self, entry: &Entry) -> Result<()> {
        self.file = None;
        let mut names = std::mem::take(&mut self.names);
        let done = self.meaning(entry, &mut names);
        self.names = names;
        done?;
        self.keep_displaced()?;
        let got = self.expected.bytes + self.skipped_names.bytes();
        let limit = self.limits.memory;
        match got > limit {
            true => Err(Cause::Limit(LimitExceeded::Memory { got, limit }).into()),
            false => Ok(()),
        }
    }

    fn data(&mut self, _: &Entry, at: u64, bytes: &[u8]) -> Result<()> {
        let Some(compared) = &mut self.file else { return Ok(()) };
        compared.data(at, bytes, self.spool.as_mut())
    }

    fn end(&mut self, _: &Entry) -> Result<()> {
        if let Some(compared) = self.file.take() {
            self.expected.bytes += compared.finish(self.spool.as_mut())?;
        }
        Ok(())
    }
}

impl Compared {
    fn data(&mut self, at: u64, bytes: &[u8], mut spool: Option<&mut Spool>) -> Result<()> {
        if let Some(file) = &self.file {
            self.buffer.resize(bytes.len(), 0);
            let filled = read_at(file, at, &mut self.buffer)
                .map_err(|errno| failed("pread", &self.path, errno))?;
            if self.buffer[..filled] == *bytes {
                self.same += bytes.len() as u64;
                // Where its data lies in the file is not remembered: it is kept from the beginning.
                return match spool.filter(|_| self.sparse) {
                    Some(spool) => spool.keep(&mut self.kept, at, bytes),
                    None => Ok(()),
                };
            }
            if !self.sparse {
                self.take_same(spool.as_deref_mut())?;
            }
            self.file = None;
        }
        if !self.sparse {
            self.hashing.update(bytes);
        }
        spool.map_or(Ok(()), |spool| spool.keep(&mut self.kept, at, bytes))
    }

    /// What was the same is in the file: only from where it differs on is the layer's own hashed, and
    /// kept.
    fn take_same(&mut self, mut spool: Option<&mut Spool>) -> Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        let mut at = 0;
        while at < self.same {
            let most = (self.same - at).min(COMPARED as u64) as usize;
            self.buffer.resize(most, 0);
            let got = read_at(file, at, &mut self.buffer)
                .map_err(|errno| failed("pread", &self.path, errno))?;
            if got == 0 {
                // It has become shorter meanwhile.
                return Err(failed("pread", &self.path, Errno::BUSY));
            }
            self.hashing.update(&self.buffer[..got]);
            if let Some(spool) = &mut spool {
                spool.keep(&mut self.kept, at, &self.buffer[..got])?;
            }
            at += got as u64;
        }
        Ok(())
    }

    /// Memory that it takes to know what was kept.
    fn finish(mut self, mut spool: Option<&mut Spool>) -> Result<u64> {
        if let Some(file) = &self.file {
            let stat =
                rustix::fs::fstat(file).map_err(|errno| failed("fstat", &self.path, errno))?;
            // It goes on where the layer's ends, and is that of a later entry perhaps.
            if stat.st_size as u64 != self.inode.size {
                if !self.sparse {
                    self.take_same(spool.as_deref_mut())?;
                }
                self.file = None;
            }
        }
        let Compared { path, inode, file, kept, .. } = self;
        if file.is_some() {
            *inode.content.borrow_mut() = Content::At(path.into());
            if let Some(spool) = spool {
                spool.forget(&kept);
            }
            return Ok(0);
        }
        let digest = (!self.sparse).then(|| self.hashing.finish());
        *inode.content.borrow_mut() = Content::NotAt(path.into(), digest);
        if spool.is_none() {
            return Ok(0);
        }
        let bytes = size_of_val(&kept[..]) as u64;
        *inode.kept.borrow_mut() = Some(kept.into());
        Ok(bytes)
    }
}

/// Reads until the buffer is full or the file ends.
pub(super) fn read_at(file: &OwnedFd, at: u64, buffer: &mut [u8]) -> Result<usize, Errno> {
    let mut filled = 0;
    while filled < buffer.len() {
        let rest = &mut buffer[filled..];
        match retry_on_intr(|| rustix::io::pread(file, &mut *rest, at + filled as u64))? {
            0 => break,
            count => filled += count,
        }
    }
    Ok(filled)
}

impl Reading<'_, '_> {
    fn meaning(&mut self, entry: &Entry, names: &mut Names) -> Result<()> {
        match layer::interpret(entry, self.mode, names)? {
            Action::Skip { parent, name, .. } => self.skipped_names.note(parent, name),
            Action::Root => {
                let inode = self.inode(entry)?;
                self.expected.describe(b"", inode);
            }
            Action::Make { parent, name } if self.skips(entry) => {
                self.skipped_names.note(parent, name);
                let parent = self.resolved(parent)?;
                self.expected.claim(&parent);
            }
            Action::Make { parent, name } => {
                self.skipped_names.forget(parent, name);
                let path = self.place(parent, name.as_bytes())?;
                self.describe(path, entry)?;
            }
            Action::LinkSource { name } => {
                self.expected.link_sources = true;
                self.describe(joined(AUFS_LINKS, name.as_bytes()), entry)?;
            }
            Action::Link { parent, name, target: (target_parent, target) } => {
                if self.skipped_names.has(target_parent, target) {
                    self.skipped_names.note(parent, name);
                    return Ok(());
                }
                self.skipped_names.forget(parent, name);
                let path = self.place(parent, name.as_bytes())?;
                let target = self.place(target_parent, target.as_bytes())?;
                let inode = match self.expected.inode_at(&target) {
                    Some(inode) => inode,
                    // It is in a lower layer, is copied up, and has its name here, too.
                    None => Inode::of_lower(&target, self.lower_symlink(&target)?),
                };
                self.expected.claim(&target);
                self.expected.name(&target).described = Some(inode.clone());
                self.expected.describe(&path, inode);
            }
            Action::Whiteout { parent, name } => {
                let path = self.place(parent, name.as_bytes())?;
                self.expected.delete(&path);
            }
            Action::Opaque { dir } => {
                let dir = match dir {
                    b"" => Vec::new(),
                    dir => self.resolved(dir)?,
                };
                self.expected.claim(&dir);
                self.expected.name(&dir).opaque = true;
            }
        }
        Ok(())
    }

    fn skips(&self, entry: &Entry) -> bool {
        let is_device = matches!(entry.kind, Kind::CharDevice | Kind::BlockDevice);
        is_device && self.devices == Devices::Skip
    }

    /// What a file's other names lead to is about to have no name that it was compared at: its
    /// content is kept while it can be read there.
    fn keep_displaced(&mut self) -> Result<()> {
        for inode in std::mem::take(&mut self.expected.displaced) {
            let Some(spool) = &mut self.spool else { continue };
            let Content::At(path) = &*inode.content.borrow() else { continue };
            let OnDisk::File(file) = regular_file(self.stack, self.level, path)? else {
                return Err(failed("openat", path, Errno::BUSY));
            };
            let (mut kept, mut at, mut buffer) = (Vec::new(), 0, vec![0; COMPARED]);
            loop {
                let got = read_at(&file, at, &mut buffer)
                    .map_err(|errno| failed("pread", path, errno))?
                    .min(usize::try_from(inode.size - at).unwrap_or(usize::MAX));
                if got == 0 {
                    break;
                }
                spool.keep(&mut kept, at, &buffer[..got])?;
                at += got as u64;
            }
            self.expected.bytes += size_of_val(&kept[..]) as u64;
            *inode.kept.borrow_mut() = Some(kept.into());
        }
        Ok(())
    }

    /// Counted once: hardlinks to it keep no more.
    fn inode(&mut self, entry: &Entry) -> Result<Rc<Inode>> {
        let inode = Inode::of(entry, &self.owners)?;
        self.expected.bytes += inode.xattr_bytes();
        Ok(inode)
    }

    fn describe(&mut self, path: Vec<u8>, entry: &Entry) -> Result<()> {
        let inode = self.inode(entry)?;
        if entry.kind == Kind::File {
            // What its content is compared with.
            self.expected.bytes += path.len() as u64;
            self.file = self.compared(path.clone(), inode.clone(), entry)?;
        }
        self.expected.describe(&path, inode);
        Ok(())
    }

    fn place(&mut self, parent: &[u8], name: &[u8]) -> Result<Vec<u8>> {
        if let Some((as_written, resolved)) = &self.parent
            && as_written == parent
        {
            return Ok(joined(resolved, name));
        }
        let resolved = self.resolved(parent)?;
        let path = joined(&resolved, name);
        // What a symlink says may change with each entry: a marker can hide it.
        self.parent = (resolved == parent).then(|| (parent.to_vec(), resolved));
        Ok(path)
    }

    /// A directory's path without symlinks, as the merged view of this layer and those below has it.
    fn resolved(&mut self, path: &[u8]) -> Result<Vec<u8>> {
        let mut rest: Vec<Vec<u8>> = parts(path).rev().map(<[u8]>::to_vec).collect();
        // Each directory on the way, with what the layers below have of it.
        let mut way = vec![(Vec::new(), self.stack.roots_below(self.level))];
        let mut followed = 0;
        while let Some(part) = rest.pop() {
            let (at, below) = way.last().expect("the root stays");
            if part == b".." {
                way.truncate((way.len() - 1).max(1));
                continue;
            }
            let next = joined(at, &part);
            let hidden = self.expected.is_covered(at)
                || self.expected.is_deleted(&next)
                || self.expected.is_no_directory(&next);
            let below = match hidden {
                true => Below::Nothing,
                false => self.stack.below(below, &next)?,
            };
            let Some(target) = self.symlink(&next, &below)? else {
                way.push((next, below.parts()));
                continue;
            };
            followed += 1;
            if followed > SYMLINKS_MAX {
                return Err(failed("readlinkat", &next, Errno::LOOP));
            }
            if target.starts_with(b"/") {
                way.truncate(1);
            }
            rest.extend(parts(&target).rev().map(<[u8]>::to_vec));
        }
        Ok(way.pop().expect("the root stays").0)
    }

    fn lower_symlink(&mut self, path: &[u8]) -> Result<Option<Vec<u8>>> {
        let hidden = self.expected.is_covered(split(path).0) || self.expected.is_deleted(path);
        let below = match hidden {
            true => Below::Nothing,
            false => self.stack.below_root(self.level, path)?,
        };
        self.symlink(path, &below)
    }

    /// The target of what is a symlink in this layer, or in those below and not in this one.
    fn symlink(&mut self, path: &[u8], below: &Below) -> Result<Option<Vec<u8>>> {
        if let Some(name) = self.expected.names.get(path) {
            match &name.described {
                Some(own) if own.kind == Kind::Symlink => return Ok(Some(own.link.to_vec())),
                // What this layer has is no symlink of a lower one any more.
                Some(_) => return Ok(None),
                None if name.claimed => return Ok(None),
                None => {}
            }
        }
        // Not on this layer's own disk: a symlink there that is not known yet comes later.
        let Below::Other(part, FileType::Symlink) = below else { return Ok(None) };
        let Some(dir) = self.stack.dir(part.level, &part.path)? else { return Ok(None) };
        let target = readlinkat(&*dir, split(path).1, Vec::new());
        Ok(Some(target.map_err(|errno| failed("readlinkat", path, errno))?.into_bytes()))
    }

    fn compared(
        &mut self,
        path: Vec<u8>,
        inode: Rc<Inode>,
        entry: &Entry,
    ) -> Result<Option<Compared>> {
        let file = match regular_file(self.stack, self.level, &path)? {
            OnDisk::File(file)
                if self.compare == Compare::Sizes
                    && is_whole(&file, entry.size)
                        .map_err(|errno| failed("lseek", &path, errno))? =>
            {
                return Ok(None);
            }
            OnDisk::File(file) => Some(file),
            OnDisk::Unreadable => return Ok(None),
            OnDisk::Other => None,
        };
        let (sparse, hashing) = (entry.sparse.is_some(), Hashing::default());
        let (buffer, kept) = (Vec::new(), Vec::new());
        Ok(Some(Compared { path, inode, sparse, file, same: 0, hashing, buffer, kept }))
    }
}

/// Whether a file has a size, and no hole.
fn is_whole(file: &OwnedFd, size: u64) -> Result<bool, Errno> {
    let stat = rustix::fs::fstat(file)?;
    if stat.st_size as u64 != size || size == 0 {
        return Ok(stat.st_size as u64 == size);
    }
    match seek(file, SeekFrom::Hole(0)) {
        Ok(hole) => Ok(hole == size),
        // No such seek here: its content is looked at.
        Err(Errno::INVAL) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// A file that a layer should have on disk.
pub(super) enum OnDisk {
    File(OwnedFd),
    /// Not for this caller, who is not root and may not even read a file of its own.
    Unreadable,
    /// Something else, or nothing.
    Other,
}

pub(super) fn regular_file(stack: &mut Stack, level: Level, path: &[u8]) -> Result<OnDisk> {
    let (parent, name) = split(path);
    let Some(dir) = stack.dir(level, parent)? else { return Ok(OnDisk::Other) };
    // Not blocking: a FIFO may stand in the file's place.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let opened = retry_on_intr(|| openat(&*dir, name, flags, Permissions::empty()));
    let is_file = |fd: &OwnedFd| {
        rustix::fs::fstat(fd)
            .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile)
    };
    Ok(match opened {
        Ok(fd) if is_file(&fd) => OnDisk::File(fd),
        Err(Errno::ACCESS) => OnDisk::Unreadable,
        // No file or not there, which the walk will tell of.
        Ok(_) | Err(_) => OnDisk::Other,
    })
}

fn parts(path: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/').filter(|part| !matches!(*part, b"" | b"."))
}
