// SPDX-License-Identifier: Apache-2.0
//! Error numbers, as a type of this library's own.

use std::fmt;
use std::io;

/// An error number of the kernel, positive (errno(3)).
///
/// It is what a C caller gets with a minus sign, and what callbacks fail with. It converts from and
/// to [`std::io::Error`], so that `?` serves in a callback that reads or writes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Errno(i32);

/// Constants for the numbers that this library itself answers with or that callbacks are likely to
/// need; [`Errno::from_raw_os_error`] takes any other.
macro_rules! constants {
    ($($(#[$doc:meta])* $name:ident = $value:ident;)*) => {
        impl Errno {
            $($(#[$doc])* pub const $name: Errno = Errno(libc::$value);)*
        }
    };
}

constants! {
    /// `EACCES`: permission denied.
    ACCESS = EACCES;
    /// `EAGAIN`: no resources at the moment.
    AGAIN = EAGAIN;
    /// `EBADMSG`: a blob, archive or digest that is not as it should be.
    BADMSG = EBADMSG;
    /// `EBADF`: no open descriptor.
    BADF = EBADF;
    /// `EBUSY`: in use.
    BUSY = EBUSY;
    /// `ECANCELED`: the caller cancelled.
    CANCELED = ECANCELED;
    /// `ECONNRESET`: the other side is gone.
    CONNRESET = ECONNRESET;
    /// `EDQUOT`: the disk quota is used up.
    DQUOT = EDQUOT;
    /// `EEXIST`: there is something already.
    EXIST = EEXIST;
    /// `EFBIG`: past a limit.
    FBIG = EFBIG;
    /// `EHOSTUNREACH`: no way to the other side.
    HOSTUNREACH = EHOSTUNREACH;
    /// `EINTR`: interrupted by a signal.
    INTR = EINTR;
    /// `EINVAL`: makes no sense.
    INVAL = EINVAL;
    /// `EIO`: input or output failed.
    IO = EIO;
    /// `EISDIR`: a directory.
    ISDIR = EISDIR;
    /// `ELOOP`: too many symlinks.
    LOOP = ELOOP;
    /// `EMFILE`: this process has no descriptor left.
    MFILE = EMFILE;
    /// `ENAMETOOLONG`: a name or path that no file system takes.
    NAMETOOLONG = ENAMETOOLONG;
    /// `ENFILE`: this machine has no descriptor left.
    NFILE = ENFILE;
    /// `ENODATA`: no such xattr.
    NODATA = ENODATA;
    /// `ENOENT`: nothing of this name.
    NOENT = ENOENT;
    /// `ENOMEM`: no memory left.
    NOMEM = ENOMEM;
    /// `ENOSPC`: no space left.
    NOSPC = ENOSPC;
    /// `ENOSYS`: this kernel has no such call.
    NOSYS = ENOSYS;
    /// `ENOTDIR`: no directory.
    NOTDIR = ENOTDIR;
    /// `ENOTEMPTY`: a directory with something in it.
    NOTEMPTY = ENOTEMPTY;
    /// `ENOTRECOVERABLE`: a defect in this library.
    NOTRECOVERABLE = ENOTRECOVERABLE;
    /// `ENOTSUP`, the same as `EOPNOTSUPP` on Linux: not supported here.
    OPNOTSUPP = EOPNOTSUPP;
    /// `EPERM`: not permitted.
    PERM = EPERM;
    /// `EPIPE`: nobody reads the pipe.
    PIPE = EPIPE;
    /// `EPROTO`: a protocol's error.
    PROTO = EPROTO;
    /// `ERANGE`: out of range.
    RANGE = ERANGE;
    /// `EROFS`: a file system that is read-only.
    ROFS = EROFS;
    /// `ETIMEDOUT`: it took too long.
    TIMEDOUT = ETIMEDOUT;
    /// `E2BIG`: larger than what is known or possible.
    TOOBIG = E2BIG;
    /// `EXDEV`: across file systems or mounts.
    XDEV = EXDEV;
}

impl Errno {
    /// The number `raw`, which is positive.
    pub const fn from_raw_os_error(raw: i32) -> Errno {
        Errno(raw)
    }

    /// The number, positive.
    pub const fn raw_os_error(self) -> i32 {
        self.0
    }

    /// Of a thread that could not be started; std does not always say why.
    pub(crate) fn of_thread(error: &io::Error) -> Errno {
        error.raw_os_error().map_or(Errno::AGAIN, Errno)
    }

    /// What a system call answered.
    pub(crate) const fn of(errno: rustix::io::Errno) -> Errno {
        Errno(errno.raw_os_error())
    }
}

/// As strerror(3) says it: `No such file or directory`.
impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = io::Error::from_raw_os_error(self.0).to_string();
        f.write_str(text.strip_suffix(&format!(" (os error {})", self.0)).unwrap_or(&text))
    }
}

/// An error of std, with the kernel's part of it said as [`Errno`] does.
pub(crate) struct Plain<'e>(pub(crate) &'e io::Error);

impl fmt::Display for Plain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.raw_os_error() {
            Some(errno) => Errno(errno).fmt(f),
            None => self.0.fmt(f),
        }
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Errno({}: {self})", self.0)
    }
}

impl std::error::Error for Errno {}

impl From<Errno> for io::Error {
    fn from(errno: Errno) -> io::Error {
        io::Error::from_raw_os_error(errno.0)
    }
}

/// `EIO` for an error that did not come from the kernel.
impl From<io::Error> for Errno {
    fn from(error: io::Error) -> Errno {
        error.raw_os_error().map_or(Errno::IO, Errno)
    }
}
