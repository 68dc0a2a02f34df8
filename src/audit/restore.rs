// SPDX-License-Identifier: Apache-2.0
//! Writes again what a layer's directory does not have as the layer has it.
//!
//! Content that differs gets a new inode, made beside it and renamed into its place: whoever has the
//! old one open keeps it. Attributes, marks and whiteouts are set in place, unless an inode has names
//! elsewhere. What the layer has no name
//! for stays as it is.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

use rustix::fs::{AtFlags, FileType, Mode as Permissions, OFlags, Stat, Timespec, Timestamps};
use rustix::fs::{Gid, Uid, linkat, makedev, mkdirat, mknodat, openat, renameat};
use rustix::fs::{UTIME_OMIT, chmod, chownat, fchmod, fchown, fstat, fsync, ftruncate, futimens};
use rustix::fs::{symlinkat, unlinkat, utimensat};
use rustix::io::{Errno, retry_on_intr};

use super::expected::{Expected, OnDisk, regular_file};
use super::inode::{Content, Inode, Xattrs};
use super::spool::Spool;
use super::stack::{Below, Level, Part, Stack, failed, is_dir, split};
use crate::apply::{Copy, NotWritten, Privileges, WriteOut, remove, remove_stale};
use crate::cancel::Cancel;
use crate::error::{Cause, Result};
use crate::layer::xattrs::is_overlay_private;
use crate::layer::{self, IMPLIED_MODE, IMPLIED_OWNER, joined};
use crate::options::Owners;
use crate::resolve::{Component, SafeParent, is_whiteout, unlock};
use crate::sys::xattr;
use crate::tar::{Kind, Time};

/// What a name begins with that is about to be renamed into its place.
const TEMPORARY: &[u8] = b".ocilayer-restore-";

/// Whether a name that the layer does not have was left behind by a restore that was killed.
pub(super) fn is_left_behind(path: &[u8]) -> bool {
    split(path).1.starts_with(TEMPORARY)
}

/// What is to be done about a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fix {
    /// It is another inode than the layer's, and is made anew.
    Anew,
    /// It is not there.
    Missing,
    /// It should be one inode with its other names.
    Link,
    /// Owner, mode, times and xattrs.
    Attributes,
    /// A directory is to be opaque.
    Mark,
    /// It is not to be.
    Unmark,
    /// A whiteout is to be there.
    Whiteout,
    /// What is there goes: a whiteout, or what a killed restore left.
    Remove,
}

/// One layer's directory while it is mended.
pub(super) struct Restore<'r> {
    pub(super) stack: &'r mut Stack,
    pub(super) level: Level,
    pub(super) expected: &'r Expected,
    pub(super) spool: &'r Spool,
    pub(super) owners: &'r Owners,
    pub(super) cancel: Option<&'r Cancel>,
}

impl Restore<'_> {
    /// How many names were mended. All of it is on disk by then.
    pub(super) fn run(mut self, mut fixes: Vec<(Vec<u8>, Fix)>) -> Result<u64> {
        // Directories before what is in them.
        fixes.sort();
        let groups = groups(self.expected, &fixes);
        for (path, fix) in &mut fixes {
            if *fix == Fix::Attributes && self.has_other_names(path, &groups)? {
                *fix = Fix::Anew;
            }
        }
        let mut mending = Mending {
            write_out: WriteOut::below(self.stack.root(self.level)),
            groups,
            anew: anew(self.expected, &fixes),
            made: HashMap::new(),
            links: BTreeSet::new(),
            touched: BTreeMap::new(),
            privileges: Privileges::of_process(),
            temporary: 0,
            restore: self,
        };
        for (path, fix) in &fixes {
            mending.check()?;
            mending.mend(path, *fix)?;
        }
        mending.link_all()?;
        mending.finish()?;
        fixes.dedup_by(|(a, _), (b, _)| a == b);
        Ok(fixes.len() as u64)
    }

    /// Whether an inode has names that this layer does not give it: somebody has linked it to another
    /// place, and what that shows must not change.
    fn has_other_names(&mut self, path: &[u8], groups: &HashMap<Id, Vec<Vec<u8>>>) -> Result<bool> {
        let described = self.expected.get(path).and_then(|name| name.described.as_ref());
        let Some(inode) = described.filter(|inode| inode.kind != Kind::Directory) else {
            return Ok(false);
        };
        let own = groups.get(&Rc::as_ptr(inode)).map_or(1, Vec::len);
        let there = self.stack.stat(self.level, path)?;
        Ok(there.is_some_and(|stat| usize::try_from(stat.st_nlink).unwrap_or(usize::MAX) > own))
    }
}

