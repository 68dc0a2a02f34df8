// SPDX-License-Identifier: Apache-2.0
//! One entry after the other: what is worth telling of it, and whether unpack would take it.

use rustix::io::Errno;

use super::finding::FindingKind;
use super::sender::{FindingSender, count_kind};
use super::tree::{Lower, Made, Tree};
use crate::apply::ApplyError;
use crate::error::{Cause, Result};
use crate::escape::Escaped;
use crate::layer::{self, AUFS_LINKS, Action, LayerError, Names, SkippedNames, xattrs};
use crate::limits::LimitExceeded;
use crate::options::{Devices, Lowers, Mode, Options};
use crate::report::SkipReason;
use crate::tar::{Entry, Kind};

const SETUID: u32 = 0o4000;
const SETGID: u32 = 0o2000;

/// The xattr that gives a program privileges without setuid (capabilities(7)).
const CAPABILITY: &[u8] = b"security.capability";

/// symlink(2) takes a path, which PATH_MAX bounds together with its NUL.
const SYMLINK_MAX: usize = 4095;

/// The kernel's own bounds on an xattr (xattr(7)).
const XATTR_NAME_MAX: usize = 255;
const XATTR_VALUE_MAX: usize = 1 << 16;

/// What is known of the layer so far.
pub(super) struct EntryScan<'r> {
    options: &'r Options,
    names: Names,
    /// Names that unpack leaves out.
    skipped_names: SkippedNames,
    /// None once it was full.
    tree: Option<Tree>,
    /// Unpack gives a file its owner and xattrs when all of its data is there.
    checked_at_end: bool,
}

