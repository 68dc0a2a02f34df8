// SPDX-License-Identifier: Apache-2.0
//! A regular file that another thread reads ahead of the decompressor, and hashes: what sets the pace
//! of most layers is decompression, and copying out of the page cache need not wait for it.

use std::io;
use std::sync::atomic::AtomicBool;
use std::thread::{Scope, ScopedJoinHandle};

use super::descriptor::{Descriptor, PIECE};
use super::handoff::{Filled, channel};
use super::input::{Input, Kind};
use super::interrupt::Interrupt;
use crate::digest::Hasher;
use crate::sys;

/// The thread; it ends with the input. What it hashed is all that was read.
pub(crate) type ReadAhead<'scope> = ScopedJoinHandle<'scope, Option<Hasher>>;

impl<'scope> Input<'scope> {
    /// From here on another thread reads, if this is a regular file, and updates `hasher` with all
    /// that this input gives. None, and `hasher` back, if it is not.
    pub(crate) fn read_ahead(
        &mut self,
        scope: &'scope Scope<'scope, '_>,
        hasher: &mut Option<Hasher>,
    ) -> io::Result<Option<ReadAhead<'scope>>> {
        let file = match std::mem::replace(&mut self.kind, Kind::Memory(&[])) {
            Kind::File(file) if !file.waits => file,
            other => {
                self.kind = other;
                return Ok(None);
            }
        };
        let (mut consumer, producer) = channel(false);
        let mut reading =
            Reading { file, interrupt: self.interrupt.clone(), hasher: hasher.take() };
        // What was shown already.
        (consumer.start, consumer.len) = (reading.file.start, reading.file.end);
        consumer.buffer = std::mem::take(&mut reading.file.buffer);
        reading.hash(&consumer.buffer[consumer.start..consumer.len]);
        self.kind = Kind::Handoff(consumer);
        let run = move || {
            while let Ok(buffer) = producer.wanted.recv() {
                let filled = reading.fill(buffer, &producer.disconnected);
                let ended = filled.end.is_some();
                // Nobody may want it any more; then nobody wants the digest either.
                if producer.filled.send(filled).is_err() || ended {
                    break;
                }
            }
            reading.hasher
        };
        sys::spawn(scope, "ocilayer-read", run).map(Some)
    }
}

struct Reading {
    file: Descriptor,
    interrupt: Interrupt,
    hasher: Option<Hasher>,
}

impl Reading {
    fn fill(&mut self, buffer: Vec<u8>, disconnected: &AtomicBool) -> Filled {
        let read = |into: &mut [u8]| self.file.read(into, &self.interrupt);
        let filled = Filled::by(buffer, PIECE, disconnected, read);
        self.hash(&filled.buffer[..filled.len]);
        filled
    }

    fn hash(&mut self, bytes: &[u8]) {
        if let Some(hasher) = &mut self.hasher {
            hasher.update(bytes);
        }
    }
}