type Id = *const Inode;

/// All names of the inodes that have several and a fix.
fn groups(expected: &Expected, fixes: &[(Vec<u8>, Fix)]) -> HashMap<Id, Vec<Vec<u8>>> {
    let described = |path: &Vec<u8>| expected.get(path).and_then(|name| name.described.as_ref());
    let linked = |inode: &&Rc<Inode>| inode.kind != Kind::Directory && Rc::strong_count(inode) > 1;
    let affected = fixes.iter().filter_map(|(path, _)| described(path)).filter(linked);
    let mut groups: HashMap<Id, Vec<Vec<u8>>> =
        affected.map(|inode| (Rc::as_ptr(inode), Vec::new())).collect();
    if groups.is_empty() {
        return groups;
    }
    for (path, name) in expected.iter() {
        if let Some(inode) = &name.described
            && let Some(names) = groups.get_mut(&Rc::as_ptr(inode))
        {
            names.push(path.clone());
        }
    }
    groups
}

/// Inodes of which what is on disk is none.
fn anew(expected: &Expected, fixes: &[(Vec<u8>, Fix)]) -> HashSet<Id> {
    let wrong = fixes.iter().filter(|(_, fix)| *fix == Fix::Anew);
    let described = wrong.filter_map(|(path, _)| expected.get(path)?.described.as_ref());
    described.map(Rc::as_ptr).collect()
}

struct Mending<'r> {
    restore: Restore<'r>,
    write_out: WriteOut<Vec<u8>>,
    groups: HashMap<Id, Vec<Vec<u8>>>,
    anew: HashSet<Id>,
    /// Of those with several names: where it was made.
    made: HashMap<Id, Vec<u8>>,
    /// Names that are to be one with others, when all are there.
    links: BTreeSet<Vec<u8>>,
    /// Directories that something was made in or that were mended, and how they are to be in the end.
    touched: BTreeMap<Vec<u8>, Finally>,
    privileges: Privileges,
    temporary: u64,
}

/// What a directory gets when nothing is made in it any more.
struct Finally {
    mode: Option<u32>,
    times: Timestamps,
}

/// Where a file's content comes from.
enum Source {
    Kept,
    /// From this layer's own file.
    Own(Vec<u8>),
    Lower(OwnedFd),
}

/// What a name is to become, and the content if it is a file.
struct Wanted {
    inode: Rc<Inode>,
    content: Source,
}

