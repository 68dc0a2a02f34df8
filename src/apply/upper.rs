// SPDX-License-Identifier: Apache-2.0
//! Opaque marks that a faulty kernel copies up, taken off again.
//!
//! Kernels without "ovl: don't copy up opaqueness" (Linux 4.8) copy the mark of an opaque lower
//! directory to the upper one, which then hides every layer below it. Nothing shows before the
//! next mount, or before the kernel forgets the directory and looks it up again.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{Stat, fchown, fgetxattr_query, fremovexattr, fstat};

use super::{Failing, Job};
use crate::error::Cause;
use crate::observer::Warning;
use crate::options::{Mode, OptionsError};
use crate::report::SkipReason;
use crate::resolve::{DirId, is_marked, opaque_xattr};

impl Job<'_> {
    /// Refuses an upper directory that is not the root's own: its marks are somebody else's.
    pub(super) fn check_upper(&mut self) -> Result<(), Cause> {
        let Some(upper) = self.resolver.in_upper(DirId::ROOT)? else { return Ok(()) };
        let root = self.resolver.parent(DirId::ROOT)?;
        let root = fstat(&root).failing("fstat of the root")?;
        let upper = fstat(&upper).failing("fstat of the upper directory")?;
        if shows(&root, &upper) { Ok(()) } else { Err(self.not_the_upper()) }
    }

    /// Copies a directory up before anything changes in it, and takes off the mark that may have
    /// come along.
    ///
    /// Not at the end of the layer: by then the kernel may have looked the directory up anew, and
    /// hidden from us what whiteouts and opaque markers have yet to delete.
    pub(super) fn bring_into_upper(&mut self, dir: DirId) -> Result<(), Cause> {
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

    fn unmark(&mut self, dir: DirId) -> Result<(), Cause> {
        let Some(upper) = self.resolver.in_upper(dir)? else { return Err(self.not_the_upper()) };
        let root = self.resolver.parent(dir)?;
        for mark in [Mode::Overlay, Mode::OverlayUserxattr].map(opaque_xattr) {
            // Overlayfs keeps its own mark from those who look at the mount. The one that it shows
            // is that of the other kind of mount: plain data here, rightly copied.
            if is_marked(upper.as_fd(), mark) && !is_shown(root.as_fd(), mark) {
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
        self.tally.propagated_marks += 1;
        self.tally.skipped.add(reason, &path, &detail);
        // The entry that is being applied now.
        let entry = self.tally.entries.total.saturating_sub(1);
        (self.warn)(Warning { reason, entry, path, detail });
    }

    fn not_the_upper(&self) -> Cause {
        let path = self.options.upper.clone().unwrap_or_default();
        OptionsError::NotTheUpper { path }.into()
    }
}

/// Whether the root is a mount that shows this upper directory: overlayfs hands out the upper
/// directory's attributes, but a device number of its own.
fn shows(root: &Stat, upper: &Stat) -> bool {
    let attributes = |stat: &Stat| {
        let changed = (stat.st_ctime, stat.st_ctime_nsec);
        (stat.st_mode, stat.st_mtime, stat.st_mtime_nsec, changed)
    };
    attributes(root) == attributes(upper) && root.st_dev != upper.st_dev
}

fn is_shown(fd: BorrowedFd<'_>, xattr: &str) -> bool {
    fgetxattr_query(fd, xattr).is_ok()
}
