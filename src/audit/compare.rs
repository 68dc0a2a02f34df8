// SPDX-License-Identifier: Apache-2.0
//! A layer's directory on disk against what the layer says.

use rustix::fs::{FileType, OFlags, Stat, major, minor, openat, readlinkat};

use super::damage::DamageKind;
use super::expected::{Described, Expected};
use super::sender::DamageSender;
use super::stack::{Below, Level, Stack, failed, is_dir, split};
use crate::error::Result;
use crate::layer::joined;
use crate::layer::xattrs::may_be_a_layers;
use crate::resolve::is_whiteout;
use crate::sys::xattr;
use crate::tar::Kind;

/// One layer, all of which was read.
pub(super) struct Comparison<'a, 't> {
    pub(super) stack: &'a mut Stack,
    pub(super) level: Level,
    pub(super) expected: Expected,
    pub(super) damages: &'a mut DamageSender<'t>,
    /// Directories to look at: what is below them in which lower layers.
    todo: Vec<(Vec<u8>, Vec<Level>)>,
}

impl<'a, 't> Comparison<'a, 't> {
    pub(super) fn new(
        stack: &'a mut Stack,
        level: Level,
        expected: Expected,
        damages: &'a mut DamageSender<'t>,
    ) -> Comparison<'a, 't> {
        Comparison { stack, level, expected, damages, todo: Vec::new() }
    }

