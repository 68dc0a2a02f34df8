// SPDX-License-Identifier: Apache-2.0
//! What a file system is called.

use std::borrow::Cow;
use std::os::fd::AsFd;

use rustix::fs::fstatfs;
use rustix::io::Errno;

/// As in /proc/filesystems, or the number in hexadecimal. The numbers are in linux/magic.h or the file
/// systems' own headers; ext2 and ext3 have that of ext4.
pub(crate) fn name(on: impl AsFd) -> Result<Cow<'static, str>, Errno> {
    // The kernel's type is a signed word, and some numbers have the top bit of 32.
    let magic = fstatfs(on)?.f_type as u64 & 0xffff_ffff;
    let name = match magic {
        0xef53 => "ext4",
        0x5846_5342 => "xfs",
        0x9123_683e => "btrfs",
        0x0102_1994 => "tmpfs",
        0x794c_7630 => "overlay",
        0xf2f5_2010 => "f2fs",
        0xca45_1a4e => "bcachefs",
        0x2fc1_2fc1 => "zfs",
        0x6969 => "nfs",
        0xff53_4d42 => "cifs",
        0x0102_1997 => "9p",
        0x6573_5546 => "fuse",
        0x6a65_6a63 => "virtiofs",
        0x7371_7368 => "squashfs",
        0xe0f5_e1e2 => "erofs",
        0x9fa0 => "proc",
        0x6265_6572 => "sysfs",
        0x00c0_ffee => "hostfs",
        _ => return Ok(format!("{magic:#x}").into()),
    };
    Ok(name.into())
}
