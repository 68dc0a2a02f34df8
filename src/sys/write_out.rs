// SPDX-License-Identifier: Apache-2.0
//! sync_file_range(2).

use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::{Errno, retry_on_intr};

/// Has the kernel begin to write a file's data to the disk.
pub(crate) fn start_write_out(fd: BorrowedFd<'_>) -> Result<(), Errno> {
    sync_file_range(fd, libc::SYNC_FILE_RANGE_WRITE)
}

/// Waits until all of a file's data is written. The disk may have it in a cache that is lost with
/// the power.
pub(crate) fn wait_for_write_out(fd: BorrowedFd<'_>) -> Result<(), Errno> {
    let before = libc::SYNC_FILE_RANGE_WAIT_BEFORE;
    let all = before | libc::SYNC_FILE_RANGE_WRITE | libc::SYNC_FILE_RANGE_WAIT_AFTER;
    retry_on_intr(|| sync_file_range(fd, all))
}

fn sync_file_range(fd: BorrowedFd<'_>, flags: libc::c_uint) -> Result<(), Errno> {
    // SAFETY: takes integers only; a length of 0 is up to the end.
    match unsafe { libc::sync_file_range(fd.as_raw_fd(), 0, 0, flags) } {
        0 => Ok(()),
        _ => Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)),
    }
}
