// SPDX-License-Identifier: Apache-2.0
//! Entries to actions: what a name and a type mean in an OCI layer.
//!
//! The rules are those of layer.md in the OCI image specification; docs/layer-semantics.md has
//! them case by case.

mod error;
mod linked_lowers;
mod parents;
mod skipped_names;
pub(crate) mod xattrs;

use crate::options::{IdRange, Mode, Owners};
use crate::report::SkipReason;
use crate::resolve::{AboveRoot, COMPONENT_MAX, CleanPath, Component};
use crate::tar::{Entry, Kind};

pub use error::LayerError;
pub(crate) use linked_lowers::LinkedLowers;
pub(crate) use parents::{LinkTarget, Parents, Reached, joined};
pub(crate) use skipped_names::SkippedNames;

/// Prefix of names that stand for something other than themselves.
const WHITEOUT: &[u8] = b".wh.";
/// aufs's own names: all but the opaque marker are its bookkeeping and no part of the layer.
const AUFS: &[u8] = b".wh..wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
/// Where aufs kept files with several names: hardlinks of the layer lead there. Docker's images of
/// that time have it, at the root.
pub(crate) const AUFS_LINKS: &[u8] = b".wh..wh.plnk";

/// Who owns directories that no entry describes.
pub(crate) const IMPLIED_OWNER: (u32, u32) = (0, 0);

/// And their mode.
pub(crate) const IMPLIED_MODE: u32 = 0o755;

/// What an entry asks for. Paths are clean: relative to the root, without `.` and `..`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Action<'p> {
    /// Attributes of the root itself.
    Root,
    /// A file, directory, symlink, FIFO or device.
    Make { parent: &'p [u8], name: Component<'p> },
    /// A file that is none of the layer's names, but that hardlinks of the layer lead to.
    LinkSource { name: Component<'p> },
    /// One more name of what `target` is.
    Link { parent: &'p [u8], name: Component<'p>, target: (&'p [u8], Component<'p>) },
    /// Nothing of this name from the layers below.
    Whiteout { parent: &'p [u8], name: Component<'p> },
    /// Nothing in this directory from the layers below.
    Opaque { dir: &'p [u8] },
    /// An entry that is left out.
    Skip { parent: &'p [u8], name: Component<'p>, reason: SkipReason },
}

/// The cleaned names of one entry. Kept between entries for its buffers.
#[derive(Debug, Default)]
pub(crate) struct Names {
    path: CleanPath,
    target: CleanPath,
}

/// Says what an entry asks for, or why no layer may ask for it.
pub(crate) fn interpret<'p>(
    entry: &Entry,
    mode: Mode,
    names: &'p mut Names,
) -> Result<Action<'p>, LayerError> {
    let long = long_whiteout(&entry.name);
    let name = long.as_deref().unwrap_or(&entry.name);
    names.path.set(name, AboveRoot::Refuse).map_err(LayerError::from)?;
    let Some((parent, name)) = names.path.parent_and_name() else {
        return match entry.kind {
            Kind::Directory => Ok(Action::Root),
            _ => Err(LayerError::RootNotDirectory),
        };
    };
    if let Some(above) = parent.split(|byte| *byte == b'/').find(|part| part.starts_with(WHITEOUT))
    {
        return match above.starts_with(AUFS) {
            true if parent == AUFS_LINKS && entry.kind == Kind::File => {
                Ok(Action::LinkSource { name })
            }
            true => Ok(Action::Skip { parent, name, reason: SkipReason::AufsMetadata }),
            false => Err(LayerError::BelowWhiteout(above.to_vec())),
        };
    }
    if long.is_some() {
        return Ok(Action::Whiteout { parent, name });
    }
    if name.as_bytes() == OPAQUE {
        return Ok(Action::Opaque { dir: parent });
    }
    if name.as_bytes().starts_with(AUFS) {
        return Ok(Action::Skip { parent, name, reason: SkipReason::AufsMetadata });
    }
    if let Some(hidden) = name.as_bytes().strip_prefix(WHITEOUT) {
        let name =
            Component::new(hidden).ok_or_else(|| LayerError::InvalidWhiteout(hidden.to_vec()))?;
        return Ok(Action::Whiteout { parent, name });
    }
    match entry.kind {
        Kind::Hardlink => {
            // Some builders write absolute targets, and a target has nowhere else to be.
            names.target.set(&entry.link, AboveRoot::Stay).map_err(LayerError::from)?;
            let target = names.target.parent_and_name().ok_or(LayerError::LinkToRoot)?;
            Ok(Action::Link { parent, name, target })
        }
        Kind::Symlink if entry.link.is_empty() => Err(LayerError::EmptySymlink),
        Kind::CharDevice if entry.device == (0, 0) && mode != Mode::Directory => {
            Err(LayerError::WhiteoutDevice)
        }
        _ => Ok(Action::Make { parent, name }),
    }
}

/// The path that a whiteout hides, where its own last component would be too long for a file: the
/// prefix is no part of what has to fit, since a whiteout is never made under its own name.
fn long_whiteout(path: &[u8]) -> Option<Vec<u8>> {
    let end = path.iter().rposition(|byte| *byte != b'/')? + 1;
    let start = path[..end].iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
    let (parent, name) = path[..end].split_at(start);
    if name.len() <= COMPONENT_MAX || name.starts_with(AUFS) {
        return None;
    }
    name.strip_prefix(WHITEOUT).map(|hidden| [parent, hidden].concat())
}

