// SPDX-License-Identifier: Apache-2.0
//! The way to the disk with [`Sync::Files`](crate::Sync::Files), with few waits.
//!
//! The kernel is told to write the data of some files at a time, and then waited for, while others are
//! made: writes that are begun together reach the disk in fewer pieces. What else a layer has, names, owners, modes, times, xattrs
//! and extents, is metadata. Where all of that goes through one journal, in order, a last change
//! of the root and one fsync(2) of it bring all of it to the disk; btrfs commits a transaction; elsewhere
//! it takes an fsync(2) of each file and each directory.

use std::fs;
use std::mem;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use rustix::fs::{fstat, fsync, major, minor};
use rustix::io::{Errno, retry_on_intr};
use rustix::system::uname;

use super::attributes::set_mode;
use super::error::{ApplyError, Failing, JobError};
use crate::sys::write_out::{start_write_out, wait_for_write_out};
use crate::sys::{btrfs, filesystem};
use crate::tar::Place;

/// Files that are written out together, each with a descriptor. As many more may be collected meanwhile.
const TOGETHER: usize = 64;

/// A file of this size does not wait for others.
const LARGE: i64 = 1 << 20;

/// Files on their way to the disk, each with what its failure is to be told with.
pub(crate) struct WriteOut<P> {
    metadata: Metadata,
    /// Complete, and not written out yet.
    kept: Mutex<Vec<(OwnedFd, P)>>,
    /// Held by who waits for the disk, so that descriptors are bounded.
    waiting: Mutex<()>,
}

/// A file that did not reach the disk.
#[derive(Debug)]
pub(crate) struct NotWritten<P> {
    pub(crate) file: P,
    pub(crate) operation: &'static str,
    pub(crate) errno: Errno,
}

impl From<NotWritten<Place>> for JobError {
    fn from(failed: NotWritten<Place>) -> JobError {
        let NotWritten { file, operation, errno } = failed;
        JobError::from(ApplyError::new(operation, errno)).at(|| file)
    }
}

/// What brings the metadata to the disk.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Metadata {
    /// The journal's next commit, with all that came before.
    Journal,
    /// The commit of btrfs's running transaction.
    Transaction,
    /// An fsync(2) of each file and directory.
    Each,
}

impl<P> WriteOut<P> {
    pub(crate) fn below(root: &OwnedFd) -> WriteOut<P> {
        WriteOut { metadata: Metadata::on(root), kept: Mutex::default(), waiting: Mutex::default() }
    }

    /// Whether directories need an fsync(2) of their own.
    pub(crate) fn syncs_directories(&self) -> bool {
        self.metadata == Metadata::Each
    }

    /// A file is complete. Writes out all that are, if there are many, and tells of the first failure.
    pub(crate) fn add(&self, fd: OwnedFd, file: P) -> Result<(), NotWritten<P>> {
        if fstat(&fd).is_ok_and(|stat| stat.st_size >= LARGE) {
            // It may not be supported here; what counts is the wait.
            let _ = start_write_out(fd.as_fd());
        }
        let many = {
            let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            kept.push((fd, file));
            kept.len() >= TOGETHER
        };
        match many {
            true => self.wait_for_all().map(drop),
            false => Ok(()),
        }
    }

    /// Writes out all files that are complete. False if there was none.
    pub(crate) fn wait_for_all(&self) -> Result<bool, NotWritten<P>> {
        let _one = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = mem::take(&mut *self.kept.lock().unwrap_or_else(PoisonError::into_inner));
        for (fd, _) in &kept {
            let _ = start_write_out(fd.as_fd());
        }
        let some = !kept.is_empty();
        kept.into_iter().try_for_each(|(fd, file)| self.wait(&fd, file))?;
        Ok(some)
    }

    fn wait(&self, fd: &OwnedFd, file: P) -> Result<(), NotWritten<P>> {
        let (operation, waited) = match self.metadata {
            Metadata::Journal => ("sync_file_range", wait_for_write_out(fd.as_fd())),
            Metadata::Transaction => ("FS_IOC_FIEMAP", btrfs::wait_for_extents(fd)),
            Metadata::Each => ("fsync", retry_on_intr(|| fsync(fd))),
        };
        waited.map_err(|errno| NotWritten { file, operation, errno })
    }

    /// When all is made and written out: the metadata.
    pub(crate) fn commit(&self, root: impl AsFd) -> Result<(), ApplyError> {
        match self.metadata {
            Metadata::Journal => {
                // A change of the root's inode is in the newest transaction, and transactions reach
                // the disk in their order.
                let mode = fstat(&root).failing("fstat of the root")?.st_mode;
                set_mode(root.as_fd(), mode & 0o7777)?;
                retry_on_intr(|| fsync(&root)).failing("fsync of the root")
            }
            Metadata::Transaction => {
                btrfs::commit(&root).failing("BTRFS_IOC_WAIT_SYNC")?;
                // Fails where the commit did.
                retry_on_intr(|| fsync(&root)).failing("fsync of the root")
            }
            Metadata::Each => Ok(()),
        }
    }
}

impl Metadata {
    /// On XFS and on ext4 with a journal an fsync(2) brings all older metadata of the file system to the
    /// disk as well, and a file's pages count as written only when the extents and the size that lead
    /// to them are in the journal too.
    fn on(root: &OwnedFd) -> Metadata {
        match filesystem::name(root).as_deref() {
            Ok("xfs") => Metadata::Journal,
            Ok("ext4") if fstat(root).is_ok_and(|stat| ext4_has_journal(stat.st_dev)) => {
                Metadata::Journal
            }
            Ok("btrfs") if fiemap_waits_for_extents() => Metadata::Transaction,
            _ => Metadata::Each,
        }
    }
}

/// Linux 6.1 and newer: before, FIEMAP_FLAG_SYNC waited for the pages only, and btrfs makes a file's extents
/// known after that.
fn fiemap_waits_for_extents() -> bool {
    let uname = uname();
    let release = uname.release().to_string_lossy();
    let mut numbers = release.split(['.', '-']).map(|number| number.parse::<u32>().unwrap_or(0));
    (numbers.next(), numbers.next()) >= (Some(6), Some(1))
}

/// As sysfs tells: the process that writes the journal, or that there is none. Kernels without
/// this attribute include those whose pages count as written earlier (before 3.11).
fn ext4_has_journal(device: u64) -> bool {
    let link = format!("/sys/dev/block/{}:{}", major(device), minor(device));
    let Ok(link) = fs::read_link(link) else { return false };
    let Some(name) = link.file_name() else { return false };
    let task = Path::new("/sys/fs/ext4").join(name).join("journal_task");
    fs::read_to_string(task).is_ok_and(|task| task.trim().parse::<u32>().is_ok())
}
