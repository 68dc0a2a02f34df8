// SPDX-License-Identifier: Apache-2.0
//! `ocilayer_error`.

use std::ffi::{CStr, c_char, c_int};

use super::argument::free;
use super::failure::Failure;
use super::panic::infallible;
use super::text::Text;
use crate::error::{Error, ErrorKind};

/// What went wrong, for a program. More kinds may come: treat an unknown one as a failure.
#[repr(C)]
pub enum ocilayer_error_kinds {
    /// No error: what ocilayer_error_kind says of NULL.
    OCILAYER_ERROR_NONE = 0,
    /// An argument, the options, the root or a lower directory make no sense.
    OCILAYER_ERROR_INVALID_ARGUMENT = 1,
    /// Reading the layer failed.
    OCILAYER_ERROR_SOURCE = 2,
    /// The compressed stream is damaged or cut short.
    OCILAYER_ERROR_CORRUPT = 3,
    /// The tar archive is malformed or cut short.
    OCILAYER_ERROR_ARCHIVE = 4,
    /// The archive is well-formed but asks for what no layer may.
    OCILAYER_ERROR_LAYER = 5,
    /// The blob or its content is not the expected one.
    OCILAYER_ERROR_DIGEST = 6,
    /// A limit was exceeded.
    OCILAYER_ERROR_LIMIT = 7,
    /// The file system refused an operation.
    OCILAYER_ERROR_FILESYSTEM = 8,
    /// The caller cancelled.
    OCILAYER_ERROR_CANCELLED = 9,
    /// A callback of the caller failed.
    OCILAYER_ERROR_CALLBACK = 10,
    /// A defect in this library. The call is over, the process goes on.
    OCILAYER_ERROR_PANIC = 11,
    /// This kernel, file system or combination of options cannot do what was asked.
    OCILAYER_ERROR_UNSUPPORTED = 12,
}

impl From<ErrorKind> for ocilayer_error_kinds {
    fn from(kind: ErrorKind) -> Self {
        use ocilayer_error_kinds as C;
        match kind {
            ErrorKind::InvalidArgument => C::OCILAYER_ERROR_INVALID_ARGUMENT,
            ErrorKind::Source => C::OCILAYER_ERROR_SOURCE,
            ErrorKind::Corrupt => C::OCILAYER_ERROR_CORRUPT,
            ErrorKind::Archive => C::OCILAYER_ERROR_ARCHIVE,
            ErrorKind::Layer => C::OCILAYER_ERROR_LAYER,
            ErrorKind::Digest => C::OCILAYER_ERROR_DIGEST,
            ErrorKind::Limit => C::OCILAYER_ERROR_LIMIT,
            ErrorKind::Filesystem => C::OCILAYER_ERROR_FILESYSTEM,
            ErrorKind::Cancelled => C::OCILAYER_ERROR_CANCELLED,
            ErrorKind::Callback => C::OCILAYER_ERROR_CALLBACK,
            ErrorKind::Panic => C::OCILAYER_ERROR_PANIC,
            ErrorKind::Unsupported => C::OCILAYER_ERROR_UNSUPPORTED,
        }
    }
}

/// Why a call failed. All accessors take NULL for "no error".
pub struct ocilayer_error {
    kind: u32,
    pub(super) errno: c_int,
    message: Text,
    place: Option<Place>,
}

struct Place {
    entry: u64,
    offset: u64,
    path: Text,
}

impl ocilayer_error {
    pub(super) fn new(failure: &Failure) -> ocilayer_error {
        let (kind, errno, message, place) = match failure {
            Failure::Argument(error) => {
                let (kind, errno) = error.verdict();
                (kind, errno, error.to_string(), None)
            }
            Failure::Library(error) => {
                (error.kind(), error.errno(), error.to_string(), error.place())
            }
            Failure::Image(error) => {
                let place = error.layer_error().and_then(Error::place);
                (error.kind(), error.errno(), error.to_string(), place)
            }
        };
        ocilayer_error {
            kind: ocilayer_error_kinds::from(kind) as u32,
            errno: errno.raw_os_error(),
            message: Text::new(message),
            place: place.map(|place| Place {
                entry: place.entry,
                offset: place.offset,
                path: Text::new(place.path.as_slice()),
            }),
        }
    }

    /// # Safety
    /// `error` is NULL or an error that was not freed.
    unsafe fn read<T>(
        error: *const ocilayer_error,
        fallback: T,
        field: impl FnOnce(&ocilayer_error) -> Option<T>,
    ) -> T
    where
        T: Copy,
    {
        // SAFETY: the caller's promise.
        infallible(fallback, || unsafe { error.as_ref() }.and_then(field).unwrap_or(fallback))
    }
}

/// The kind of an error: one of OCILAYER_ERROR_*.
///
/// @error is borrowed until return. Threads may share it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ocilayer_error_kind(error: *const ocilayer_error) -> u32 {
    let none = ocilayer_error_kinds::OCILAYER_ERROR_NONE as u32;
    // SAFETY: NULL or not freed, as the header asks.
    unsafe { ocilayer_error::read(error, none, |error| Some(error.kind)) }
}

