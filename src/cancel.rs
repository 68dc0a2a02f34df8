// SPDX-License-Identifier: Apache-2.0
//! Stopping an unpack from another thread, also one that waits for a slow source.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::event::{EventfdFlags, eventfd};
use rustix::io::{retry_on_intr, write};

use crate::errno::Errno;

/// A token that ends every operation it was given to. Clones cancel together, and for good.
#[derive(Debug, Clone)]
pub struct Cancel(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    cancelled: AtomicBool,
    /// Readable from the moment of cancelling, so that poll(2) on a source wakes up.
    wake: OwnedFd,
}

impl Cancel {
    /// A token that was not cancelled yet.
    ///
    /// # Errors
    ///
    /// `EMFILE` and the like: a token needs one descriptor.
    pub fn new() -> Result<Cancel, Errno> {
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK);
        let wake = wake.map_err(Errno::of)?;
        Ok(Cancel(Arc::new(Inner { cancelled: AtomicBool::new(false), wake })))
    }

    /// Safe from any thread and from a signal handler; more than once does no harm.
    pub fn cancel(&self) {
        self.0.cancelled.store(true, Ordering::Release);
        // It can only fail when the counter is full: then it is readable already.
        let _ = retry_on_intr(|| write(&self.0.wake, &1u64.to_ne_bytes()));
    }

    /// Whether this token, or a clone of it, was cancelled.
    pub fn is_cancelled(&self) -> bool {
        self.0.cancelled.load(Ordering::Acquire)
    }
}

impl AsFd for Cancel {
    /// Becomes readable when cancelled. A read callback that blocks polls this too.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.wake.as_fd()
    }
}
