// SPDX-License-Identifier: Apache-2.0
//! What the overlay check found, for programs and for people.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use crate::errno::Errno;

/// What [`check_overlay_opaque_propagation`](crate::check_overlay_opaque_propagation) found.
/// [`to_json`](OverlayCheck::to_json) has the same fields under the same names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct OverlayCheck {
    /// The answer.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// Where the check worked, as the caller named it.
    #[serde(serialize_with = "lossy")]
    pub directory: PathBuf,
    /// The directory's file system: a name as in `/proc/filesystems` (`ext4` stands for ext2 and
    /// ext3 as well, which have the same magic number), or the magic number in hexadecimal.
    pub filesystem: Option<String>,
    /// The mark that was tried; none if the check did not come that far.
    pub xattr: Option<OpaqueXattr>,
    /// How the overlay was mounted; none if it was not.
    pub mount: Option<MountKind>,
    /// The ways of copying up, each tried on a directory of its own; empty if nothing was mounted.
    pub trials: Vec<Trial>,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Verdict {
    /// Copying up carries the opaque mark along: see [`OverlayCheck::trials`] for the ways.
    Affected,
    /// It does not.
    NotAffected,
    /// The check cannot tell, for this reason.
    Unknown {
        /// What stands in the way.
        obstacle: Obstacle,
    },
}

/// Why the check cannot tell.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Obstacle {
    /// Mounting needs CAP_SYS_ADMIN in the namespaces that the caller is in.
    #[error("no privilege: {operation}: {errno}")]
    NoPrivilege {
        /// The system call that failed.
        operation: &'static str,
        /// What the kernel answered.
        errno: Errno,
    },
    /// This kernel has no overlayfs, not even as a module that it can load.
    #[error("this kernel has no overlayfs")]
    NoOverlay,
    /// The file system holds no opaque mark, or this caller may not set one.
    #[error("trusted.overlay.opaque: {trusted}; user.overlay.opaque: {user}")]
    NoXattr {
        /// What the kernel answered to setting `trusted.overlay.opaque`.
        trusted: Errno,
        /// What it answered to setting `user.overlay.opaque`.
        user: Errno,
    },
    /// Overlayfs refuses this file system or these options.
    #[error("overlay mount refused: {operation}: {errno}{}", Said(message))]
    MountRefused {
        /// The system call that failed.
        operation: &'static str,
        /// What the kernel answered.
        errno: Errno,
        /// What the kernel said about it, where it says anything.
        message: Option<String>,
    },
    /// The mount shows files that the mark should hide, so nothing follows from where marks are.
    #[error("overlayfs ignores {0} in a lower directory")]
    MarkIgnored(OpaqueXattr),
    /// Creating a file or changing the metadata failed: the trials say why.
    #[error("copying up could not be tried")]
    NotTried,
    /// The check's own directory or thread could not be made, or not be used.
    #[error("{operation}: {errno}")]
    Directory {
        /// The system call that failed, or `starting a thread`.
        operation: &'static str,
        /// What the kernel answered.
        errno: Errno,
    },
}

/// The xattr that makes a directory opaque.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[repr(u32)]
#[non_exhaustive]
pub enum OpaqueXattr {
    /// Of plain mounts; needs CAP_SYS_ADMIN in the first user namespace.
    #[serde(rename = "trusted.overlay.opaque")]
    Trusted = 1,
    /// Of mounts with `userxattr`, which is what user namespaces can have.
    #[serde(rename = "user.overlay.opaque")]
    User = 2,
}

/// How the check mounted its overlay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[repr(u32)]
#[non_exhaustive]
pub enum MountKind {
    /// By fsopen(2) and fsmount(2), attached to no directory.
    Detached = 1,
    /// By mount(2), in a mount namespace of the check's own thread.
    PrivateNamespace = 2,
}

/// One way of copying a directory up, and what came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Trial {
    /// What made overlayfs copy the directory up.
    pub copy_up: CopyUp,
    /// What came of it.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// What makes overlayfs copy a directory up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[repr(u32)]
#[non_exhaustive]
pub enum CopyUp {
    /// A file is created in it.
    Create = 1,
    /// Its mode changes.
    Metadata = 2,
    /// It is renamed, which takes `redirect_dir=on`.
    Rename = 3,
}

/// What the copied-up directory looked like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Outcome {
    /// It carries the lower directory's mark.
    Propagated,
    /// It does not.
    Clean,
    /// It was not copied up: this kernel has no `redirect_dir=on`, or not for this kind of mount.
    NoRedirectDir,
    /// It was not copied up, or could not be looked at.
    Failed {
        /// The system call that failed; `copy up` if the copy could not be opened.
        operation: &'static str,
        /// What the kernel answered.
        #[serde(serialize_with = "display")]
        errno: Errno,
    },
}

