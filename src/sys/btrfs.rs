// SPDX-License-Identifier: Apache-2.0
//! What btrfs has of its own for bringing things to the disk: ioctls of linux/btrfs.h and linux/fiemap.h.

use std::os::fd::AsFd;

use rustix::io::{Errno, retry_on_intr};
use rustix::ioctl::{Getter, Opcode, Setter, Updater, ioctl, opcode};

/// `struct fiemap`, without room for extents: none are told, all are counted.
#[repr(C)]
struct Fiemap {
    start: u64,
    length: u64,
    flags: u32,
    mapped_extents: u32,
    extent_count: u32,
    reserved: u32,
}

const FIEMAP_FLAG_SYNC: u32 = 1;
const FS_IOC_FIEMAP: Opcode = opcode::read_write::<Fiemap>(b'f', 11);
const BTRFS_IOC_WAIT_SYNC: Opcode = opcode::write::<u64>(0x94, 22);
const BTRFS_IOC_START_SYNC: Opcode = opcode::read::<u64>(0x94, 24);

/// Waits until all of a file's data is on the disk and the extents that lead to it are part of the running
/// transaction, from Linux 6.1 on.
pub(crate) fn wait_for_extents(file: impl AsFd) -> Result<(), Errno> {
    let mut map = Fiemap {
        start: 0,
        length: u64::MAX,
        flags: FIEMAP_FLAG_SYNC,
        mapped_extents: 0,
        extent_count: 0,
        reserved: 0,
    };
    // SAFETY: the opcode takes and fills a `struct fiemap`, with no extents behind it.
    retry_on_intr(|| unsafe {
        ioctl(file.as_fd(), Updater::<FS_IOC_FIEMAP, Fiemap>::new(&mut map))
    })
}

/// Commits the running transaction, and waits for that: all metadata that there is, and of data what is
/// written already. Others' files are not written for it.
pub(crate) fn commit(root: impl AsFd) -> Result<(), Errno> {
    // SAFETY: the opcode fills a u64.
    let started = unsafe { ioctl(root.as_fd(), Getter::<BTRFS_IOC_START_SYNC, u64>::new())? };
    // SAFETY: the opcode takes a u64.
    retry_on_intr(|| unsafe {
        ioctl(root.as_fd(), Setter::<BTRFS_IOC_WAIT_SYNC, u64>::new(started))
    })
}
