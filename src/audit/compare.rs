// SPDX-License-Identifier: Apache-2.0
//! A layer's directory on disk against what the layer says.

use std::os::fd::OwnedFd;
use std::rc::Rc;

use rustix::fs::{FileType, OFlags, Stat, major, minor, openat};
use rustix::io::Errno;

use super::damage::DamageKind;
use super::expected::{COMPARED, Expected, OnDisk, read_at, regular_file};
use super::inode::{Content, Hashing, Inode, capability};
use super::restore::Fix;
use super::sender::DamageSender;
use super::stack::{Below, Level, Part, Stack, failed, is_dir, split};
use crate::apply::Privileges;
use crate::error::Result;
use crate::layer::joined;
use crate::layer::xattrs::{CAPABILITY, may_be_a_layers};
use crate::resolve::is_whiteout;
use crate::sys::xattr;
use crate::tar::{Kind, Time};

/// One layer, all of which was read.
pub(super) struct Comparison<'a, 't> {
    pub(super) stack: &'a mut Stack,
    pub(super) level: Level,
    pub(super) expected: Expected,
    pub(super) damages: &'a mut DamageSender<'t>,
    privileges: Privileges,
    /// Directories to look at: what is below them in which lower layers.
    todo: Vec<(Vec<u8>, Vec<Part>)>,
}

impl<'a, 't> Comparison<'a, 't> {
    pub(super) fn new(
        stack: &'a mut Stack,
        level: Level,
        expected: Expected,
        damages: &'a mut DamageSender<'t>,
    ) -> Comparison<'a, 't> {
        let privileges = Privileges::of_process();
        Comparison { stack, level, expected, damages, privileges, todo: Vec::new() }
    }

    /// Gives what was expected back.
    pub(super) fn run(mut self) -> Result<Expected> {
        let lowers = self.stack.roots_below(self.level);
        self.root()?;
        // Overlayfs does not look at a mark of the root: its names hide those below, one by one.
        self.todo.push((Vec::new(), lowers));
        // Not recursive: the tree may be as deep as somebody likes.
        while let Some((dir, lowers)) = self.todo.pop() {
            for (name, stat) in self.stack.names(self.level, &dir)? {
                let path = joined(&dir, &name);
                if is_whiteout(&stat) {
                    self.whiteout(path, &dir)?;
                } else {
                    self.name(path, &stat, &lowers)?;
                }
            }
        }
        self.unseen()
    }

    fn note(&mut self, kind: DamageKind, path: &[u8], detail: &[u8]) -> Result<()> {
        self.damages.note(kind, self.stack.path(self.level), path, detail)
    }

    fn different(&mut self, fix: Fix, path: &[u8], detail: &[u8]) -> Result<()> {
        let at = self.stack.path(self.level);
        self.damages.note_to_fix(DamageKind::Differs, fix, at, path, detail)
    }

    fn root(&mut self) -> Result<()> {
        let Some(name) = self.expected.get_mut(b"") else { return Ok(()) };
        name.seen = true;
        let Some(described) = name.described.clone() else { return Ok(()) };
        let root = self.stack.root(self.level);
        let stat = rustix::fs::fstat(root).map_err(|errno| failed("fstat", b"", errno))?;
        self.differs(b"", &stat, &described)
    }

    fn whiteout(&mut self, path: Vec<u8>, dir: &[u8]) -> Result<()> {
        // Below a directory that is opaque it hides nothing; a marker at the root, which overlayfs
        // does not look at, becomes whiteouts of all that is below.
        let harmless = self.expected.is_covered(dir);
        let Some(name) = self.expected.get_mut(&path) else {
            return match harmless {
                true => Ok(()),
                false => self.note(DamageKind::UnexpectedWhiteout, &path, b""),
            };
        };
        name.seen = true;
        match name.claimed {
            // It stands in the place of what the layer has.
            true => {
                let at = self.stack.path(self.level);
                let kind = DamageKind::UnexpectedWhiteout;
                self.damages.note_to_fix(kind, Fix::Anew, at, &path, b"")
            }
            false if name.is_deleted() || harmless => Ok(()),
            false => self.note(DamageKind::UnexpectedWhiteout, &path, b""),
        }
    }

