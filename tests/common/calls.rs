// SPDX-License-Identifier: Apache-2.0
//! The system calls of an unpack, and how each can fail.

use std::fmt;

use Fault::{Always, Errno, Gone, Short};
use libc::*;

use super::trap::{Answer, Trapped};

/// How a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    Errno(i32),
    /// This call and all after it.
    Always(i32),
    /// It does a single byte.
    Short,
    /// Somebody else has removed the name just now.
    Gone,
}

/// A system call, and how it may fail.
pub struct Call {
    pub number: i64,
    pub name: &'static str,
    /// The argument that is a path; the first one is a descriptor otherwise.
    pub path: Option<usize>,
    pub faults: &'static [Fault],
}

const fn call(
    number: i64,
    name: &'static str,
    path: Option<usize>,
    faults: &'static [Fault],
) -> Call {
    Call { number, name, path, faults }
}

/// Left out is what would tell of a state that is not so, such as `ENOENT` where there is a file:
/// no library could know better.
#[rustfmt::skip]
pub const CALLS: &[Call] = &[
    call(SYS_openat, "openat", Some(1), &[
        Errno(EMFILE), Errno(ENFILE), Errno(ENOSPC), Errno(EDQUOT), Errno(EIO), Errno(EACCES),
        Errno(EINTR), Errno(ENOMEM), Errno(EROFS), Always(EMFILE), Always(EIO),
    ]),
    call(SYS_openat2, "openat2", Some(1), &[
        Errno(ENOSYS), Errno(EPERM), Errno(EAGAIN), Errno(EMFILE), Errno(ENFILE), Errno(EIO),
        Errno(EACCES), Errno(EINTR), Errno(ENOMEM), Always(ENOSYS), Always(EPERM), Always(EAGAIN),
        Always(EMFILE),
    ]),
    call(SYS_mkdirat, "mkdirat", Some(1), &[
        Errno(ENOSPC), Errno(EDQUOT), Errno(EIO), Errno(EMLINK), Errno(EACCES), Errno(EROFS),
        Errno(EINTR), Errno(ENOMEM),
    ]),
    call(SYS_mknodat, "mknodat", Some(1), &[
        Errno(EPERM), Errno(ENOSPC), Errno(EDQUOT), Errno(EIO), Errno(EINTR), Always(EPERM),
    ]),
    call(SYS_linkat, "linkat", Some(3), &[
        Errno(EMLINK), Errno(EPERM), Errno(ENOSPC), Errno(EIO), Errno(EXDEV), Errno(EINTR),
    ]),
    call(SYS_symlinkat, "symlinkat", Some(2), &[
        Errno(ENOSPC), Errno(EDQUOT), Errno(EIO), Errno(EINTR),
    ]),
    call(SYS_unlinkat, "unlinkat", Some(1), &[
        Errno(EBUSY), Errno(EIO), Errno(EACCES), Errno(EPERM), Errno(EROFS), Errno(EINTR), Gone,
        Always(EBUSY),
    ]),
    call(SYS_renameat, "renameat", Some(1), &[
        Errno(EXDEV), Errno(EIO), Errno(EBUSY), Errno(ENOSPC), Errno(EINTR), Always(EXDEV),
    ]),
    call(SYS_fchown, "fchown", None, &[Errno(EPERM), Errno(EIO), Errno(EDQUOT), Errno(EINTR)]),
    call(SYS_fchownat, "fchownat", Some(1), &[
        Errno(EPERM), Errno(EIO), Errno(EDQUOT), Errno(EINTR),
    ]),
    call(SYS_fchmod, "fchmod", None, &[Errno(EPERM), Errno(EIO), Errno(EINTR)]),
    call(SYS_fchmodat, "fchmodat", Some(1), &[Errno(EPERM), Errno(EIO), Errno(EINTR)]),
    #[cfg(target_arch = "x86_64")]
    call(SYS_chmod, "chmod", Some(0), &[Errno(EPERM), Errno(EIO), Errno(EINTR)]),
    call(SYS_utimensat, "utimensat", Some(1), &[
        Errno(EPERM), Errno(EIO), Errno(EROFS), Errno(EINTR),
    ]),
    call(SYS_fsetxattr, "fsetxattr", None, &[
        Errno(EOPNOTSUPP), Errno(ENOSPC), Errno(EDQUOT), Errno(EPERM), Errno(EIO), Errno(EINTR),
        Always(EOPNOTSUPP),
    ]),
    call(SYS_setxattr, "setxattr", Some(0), &[
        Errno(EOPNOTSUPP), Errno(ENOSPC), Errno(EDQUOT), Errno(EPERM), Errno(EIO),
    ]),
    call(SYS_fremovexattr, "fremovexattr", None, &[Errno(EPERM), Errno(ENOSPC), Errno(EIO)]),
    call(SYS_removexattr, "removexattr", Some(0), &[Errno(EPERM), Errno(ENOSPC), Errno(EIO)]),
    call(SYS_fgetxattr, "fgetxattr", None, &[Errno(EIO), Errno(EACCES), Errno(ENOMEM)]),
    call(SYS_getxattr, "getxattr", Some(0), &[Errno(EIO), Errno(EACCES), Errno(ENOMEM)]),
    call(SYS_flistxattr, "flistxattr", None, &[Errno(EIO), Errno(E2BIG), Errno(ENOMEM)]),
    call(SYS_read, "read", None, &[Errno(EIO), Errno(EINTR), Errno(ESTALE), Short]),
    call(SYS_pread64, "pread64", None, &[Errno(EIO), Errno(EINTR), Errno(ESTALE), Short]),
    call(SYS_write, "write", None, &[
        Errno(ENOSPC), Errno(EDQUOT), Errno(EIO), Errno(EFBIG), Errno(EINTR), Short,
        Always(ENOSPC),
    ]),
    call(SYS_pwrite64, "pwrite64", None, &[
        Errno(ENOSPC), Errno(EDQUOT), Errno(EIO), Errno(EINTR), Short,
    ]),
    call(SYS_lseek, "lseek", None, &[Errno(EINVAL), Errno(EIO)]),
    call(SYS_ftruncate, "ftruncate", None, &[
        Errno(EFBIG), Errno(ENOSPC), Errno(EIO), Errno(EPERM), Errno(EINTR),
    ]),
    call(SYS_fstat, "fstat", None, &[Errno(EIO), Errno(ESTALE), Errno(ENOMEM)]),
    call(SYS_newfstatat, "newfstatat", Some(1), &[
        Errno(EIO), Errno(EACCES), Errno(ESTALE), Errno(ENOMEM),
    ]),
    call(SYS_statx, "statx", Some(1), &[Errno(ENOSYS), Errno(EIO), Errno(EACCES)]),
    call(SYS_getdents64, "getdents64", None, &[Errno(EIO), Errno(ENOMEM), Errno(ESTALE)]),
    call(SYS_readlinkat, "readlinkat", Some(1), &[Errno(EIO), Errno(EACCES), Errno(ENOMEM)]),
    call(SYS_copy_file_range, "copy_file_range", None, &[
        Errno(ENOSYS), Errno(EXDEV), Errno(EINVAL), Errno(EOPNOTSUPP), Errno(EPERM), Errno(EINTR),
        Errno(ENOSPC), Errno(EIO), Short, Always(ENOSYS),
    ]),
    call(SYS_fsync, "fsync", None, &[
        Errno(EIO), Errno(ENOSPC), Errno(EDQUOT), Errno(EINVAL), Errno(EINTR),
    ]),
    call(SYS_syncfs, "syncfs", None, &[Errno(EIO), Errno(ENOSPC), Errno(EINTR)]),
    call(SYS_fcntl, "fcntl", None, &[Errno(EMFILE)]),
    call(SYS_ioctl, "ioctl", None, &[Errno(ENOTTY), Errno(EOPNOTSUPP), Errno(EIO)]),
    call(SYS_clone3, "clone3", None, &[
        // glibc makes EAGAIN of ENOMEM.
        Errno(EAGAIN), Errno(ENOSYS), Errno(EPERM), Always(ENOSYS),
    ]),
    call(SYS_clone, "clone", None, &[Errno(EAGAIN), Errno(EPERM)]),
    call(SYS_unshare, "unshare", None, &[Errno(EPERM), Errno(ENOMEM), Errno(ENOSYS)]),
    call(SYS_eventfd2, "eventfd2", None, &[Errno(EMFILE), Errno(ENFILE), Errno(ENOMEM)]),
    #[cfg(target_arch = "x86_64")]
    call(SYS_poll, "poll", None, &[Errno(EINTR), Errno(ENOMEM)]),
    call(SYS_ppoll, "ppoll", None, &[Errno(EINTR), Errno(ENOMEM)]),
    call(SYS_fadvise64, "fadvise64", None, &[Errno(EINVAL), Errno(EIO)]),
];