impl<'r> EntryScan<'r> {
    pub(super) fn new(options: &'r Options) -> EntryScan<'r> {
        let overlay = options.mode != Mode::Directory;
        let lower = match &options.lowers {
            Lowers::Known(lowers) if lowers.is_empty() => Lower::Nothing,
            Lowers::Unknown if overlay => Lower::Unknown,
            Lowers::Unknown | Lowers::Known(_) | Lowers::Later => Lower::Unseen,
        };
        let tree = Tree::new(lower, overlay, options.owners.clone(), options.limits.path_depth);
        EntryScan {
            options,
            names: Names::default(),
            skipped_names: SkippedNames::default(),
            tree: Some(tree),
            checked_at_end: false,
        }
    }

    /// An entry up to its data.
    pub(super) fn begin(&mut self, entry: &Entry, findings: &mut FindingSender) -> Result<()> {
        findings.report.entries.total += 1;
        self.checked_at_end = false;
        if self.tree.as_ref().is_some_and(Tree::is_full) {
            self.tree = None;
            findings.report.names_kept_until = Some(entry.index);
        }
        let mut names = std::mem::take(&mut self.names);
        let meaning = layer::interpret(entry, self.options.mode, &mut names);
        let done = match meaning {
            Ok(action) => self.look(entry, action, findings),
            Err(refused) => self.look_at_refused(entry, refused.into(), findings),
        };
        self.names = names;
        done?;
        let mut ignored = entry.ignored.iter();
        ignored.try_for_each(|key| findings.note(FindingKind::IgnoredRecord, entry, key))
    }

    /// All of the entry's data is there.
    pub(super) fn end(&mut self, entry: &Entry, findings: &mut FindingSender) -> Result<()> {
        if !std::mem::take(&mut self.checked_at_end) {
            return Ok(());
        }
        match self.metadata(entry) {
            Ok(()) => Ok(()),
            Err(cause) => findings.refuse_entry(entry, cause),
        }
    }

    fn look(
        &mut self,
        entry: &Entry,
        action: Action<'_>,
        findings: &mut FindingSender,
    ) -> Result<()> {
        match action {
            Action::Skip { parent, name, .. } => {
                self.skipped_names.note(parent, name);
                return findings.note(FindingKind::AufsMetadata, entry, b"");
            }
            Action::LinkSource { .. } => findings.note(FindingKind::AufsMetadata, entry, b"")?,
            Action::Whiteout { parent, name } => {
                findings.note(
                    FindingKind::Whiteout,
                    entry,
                    &layer::joined(parent, name.as_bytes()),
                )?;
            }
            Action::Opaque { dir } => findings.note(FindingKind::Opaque, entry, dir)?,
            Action::Root => attributes(entry, findings)?,
            Action::Make { parent, .. } => {
                attributes(entry, findings)?;
                if entry.kind == Kind::Symlink && leaves(&entry.link, depth(parent)) {
                    findings.note(FindingKind::LinkLeavesRoot, entry, &entry.link)?;
                }
            }
            Action::Link { .. } => {
                attributes(entry, findings)?;
                if leaves(&entry.link, 0) {
                    findings.note(FindingKind::LinkLeavesRoot, entry, &entry.link)?;
                }
            }
        }
        if let Action::Make { parent, name } = action {
            self.skipped_names.forget(parent, name);
        }
        if let Action::Link { parent, name, target: (target_parent, target) } = action {
            if self.skipped_names.has(target_parent, target) {
                self.skipped_names.note(parent, name);
                return findings.note(FindingKind::LinkToSkipped, entry, &entry.link);
            }
            self.skipped_names.forget(parent, name);
        }
        let is_entry = !matches!(action, Action::Whiteout { .. } | Action::Opaque { .. });
        match self.put(entry, action).and_then(|made| self.check_memory().map(|()| made)) {
            Ok(made) => {
                if made == Made::Again {
                    findings.note(FindingKind::Duplicate, entry, b"")?;
                }
                if is_entry {
                    count_kind(&mut findings.report.entries, entry.kind);
                }
                Ok(())
            }
            Err(cause) => findings.refuse_entry(entry, cause),
        }
    }

    /// What the name of an entry rules out may be worth telling for other reasons as well.
    fn look_at_refused(
        &mut self,
        entry: &Entry,
        cause: Cause,
        findings: &mut FindingSender,
    ) -> Result<()> {
        if matches!(cause, Cause::Layer(LayerError::Escapes)) {
            findings.note(FindingKind::NameLeavesRoot, entry, b"")?;
        }
        attributes(entry, findings)?;
        findings.refuse_entry(entry, cause)
    }

    /// Puts the entry where unpack would, in the tree.
    fn put(&mut self, entry: &Entry, action: Action<'_>) -> Result<Made, Cause> {
        let skips = self.skips(entry);
        let made = match (action, &mut self.tree) {
            (Action::Root, tree) => tree.as_mut().map_or(Made::First, Tree::root),
            (Action::Make { parent, name }, Some(tree)) => match entry.kind {
                _ if skips => {
                    tree.make_parents(parent)?;
                    self.skipped_names.note(parent, name);
                    return Ok(Made::First);
                }
                Kind::Directory => tree.make_dir(parent, name)?,
                Kind::Symlink if entry.link.len() > SYMLINK_MAX => {
                    tree.make_parents(parent)?;
                    return Err(ApplyError::new("symlinkat", Errno::NAMETOOLONG).into());
                }
                Kind::Symlink => tree.make_other(parent, name, Some(&entry.link))?,
                _ => tree.make_other(parent, name, None)?,
            },
            (Action::LinkSource { name }, Some(tree)) => {
                tree.make_other(AUFS_LINKS, name, None)?;
                Made::First
            }
            (Action::Link { parent, name, target }, Some(tree)) => {
                return tree.link(parent, name, target);
            }
            (Action::Whiteout { parent, name }, Some(tree)) => {
                let made = tree.mark(parent, Some(name));
                tree.whiteout(parent, name)?;
                return Ok(made);
            }
            (Action::Opaque { dir }, Some(tree)) => {
                let made = tree.mark(dir, None);
                tree.opaque(dir)?;
                return Ok(made);
            }
            (Action::Make { .. } | Action::LinkSource { .. }, None) => Made::First,
            (_, None) | (Action::Skip { .. }, _) => return Ok(Made::First),
        };
        self.checked_at_end = entry.kind == Kind::File;
        if !self.checked_at_end {
            self.metadata(entry)?;
        }
        Ok(made)
    }

    fn skips(&self, entry: &Entry) -> bool {
        let is_device = matches!(entry.kind, Kind::CharDevice | Kind::BlockDevice);
        is_device && self.options.devices == Devices::Skip
    }

    fn check_memory(&self) -> Result<(), Cause> {
        let limit = self.options.limits.memory;
        let got = self.tree.as_ref().map_or(0, Tree::bytes) + self.skipped_names.bytes();
        match got > limit {
            true => Err(LimitExceeded::Memory { got, limit }.into()),
            false => Ok(()),
        }
    }

    /// Values that unpack cannot set anywhere.
    fn metadata(&self, entry: &Entry) -> Result<(), Cause> {
        layer::owner(&self.options.owners, (entry.uid, entry.gid))?;
        for (name, value) in &entry.xattrs {
            if xattrs::refusal(name, entry.kind).is_some() {
                continue;
            }
            let errno = match value.len() {
                _ if !(1..=XATTR_NAME_MAX).contains(&name.len()) => Errno::RANGE,
                length if length > XATTR_VALUE_MAX => Errno::TOOBIG,
                _ => {
                    xattrs::on_disk(name, value, &self.options.owners)?;
                    continue;
                }
            };
            let name = Escaped(name).unquoted();
            return Err(ApplyError::about("setxattr", &name, errno).into());
        }
        Ok(())
    }
}

/// What an entry's header says that a name has no part in.
fn attributes(entry: &Entry, findings: &mut FindingSender) -> Result<()> {
    for (name, _) in &entry.xattrs {
        match xattrs::refusal(name, entry.kind) {
            // A hardlink's header has no say: the inode has its own.
            Some(SkipReason::XattrOnSpecial) if entry.kind == Kind::Hardlink => {}
            Some(reason) => findings.note(FindingKind::of_xattr(reason), entry, name)?,
            None if name == CAPABILITY && entry.kind == Kind::File => {
                findings.note(FindingKind::FileCapability, entry, b"")?;
            }
            None => {}
        }
    }
    match entry.kind {
        Kind::File => {
            let kinds = [(SETUID, FindingKind::Setuid), (SETGID, FindingKind::Setgid)];
            for (_, kind) in kinds.into_iter().filter(|(bit, _)| entry.mode & bit != 0) {
                findings.note(kind, entry, format!("{:04o}", entry.mode).as_bytes())?;
            }
        }
        Kind::CharDevice | Kind::BlockDevice => {
            let letter = if entry.kind == Kind::CharDevice { 'c' } else { 'b' };
            let device = format!("{letter} {}:{}", entry.device.0, entry.device.1);
            findings.note(FindingKind::Device, entry, device.as_bytes())?;
        }
        _ => {}
    }
    Ok(())
}

/// Directories in a clean path.
fn depth(path: &[u8]) -> usize {
    path.split(|byte| *byte == b'/').filter(|part| !part.is_empty()).count()
}

/// Whether a target has more `..` than directories above it, taken for what it says.
fn leaves(target: &[u8], depth: usize) -> bool {
    let mut depth = if target.starts_with(b"/") { 0 } else { depth };
    for part in target.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." if depth == 0 => return true,
            b".." => depth -= 1,
            _ => depth += 1,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_leave_the_root_by_their_dots() {
        for (target, parent, expected) in [
            ("b", "", false),
            ("..", "", true),
            ("../b", "a", false),
            ("../../b", "a", true),
            ("../../b", "a/c", false),
            ("x/../../b", "", true),
            ("x/../b", "", false),
            ("/etc/passwd", "a", false),
            ("/../etc/passwd", "a", true),
            ("...", "", false),
            ("", "", false),
        ] {
            let got = leaves(target.as_bytes(), depth(parent.as_bytes()));
            assert_eq!(got, expected, "{target} in {parent}");
        }
    }
}