    fn name(&mut self, path: Vec<u8>, stat: &Stat, lowers: &[Part]) -> Result<()> {
        let Some(name) = self.expected.get_mut(&path) else {
            return self.note(DamageKind::Unexpected, &path, b"");
        };
        name.seen = true;
        if name.is_deleted() {
            self.note(DamageKind::MissingWhiteout, &path, b"")?;
            if is_dir(stat) {
                self.todo.push((path, Vec::new()));
            }
            return Ok(());
        }
        let claimed = name.claimed;
        match name.described.clone() {
            Some(described) => self.differs(&path, stat, &described)?,
            None if is_dir(stat) => {}
            // A directory that the layer implies, or that is there for a whiteout.
            None if claimed || !self.expected.is_covered(split(&path).0) => {
                self.different(Fix::Anew, &path, b"type")?;
            }
            None => self.note(DamageKind::Unexpected, &path, b"")?,
        }
        if !is_dir(stat) {
            return Ok(());
        }
        let below = self.stack.below(lowers, &path)?.parts();
        let should = self.expected.is_covered(&path);
        if below.is_empty() {
            // A mark here hides nothing. Kernels with redirect_dir make such ones.
            self.todo.push((path, below));
            return Ok(());
        }
        let marked = self.stack.is_marked(self.level, &path)?;
        if marked && !should {
            self.stack.believe_wrong(self.level, &path);
            self.damages.wrong.marks.push((self.level, path.clone()));
            self.note(DamageKind::WronglyOpaque, &path, b"")?;
            self.lost(&path, &below)?;
        } else if should && !marked {
            self.note(DamageKind::NotOpaque, &path, b"")?;
        }
        self.todo.push((path, if should { Vec::new() } else { below }));
        Ok(())
    }

    /// All names that lower layers have in a directory and this one has not.
    fn lost(&mut self, path: &[u8], below: &[Part]) -> Result<()> {
        let mut todo = vec![(path.to_vec(), below.to_vec(), true)];
        while let Some((dir, parts, ours)) = todo.pop() {
            for (name, (level, stat)) in self.stack.merged(&parts)? {
                let path = joined(&dir, &name);
                let own = if ours { self.stack.stat(self.level, &path)? } else { None };
                if self.expected.is_deleted(&path) {
                    continue;
                }
                if own.is_none() {
                    let place = super::stack::bytes(self.stack.path(level));
                    self.note(DamageKind::Lost, &path, &place)?;
                }
                let merges = own.as_ref().is_none_or(is_dir) && !self.expected.is_covered(&path);
                if is_dir(&stat)
                    && merges
                    && let Below::Dir(next) = self.stack.below(&parts, &path)?
                {
                    todo.push((path, next, own.is_some()));
                }
            }
        }
        Ok(())
    }

    /// What the layer has and the directory has not.
    fn unseen(self) -> Result<Expected> {
        let Comparison { stack, level, expected, damages, .. } = self;
        let root = stack.path(level).to_owned();
        if expected.is_covered(b"") {
            let below = stack.roots_below(level);
            for name in stack.merged(&below)?.into_keys() {
                let claimed = expected.get(&name).is_some_and(|name| name.claimed);
                if !claimed && stack.stat(level, &name)?.is_none() {
                    damages.note(DamageKind::MissingWhiteout, &root, &name, b"")?;
                }
            }
        }
        for (path, name) in expected.iter().filter(|(_, name)| !name.seen) {
            let parent = split(path).0;
            if name.claimed {
                damages.note(DamageKind::Missing, &root, path, b"")?;
            } else if name.whiteout
                && !expected.is_covered(parent)
                && stack.below_root(level, path)? != Below::Nothing
            {
                if stack.is_below_wrong(level, parent) {
                    damages.wrong.whiteouts.push((level, path.clone()));
                }
                damages.note(DamageKind::MissingWhiteout, &root, path, b"")?;
            }
        }
        Ok(expected)
    }