/// The owner on disk of what the archive says is `uid`:`gid`'s; none if owners are ignored.
pub(crate) fn owner(
    owners: &Owners,
    (uid, gid): (u32, u32),
) -> Result<Option<(u32, u32)>, LayerError> {
    match owners {
        Owners::Keep => Ok(Some((uid, gid))),
        Owners::Ignore => Ok(None),
        Owners::Map { uids, gids } => Ok(Some((
            IdRange::map(uids, uid).ok_or(LayerError::UnmappedUid(uid))?,
            IdRange::map(gids, gid).ok_or(LayerError::UnmappedGid(gid))?,
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(kind: Kind, name: &str) -> Entry {
        Entry { kind, name: name.into(), device: (1, 3), ..Entry::default() }
    }

    fn meaning(entry: &Entry, mode: Mode) -> String {
        match interpret(entry, mode, &mut Names::default()) {
            Ok(action) => {
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                match action {
                    Action::Root => "root".into(),
                    Action::Make { parent, name } => {
                        format!("make {} {}", text(parent), text(name.as_bytes()))
                    }
                    Action::Link { parent, name, target } => format!(
                        "link {} {} to {} {}",
                        text(parent),
                        text(name.as_bytes()),
                        text(target.0),
                        text(target.1.as_bytes())
                    ),
                    Action::LinkSource { name } => format!("source {}", text(name.as_bytes())),
                    Action::Whiteout { parent, name } => {
                        format!("whiteout {} {}", text(parent), text(name.as_bytes()))
                    }
                    Action::Opaque { dir } => format!("opaque {}", text(dir)),
                    Action::Skip { reason, .. } => format!("skip {reason:?}"),
                }
            }
            Err(error) => format!("refused: {error}"),
        }
    }

    #[test]
    fn names_have_their_meaning() {
        let n255 = "n".repeat(255);
        for (kind, name, expected) in [
            (Kind::Directory, "./", "root"),
            (Kind::File, "./", "refused: the root is a directory and can be nothing else"),
            (Kind::File, "usr/bin/su", "make usr/bin su"),
            (Kind::File, "/etc/passwd", "make etc passwd"),
            (Kind::File, "../etc/passwd", "refused: name leaves the root"),
            (Kind::File, "etc/.wh.passwd", "whiteout etc passwd"),
            (Kind::Directory, ".wh.etc/", "whiteout  etc"),
            (Kind::File, "etc/.wh..wh..opq", "opaque etc"),
            (Kind::File, ".wh..wh..opq", "opaque "),
            (Kind::File, ".wh..wh.plnk", "skip AufsMetadata"),
            (Kind::File, ".wh..wh.plnk/7.8", "source 7.8"),
            (Kind::Symlink, ".wh..wh.plnk/7.8", "skip AufsMetadata"),
            (Kind::File, ".wh..wh.plnk/7/8", "skip AufsMetadata"),
            (Kind::File, "a/.wh..wh.plnk/7.8", "skip AufsMetadata"),
            (Kind::File, "a/.wh.", "refused: whiteout of \"\""),
            (Kind::File, "a/.wh..", "refused: whiteout of \".\""),
            (Kind::File, "a/.wh...", "refused: whiteout of \"..\""),
            (Kind::File, &format!("a/.wh.{n255}/"), &format!("whiteout a {n255}")),
            (Kind::File, &format!("{n255}/.wh.{n255}"), &format!("whiteout {n255} {n255}")),
            (
                Kind::File,
                &format!(".wh.x{n255}"),
                "refused: name has a component of 256 bytes, a file system holds 255",
            ),
            (
                Kind::File,
                &format!(".wh.{n255}/x"),
                "refused: name has a component of 259 bytes, a file system holds 255",
            ),
            (Kind::File, ".wh.a/b", "refused: lies below the whiteout \".wh.a\""),
            (Kind::Symlink, "a", "refused: symlink without a target"),
            (Kind::CharDevice, "dev/null", "make dev null"),
        ] {
            assert_eq!(meaning(&entry(kind, name), Mode::Overlay), expected, "{name}");
        }
    }

    #[test]
    fn a_hardlink_target_stays_inside() {
        for (target, expected) in [
            ("b/c", "link  a to b c"),
            ("/b/c", "link  a to b c"),
            ("../../etc/shadow", "link  a to etc shadow"),
            ("..", "refused: hardlink to the root"),
        ] {
            let mut link = entry(Kind::Hardlink, "a");
            link.link = target.into();
            assert_eq!(meaning(&link, Mode::Directory), expected, "{target}");
        }
    }

    #[test]
    fn device_0_0_is_a_whiteout_only_to_overlayfs() {
        let mut device = entry(Kind::CharDevice, "x");
        device.device = (0, 0);
        assert_eq!(meaning(&device, Mode::Directory), "make  x");
        for mode in [Mode::Overlay, Mode::OverlayUserxattr] {
            assert_eq!(meaning(&device, mode), "refused: device 0:0 would be a whiteout");
        }
    }
}