impl OverlayCheck {
    pub(super) fn new(directory: PathBuf, filesystem: Option<String>) -> OverlayCheck {
        OverlayCheck {
            verdict: Verdict::Unknown { obstacle: Obstacle::NotTried },
            directory,
            filesystem,
            xattr: None,
            mount: None,
            trials: Vec::new(),
        }
    }

    /// The ways of copying up that carried the mark along.
    pub fn propagating(&self) -> impl Iterator<Item = CopyUp> {
        let propagated = self.trials.iter().filter(|trial| trial.outcome == Outcome::Propagated);
        propagated.map(|trial| trial.copy_up)
    }

    /// The check as one JSON object. A directory that is not UTF-8 appears with replacement
    /// characters.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("a check has only string keys and no numbers")
    }

    /// What an operator should do, one paragraph; none unless the kernel is affected.
    pub fn advice(&self) -> Option<&'static str> {
        (self.verdict == Verdict::Affected).then_some(ADVICE)
    }
}

const ADVICE: &str = "This kernel's overlayfs copies the opaque mark of a lower directory to the \
upper one, where it hides the files of all layers below as soon as the upper directory is mounted \
again. Run a kernel that has \"ovl: don't copy up opaqueness\" (upstream since 4.8; ask the \
distribution whether its kernel has it, then check again). Until then, do not apply layers through \
an overlay mount of their parents: apply them straight to the upper directory, as the overlay modes \
of ocilayer do. Containers that run on this kernel are affected too: their own changes mark \
directories, so a container that is restarted or committed may lose files. Snapshots that were \
made so far stay damaged under any kernel: look for wrong marks with `ocilayer audit`, and remove \
them or unpack the images again.";

impl CopyUp {
    pub(super) const ALL: [CopyUp; 3] = [CopyUp::Create, CopyUp::Metadata, CopyUp::Rename];

    /// A few words for people.
    pub fn describe(self) -> &'static str {
        match self {
            CopyUp::Create => "creating a file in it",
            CopyUp::Metadata => "changing its metadata",
            CopyUp::Rename => "renaming it",
        }
    }
}

impl OpaqueXattr {
    /// The xattr's name, with its namespace (xattr(7)).
    pub fn name(self) -> &'static str {
        match self {
            OpaqueXattr::Trusted => "trusted.overlay.opaque",
            OpaqueXattr::User => "user.overlay.opaque",
        }
    }
}

impl fmt::Display for OpaqueXattr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Propagated => f.write_str("mark propagated"),
            Outcome::Clean => f.write_str("clean"),
            Outcome::NoRedirectDir => f.write_str("not tried: no redirect_dir=on here"),
            Outcome::Failed { operation, errno } => write!(f, "not tried: {operation}: {errno}"),
        }
    }
}

/// One line: the directory, its file system, and the answer.
impl fmt::Display for OverlayCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.directory.display())?;
        if let Some(filesystem) = &self.filesystem {
            write!(f, " ({filesystem})")?;
        }
        // There is no answer without a mark; the word stands in for what cannot be.
        let xattr = self.xattr.map_or("the opaque mark", OpaqueXattr::name);
        match &self.verdict {
            Verdict::Affected => {
                let ways: Vec<_> = self.propagating().map(CopyUp::describe).collect();
                let ways = ways.join(", ");
                write!(f, ": affected: a directory's {xattr} is copied up by {ways}")
            }
            Verdict::NotAffected => write!(f, ": not affected: {xattr} stays where it is"),
            Verdict::Unknown { obstacle } => write!(f, ": cannot tell: {obstacle}"),
        }
    }
}

impl Obstacle {
    /// A word for programs; `kind` in the JSON.
    pub fn kind(&self) -> &'static str {
        match self {
            Obstacle::NoPrivilege { .. } => "no_privilege",
            Obstacle::NoOverlay => "no_overlay",
            Obstacle::NoXattr { .. } => "no_xattr",
            Obstacle::MountRefused { .. } => "mount_refused",
            Obstacle::MarkIgnored(_) => "mark_ignored",
            Obstacle::NotTried => "not_tried",
            Obstacle::Directory { .. } => "directory",
        }
    }
}

/// `{"kind": …, "message": …}`: a program branches on the kind, a person reads the message.
impl Serialize for Obstacle {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut map = to.serialize_map(Some(2))?;
        map.serialize_entry("kind", self.kind())?;
        map.serialize_entry("message", &self.to_string())?;
        map.end()
    }
}

/// The kernel's own words, in brackets.
struct Said<'a>(&'a Option<String>);

impl fmt::Display for Said<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_ref().map_or(Ok(()), |message| write!(f, " ({message})"))
    }
}

fn display<S: Serializer>(value: impl fmt::Display, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(&value)
}

fn lossy<S: Serializer>(path: &Path, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&path.to_string_lossy())
}