    /// Tells of each attribute that is another one.
    fn differs(&mut self, path: &[u8], stat: &Stat, want: &Rc<Inode>) -> Result<()> {
        // Several names of one inode; what is wrong with that is told of the first.
        let id = (stat.st_dev, stat.st_ino);
        match want.on_disk.replace(Some(id)) {
            Some(first) if first == id => return Ok(()),
            Some(first) => {
                want.on_disk.set(Some(first));
                return self.different(Fix::Link, path, b"no hardlink to its other names");
            }
            None => {}
        }
        if let Some(target) = &want.lower {
            return self.differs_from_lower(path, stat, target);
        }
        if FileType::from_raw_mode(stat.st_mode) != file_type(want.kind) {
            return self.different(Fix::Anew, path, b"type");
        }
        let mut fix = Fix::Attributes;
        let mut differences = Vec::new();
        let mode = stat.st_mode & 0o7777;
        if want.kind != Kind::Symlink && mode != want.mode {
            differences.push(format!("mode {mode:04o}, in the layer {:04o}", want.mode));
        }
        if let Some((uid, gid)) = want.owner
            && (stat.st_uid, stat.st_gid) != (uid, gid)
        {
            let (own_uid, own_gid) = (stat.st_uid, stat.st_gid);
            differences.push(format!("owner {own_uid}:{own_gid}, in the layer {uid}:{gid}"));
        }
        let mtime = Time { seconds: stat.st_mtime, nanoseconds: stat.st_mtime_nsec as u32 };
        if !may_stand_for(mtime, want.mtime) {
            let (own, theirs) = (mtime.seconds, want.mtime.seconds);
            differences.push(format!("mtime {own}, in the layer {theirs}"));
        }
        let inherent = match want.kind {
            Kind::File if stat.st_size as u64 != want.size => {
                Some(format!("size {}, in the layer {}", stat.st_size, want.size))
            }
            Kind::File if !self.has_content(path, want)? => Some("content".into()),
            Kind::Symlink if *self.stack.target(self.level, path)? != *want.link => {
                Some("target of the symlink".into())
            }
            Kind::CharDevice | Kind::BlockDevice
                if (major(stat.st_rdev), minor(stat.st_rdev)) != want.device =>
            {
                Some("device number".into())
            }
            _ => None,
        };
        if let Some(difference) = inherent {
            fix = Fix::Anew;
            differences.push(difference);
        }
        if matches!(want.kind, Kind::File | Kind::Directory) {
            differences.extend(self.xattrs(path, want)?);
        }
        match differences.is_empty() {
            true => Ok(()),
            false => self.different(fix, path, differences.join("; ").as_bytes()),
        }
    }

    /// The same of what was copied up from a lower layer, if that still has it.
    fn differs_from_lower(&mut self, path: &[u8], stat: &Stat, target: &[u8]) -> Result<()> {
        let Below::Other(part, kind) = self.stack.below_root(self.level, target)? else {
            return Ok(());
        };
        let below = joined(&part.path, split(target).1);
        let Some(want) = self.stack.stat(part.level, &below)? else { return Ok(()) };
        if FileType::from_raw_mode(stat.st_mode) != kind {
            return self.different(Fix::Anew, path, b"type");
        }
        let mut fix = Fix::Attributes;
        let mut differences = Vec::new();
        let attributes = [
            ("mode", stat.st_mode == want.st_mode),
            ("owner", (stat.st_uid, stat.st_gid) == (want.st_uid, want.st_gid)),
            ("mtime", stat.st_mtime == want.st_mtime),
        ];
        for (attribute, same) in attributes {
            if !same {
                differences.push(format!("{attribute}, in the lower layer another"));
            }
        }
        let same = match kind {
            FileType::RegularFile if stat.st_size != want.st_size => false,
            FileType::RegularFile => self.same_content((self.level, path), (part.level, &below))?,
            FileType::Symlink => {
                self.stack.target(self.level, path)? == self.stack.target(part.level, &below)?
            }
            _ => stat.st_rdev == want.st_rdev,
        };
        if !same {
            fix = Fix::Anew;
            differences.push("content, in the lower layer another".into());
        }
        match differences.is_empty() {
            true => Ok(()),
            false => self.different(fix, path, differences.join("; ").as_bytes()),
        }
    }

    fn same_content(&mut self, one: (Level, &[u8]), other: (Level, &[u8])) -> Result<bool> {
        let mut one = Pieces::of(self.stack, one.0, one.1)?;
        let mut other = Pieces::of(self.stack, other.0, other.1)?;
        loop {
            let (own, other) = (one.next()?, other.next()?);
            if own != other || own.is_empty() {
                return Ok(own == other);
            }
        }
    }

    /// Whether the file has the layer's content, but for a sparse file whose name another one has now:
    /// that cannot be told.
    fn has_content(&mut self, path: &[u8], want: &Rc<Inode>) -> Result<bool> {
        let content = want.content.borrow().clone();
        match content {
            Content::At(compared) if *compared == *path => Ok(true),
            Content::At(compared) => self.same_content((self.level, path), (self.level, &compared)),
            Content::NotAt(compared, _) if *compared == *path => Ok(false),
            Content::NotAt(_, None) | Content::Unknown => Ok(true),
            Content::NotAt(_, Some(digest)) => {
                let mut pieces = Pieces::of(self.stack, self.level, path)?;
                let mut hashing = Hashing::default();
                loop {
                    match pieces.next()? {
                        [] => return Ok(hashing.finish() == digest),
                        piece => hashing.update(piece),
                    }
                }
            }
        }
    }

