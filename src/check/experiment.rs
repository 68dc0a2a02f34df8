// SPDX-License-Identifier: Apache-2.0
//! The experiment: copy opaque directories up, and look whether the mark came along.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{
    AtFlags, Mode, OFlags, XattrFlags, accessat, chmodat, fgetxattr, fsetxattr, openat, renameat,
};
use rustix::io::Errno as SysErrno;

use super::mount::Overlay;
use super::report::{CopyUp, Obstacle, OpaqueXattr, Outcome, OverlayCheck, Trial, Verdict};
use super::scratch::{self, LOWER_BELOW, LOWER_OPAQUE, Scratch, UPPER};
use crate::errno::Errno;
use crate::sys;

/// In the lower directory below the mark: nobody may see it.
const HIDDEN: &str = "hidden";
/// Beside the mark: everybody sees it.
const SHOWN: &str = "shown";
const RENAMED: &str = "renamed";
/// The mark's value. Overlayfs knows others, which are not the mark.
const OPAQUE: &[u8] = b"y";

/// Runs on a thread of the check's own, where all signals are blocked: no call is interrupted.
pub(super) fn look(dir: &OwnedFd, check: &mut OverlayCheck) -> Result<Verdict, Obstacle> {
    sys::private_umask().map_err(|errno| Obstacle::NoPrivilege {
        operation: "unshare(CLONE_FS)",
        errno: Errno::of(errno),
    })?;
    scratch::remove_stale(dir.as_fd());
    let scratch = Scratch::new(dir.as_fd())?;
    let xattr = *check.xattr.insert(make_lowers(&scratch)?);
    rustix::process::fchdir(&scratch)
        .map_err(|errno| Obstacle::Directory { operation: "fchdir", errno: Errno::of(errno) })?;

    let overlay = Overlay::mount(&scratch, xattr)?;
    check.mount = Some(overlay.kind());
    if !CopyUp::ALL.into_iter().all(|way| mark_counts(&overlay, way)) {
        return Err(Obstacle::MarkIgnored(xattr));
    }
    let upper = scratch.open(UPPER)?;
    check.trials = CopyUp::ALL
        .into_iter()
        .map(|copy_up| Trial { copy_up, outcome: copy_up.attempt(&overlay, &upper, xattr) })
        .collect();
    judge(&check.trials)
}

/// Two lower directories with an opaque one over a plain one for each way of copying up: a way
/// must not find what the one before has already copied.
fn make_lowers(scratch: &Scratch<'_>) -> Result<OpaqueXattr, Obstacle> {
    let mut xattr = None;
    for way in CopyUp::ALL {
        let (below, opaque) = (in_lower(LOWER_BELOW, way), in_lower(LOWER_OPAQUE, way));
        scratch.mkdir(&below)?;
        scratch.create(&format!("{below}/{HIDDEN}"))?;
        scratch.mkdir(&opaque)?;
        scratch.create(&format!("{opaque}/{SHOWN}"))?;
        let opaque = scratch.open(&opaque)?;
        xattr = Some(match xattr {
            None => choose_mark(&opaque)?,
            Some(xattr) => mark(&opaque, xattr).map(|()| xattr).map_err(|errno| {
                Obstacle::Directory { operation: "fsetxattr", errno: Errno::of(errno) }
            })?,
        });
    }
    Ok(xattr.expect("there are ways"))
}

fn in_lower(lower: &str, way: CopyUp) -> String {
    format!("{lower}/{}", way.directory())
}

/// The mark that mounts on this file system by this caller can have. Whoever may set the trusted
/// one mounts without `userxattr`, as container engines do.
fn choose_mark(dir: &OwnedFd) -> Result<OpaqueXattr, Obstacle> {
    let Err(trusted) = mark(dir, OpaqueXattr::Trusted) else { return Ok(OpaqueXattr::Trusted) };
    let Err(user) = mark(dir, OpaqueXattr::User) else { return Ok(OpaqueXattr::User) };
    Err(Obstacle::NoXattr { trusted: Errno::of(trusted), user: Errno::of(user) })
}

fn mark(dir: &OwnedFd, xattr: OpaqueXattr) -> Result<(), SysErrno> {
    fsetxattr(dir, xattr.name(), OPAQUE, XattrFlags::CREATE)
}

/// Without this, a kernel that does not know the mark would pass for one that does not copy it.
fn mark_counts(overlay: &Overlay, way: CopyUp) -> bool {
    let exists = |name| {
        let path = format!("{}/{name}", way.directory());
        accessat(overlay, path, rustix::fs::Access::EXISTS, AtFlags::empty())
    };
    exists(SHOWN).is_ok() && exists(HIDDEN) == Err(SysErrno::NOENT)
}