/// The name of a kind, as it stands in JSON: "filesystem" for OCILAYER_ERROR_FILESYSTEM.
///
/// Returns a static string, "none" for OCILAYER_ERROR_NONE, "unknown" for what is no kind.
///
/// Any thread may call this.
#[unsafe(no_mangle)]
pub extern "C" fn ocilayer_error_kind_name(kind: u32) -> *const c_char {
    const NAMES: [&CStr; 13] = [
        c"none",
        c"invalid_argument",
        c"source",
        c"corrupt",
        c"archive",
        c"layer",
        c"digest",
        c"limit",
        c"filesystem",
        c"cancelled",
        c"callback",
        c"panic",
        c"unsupported",
    ];
    let name = usize::try_from(kind).ok().and_then(|kind| NAMES.get(kind));
    name.map_or(c"unknown", |name| *name).as_ptr()
}

/// The errno of an error, positive; 0 for NULL. The failed call returned it as a negative number.
///
/// @error is borrowed until return. Threads may share it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ocilayer_error_errno(error: *const ocilayer_error) -> c_int {
    // SAFETY: NULL or not freed, as the header asks.
    unsafe { ocilayer_error::read(error, 0, |error| Some(error.errno)) }
}

/// One line for people, with entry, path and offset where there are such:
/// `entry 412 "usr/bin/su" at 1536000: fchmodat 04755: Operation not permitted`.
///
/// Returns a string, "no error" for NULL; never NULL. Bytes of names that do not print are escaped,
/// so that a hostile name cannot write to a terminal or forge a line in a log.
///
/// The string belongs to @error and lives as long. Threads may share it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ocilayer_error_message(error: *const ocilayer_error) -> *const c_char {
    let none = c"no error".as_ptr();
    // SAFETY: NULL or not freed, as the header asks.
    unsafe { ocilayer_error::read(error, none, |error| Some(error.message.as_ptr())) }
}

/// Whether the error is about an entry of the archive: if not, there is no path, entry or offset.
///
/// @error is borrowed until return. Threads may share it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ocilayer_error_has_place(error: *const ocilayer_error) -> bool {
    // SAFETY: NULL or not freed, as the header asks.
    unsafe { ocilayer_error::read(error, false, |error| Some(error.place.is_some())) }
}

/// The entry's name as it stands in the archive: bytes, not always UTF-8. *length (may be NULL)
/// gets their number; a NUL follows them.
///
/// Returns NULL, and 0 in *length, if the error has no place.
///
/// The bytes belong to @error and live as long. Threads may share it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ocilayer_error_path(
    error: *const ocilayer_error,
    length: *mut usize,
) -> *const c_char {
    if !length.is_null() {
        // SAFETY: not NULL, and then writable, as the header asks.
        unsafe { length.write(0) };
    }
    // SAFETY: `length` as above.
    let path = |error: &ocilayer_error| unsafe { Some(error.place.as_ref()?.path.give(length)) };
    // SAFETY: NULL or not freed, as the header asks.
    unsafe { ocilayer_error::read(error, std::ptr::null(), path) }
}

/// The entry's number, counted from 0; 0 if the error has no place.
///
/// @error is borrowed until return. Threads may share it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ocilayer_error_entry(error: *const ocilayer_error) -> u64 {
    // SAFETY: NULL or not freed, as the header asks.
    unsafe { ocilayer_error::read(error, 0, |error| Some(error.place.as_ref()?.entry)) }
}

/// Where the entry starts, in bytes of the uncompressed archive; 0 if the error has no place.
///
/// @error is borrowed until return. Threads may share it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ocilayer_error_offset(error: *const ocilayer_error) -> u64 {
    // SAFETY: NULL or not freed, as the header asks.
    unsafe { ocilayer_error::read(error, 0, |error| Some(error.place.as_ref()?.offset)) }
}

/// Free an error; NULL does nothing.
///
/// Not while another thread is in a call with it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ocilayer_error_free(error: *mut ocilayer_error) {
    // SAFETY: NULL or from a failed call and not freed before, as the header asks.
    infallible((), || unsafe { free(error) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_kinds_are_those_of_json() {
        use ErrorKind as K;
        let kinds = [
            K::InvalidArgument,
            K::Source,
            K::Corrupt,
            K::Archive,
            K::Layer,
            K::Digest,
            K::Limit,
            K::Filesystem,
            K::Cancelled,
            K::Callback,
            K::Panic,
            K::Unsupported,
        ];
        // SAFETY: static strings.
        let name =
            |kind| unsafe { CStr::from_ptr(ocilayer_error_kind_name(kind)) }.to_str().unwrap();
        for kind in kinds {
            let json = serde_json::to_value(kind).unwrap();
            assert_eq!(json, name(ocilayer_error_kinds::from(kind) as u32));
        }
        assert_eq!((name(0), name(13), name(u32::MAX)), ("none", "unknown", "unknown"));
    }
}