    /// Names of the xattrs that are there, missing or other ones.
    fn xattrs(&mut self, path: &[u8], want: &Inode) -> Result<Vec<String>> {
        let (parent, name) = split(path);
        let Some(dir) = self.stack.dir(self.level, parent)? else { return Ok(Vec::new()) };
        let name = if name.is_empty() { b"." } else { name };
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = match openat(&*dir, name, flags, rustix::fs::Mode::empty()) {
            // Its owner, who is not root.
            Err(Errno::ACCESS) => return Ok(Vec::new()),
            opened => opened.map_err(|errno| failed("openat", path, errno))?,
        };
        let there = xattr::list(&file).map_err(|errno| failed("flistxattr", path, errno))?;
        let mut differences = Vec::new();
        for name in &there {
            let wanted = want.xattrs.iter().find(|(wanted, _)| wanted == name);
            let value =
                xattr::get(&file, name).map_err(|errno| failed("fgetxattr", path, errno))?;
            let same = match wanted {
                Some((_, wanted)) if name == CAPABILITY => {
                    value.map(capability).as_ref() == Some(wanted)
                }
                Some((_, wanted)) => value.as_ref() == Some(wanted),
                None => !may_be_a_layers(name),
            };
            if !same {
                differences.push(format!("xattr {}", name.escape_ascii()));
            }
        }
        for (name, _) in want.xattrs.iter().filter(|(name, _)| !there.contains(name)) {
            // What this file system has no place for, and what this caller may not set, unpack has
            // reported.
            if !self.privileges.lack_for_xattr(name)
                && xattr::is_supported(&file, name)
                    .map_err(|errno| failed("fgetxattr", path, errno))?
            {
                differences.push(format!("no xattr {}", name.escape_ascii()));
            }
        }
        Ok(differences)
    }
}

/// A file of a layer, piece by piece; nothing if there is none.
struct Pieces {
    file: Option<OwnedFd>,
    path: Vec<u8>,
    at: u64,
    buffer: Vec<u8>,
}

impl Pieces {
    fn of(stack: &mut Stack, level: Level, path: &[u8]) -> Result<Pieces> {
        let file = match regular_file(stack, level, path)? {
            OnDisk::File(file) => Some(file),
            OnDisk::Unreadable | OnDisk::Other => None,
        };
        Ok(Pieces { file, path: path.to_vec(), at: 0, buffer: vec![0; COMPARED] })
    }

    fn next(&mut self) -> Result<&[u8]> {
        let Some(file) = &self.file else { return Ok(&[]) };
        let got = read_at(file, self.at, &mut self.buffer)
            .map_err(|errno| failed("pread", &self.path, errno))?;
        self.at += got as u64;
        Ok(&self.buffer[..got])
    }
}

/// Whether a file system that was given one time may have kept the other: it cuts off what is finer than
/// it stores, and puts what it cannot hold at the nearest end of what it can.
fn may_stand_for(kept: Time, given: Time) -> bool {
    /// ext4 with small inodes and others of 32 bits, ext4, xfs with and without large times.
    const LAST: [i64; 4] = [i32::MAX as i64, 15_032_385_535, 16_299_260_424, u32::MAX as i64];
    const FIRST: [i64; 2] = [i32::MIN as i64, 0];
    const FINEST: [u32; 4] = [1, 100, 1_000, 1_000_000];
    if kept.seconds == given.seconds {
        let cut = |to: &u32| given.nanoseconds - given.nanoseconds % to == kept.nanoseconds;
        return FINEST.iter().any(cut) || kept.nanoseconds == 0;
    }
    let late = given.seconds > kept.seconds && LAST.contains(&kept.seconds);
    let early = given.seconds < kept.seconds && FIRST.contains(&kept.seconds);
    (late || early) && kept.nanoseconds == 0
}

fn file_type(kind: Kind) -> FileType {
    match kind {
        Kind::File | Kind::Hardlink => FileType::RegularFile,
        Kind::Directory => FileType::Directory,
        Kind::Symlink => FileType::Symlink,
        Kind::Fifo => FileType::Fifo,
        Kind::CharDevice => FileType::CharacterDevice,
        Kind::BlockDevice => FileType::BlockDevice,
    }
}
