// SPDX-License-Identifier: Apache-2.0
//! Bytes that C reads as a string, or by their length.

use std::ffi::c_char;

/// Bytes with a NUL behind them. Names from an archive can hold anything, so the length counts.
#[derive(Debug)]
pub(super) struct Text(Vec<u8>);

impl Text {
    pub(super) fn new(bytes: impl Into<Vec<u8>>) -> Text {
        let mut bytes = bytes.into();
        bytes.push(0);
        Text(bytes)
    }

    pub(super) fn as_ptr(&self) -> *const c_char {
        self.0.as_ptr().cast()
    }

    /// Without the NUL.
    pub(super) fn len(&self) -> usize {
        self.0.len() - 1
    }

    /// The pointer, and the length where the caller wants it.
    ///
    /// # Safety
    /// `length` is NULL or may be written.
    pub(super) unsafe fn give(&self, length: *mut usize) -> *const c_char {
        if !length.is_null() {
            // SAFETY: not NULL, and then writable by the caller's promise.
            unsafe { length.write(self.len()) };
        }
        self.as_ptr()
    }
}
