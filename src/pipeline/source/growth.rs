// SPDX-License-Identifier: Apache-2.0
//! Files that are still being written, by somebody who says how far they are.

use std::fmt;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};

use rustix::event::{EventfdFlags, eventfd};
use rustix::io;

use crate::errno::Errno;

/// The writer's end of a [`Source::growing`](super::Source::growing): says how much of the file is there.
///
/// Any thread may tell, from within callbacks as well. Nothing that it does waits. Dropped before the
/// file is complete, it fails the unpack with `EPIPE`, so that nobody waits for a writer that is gone.
pub struct Growth(Arc<Grown>);

/// What both ends share.
pub(crate) struct Grown {
    state: Mutex<State>,
    /// Readable when something was told that the reader has not heard of.
    wake: OwnedFd,
}

#[derive(Debug, Clone, Copy, Default)]
struct State {
    bytes: u64,
    end: Option<Result<(), Errno>>,
}

impl Growth {
    pub(super) fn new() -> Result<(Growth, Arc<Grown>), Errno> {
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        let wake = eventfd(0, flags).map_err(Errno::of)?;
        let grown = Arc::new(Grown { state: Mutex::default(), wake });
        Ok((Growth(grown.clone()), grown))
    }

    /// The file has its first `bytes` bytes, and they will not change. Fewer than were told before
    /// change nothing.
    pub fn reached(&self, bytes: u64) {
        self.0.tell(|state| state.bytes = state.bytes.max(bytes));
    }

    /// The file ends where it [`reached`](Growth::reached) last.
    pub fn complete(&self) {
        self.end(Ok(()));
    }

    /// The file will not be complete: whoever reads it fails with this errno, behind the bytes that are
    /// there; `EIO` for those that ask to try again.
    pub fn fail(&self, errno: Errno) {
        self.end(Err(match errno {
            Errno::AGAIN | Errno::INTR => Errno::IO,
            errno => errno,
        }));
    }

    /// The first end counts.
    fn end(&self, end: Result<(), Errno>) {
        self.0.tell(|state| state.end = state.end.or(Some(end)));
    }
}

impl Drop for Growth {
    fn drop(&mut self) {
        self.fail(Errno::PIPE);
    }
}

impl fmt::Debug for Growth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Growth").field(&self.0.state()).finish()
    }
}

impl Grown {
    fn tell(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
        // It only fails where it is readable anyway.
        let _ = io::write(&self.wake, &1_u64.to_ne_bytes());
    }

    fn state(&self) -> State {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Readable when another look is worth it.
    pub(super) fn wake(&self) -> &OwnedFd {
        &self.wake
    }

    /// How many bytes are there behind `offset`: none at the end, and `EAGAIN` where more will come.
    pub(super) fn behind(&self, offset: u64) -> Result<u64, io::Errno> {
        // Before the look: what is told after it wakes again.
        let _ = io::read(&self.wake, &mut [0; 8]);
        let State { bytes, end } = self.state();
        match end {
            _ if bytes > offset => Ok(bytes - offset),
            None => Err(io::Errno::AGAIN),
            Some(Ok(())) => Ok(0),
            Some(Err(errno)) => Err(io::Errno::from_raw_os_error(errno.raw_os_error())),
        }
    }
}
