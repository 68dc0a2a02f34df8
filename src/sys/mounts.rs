// SPDX-License-Identifier: Apache-2.0
//! The table of mounts, proc_pid_mountinfo(5).
#![forbid(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// Each line of the table of this process.
pub(crate) fn table() -> io::Result<Vec<u8>> {
    std::fs::read("/proc/self/mountinfo")
}

/// Where everything that this process sees is mounted.
pub(crate) fn points(table: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    /// Behind the mount's number, its parent's, the device and the root in it.
    const POINT: usize = 4;
    let lines = table.split(|byte| *byte == b'\n');
    lines.filter_map(|line| line.split(|byte| *byte == b' ').nth(POINT).map(unescape))
}

/// Whether the mount that an open file is in is in the table. One that was detached, or not attached
/// yet, is in no namespace: paths in it say nothing of where it is.
pub(crate) fn has_mount_of(table: &[u8], fd: impl AsFd) -> io::Result<bool> {
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_fd().as_raw_fd()))?;
    let number = info.lines().find_map(|line| line.strip_prefix("mnt_id:")).map(str::trim);
    let Some(number) = number else { return Ok(false) };
    let start = format!("{number} ");
    Ok(table.split(|byte| *byte == b'\n').any(|line| line.starts_with(start.as_bytes())))
}

/// `\ooo` of proc(5).
pub(crate) fn unescape(text: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        let octal = after.get(..3).and_then(|digits| {
            let digits = std::str::from_utf8(digits).ok()?;
            u8::from_str_radix(digits, 8).ok()
        });
        match (first, octal) {
            (b'\\', Some(byte)) => {
                plain.push(byte);
                rest = &after[3..];
            }
            _ => {
                plain.push(*first);
                rest = after;
            }
        }
    }
    plain
}
