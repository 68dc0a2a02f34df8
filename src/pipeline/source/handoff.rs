// SPDX-License-Identifier: Apache-2.0
//! Buffers that go to and fro between the thread that fills them and the one that reads them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam_channel::{Receiver, Sender, never, select_biased, unbounded};

use super::descriptor::PIECE;
use super::error::SourceError;
use super::interrupt::Interrupt;

/// Buffers between the caller's thread and the decompressor: one is filled and one is read, and
/// the others even out a source that comes in bursts.
const BUFFERS: usize = 4;

/// One buffer on its way from whoever reads.
pub(super) struct Filled {
    /// Always of full length, so that it need not be cleared again.
    pub(super) buffer: Vec<u8>,
    pub(super) len: usize,
    /// Set behind the source's last byte.
    pub(super) end: Option<Result<(), SourceError>>,
}

impl Filled {
    /// Reads until there is enough, the end, or an error.
    pub(super) fn by(
        mut buffer: Vec<u8>,
        enough: usize,
        disconnected: &AtomicBool,
        mut read: impl FnMut(&mut [u8]) -> Result<usize, SourceError>,
    ) -> Filled {
        let (mut len, mut end) = (0, None);
        // A source that gives a byte at a time would go on for long after the unpack failed.
        while len < enough && end.is_none() && !disconnected.load(Ordering::Relaxed) {
            match read(&mut buffer[len..]) {
                Ok(0) => end = Some(Ok(())),
                Ok(got) => len += got,
                Err(error) => end = Some(Err(error)),
            }
        }
        Filled { buffer, len, end }
    }
}

/// The worker's side of a read callback, or of a file that is read ahead.
pub(super) struct Consumer {
    /// None when no more is wanted, which ends the loop of whoever reads.
    pub(super) wanted: Option<Sender<Vec<u8>>>,
    pub(super) filled: Receiver<Filled>,
    pub(super) buffer: Vec<u8>,
    pub(super) start: usize,
    pub(super) len: usize,
    pub(super) end: Option<Result<(), SourceError>>,
    on_demand: bool,
    pub(super) disconnected: Arc<AtomicBool>,
}

/// The other end of a [`Consumer`].
pub(super) struct Producer {
    pub(super) wanted: Receiver<Vec<u8>>,
    pub(super) filled: Sender<Filled>,
    pub(super) disconnected: Arc<AtomicBool>,
}

/// `on_demand`: a buffer is wanted when all that came was consumed, and not before.
pub(super) fn channel(on_demand: bool) -> (Consumer, Producer) {
    // Not bounded by the channels but by the buffers: there are no others to send.
    let (want, wanted) = unbounded();
    let (fill, filled) = unbounded();
    for _ in 0..if on_demand { 0 } else { BUFFERS } {
        want.send(vec![0; PIECE]).expect("the receiver is in this function");
    }
    let disconnected = Arc::new(AtomicBool::new(false));
    let consumer = Consumer {
        wanted: Some(want),
        filled,
        buffer: Vec::new(),
        start: 0,
        len: 0,
        end: None,
        on_demand,
        disconnected: disconnected.clone(),
    };
    (consumer, Producer { wanted, filled: fill, disconnected })
}

impl Consumer {
    pub(super) fn fill(&mut self, interrupt: &Interrupt) -> Result<&[u8], SourceError> {
        interrupt.check()?;
        while self.start == self.len {
            if let Some(end) = &self.end {
                end.clone()?;
                break;
            }
            if self.on_demand {
                let mut buffer = std::mem::take(&mut self.buffer);
                (self.start, self.len) = (0, 0);
                buffer.resize(PIECE, 0);
                self.give_back(buffer);
            }
            let filled = self.receive(interrupt)?;
            let used = std::mem::replace(&mut self.buffer, filled.buffer);
            (self.start, self.len) = (0, filled.len);
            self.end = filled.end;
            if self.end.is_some() {
                self.wanted = None;
            } else if !used.is_empty() {
                self.give_back(used);
            }
        }
        Ok(self.unread())
    }

    /// The same, and waits until there are `count` bytes or the source ends.
    pub(super) fn head(
        &mut self,
        count: usize,
        interrupt: &Interrupt,
    ) -> Result<&[u8], SourceError> {
        self.fill(interrupt)?;
        while self.unread().len() < count && self.end.is_none() {
            if self.on_demand {
                self.give_back(vec![0; PIECE]);
            }
            let filled = self.receive(interrupt)?;
            let end = self.len + filled.len;
            self.buffer.resize(end.max(PIECE), 0);
            self.buffer[self.len..end].copy_from_slice(&filled.buffer[..filled.len]);
            (self.len, self.end) = (end, filled.end);
            if self.end.is_some() {
                self.wanted = None;
            } else if !self.on_demand {
                self.give_back(filled.buffer);
            }
        }
        Ok(self.unread())
    }

    pub(super) fn unread(&self) -> &[u8] {
        &self.buffer[self.start..self.len]
    }

    /// To be filled again.
    fn give_back(&self, buffer: Vec<u8>) {
        if let Some(wanted) = &self.wanted {
            // A caller that has gone wants none; the next receive tells.
            let _ = wanted.send(buffer);
        }
    }

    fn receive(&self, interrupt: &Interrupt) -> Result<Filled, SourceError> {
        let never = never();
        let stopped = interrupt.stop.as_ref().map_or(&never, |(_, gate)| gate);
        select_biased! {
            recv(stopped) -> _ => Err(SourceError::Cancelled),
            recv(self.filled) -> filled => filled.map_err(|_| SourceError::Cancelled),
        }
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.disconnected.store(true, Ordering::Relaxed);
    }
}
