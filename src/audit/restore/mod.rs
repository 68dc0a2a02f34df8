// SPDX-License-Identifier: Apache-2.0
//! Writes again what a layer's directory does not have as the layer has it.
//!
//! Content that differs gets a new inode, made beside it and renamed into its place: whoever has the
//! old one open keeps it. Attributes, marks and whiteouts are set in place, unless an inode has names
//! elsewhere. What the layer has no name for stays as it is.

mod lower;
mod make;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

use rustix::fs::{AtFlags, FileType, Mode as Permissions, Stat, Timespec, Timestamps};
use rustix::fs::{UTIME_OMIT, fchmod, fstat, fsync, futimens, linkat, mknodat};
use rustix::io::{Errno, retry_on_intr};

use super::expected::Expected;
use super::inode::{Content, Inode};
use super::spool::Spool;
use super::stack::{Level, Stack, failed, split};
use crate::apply::{NotWritten, Privileges, WriteOut};
use crate::cancel::Cancel;
use crate::error::{Cause, Result};
use crate::options::Owners;
use crate::resolve::{SafeParent, is_whiteout, unlock};
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

const OMITTED: Timespec = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };

fn spec(time: Time) -> Timespec {
    Timespec { tv_sec: time.seconds, tv_nsec: time.nanoseconds.into() }
}

fn id(stat: &Stat) -> (u64, u64) {
    (stat.st_dev, stat.st_ino)
}

fn not_written(failure: NotWritten<Vec<u8>>) -> crate::Error {
    failed(failure.operation, &failure.file, failure.errno)
}
