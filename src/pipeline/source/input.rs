// SPDX-License-Identifier: Apache-2.0
//! The part of a source that any one thread can read.

use super::descriptor::{Descriptor, PIECE};
use super::error::SourceError;
use super::handoff::Consumer;
use super::interrupt::{Interrupt, StopHandle};
use super::region::{Bytes, Region};
use crate::errno::Errno;

/// The part of a source that one thread reads by itself.
pub(crate) struct Input<'a> {
    pub(super) kind: Kind<'a>,
    pub(super) interrupt: Interrupt,
    /// Nothing is read before it is needed: the source may wait for ever.
    pub(crate) on_demand: bool,
}

pub(super) enum Kind<'a> {
    File(Descriptor),
    Memory(&'a [u8]),
    Handoff(Consumer),
    #[cfg(test)]
    Panics,
}

impl Input<'_> {
    /// Bytes from here to the end, where that is known beforehand.
    pub(crate) fn size(&self) -> Option<u64> {
        match &self.kind {
            Kind::File(file) => file.size,
            Kind::Memory(blob) => Some(blob.len() as u64),
            _ => None,
        }
    }

    /// The next bytes, at least one unless the source is at its end.
    pub(crate) fn fill(&mut self) -> Result<&[u8], SourceError> {
        self.head(1)
    }

    /// Bytes that were read and are not consumed.
    pub(crate) fn buffered(&self) -> &[u8] {
        match &self.kind {
            Kind::File(file) => &file.buffer[file.start..file.end],
            Kind::Memory(blob) => blob,
            Kind::Handoff(consumer) => consumer.unread(),
            #[cfg(test)]
            Kind::Panics => &[],
        }
    }

    /// Waits until the next `count` bytes are there, or the source's end.
    ///
    /// More than one only before the first [`consume`](Input::consume): nothing is moved together.
    pub(crate) fn head(&mut self, count: usize) -> Result<&[u8], SourceError> {
        match &mut self.kind {
            Kind::File(file) => file.head(count, &self.interrupt),
            Kind::Memory(blob) => {
                self.interrupt.check()?;
                Ok(&blob[..blob.len().min(PIECE)])
            }
            Kind::Handoff(consumer) => consumer.head(count, &self.interrupt),
            #[cfg(test)]
            Kind::Panics => panic!("a defect, for the tests"),
        }
    }

    /// Moves past bytes that [`fill`](Input::fill) showed.
    pub(crate) fn consume(&mut self, count: usize) {
        match &mut self.kind {
            Kind::File(file) => file.start += count,
            Kind::Memory(blob) => *blob = &blob[count..],
            Kind::Handoff(consumer) => consumer.start += count,
            #[cfg(test)]
            Kind::Panics => {}
        }
    }

    /// Reads some bytes, 0 at the end: what `fill` shows first, and then past its buffer.
    pub(crate) fn read(&mut self, into: &mut [u8]) -> Result<usize, SourceError> {
        if let Kind::File(file) = &mut self.kind
            && file.start == file.end
        {
            return file.read(into, &self.interrupt);
        }
        let shown = self.fill()?;
        let count = shown.len().min(into.len());
        into[..count].copy_from_slice(&shown[..count]);
        self.consume(count);
        Ok(count)
    }

    /// What is left, if several threads may read it at any place; what was shown comes again.
    pub(crate) fn region(&self) -> Option<Region<'_>> {
        let bytes = match &self.kind {
            Kind::File(file) => Bytes::File(&file.fd, file.left()?),
            Kind::Memory(blob) => Bytes::Memory(blob),
            _ => return None,
        };
        Some(Region { bytes, interrupt: &self.interrupt })
    }

    /// Moves to the end, when the region has been read.
    pub(crate) fn consume_region(&mut self) {
        match &mut self.kind {
            Kind::File(file) => file.move_to_end(),
            Kind::Memory(blob) => *blob = &[],
            _ => unreachable!("only these have a region"),
        }
    }

    /// What ends every wait in this input, from another thread, when it is dropped.
    pub(crate) fn stop_handle(&mut self) -> Result<StopHandle, Errno> {
        self.interrupt.stop_handle()
    }

    #[cfg(test)]
    pub(crate) fn panicking() -> Input<'static> {
        Input {
            kind: Kind::Panics,
            interrupt: Interrupt { cancel: None, stop: None },
            on_demand: false,
        }
    }
}
