// SPDX-License-Identifier: Apache-2.0
//! Catching panics, quietly: this is somebody else's daemon.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind, set_hook, take_hook};
use std::sync::Once;

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
pub(super) fn quietly<T>(work: impl FnOnce() -> T) -> Result<T, String> {
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