    pub(super) fn run(mut self) -> Result<()> {
        let lowers: Vec<Level> = (0..self.level).rev().collect();
        self.root()?;
        let covered = self.expected.is_covered(b"");
        self.todo.push((Vec::new(), if covered { Vec::new() } else { lowers }));
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

    fn root(&mut self) -> Result<()> {
        let Some(name) = self.expected.get_mut(b"") else { return Ok(()) };
        name.seen = true;
        let Some(described) = name.described.take() else { return Ok(()) };
        let root = self.stack.root(self.level);
        let stat = rustix::fs::fstat(root).map_err(|errno| failed("fstat", b"", errno))?;
        self.differs(b"", &stat, &described)
    }

    fn whiteout(&mut self, path: Vec<u8>, dir: &[u8]) -> Result<()> {
        // Below a directory that is opaque it hides nothing; a marker at the root, which overlayfs
        // does not look at, becomes whiteouts of all that is below.
        let harmless = self.expected.is_covered(dir);
        let expected = self.expected.get_mut(&path).is_some_and(|name| {
            name.seen = true;
            name.is_deleted()
        });
        match expected || harmless {
            true => Ok(()),
            false => self.note(DamageKind::UnexpectedWhiteout, &path, b""),
        }
    }

    fn name(&mut self, path: Vec<u8>, stat: &Stat, lowers: &[Level]) -> Result<()> {
        let Some(name) = self.expected.get_mut(&path) else {
            return self.note(DamageKind::Unexpected, &path, b"");
        };
        name.seen = true;
        if name.is_deleted() && !is_dir(stat) {
            return self.note(DamageKind::MissingWhiteout, &path, b"");
        }
        if let Some(described) = name.described.take() {
            self.differs(&path, stat, &described)?;
        }
        if !is_dir(stat) {
            return Ok(());
        }
        let below = match self.stack.below(lowers, &path)? {
            Below::Dir(levels) => levels,
            Below::Nothing | Below::Other => Vec::new(),
        };
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
    fn lost(&mut self, path: &[u8], below: &[Level]) -> Result<()> {
        let mut todo = vec![(path.to_vec(), below.to_vec(), true)];
        while let Some((dir, levels, ours)) = todo.pop() {
            for (name, (level, stat)) in self.stack.merged(&levels, &dir)? {
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
                    && let Below::Dir(next) = self.stack.below(&levels, &path)?
                {
                    todo.push((path, next, own.is_some()));
                }
            }
        }
        Ok(())
    }

    /// What the layer has and the directory has not.
    fn unseen(self) -> Result<()> {
        let Comparison { stack, level, expected, damages, .. } = self;
        let root = stack.path(level).to_owned();
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
        Ok(())
    }

    /// Tells of each attribute that is another one.
    fn differs(&mut self, path: &[u8], stat: &Stat, want: &Described) -> Result<()> {
        if want.kind == Kind::Hardlink {
            let same = self
                .stack
                .stat(self.level, &want.link)?
                .is_some_and(|target| (target.st_dev, target.st_ino) == (stat.st_dev, stat.st_ino));
            return match same {
                true => Ok(()),
                false => self.note(DamageKind::Differs, path, b"no hardlink to its target"),
            };
        }
        if FileType::from_raw_mode(stat.st_mode) != file_type(want.kind) {
            return self.note(DamageKind::Differs, path, b"type");
        }
        let mut differences = Vec::new();
        let mode = stat.st_mode & 0o7777;
        if want.kind != Kind::Symlink && mode != want.mode {
            differences.push(format!("mode {mode:04o}, in the layer {:04o}", want.mode));
        }
        if (stat.st_uid, stat.st_gid) != want.owner {
            let (uid, gid) = want.owner;
            let (own_uid, own_gid) = (stat.st_uid, stat.st_gid);
            differences.push(format!("owner {own_uid}:{own_gid}, in the layer {uid}:{gid}"));
        }
        let mtime = (want.mtime.seconds, u64::from(want.mtime.nanoseconds));
        if (stat.st_mtime, stat.st_mtime_nsec) != (mtime.0, mtime.1) {
            differences.push(format!("mtime {}, in the layer {}", stat.st_mtime, mtime.0));
        }
        match want.kind {
            Kind::File if stat.st_size as u64 != want.size => {
                differences.push(format!("size {}, in the layer {}", stat.st_size, want.size));
            }
            Kind::File if want.content_differs => differences.push("content".into()),
            Kind::Symlink if *self.target(path)? != *want.link => {
                differences.push("target of the symlink".into());
            }
            Kind::CharDevice | Kind::BlockDevice
                if (major(stat.st_rdev), minor(stat.st_rdev)) != want.device =>
            {
                differences.push("device number".into());
            }
            _ => {}
        }
        if matches!(want.kind, Kind::File | Kind::Directory) {
            differences.extend(self.xattrs(path, want)?);
        }
        match differences.is_empty() {
            true => Ok(()),
            false => self.note(DamageKind::Differs, path, differences.join("; ").as_bytes()),
        }
    }

    fn target(&mut self, path: &[u8]) -> Result<Vec<u8>> {
        let (parent, name) = split(path);
        let Some(dir) = self.stack.dir(self.level, parent)? else { return Ok(Vec::new()) };
        let target = readlinkat(&*dir, name, Vec::new());
        Ok(target.map_err(|errno| failed("readlinkat", path, errno))?.into_bytes())
    }

    /// Names of the xattrs that are there, missing or other ones.
    fn xattrs(&mut self, path: &[u8], want: &Described) -> Result<Vec<String>> {
        let (parent, name) = split(path);
        let Some(dir) = self.stack.dir(self.level, parent)? else { return Ok(Vec::new()) };
        let name = if name.is_empty() { b"." } else { name };
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = openat(&*dir, name, flags, rustix::fs::Mode::empty())
            .map_err(|errno| failed("openat", path, errno))?;
        let there = xattr::list(&file).map_err(|errno| failed("flistxattr", path, errno))?;
        let mut differences = Vec::new();
        for name in &there {
            let wanted = want.xattrs.iter().find(|(wanted, _)| wanted == name);
            let value =
                xattr::get(&file, name).map_err(|errno| failed("fgetxattr", path, errno))?;
            let same = match wanted {
                Some((_, wanted)) => value.as_ref() == Some(wanted),
                None => !may_be_a_layers(name),
            };
            if !same {
                differences.push(format!("xattr {}", name.escape_ascii()));
            }
        }
        let missing = want.xattrs.iter().filter(|(name, _)| !there.contains(name));
        differences.extend(missing.map(|(name, _)| format!("no xattr {}", name.escape_ascii())));
        Ok(differences)
    }
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