impl Mending<'_> {
    fn check(&self) -> Result<()> {
        match self.restore.cancel.is_some_and(Cancel::is_cancelled) {
            true => Err(Cause::Cancelled.into()),
            false => Ok(()),
        }
    }

    fn described(&self, path: &[u8]) -> Option<Rc<Inode>> {
        self.restore.expected.get(path)?.described.clone()
    }

    fn mend(&mut self, path: &[u8], fix: Fix) -> Result<()> {
        match fix {
            Fix::Anew | Fix::Missing => self.make_or_link(path),
            Fix::Link => {
                self.links.insert(path.to_vec());
                Ok(())
            }
            Fix::Attributes => match self.described(path) {
                Some(inode) => {
                    let wanted = self.wanted(inode)?;
                    self.set_attributes(path, &wanted.inode)
                }
                None => Ok(()),
            },
            Fix::Mark | Fix::Unmark => self.mark(path, fix),
            Fix::Whiteout => self.whiteout(path),
            Fix::Remove => self.remove(path),
        }
    }

    fn make_or_link(&mut self, path: &[u8]) -> Result<()> {
        let Some(inode) = self.described(path) else { return self.make_implied(path) };
        let id = Rc::as_ptr(&inode);
        if let Some(names) = self.groups.get(&id) {
            let elsewhere = inode.on_disk.get().is_some() && !self.anew.contains(&id);
            if elsewhere || self.made.contains_key(&id) {
                self.links.insert(path.to_vec());
                return Ok(());
            }
            self.links.extend(names.iter().filter(|name| *name != path).cloned());
            self.made.insert(id, path.to_vec());
        }
        let wanted = self.wanted(inode)?;
        self.make(path, &wanted)
    }

    fn wanted(&mut self, inode: Rc<Inode>) -> Result<Wanted> {
        if let Some(target) = &inode.lower {
            return self.lower(target);
        }
        let content = match &*inode.content.borrow() {
            Content::At(path) if inode.kept.borrow().is_none() => Source::Own(path.to_vec()),
            _ => Source::Kept,
        };
        Ok(Wanted { inode, content })
    }

    /// What a lower layer has at a path and this one has copied up.
    fn lower(&mut self, path: &[u8]) -> Result<Wanted> {
        let Restore { stack, level, .. } = &mut self.restore;
        let gone = || failed("openat of a lower file", path, Errno::NOENT);
        let Below::Other(part, kind) = stack.below_root(*level, path)? else { return Err(gone()) };
        let below = joined(&part.path, split(path).1);
        let no = |operation| move |errno| failed(operation, path, errno);
        if kind == FileType::RegularFile {
            let OnDisk::File(file) = regular_file(stack, part.level, &below)? else {
                return Err(gone());
            };
            let stat = fstat(&file).map_err(no("fstat of a lower file"))?;
            let inode = on_disk(&stat, xattrs_of(&file).map_err(no("flistxattr"))?, Vec::new());
            return Ok(Wanted { inode, content: Source::Lower(file) });
        }
        let stat = stack.stat(part.level, &below)?.ok_or_else(gone)?;
        let target = match kind {
            FileType::Symlink => stack.target(part.level, &below)?,
            _ => Vec::new(),
        };
        Ok(Wanted { inode: on_disk(&stat, Vec::new(), target), content: Source::Kept })
    }

    /// A directory that nothing in the layer describes: as unpack makes it.
    fn make_implied(&mut self, path: &[u8]) -> Result<()> {
        let inode = match self.topmost_below(path)? {
            Some(part) => {
                let dir = self.restore.stack.dir(part.level, &part.path)?;
                let dir = dir.ok_or_else(|| failed("openat", path, Errno::NOENT))?;
                let stat = fstat(&*dir).map_err(|errno| failed("fstat", path, errno))?;
                let xattrs = xattrs_of(&*dir).map_err(|errno| failed("flistxattr", path, errno))?;
                on_disk(&stat, xattrs, Vec::new())
            }
            None => {
                let owner =
                    layer::owner(self.restore.owners, IMPLIED_OWNER).map_err(Cause::from)?;
                Rc::new(Inode::directory(IMPLIED_MODE, owner))
            }
        };
        self.make(path, &Wanted { inode, content: Source::Kept })
    }

    fn topmost_below(&mut self, path: &[u8]) -> Result<Option<Part>> {
        let Restore { stack, level, expected, .. } = &mut self.restore;
        if expected.is_covered(split(path).0) || expected.is_deleted(path) {
            return Ok(None);
        }
        Ok(stack.below_root(*level, path)?.parts().into_iter().next())
    }

    /// The directory that a name is in. It will look as before when all is done.
    fn parent(&mut self, path: &[u8]) -> Result<SafeParent> {
        let parent = split(path).0;
        self.make_way_to(parent)?;
        let Restore { stack, level, .. } = &mut self.restore;
        let at = stack.parent(*level, parent)?;
        let at = at.ok_or_else(|| failed("openat", parent, Errno::NOTDIR))?;
        if !self.touched.contains_key(parent) {
            let stat = fstat(&at).map_err(|errno| failed("fstat", parent, errno))?;
            let mode = unlock(at.as_fd(), &stat).map_err(|errno| failed("chmod", parent, errno))?;
            let mtime = match self.described(parent) {
                Some(described) => described.mtime,
                None => Time { seconds: stat.st_mtime, nanoseconds: stat.st_mtime_nsec as u32 },
            };
            let times = Timestamps { last_access: OMITTED, last_modification: spec(mtime) };
            self.touched.insert(parent.to_vec(), Finally { mode, times });
        }
        Ok(at)
    }

    /// Directories that are only there for a whiteout are told of by nothing but that.
    fn make_way_to(&mut self, dir: &[u8]) -> Result<()> {
        let ends = dir.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
        let ends: Vec<usize> = ends.chain((!dir.is_empty()).then_some(dir.len())).collect();
        for end in ends {
            let Restore { stack, level, .. } = &mut self.restore;
            if stack.parent(*level, &dir[..end])?.is_none() {
                self.make_or_link(&dir[..end])?;
            }
        }
        Ok(())
    }

    fn make(&mut self, path: &[u8], wanted: &Wanted) -> Result<()> {
        let at = self.parent(path)?;
        match wanted.inode.kind {
            Kind::Directory => self.make_dir(path, &at, &wanted.inode),
            Kind::File | Kind::Hardlink => self.make_file(path, &at, wanted),
            _ => self.make_special(path, &at, &wanted.inode),
        }
    }

    fn make_dir(&mut self, path: &[u8], at: &SafeParent, inode: &Inode) -> Result<()> {
        let name = split(path).1;
        self.clear(path, at)?;
        mkdirat(at, name, Permissions::from_raw_mode(0o700))
            .map_err(|errno| failed("mkdirat", path, errno))?;
        let expected = self.restore.expected;
        let own = expected.get(path).is_some_and(|name| name.opaque || name.is_deleted());
        // Overlayfs does not look at the root's mark: each directory in it has its own.
        let of_root = !path.contains(&b'/') && expected.is_covered(b"");
        if own || of_root {
            self.mark(path, Fix::Mark)?;
        }
        self.set_attributes(path, inode)
    }

    fn make_file(&mut self, path: &[u8], at: &SafeParent, wanted: &Wanted) -> Result<()> {
        let no = |operation| move |errno| failed(operation, path, errno);
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
        let (temporary, fd) = self.temporary(path, at, "openat", |at, name| {
            let mode = Permissions::from_raw_mode(0o600);
            retry_on_intr(|| openat(at, name, flags | OFlags::CLOEXEC, mode))
        })?;
        let size = wanted.inode.size;
        let (spool, cancel) = (self.restore.spool, self.restore.cancel);
        let copy = |from: &OwnedFd| -> Result<(), Errno> {
            let there = fstat(from)?.st_size as u64;
            Copy { from, to: &fd, cancel, bytes: 0 }.data(size.min(there))
        };
        match &wanted.content {
            Source::Kept => match &*wanted.inode.kept.borrow() {
                Some(kept) => spool.copy_to(&fd, kept),
                // Of a file that this caller may not read: nothing was compared, or kept.
                None => Err(Errno::ACCESS),
            },
            Source::Lower(file) => copy(file),
            Source::Own(own) => {
                let Restore { stack, level, .. } = &mut self.restore;
                match regular_file(stack, *level, own)? {
                    OnDisk::File(file) => copy(&file),
                    OnDisk::Unreadable | OnDisk::Other => Err(Errno::BUSY),
                }
            }
        }
        .map_err(no("write of restored content"))?;
        ftruncate(&fd, size).map_err(no("ftruncate"))?;
        self.finish_file(path, fd, &wanted.inode)?;
        self.place(path, at, temporary)
    }

    fn make_special(&mut self, path: &[u8], at: &SafeParent, inode: &Inode) -> Result<()> {
        let kind = match inode.kind {
            Kind::Fifo => FileType::Fifo,
            Kind::CharDevice => FileType::CharacterDevice,
            _ => FileType::BlockDevice,
        };
        let mode = Permissions::from_raw_mode(inode.mode & 0o777);
        let operation = if inode.kind == Kind::Symlink { "symlinkat" } else { "mknodat" };
        let (temporary, ()) = self.temporary(path, at, operation, |at, name| match inode.kind {
            Kind::Symlink => symlinkat(&*inode.link, at, name),
            _ => mknodat(at, name, kind, mode, makedev(inode.device.0, inode.device.1)),
        })?;
        self.special_attributes(path, at, &temporary.name, inode, true)?;
        self.place(path, at, temporary)
    }

    /// Makes something under a name that is nobody's.
    fn temporary<T>(
        &mut self,
        path: &[u8],
        at: &SafeParent,
        operation: &'static str,
        make: impl Fn(&SafeParent, &[u8]) -> Result<T, Errno>,
    ) -> Result<(Temporary, T)> {
        loop {
            self.temporary += 1;
            let name = [TEMPORARY, self.temporary.to_string().as_bytes()].concat();
            match make(at, &name) {
                Ok(made) => return Ok((Temporary { at: at.clone(), name, placed: false }, made)),
                Err(Errno::EXIST) => {}
                Err(errno) => return Err(failed(operation, path, errno)),
            }
        }
    }

    /// Renames what was made into its place, whatever is there.
    fn place(&mut self, path: &[u8], at: &SafeParent, mut made: Temporary) -> Result<()> {
        if self.restore.stack.stat(self.restore.level, path)?.as_ref().is_some_and(is_dir) {
            self.clear(path, at)?;
        }
        renameat(at, &made.name[..], at, split(path).1)
            .map_err(|errno| failed("renameat", path, errno))?;
        made.placed = true;
        Ok(())
    }

    /// Removes what has the name, and all below it.
    fn clear(&mut self, path: &[u8], at: &SafeParent) -> Result<()> {
        let name = split(path).1;
        let component =
            Component::new(name).ok_or_else(|| failed("unlinkat", path, Errno::INVAL))?;
        self.restore.stack.forget_opened();
        match remove(at, component, self.restore.cancel) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(Errno::CANCELED) => Err(Cause::Cancelled.into()),
            Err(errno) => Err(failed("unlinkat", path, errno)),
        }
    }

    fn set_attributes(&mut self, path: &[u8], inode: &Inode) -> Result<()> {
        let Restore { stack, level, .. } = &mut self.restore;
        match inode.kind {
            Kind::Directory => {
                let dir = stack.parent(*level, path)?;
                let dir = dir.ok_or_else(|| failed("openat", path, Errno::NOTDIR))?;
                let stat = fstat(&dir).map_err(|errno| failed("fstat", path, errno))?;
                unlock(dir.as_fd(), &stat).map_err(|errno| failed("chmod", path, errno))?;
                self.give_attributes(path, &dir, inode)?;
                let finally = Finally { mode: Some(inode.mode), times: times(inode) };
                self.touched.insert(path.to_vec(), finally);
                Ok(())
            }
            Kind::File | Kind::Hardlink => {
                let OnDisk::File(fd) = regular_file(stack, *level, path)? else {
                    return Err(failed("openat", path, Errno::ACCESS));
                };
                self.finish_file(path, fd, inode)
            }
            _ => {
                let at = self.parent(path)?;
                self.special_attributes(path, &at, split(path).1, inode, false)
            }
        }
    }

    /// All attributes of a file, and on to the disk with it.
    fn finish_file(&self, path: &[u8], fd: OwnedFd, inode: &Inode) -> Result<()> {
        let no = |operation| move |errno| failed(operation, path, errno);
        self.give_attributes(path, &fd, inode)?;
        fchmod(&fd, Permissions::from_raw_mode(inode.mode)).map_err(no("fchmod"))?;
        futimens(&fd, &times(inode)).map_err(no("futimens"))?;
        self.write_out.add(fd, path.to_vec()).map_err(not_written)
    }

    /// Owner and xattrs of a file or directory.
    fn give_attributes(&self, path: &[u8], fd: impl AsFd, inode: &Inode) -> Result<()> {
        let no = |operation| move |errno| failed(operation, path, errno);
        let fd = fd.as_fd();
        if let Some((uid, gid)) = inode.owner {
            fchown(fd, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid))).map_err(no("fchown"))?;
        }
        if !inode.xattrs.is_empty() {
            // It takes permission to write, also of the owner.
            let writable = Permissions::from_raw_mode(inode.mode | 0o200);
            fchmod(fd, writable).map_err(no("fchmod"))?;
        }
        let wanted = |name: &[u8]| inode.xattrs.iter().any(|(wanted, _)| wanted == name);
        remove_stale(fd, wanted).map_err(no("fremovexattr"))?;
        for (name, value) in &inode.xattrs {
            self.tolerate(name, xattr::set(fd, name, value)).map_err(no("fsetxattr"))?;
        }
        Ok(())
    }

    /// An xattr that cannot be here an audit does not miss either.
    fn tolerate(&self, name: &[u8], set: Result<(), Errno>) -> Result<(), Errno> {
        match set {
            Err(Errno::OPNOTSUPP) => Ok(()),
            Err(Errno::PERM | Errno::INVAL) if self.privileges.lack_for_xattr(name) => Ok(()),
            result => result,
        }
    }

    /// The same of anything else, with its mode and times. What is there already has its xattrs.
    fn special_attributes(
        &self,
        path: &[u8],
        at: &SafeParent,
        name: &[u8],
        inode: &Inode,
        new: bool,
    ) -> Result<()> {
        let no = |operation| move |errno| failed(operation, path, errno);
        let here = AtFlags::SYMLINK_NOFOLLOW;
        if let Some((uid, gid)) = inode.owner {
            chownat(at, name, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)), here)
                .map_err(no("fchownat"))?;
        }
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = openat(at, name, flags, Permissions::empty()).map_err(no("openat"))?;
        for (name, value) in inode.xattrs.iter().filter(|_| new) {
            let set = xattr::set_special(fd.as_fd(), name, value);
            self.tolerate(name, set).map_err(no("setxattr"))?;
        }
        if inode.kind != Kind::Symlink {
            let mode = Permissions::from_raw_mode(inode.mode);
            chmod(xattr::proc_path(fd.as_fd()), mode).map_err(no("chmod"))?;
        }
        utimensat(at, name, &times(inode), here).map_err(no("utimensat"))
    }

    fn mark(&mut self, path: &[u8], fix: Fix) -> Result<()> {
        let Restore { stack, level, .. } = &mut self.restore;
        let mark = stack.mark().as_bytes();
        let Some(dir) = stack.parent(*level, path)? else { return Ok(()) };
        match fix {
            Fix::Mark => xattr::set(dir.as_fd(), mark, b"y")
                .map_err(|errno| failed("fsetxattr", path, errno)),
            _ => xattr::remove(dir.as_fd(), mark)
                .map_err(|errno| failed("fremovexattr", path, errno)),
        }
    }

    fn whiteout(&mut self, path: &[u8]) -> Result<()> {
        let at = self.parent(path)?;
        let none = Permissions::empty();
        let (made, ()) = self.temporary(path, &at, "mknodat", |at, name| {
            mknodat(at, name, FileType::CharacterDevice, none, 0)
        })?;
        self.place(path, &at, made)
    }

    fn remove(&mut self, path: &[u8]) -> Result<()> {
        // It may have gone with a directory that stood in the place of something else.
        match self.restore.stack.stat(self.restore.level, path)? {
            Some(stat) if is_whiteout(&stat) || is_left_behind(path) => {
                let at = self.parent(path)?;
                self.clear(path, &at)
            }
            _ => Ok(()),
        }
    }

    /// Gives names the inode that their other names have.
    fn link_all(&mut self) -> Result<()> {
        for path in std::mem::take(&mut self.links) {
            self.check()?;
            let Some(inode) = self.described(&path) else { continue };
            let Some(from) = self.name_of(&inode)? else {
                return Err(failed("linkat", &path, Errno::NOENT));
            };
            let Restore { stack, level, .. } = &mut self.restore;
            let source = stack.stat(*level, &from)?;
            let there = stack.stat(*level, &path)?;
            if source.as_ref().map(id) == there.as_ref().map(id) {
                continue;
            }
            let source_at = self.parent(&from)?;
            let at = self.parent(&path)?;
            let (made, ()) = self.temporary(&path, &at, "linkat", |at, name| {
                linkat(&source_at, split(&from).1, at, name, AtFlags::empty())
            })?;
            self.place(&path, &at, made)?;
        }
        Ok(())
    }

    /// A name that has the right inode.
    fn name_of(&mut self, inode: &Rc<Inode>) -> Result<Option<Vec<u8>>> {
        let id_of = Rc::as_ptr(inode);
        if let Some(made) = self.made.get(&id_of) {
            return Ok(Some(made.clone()));
        }
        let names = self.groups.get(&id_of).cloned().unwrap_or_default();
        for name in names {
            let Restore { stack, level, .. } = &mut self.restore;
            let there = stack.stat(*level, &name)?;
            if there.is_some() && there.as_ref().map(id) == inode.on_disk.get() {
                self.made.insert(id_of, name.clone());
                return Ok(Some(name));
            }
        }
        Ok(None)
    }

    /// Directories get their modes and times, and all of it goes to the disk.
    fn finish(mut self) -> Result<()> {
        self.write_out.wait_for_all().map_err(not_written)?;
        // Those in others first: a mode may lock us out.
        for (path, finally) in std::mem::take(&mut self.touched).into_iter().rev() {
            let Restore { stack, level, .. } = &mut self.restore;
            let Some(dir) = stack.parent(*level, &path)? else { continue };
            let no = |operation| {
                let path = &path;
                move |errno| failed(operation, path, errno)
            };
            if let Some(mode) = finally.mode {
                fchmod(&dir, Permissions::from_raw_mode(mode)).map_err(no("fchmod"))?;
            }
            futimens(&dir, &finally.times).map_err(no("futimens"))?;
            if self.write_out.syncs_directories() {
                retry_on_intr(|| fsync(&dir)).map_err(no("fsync"))?;
            }
        }
        let Restore { stack, level, .. } = &self.restore;
        Ok(self.write_out.commit(stack.root(*level)).map_err(Cause::from)?)
    }
}

