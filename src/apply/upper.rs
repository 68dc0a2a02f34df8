// SPDX-License-Identifier: Apache-2.0
//! Opaque marks that a faulty kernel copies up, taken off again.
//!
//! Kernels without "ovl: don't copy up opaqueness" (Linux 4.8) copy the mark of an opaque lower
//! directory to the upper one, which then hides every layer below it. Nothing shows before the
//! next mount, or before the kernel forgets the directory and looks it up again.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::futimens;
use rustix::fs::{Timespec, Timestamps, UTIME_OMIT, fchown, fremovexattr, fstat};
use rustix::io::Errno;

use super::error::{Failing, JobCause};
use super::job::Job;
use crate::observer::Warning;
use crate::options::{Mode, OptionsError};
use crate::report::SkipReason;
use crate::resolve::{DirId, has_xattr, is_marked, overlay_xattrs, times_of};

impl Job<'_> {
    /// Refuses an upper directory that is not the root's own: its marks are somebody else's.
    ///
    /// What changes in the mount must change there. Paths in mountinfo would not prove it: they
    /// are as the mounting process saw them, whoever and wherever it was.
    pub(super) fn check_upper(&mut self) -> Result<(), JobCause> {
        let Some(upper) = self.resolver.in_upper(DirId::ROOT)? else { return Ok(()) };
        let root = self.resolver.parent(DirId::ROOT)?;
        let modified = |fd: BorrowedFd<'_>| fstat(fd).map(|stat| times_of(&stat).last_modification);
        let before = modified(root.as_fd()).failing("fstat of the root")?;
        let other = Timespec { tv_sec: before.tv_sec ^ 1, ..before };
        set_modified(&root, other).failing("futimens of the root")?;
        let seen = modified(upper.as_fd());
        set_modified(&root, before).failing("futimens of the root")?;
        let follows = seen.failing("fstat of the upper directory")? == other;
        let same = same_directory(&root, &upper).failing("fstat of the upper directory")?;
        if follows && !same { Ok(()) } else { Err(self.not_the_upper()) }
    }

    /// Copies a directory up before anything changes in it, and takes off the mark that may have
    /// come along.
    ///
    /// Not at the end of the layer: by then the kernel may have looked the directory up anew, and
    /// hidden from us what whiteouts and opaque markers have yet to delete.
    pub(super) fn bring_into_upper(&mut self, dir: DirId) -> Result<(), JobCause> {
        if !self.resolver.tree.dir(dir).only_below {
            return Ok(());
        }
        // A change that changes nothing and that everybody is allowed: overlayfs copies up first.
        let fd = self.resolver.parent(dir)?;
        fchown(&fd, None, None).failing("fchown to copy a directory up")?;
        let mut at = dir;
        while self.resolver.tree.dir(at).only_below {
            self.unmark(at)?;
            at = self.resolver.tree.dir(at).parent;
        }
        Ok(())
    }

    fn unmark(&mut self, dir: DirId) -> Result<(), JobCause> {
        let Some(upper) = self.resolver.in_upper(dir)? else { return Err(self.not_the_upper()) };
        let root = self.resolver.parent(dir)?;
        for mode in [Mode::Overlay, Mode::OverlayUserxattr] {
            let mark = overlay_xattrs(mode).opaque;
            // Overlayfs keeps its own mark from those who look at the mount. The one that it shows
            // is that of the other kind of mount: plain data here, rightly copied.
            let marked =
                is_marked(upper.as_fd(), mark).failing("fgetxattr in the upper directory")?;
            if marked && !has_xattr(root.as_fd(), mark).failing("fgetxattr")? {
                fremovexattr(&upper, mark)
                    .failing_with("fremovexattr in the upper directory", || mark.into())?;
                self.note_propagated(dir, mark);
            }
        }
        self.resolver.tree.dir_mut(dir).only_below = false;
        Ok(())
    }

    fn note_propagated(&mut self, dir: DirId, mark: &str) {
        let reason = SkipReason::PropagatedMark;
        let (path, detail) = (self.resolver.tree.path(dir), mark.as_bytes().to_vec());
        self.counts.propagated_marks += 1;
        self.counts.skipped.add(reason, &path, &detail);
        // The entry that is being applied now.
        let entry = self.counts.entries.total.saturating_sub(1);
        (self.warn)(Warning { reason, entry, path, detail });
    }

    fn not_the_upper(&self) -> JobCause {
        let path = self.options.upper.clone().unwrap_or_default();
        OptionsError::NotTheUpper { path }.into()
    }
}

fn set_modified(fd: impl AsFd, time: Timespec) -> Result<(), Errno> {
    let keep = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
    futimens(fd, &Timestamps { last_access: keep, last_modification: time })
}

/// A root that is no overlay mount but the directory itself.
fn same_directory(one: impl AsFd, other: impl AsFd) -> Result<bool, Errno> {
    let (one, other) = (fstat(one)?, fstat(other)?);
    Ok((one.st_dev, one.st_ino) == (other.st_dev, other.st_ino))
}