impl CopyUp {
    /// Its directory in both lower ones.
    fn directory(self) -> &'static str {
        match self {
            CopyUp::Create => "create",
            CopyUp::Metadata => "metadata",
            CopyUp::Rename => "rename",
        }
    }

    fn attempt(self, overlay: &Overlay, upper: &OwnedFd, xattr: OpaqueXattr) -> Outcome {
        if self == CopyUp::Rename && !overlay.redirect_dir {
            return Outcome::NoRedirectDir;
        }
        self.copy_up(overlay)
            .and_then(|copied| has_mark(upper, copied, xattr))
            .map(|marked| if marked { Outcome::Propagated } else { Outcome::Clean })
            .unwrap_or_else(|(operation, errno)| Outcome::Failed {
                operation,
                errno: Errno::of(errno),
            })
    }

    /// Returns the name under which the directory was copied up.
    fn copy_up(self, overlay: &Overlay) -> Result<&'static str, (&'static str, SysErrno)> {
        let name = self.directory();
        match self {
            CopyUp::Create => {
                let file = format!("{name}/created");
                scratch::create(overlay, &file).map_err(|errno| ("openat", errno))?;
            }
            CopyUp::Metadata => {
                chmodat(overlay, name, Mode::RWXU, AtFlags::empty())
                    .map_err(|errno| ("fchmodat", errno))?;
            }
            CopyUp::Rename => {
                renameat(overlay, name, overlay, RENAMED).map_err(|errno| ("renameat", errno))?;
                return Ok(RENAMED);
            }
        }
        Ok(name)
    }
}

/// Only the copied-up directory itself is looked at, and only for the mark of this kind of mount:
/// with `redirect_dir=on` a sound kernel marks each new directory, and the other kind's mark is
/// plain data, which every kernel copies.
fn has_mark(
    upper: &OwnedFd,
    name: &str,
    xattr: OpaqueXattr,
) -> Result<bool, (&'static str, SysErrno)> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let copied = openat(upper, name, flags, Mode::empty()).map_err(|errno| ("copy up", errno))?;
    let mut value = [0; OPAQUE.len()];
    match fgetxattr(&copied, xattr.name(), &mut value) {
        Ok(length) => Ok(&value[..length] == OPAQUE),
        // A longer value is not the mark.
        Err(SysErrno::NODATA | SysErrno::RANGE) => Ok(false),
        Err(errno) => Err(("fgetxattr", errno)),
    }
}

/// One way that carries the mark along is enough. Renaming is not common, and not every kernel
/// has it: the answer "not affected" can do without.
fn judge(trials: &[Trial]) -> Result<Verdict, Obstacle> {
    let clean = |way| trials.iter().any(|t| t.copy_up == way && t.outcome == Outcome::Clean);
    if trials.iter().any(|trial| trial.outcome == Outcome::Propagated) {
        Ok(Verdict::Affected)
    } else if clean(CopyUp::Create) && clean(CopyUp::Metadata) {
        Ok(Verdict::NotAffected)
    } else {
        Err(Obstacle::NotTried)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_propagated_mark_is_enough_and_renaming_may_be_missing() {
        use Outcome::{Clean, NoRedirectDir, Propagated};
        let failed = Outcome::Failed { operation: "renameat", errno: Errno::XDEV };
        let cases = [
            ([Clean, Clean, Clean], Ok(Verdict::NotAffected)),
            ([Clean, Clean, NoRedirectDir], Ok(Verdict::NotAffected)),
            ([Clean, Clean, failed], Ok(Verdict::NotAffected)),
            ([Propagated, Propagated, Propagated], Ok(Verdict::Affected)),
            ([Clean, Clean, Propagated], Ok(Verdict::Affected)),
            ([Propagated, failed, NoRedirectDir], Ok(Verdict::Affected)),
            ([failed, Clean, Clean], Err(Obstacle::NotTried)),
            ([Clean, failed, Clean], Err(Obstacle::NotTried)),
        ];
        for (outcomes, verdict) in cases {
            let trials: Vec<_> = CopyUp::ALL
                .into_iter()
                .zip(outcomes)
                .map(|(copy_up, outcome)| Trial { copy_up, outcome })
                .collect();
            assert_eq!(judge(&trials), verdict, "{outcomes:?}");
        }
    }
}
