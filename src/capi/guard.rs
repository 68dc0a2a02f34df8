// SPDX-License-Identifier: Apache-2.0
//! What every export passes through: no panic leaves, every failure becomes an errno and an error.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::ffi::c_int;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind, set_hook, take_hook};
use std::sync::Once;

use super::argument::ArgumentError;
use super::error::ocilayer_error;
use crate::error::{Cause, Error};

/// Why an export failed.
#[derive(Debug)]
pub(super) enum Failure {
    Argument(ArgumentError),
    Library(Error),
}

impl From<ArgumentError> for Failure {
    fn from(error: ArgumentError) -> Failure {
        Failure::Argument(error)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::Library(error)
    }
}

/// Runs an export that can fail: 0, or a negative errno with `*error` set where it is wanted.
///
/// # Safety
/// `error` is NULL or may be written.
pub(super) unsafe fn guarded(
    error: *mut *mut ocilayer_error,
    work: impl FnOnce() -> Result<(), Failure>,
) -> c_int {
    let failure = match quietly(work) {
        Ok(Ok(())) => return 0,
        Ok(Err(failure)) => failure,
        Err(message) => Failure::Library(Cause::Panic(message).into()),
    };
    // Out of reach of the first guard, and itself a formatter of foreign names.
    let Ok(failed) = catch_unwind(AssertUnwindSafe(|| ocilayer_error::new(&failure))) else {
        return -libc::ENOTRECOVERABLE;
    };
    let result = -failed.errno;
    if !error.is_null() {
        // SAFETY: not NULL, and then writable by the caller's promise.
        unsafe { error.write(Box::into_raw(Box::new(failed))) };
    }
    result
}

/// Runs an export that cannot fail; a panic gives `fallback`.
///
/// Touches nothing but the stack, so that it may run in a signal handler.
pub(super) fn infallible<T>(fallback: T, work: impl FnOnce() -> T) -> T {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|payload| {
        // Its destructor could panic once more.
        std::mem::forget(payload);
        fallback
    })
}

thread_local! {
    static INSIDE: Cell<bool> = const { Cell::new(false) };
    static LOCATION: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Runs `work` and turns a panic into its message, without the default hook's print to stderr:
/// this is somebody else's daemon.
fn quietly<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = take_hook();
        set_hook(Box::new(move |info| if ours() { remember(info) } else { before(info) }));
    });
    let outside = INSIDE.replace(true);
    let result = catch_unwind(AssertUnwindSafe(work));
    INSIDE.set(outside);
    result.map_err(|payload| {
        let message = message(payload);
        match LOCATION.take() {
            Some(location) => format!("{message} ({location})"),
            None => message,
        }
    })
}

/// Whether a panic on this thread comes back to a guard: it is inside of one, or a worker of it.
fn ours() -> bool {
    INSIDE.get() || std::thread::current().name().is_some_and(|name| name.starts_with("ocilayer"))
}

fn remember(info: &PanicHookInfo<'_>) {
    LOCATION.set(info.location().map(ToString::to_string));
}

fn message(payload: Box<dyn Any + Send>) -> String {
    if let Some(text) = payload.downcast_ref::<&str>() {
        return (*text).to_owned();
    }
    match payload.downcast::<String>() {
        Ok(text) => *text,
        Err(unknown) => {
            // Its destructor could panic once more.
            std::mem::forget(unknown);
            "panic".to_owned()
        }
    }
}
