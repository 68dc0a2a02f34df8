// SPDX-License-Identifier: Apache-2.0
//! What no run may do, whatever it is about: panic, and keep descriptors.

use std::fmt::Debug;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use ocilayer::{Error, ErrorKind};

/// The last panic, with its place: a payload that was caught tells only the text.
static PANIC: Mutex<String> = Mutex::new(String::new());

/// Instead of libFuzzer's hook, which ends the process before anything can be made smaller.
pub fn keep_panics() {
    set_hook(Box::new(|info| *PANIC.lock().expect("hook") = info.to_string()));
}

/// Whether mounts and owners are to be had; says what is missing, and fails where `CI=true`.
pub fn needs_overlay() {
    if !crate::common::needs::overlay() {
        std::process::exit(0);
    }
}

/// Ends the run when `check` fails, with the smallest input that was found to fail.
pub fn holds<T: Debug>(
    input: T,
    smaller: impl Fn(&T) -> Vec<T>,
    check: impl Fn(&T) -> Result<(), String>,
) {
    let run = |input: &T| guarded(|| check(input));
    if let Err(reason) = run(&input) {
        let smallest = shrink(input, smaller, |input| run(input).is_err());
        fail(&run(&smallest).err().unwrap_or(reason), &smallest);
    }
}

/// Runs `check`, and tells of its panic and of descriptors that it leaves open.
pub fn guarded(check: impl FnOnce() -> Result<(), String>) -> Result<(), String> {
    let before = descriptors();
    let result = catch_unwind(AssertUnwindSafe(check));
    match result {
        Ok(done) => done?,
        Err(_) => return Err(format!("panic: {}", PANIC.lock().expect("hook"))),
    }
    let after = descriptors();
    if before != after {
        return Err(format!("{before} descriptors before, {after} after"));
    }
    Ok(())
}

/// The library catches its own panics, which are failures here.
pub fn no_panic(error: &Error) -> Result<(), String> {
    match error.kind() {
        ErrorKind::Panic => Err(format!("{error}: {}", PANIC.lock().expect("hook"))),
        _ => Ok(()),
    }
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("proc").count()
}

/// Far below libFuzzer's own timeout.
const SHRINKING: Duration = Duration::from_secs(20);

/// What fails in the same way and is not larger in any of the ways that `smaller` knows.
fn shrink<T>(mut value: T, smaller: impl Fn(&T) -> Vec<T>, fails: impl Fn(&T) -> bool) -> T {
    let begin = Instant::now();
    'again: loop {
        for candidate in smaller(&value) {
            if begin.elapsed() > SHRINKING {
                return value;
            }
            if fails(&candidate) {
                value = candidate;
                continue 'again;
            }
        }
        return value;
    }
}

/// Ends the run as libFuzzer's crashes end, so that it keeps the input.
pub fn fail(reason: &str, smallest: &dyn Debug) -> ! {
    eprintln!("\n{reason}\nfor\n{smallest:?}");
    std::process::abort();
}
