// SPDX-License-Identifier: Apache-2.0
//! A read callback, which runs on the caller's thread only.

use crossbeam_channel::Receiver;

use super::error::SourceError;
use super::handoff::{Consumer, Filled, Producer, channel};
use crate::cancel::Cancel;
use crate::errno::Errno;

/// A read callback's buffer goes on once it holds this much. Waiting for a full one would starve
/// the decompressor behind a slow network; less would pay a turn between two threads for every
/// few KiB that a socket gives at a time.
const CALLBACK_ENOUGH: usize = 64 << 10;

pub(super) type Callback<'a> = Box<dyn FnMut(&mut [u8]) -> Result<usize, Errno> + Send + 'a>;

/// The caller's side of a read callback. It must stay on the thread that called unpack.
///
/// Dropping it before the source's end ends the worker's side with `Cancelled`.
pub(crate) struct ReadCallback<'a> {
    callback: Callback<'a>,
    cancel: Option<Cancel>,
    producer: Producer,
    /// Bytes with which a buffer goes on.
    enough: usize,
    ended: bool,
}

pub(super) fn read_callback<'a>(
    callback: Callback<'a>,
    cancel: Option<&Cancel>,
    on_demand: bool,
) -> (Consumer, ReadCallback<'a>) {
    let (consumer, producer) = channel(on_demand);
    let enough = if on_demand { 1 } else { CALLBACK_ENOUGH };
    let cancel = cancel.cloned();
    (consumer, ReadCallback { callback, cancel, producer, enough, ended: false })
}

impl ReadCallback<'_> {
    /// Empty buffers to [`serve`](ReadCallback::serve). Disconnected: nothing more is wanted.
    pub(crate) fn wanted(&self) -> &Receiver<Vec<u8>> {
        &self.producer.wanted
    }

    /// Calls the read callback until there is enough to send on, the end, or an error.
    pub(crate) fn serve(&mut self, buffer: Vec<u8>) {
        if self.ended {
            return;
        }
        let disconnected = self.producer.disconnected.clone();
        let filled = Filled::by(buffer, self.enough, &disconnected, |into| self.read(into));
        self.ended = filled.end.is_some();
        // Nobody may be there any more; the caller's loop sees that by itself.
        let _ = self.producer.filled.send(filled);
    }

    fn read(&mut self, into: &mut [u8]) -> Result<usize, SourceError> {
        if self.cancel.as_ref().is_some_and(Cancel::is_cancelled) {
            return Err(SourceError::Cancelled);
        }
        let asked = into.len();
        match (self.callback)(into) {
            Ok(got) if got > asked => Err(SourceError::Overrun { got, asked }),
            Ok(got) => Ok(got),
            // A callback that polls the token gives up with an error of its own choice.
            Err(_) if self.cancel.as_ref().is_some_and(Cancel::is_cancelled) => {
                Err(SourceError::Cancelled)
            }
            Err(errno) => Err(SourceError::Callback(errno)),
        }
    }
}
