// SPDX-License-Identifier: Apache-2.0
//! `ocilayer_source`.

use std::ffi::{c_char, c_int, c_void};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::io::fcntl_dupfd_cloexec;

use super::argument::{ArgumentError, Out, array, callback_errno, free, path};
use super::error::ocilayer_error;
use super::growth::ocilayer_growth;
use super::guard::{guarded, infallible};
use crate::errno::Errno;
use crate::pipeline::Source;

/// Where the bytes of one layer come from, compressed or not. It serves one unpack or scan: a
/// second with the same source is -EINVAL.
pub struct ocilayer_source(Option<Origin>);

/// A source as C described it. Nothing is read before the unpack.
enum Origin {
    Path(PathBuf),
    Descriptor(OwnedFd),
    Growing(Source<'static>),
    Memory { data: *const u8, length: usize },
    Reader { read: Read, userdata: *mut c_void },
}

/// Put up to @length bytes of the layer into @buffer and say in *got how many, 0 at the end.
///
/// Returns 0, or a negative errno, which becomes the result of the unpack. A read that may block
/// polls ocilayer_cancel_fd too, and returns -ECANCELED when that is readable.
///
/// @buffer is borrowed until return and its content is undefined before. It runs only on the
/// thread that called unpack_layer or ocilayer_scan. It must return: no longjmp, no C++ exception.
pub type ocilayer_read_fn = Option<
    unsafe extern "C" fn(
        userdata: *mut c_void,
        buffer: *mut u8,
        length: usize,
        got: *mut usize,
    ) -> c_int,
>;

/// The name that ocilayer_read_fn had before.
#[allow(dead_code)]
pub type ocilayer_read = ocilayer_read_fn;

/// What the caller wants to see again in its function.
struct Userdata(*mut c_void);

// SAFETY: it is handed back on the thread that called, and only there: a source of the C boundary
// is never sent to another one.
unsafe impl Send for Userdata {}

impl Userdata {
    fn get(&self) -> *mut c_void {
        self.0
    }
}

/// The same where NULL was ruled out.
type Read = unsafe extern "C" fn(*mut c_void, *mut u8, usize, *mut usize) -> c_int;

impl ocilayer_source {
    /// All of it, for an image: not a read function, which belongs to the thread that calls.
    pub(super) fn take_whole(&mut self) -> Result<ocilayer_source, ArgumentError> {
        match &self.0 {
            None => Err(ArgumentError::SourceUsed),
            Some(Origin::Reader { .. }) => Err(ArgumentError::ReaderInImage),
            Some(_) => Ok(ocilayer_source(self.0.take())),
        }
    }

    /// The library's own source, once.
    ///
    /// # Safety
    /// Memory and userdata that the caller named stay valid for `'a`.
    pub(super) unsafe fn take<'a>(&mut self) -> Result<Source<'a>, ArgumentError> {
        Ok(match self.0.take().ok_or(ArgumentError::SourceUsed)? {
            Origin::Path(path) => Source::path(path),
            Origin::Descriptor(fd) => Source::file(fd),
            Origin::Growing(source) => source,
            Origin::Memory { data, length } => {
                // SAFETY: not NULL unless empty, as checked when made; the rest is the caller's
                // promise.
                Source::memory(unsafe { array(data, length, "data")? })
            }
            Origin::Reader { read, userdata } => {
                let userdata = Userdata(userdata);
                Source::reader(move |buffer| {
                    // SAFETY: the caller's function and its userdata, on the caller's thread.
                    unsafe { call(read, userdata.get(), buffer) }
                })
            }
        })
    }
}

/// # Safety
/// `read` keeps what [`ocilayer_read_fn`] says, and `userdata` is its own.
unsafe fn call(read: Read, userdata: *mut c_void, buffer: &mut [u8]) -> Result<usize, Errno> {
    let mut got = 0;
    // SAFETY: the buffer is as long as said; the rest is the caller's promise. Whether `got` is
    // more than was asked for is looked at by the source's reader.
    match unsafe { read(userdata, buffer.as_mut_ptr(), buffer.len(), &mut got) } {
        0 => Ok(got),
        failed => Err(callback_errno(failed)),
    }
}

/// # Safety
/// Both places are NULL or writable.
unsafe fn make(
    source: *mut *mut ocilayer_source,
    error: *mut *mut ocilayer_error,
    origin: impl FnOnce() -> Result<Origin, ArgumentError>,
) -> c_int {
    let work = || {
        // SAFETY: the caller's promise.
        let out = unsafe { Out::required(source, "source")? };
        out.give(ocilayer_source(Some(origin()?)));
        Ok(())
    };
    // SAFETY: the caller's promise.
    unsafe { guarded(error, work) }
}

/// Make a source in *source from the file at @path. The unpack opens it, and fails if it cannot.
///
/// Returns 0, or a negative errno with *error set.
///
/// The caller owns *source and frees it with ocilayer_source_free. @path is copied.
///
/// Any thread may call this.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ocilayer_source_from_path(
    path: *const c_char,
    source: *mut *mut ocilayer_source,
    error: *mut *mut ocilayer_error,
) -> c_int {
    // SAFETY: NULL or a string, as the header asks.
    let origin = || Ok(Origin::Path(unsafe { self::path(path, "path")? }.to_owned()));
    // SAFETY: the places are NULL or writable, as the header asks.
    unsafe { make(source, error, origin) }
}