/// One injection.
#[derive(Clone, Copy)]
pub struct Case<'c> {
    pub call: &'c Call,
    /// Counted from 1.
    pub nth: usize,
    pub fault: Fault,
}

impl fmt::Display for Case<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Case { call, nth, fault } = self;
        write!(f, "{} {nth} ", call.name)?;
        let text = |errno: &i32| std::io::Error::from_raw_os_error(*errno);
        match fault {
            Errno(errno) => write!(f, "fails with {errno}, {}", text(errno)),
            Always(errno) => write!(f, "and all after it fail with {errno}, {}", text(errno)),
            Short => f.write_str("is short"),
            Gone => f.write_str("finds it gone"),
        }
    }
}

impl Case<'_> {
    pub fn errno(&self) -> Option<i32> {
        match self.fault {
            Errno(errno) | Always(errno) => Some(errno),
            Short | Gone => None,
        }
    }

    pub fn answer(&self, trapped: &Trapped) -> Answer {
        let mut arguments = trapped.arguments();
        match self.fault {
            Errno(errno) | Always(errno) => Answer::Fail(errno),
            Short => {
                // The length is the third argument, but the fifth of copy_file_range.
                let length = if self.call.number == SYS_copy_file_range { 4 } else { 2 };
                arguments[length] = arguments[length].min(1);
                trapped.make(arguments)
            }
            Gone => match trapped.make(arguments) {
                Answer::Return(_) => Answer::Fail(ENOENT),
                failed => failed,
            },
        }
    }
}

/// The call in words.
pub fn describe(call: &Call, trapped: &Trapped) -> String {
    let on = match call.path.and_then(|argument| trapped.text(argument)) {
        Some(path) => path,
        None => {
            let fd = trapped.arguments()[0];
            let path = std::fs::read_link(format!("/proc/self/fd/{fd}")).unwrap_or_default();
            let parts = path.iter().map(|part| part.to_string_lossy());
            let parts = parts.skip_while(|part| !part.starts_with("ocilayer-")).skip(1);
            parts.collect::<Vec<_>>().join("/")
        }
    };
    format!("on {on:?} in {}", trapped.thread())
}
