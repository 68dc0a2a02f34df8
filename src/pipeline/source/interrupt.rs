// SPDX-License-Identifier: Apache-2.0
//! What ends a wait for bytes.

use std::convert::Infallible;
use std::os::fd::OwnedFd;

use crossbeam_channel::{Receiver, Sender, bounded};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::{Errno, retry_on_intr};

use super::error::SourceError;
use crate::cancel::Cancel;
use crate::errno;

/// Stops the input it came from, when dropped: the reading thread gets `Cancelled`.
pub(crate) struct StopHandle {
    event: Cancel,
    /// Wakes a thread that waits for the read callback's next buffer: that one is not in poll(2).
    _gate: Sender<Infallible>,
}

impl Drop for StopHandle {
    fn drop(&mut self) {
        self.event.cancel();
    }
}

/// Who may end a wait: the caller's token, and the owner of the thread that reads.
#[derive(Clone)]
pub(super) struct Interrupt {
    pub(super) cancel: Option<Cancel>,
    pub(super) stop: Option<(Cancel, Receiver<Infallible>)>,
}

impl Interrupt {
    pub(super) fn stop_handle(&mut self) -> Result<StopHandle, errno::Errno> {
        let event = Cancel::new()?;
        let (_gate, closed) = bounded(0);
        self.stop = Some((event.clone(), closed));
        Ok(StopHandle { event, _gate })
    }

    fn events(&self) -> impl Iterator<Item = &Cancel> {
        self.cancel.iter().chain(self.stop.iter().map(|(event, _)| event))
    }

    pub(super) fn check(&self) -> Result<(), SourceError> {
        if self.events().any(Cancel::is_cancelled) {
            return Err(SourceError::Cancelled);
        }
        Ok(())
    }

    /// Waits until `fd` can be read, has ended, or has failed: read(2) tells which.
    pub(super) fn wait(&self, fd: &OwnedFd) -> Result<(), Errno> {
        let mut watched = vec![PollFd::new(fd, PollFlags::IN)];
        watched.extend(self.events().map(|event| PollFd::new(event, PollFlags::IN)));
        retry_on_intr(|| poll(&mut watched, None)).map(drop)
    }
}