/// Something that has no place yet: if it gets none, it goes.
struct Temporary {
    at: SafeParent,
    name: Vec<u8>,
    placed: bool,
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.placed {
            let _ = unlinkat(&self.at, &self.name[..], AtFlags::empty());
        }
    }
}

const OMITTED: Timespec = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };

fn spec(time: Time) -> Timespec {
    Timespec { tv_sec: time.seconds, tv_nsec: time.nanoseconds.into() }
}

fn times(inode: &Inode) -> Timestamps {
    Timestamps { last_access: spec(inode.mtime), last_modification: spec(inode.mtime) }
}

fn id(stat: &Stat) -> (u64, u64) {
    (stat.st_dev, stat.st_ino)
}

/// What unpack copies from a lower layer, as it is on disk there.
fn on_disk(stat: &Stat, xattrs: Xattrs, link: Vec<u8>) -> Rc<Inode> {
    Rc::new(Inode::on_disk(stat, xattrs, link))
}

fn xattrs_of(fd: impl AsFd) -> Result<Xattrs, Errno> {
    let mut xattrs = Vec::new();
    for name in xattr::list(&fd)? {
        // trusted.* is between that file and the kernel.
        if name.starts_with(b"trusted.") || is_overlay_private(&name) {
            continue;
        }
        if let Some(value) = xattr::get(&fd, &name)? {
            xattrs.push((name, value));
        }
    }
    Ok(xattrs)
}

fn not_written(failure: NotWritten<Vec<u8>>) -> crate::Error {
    failed(failure.operation, &failure.file, failure.errno)
}
