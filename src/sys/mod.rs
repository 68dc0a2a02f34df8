// SPDX-License-Identifier: Apache-2.0
//! What the chosen crates lack or do not make safe: some system calls, and ISA-L. The only unsafe
//! code outside the C boundary.
#![allow(unsafe_code)]

pub(crate) mod btrfs;
pub(crate) mod filesystem;
#[cfg(feature = "isal")]
pub(crate) mod isal;
pub(crate) mod mounts;
pub(crate) mod write_out;
pub(crate) mod xattr;

use std::mem::MaybeUninit;
use std::thread::{Builder, Scope, ScopedJoinHandle};

use rustix::io::Errno;

/// Enough for either worker many times over. Said so that std does not ask the environment.
const STACK: usize = 1 << 20;

/// Starts a worker thread that takes no signal from the process it lives in.
///
/// Signals are blocked before the thread exists: a handler of the caller's daemon must never run
/// on a thread that it knows nothing about.
pub(crate) fn spawn<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    name: &str,
    work: impl FnOnce() -> T + Send + 'scope,
) -> std::io::Result<ScopedJoinHandle<'scope, T>> {
    let _blocked = BlockedSignals::all();
    Builder::new().name(name.into()).stack_size(STACK).spawn_scoped(scope, work)
}

/// Signals of this thread stay blocked until this is dropped.
struct BlockedSignals {
    before: libc::sigset_t,
}

impl BlockedSignals {
    fn all() -> BlockedSignals {
        let mut every = MaybeUninit::<libc::sigset_t>::uninit();
        let mut before = MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: both point to sigset_t of their own, which the two calls initialize; with a
        // valid `how` neither can fail.
        unsafe {
            libc::sigfillset(every.as_mut_ptr());
            libc::pthread_sigmask(libc::SIG_SETMASK, every.as_ptr(), before.as_mut_ptr());
            BlockedSignals { before: before.assume_init() }
        }
    }
}

impl Drop for BlockedSignals {
    fn drop(&mut self) {
        // SAFETY: `before` was filled by pthread_sigmask; the old mask is not wanted.
        unsafe {
            libc::pthread_sigmask(libc::SIG_SETMASK, &self.before, std::ptr::null_mut());
        }
    }
}

/// Gives the calling thread a working directory, root and umask of its own, and a umask of 0, so
/// that it creates files with exactly the mode it asks for.
///
/// Only for threads that this library made: umask(2) without the unshare is the whole process's.
pub(crate) fn private_umask() -> Result<(), Errno> {
    // SAFETY: CLONE_FS alone has no effect on memory or descriptors.
    unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::FS)? };
    rustix::process::umask(rustix::fs::Mode::empty());
    Ok(())
}

/// Gives the calling thread a mount namespace of its own, which still hands its mounts on to the
/// caller's where those are shared.
///
/// Only for threads that this library made, after [`private_umask`].
pub(crate) fn private_mount_namespace() -> Result<(), Errno> {
    // SAFETY: CLONE_NEWNS has no effect on memory or descriptors.
    unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNS) }
}
