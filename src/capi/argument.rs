// SPDX-License-Identifier: Apache-2.0
//! Pointers from C to references, refusing what cannot be one.

use std::ffi::{CStr, OsStr, c_char};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::digest::ParseDigestError;
use crate::errno::Errno;
use crate::error::ErrorKind;

/// What a C caller can get wrong that a Rust caller cannot.
#[derive(Debug, thiserror::Error)]
pub(super) enum ArgumentError {
    #[error("{0} is NULL")]
    Null(&'static str),
    #[error("{name} is NULL, but {count} elements long")]
    NullArray { name: &'static str, count: usize },
    #[error("{name} is {count} elements long: no memory holds that many")]
    Array { name: &'static str, count: usize },
    #[error("{name}[{index}] is NULL")]
    NullElement { name: &'static str, index: usize },
    #[error("options.size is {got}: must be a multiple of 8 and at least {least}")]
    OptionsSize { got: usize, least: usize },
    #[error(
        "options are {got} bytes and use fields past the {known} bytes that this library knows"
    )]
    OptionsNewer { got: usize, known: usize },
    #[error("{field} is {value}, which means nothing to this library")]
    Unknown { field: &'static str, value: u32 },
    #[error("{field} is {value}: too large for this machine")]
    TooLarge { field: &'static str, value: u64 },
    #[error("options.lowers and options.lowers_later are both given")]
    LowersTwice,
    #[error("id ranges are for options.owners = OCILAYER_OWNERS_MAP only")]
    RangesWithoutMap,
    #[error("{field}: {error}")]
    Digest { field: &'static str, error: ParseDigestError },
    #[error("expected digests are those of one layer's blob, and of no other audit")]
    ExpectedOfMany,
    #[error("the source was used already: each serves one call")]
    SourceUsed,
    #[error("a source with a read function serves a layer by itself; a pipe does for an image")]
    ReaderInImage,
    #[error("layers are added to an image of ocilayer_image_new only")]
    NotOwn,
    #[error("file descriptor {fd}: {errno}")]
    Descriptor { fd: i32, errno: Errno },
    #[error("no descriptor for a wake-up: {0}")]
    Wake(Errno),
}

impl ArgumentError {
    pub(super) fn verdict(&self) -> (ErrorKind, Errno) {
        match self {
            ArgumentError::OptionsNewer { .. } => (ErrorKind::InvalidArgument, Errno::TOOBIG),
            ArgumentError::Descriptor { errno, .. } => (ErrorKind::Source, *errno),
            ArgumentError::Wake(errno) => (ErrorKind::Unsupported, *errno),
            _ => (ErrorKind::InvalidArgument, Errno::INVAL),
        }
    }
}

/// # Safety
/// `pointer` is NULL, or valid as long as `'a` and used by nobody else.
pub(super) unsafe fn exclusive<'a, T>(
    pointer: *mut T,
    name: &'static str,
) -> Result<&'a mut T, ArgumentError> {
    // SAFETY: the caller's promise.
    unsafe { pointer.as_mut() }.ok_or(ArgumentError::Null(name))
}

/// # Safety
/// `array` is NULL or has `count` elements that stay as they are for `'a`.
pub(super) unsafe fn array<'a, T>(
    array: *const T,
    count: usize,
    name: &'static str,
) -> Result<&'a [T], ArgumentError> {
    // No object is larger (malloc(3)): such a count was never meant.
    if count.checked_mul(size_of::<T>().max(1)).is_none_or(|bytes| isize::try_from(bytes).is_err())
    {
        return Err(ArgumentError::Array { name, count });
    }
    match (array.is_null(), count) {
        (_, 0) => Ok(&[]),
        (true, count) => Err(ArgumentError::NullArray { name, count }),
        // SAFETY: not NULL; the rest is the caller's promise.
        (false, _) => Ok(unsafe { std::slice::from_raw_parts(array, count) }),
    }
}

/// # Safety
/// `text` is NULL or ends with a NUL and stays as it is for `'a`.
pub(super) unsafe fn text<'a>(
    text: *const c_char,
    name: &'static str,
) -> Result<&'a CStr, ArgumentError> {
    if text.is_null() {
        return Err(ArgumentError::Null(name));
    }
    // SAFETY: not NULL; the rest is the caller's promise.
    Ok(unsafe { CStr::from_ptr(text) })
}

/// # Safety
/// As for [`text`].
pub(super) unsafe fn path<'a>(
    pointer: *const c_char,
    name: &'static str,
) -> Result<&'a Path, ArgumentError> {
    // SAFETY: the caller's promise.
    let text = unsafe { text(pointer, name)? };
    Ok(Path::new(OsStr::from_bytes(text.to_bytes())))
}

/// Paths in an array of strings, none of which may be NULL.
///
/// # Safety
/// `strings` is NULL or has `count` elements, each NULL or a string.
pub(super) unsafe fn paths(
    strings: *const *const c_char,
    count: usize,
    name: &'static str,
) -> Result<Vec<PathBuf>, ArgumentError> {
    // SAFETY: the caller's promise.
    let strings = unsafe { array(strings, count, name)? };
    let each = |(index, string): (usize, &*const c_char)| {
        // SAFETY: the same.
        let path = unsafe { optional_path(*string) };
        path.ok_or(ArgumentError::NullElement { name, index })
    };
    strings.iter().enumerate().map(each).collect()
}

/// # Safety
/// `pointer` is NULL or a string.
pub(super) unsafe fn optional_path(pointer: *const c_char) -> Option<PathBuf> {
    // SAFETY: the caller's promise.
    unsafe { path(pointer, "") }.ok().map(Path::to_owned)
}

/// A place that the caller gave for a handle.
pub(super) struct Out<T>(*mut *mut T);

impl<T> Out<T> {
    /// Holds NULL from here on, so that a failure leaves nothing undefined behind.
    ///
    /// # Safety
    /// `place` is NULL or may be written until this is dropped.
    pub(super) unsafe fn required(
        place: *mut *mut T,
        name: &'static str,
    ) -> Result<Out<T>, ArgumentError> {
        // SAFETY: the caller's promise.
        unsafe { Out::optional(place) }.ok_or(ArgumentError::Null(name))
    }

    /// # Safety
    /// As for [`Out::required`].
    pub(super) unsafe fn optional(place: *mut *mut T) -> Option<Out<T>> {
        if place.is_null() {
            return None;
        }
        // SAFETY: not NULL, and then writable by the caller's promise.
        unsafe { place.write(std::ptr::null_mut()) };
        Some(Out(place))
    }

    /// The handle belongs to the caller from now on.
    pub(super) fn give(self, handle: T) {
        // SAFETY: writable until self is dropped, by the promise made to the constructor.
        unsafe { self.0.write(Box::into_raw(Box::new(handle))) };
    }
}

/// Takes a handle back from the caller and drops it; NULL is harmless.
///
/// # Safety
/// `handle` is NULL or came from [`Out::give`] and is not used again.
pub(super) unsafe fn free<T>(handle: *mut T) {
    if !handle.is_null() {
        // SAFETY: not NULL, and then a Box that was given away.
        drop(unsafe { Box::from_raw(handle) });
    }
}

/// An errno that a callback returned as a negative number; nonsense becomes `EINVAL`.
pub(super) fn callback_errno(result: i32) -> Errno {
    /// The kernel's own bound on errno values (MAX_ERRNO).
    const MAX_ERRNO: i32 = 4095;
    match result.checked_neg() {
        Some(errno) if (1..=MAX_ERRNO).contains(&errno) => Errno::from_raw_os_error(errno),
        _ => Errno::INVAL,
    }
}