/// Make a source in *source from a descriptor of a file, pipe or socket, read from its current
/// position to the end. A regular file is the fast way.
///
/// Returns 0, or a negative errno with *error set.
///
/// -EBADF: @fd is no open descriptor. -EMFILE: no descriptor is left for the duplicate.
///
/// The caller owns *source and frees it with ocilayer_source_free. @fd is duplicated: the caller
/// keeps it and may close it at once. Both have one file position, so leave it alone until the
/// unpack returned; where it stands then is undefined.
///
/// Any thread may call this.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ocilayer_source_from_fd(
    fd: c_int,
    source: *mut *mut ocilayer_source,
    error: *mut *mut ocilayer_error,
) -> c_int {
    let origin = || Ok(Origin::Descriptor(duplicate(fd)?));
    // SAFETY: the places are NULL or writable, as the header asks.
    unsafe { make(source, error, origin) }
}

/// Make a source in *source from a descriptor of a regular file that is still being written, such as a
/// download, and in *growth what the writer tells by how far it is. The file is read from its beginning
/// as far as that, and its position is neither used nor moved.
///
/// Returns 0, or a negative errno with *error set.
///
/// -EBADF: @fd is no open descriptor. -EMFILE, -ENFILE: no descriptor is left for the duplicate, or for
/// the wake-up. The unpack fails with -ENODATA where the file has less than was told.
///
/// The caller owns *source and frees it with ocilayer_source_free, and *growth, which
/// ocilayer_growth_free frees. @fd is duplicated: the caller keeps it and may close it at once.
///
/// Any thread may call this, and write to the file.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ocilayer_source_growing(
    fd: c_int,
    source: *mut *mut ocilayer_source,
    growth: *mut *mut ocilayer_growth,
    error: *mut *mut ocilayer_error,
) -> c_int {
    let work = || {
        // SAFETY: both places are NULL or writable, as the header asks.
        let (source, growth) =
            unsafe { (Out::required(source, "source")?, Out::required(growth, "growth")?) };
        let (read, write) = Source::growing(duplicate(fd)?).map_err(ArgumentError::Wake)?;
        source.give(ocilayer_source(Some(Origin::Growing(read))));
        growth.give(ocilayer_growth(write));
        Ok(())
    };
    // SAFETY: `error` is NULL or writable, as the header asks.
    unsafe { guarded(error, work) }
}

fn duplicate(fd: c_int) -> Result<OwnedFd, ArgumentError> {
    let refused = |errno| ArgumentError::Descriptor { fd, errno };
    // BorrowedFd must never hold -1, which C uses for "none".
    if fd < 0 {
        return Err(refused(Errno::BADF));
    }
    // SAFETY: only handed to fcntl(2), which says EBADF of a number that is not open.
    let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
    // Not 0 to 2: a daemon that closed those may have them opened by somebody else for output.
    fcntl_dupfd_cloexec(borrowed, 3).map_err(|errno| refused(Errno::of(errno)))
}

/// Make a source in *source from @length bytes at @data; NULL if @length is 0.
///
/// Returns 0, or a negative errno with *error set.
///
/// The caller owns *source and frees it with ocilayer_source_free. @data is borrowed until the
/// unpack returned, and must not change before.
///
/// Any thread may call this.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ocilayer_source_from_memory(
    data: *const u8,
    length: usize,
    source: *mut *mut ocilayer_source,
    error: *mut *mut ocilayer_error,
) -> c_int {
    let origin = || {
        // SAFETY: only looked at for NULL here; that it holds `length` bytes, the header asks.
        unsafe { array(data, length, "data")? };
        Ok(Origin::Memory { data, length })
    };
    // SAFETY: the places are NULL or writable, as the header asks.
    unsafe { make(source, error, origin) }
}

/// Make a source in *source from a function that is called with @userdata.
///
/// Returns 0, or a negative errno with *error set.
///
/// The caller owns *source and frees it with ocilayer_source_free. @userdata is the caller's and
/// must be valid until the unpack returned.
///
/// Any thread may call this. @read runs only on the thread that unpacks or scans.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ocilayer_source_from_reader(
    read: ocilayer_read_fn,
    userdata: *mut c_void,
    source: *mut *mut ocilayer_source,
    error: *mut *mut ocilayer_error,
) -> c_int {
    let origin = || {
        let read = read.ok_or(ArgumentError::Null("read"))?;
        Ok(Origin::Reader { read, userdata })
    };
    // SAFETY: the places are NULL or writable, as the header asks.
    unsafe { make(source, error, origin) }
}

/// Free a source, used or not; NULL does nothing.
///
/// Not while an unpack still uses it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ocilayer_source_free(source: *mut ocilayer_source) {
    // SAFETY: NULL or from one of the above and not freed before, as the header asks.
    infallible((), || unsafe { free(source) })
}
