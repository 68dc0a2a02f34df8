// SPDX-License-Identifier: Apache-2.0
//! Where the bytes of a layer come from.
//!
//! A source splits in two when it is opened: an [`Input`] that any one thread can read, and, for
//! a read callback, a [`ReadCallback`] that stays on the caller's thread and fills the input's buffers.

mod callback;
mod descriptor;
pub(super) mod error;
mod growth;
mod handoff;
mod input;
mod interrupt;
mod read_ahead;
mod region;

use std::fmt;
use std::fs::{File, Metadata};
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;

use rustix::fs::FileType;

use crate::cancel::Cancel;
use crate::errno::Errno;
use crate::options::ReadTo;

use callback::{Callback, read_callback};
use descriptor::Descriptor;
use growth::Grown;
use input::Kind;
use interrupt::Interrupt;

pub(crate) use callback::ReadCallback;
pub use error::SourceError;
pub use growth::Growth;
pub(crate) use input::Input;
pub(crate) use interrupt::StopHandle;
pub(crate) use read_ahead::ReadAhead;
pub(crate) use region::Region;

/// A layer blob, compressed or not.
///
/// A regular file is the fast way: it is read in large pieces on a worker thread. A source can be
/// sent to another thread before it is used.
pub struct Source<'a>(pub(crate) Origin<'a>);

pub(crate) enum Origin<'a> {
    Path(PathBuf),
    File(OwnedFd),
    Section(OwnedFd, Range<u64>),
    Growing(OwnedFd, Arc<Grown>),
    Memory(&'a [u8]),
    Reader(Callback<'a>),
}

impl<'a> Source<'a> {
    /// Opened when the unpack starts; a failure to open is the unpack's.
    pub fn path(path: impl Into<PathBuf>) -> Source<'a> {
        Source(Origin::Path(path.into()))
    }

    /// Read from the current position to its end: a file, pipe or socket.
    pub fn file(file: impl Into<OwnedFd>) -> Source<'a> {
        Source(Origin::File(file.into()))
    }

    /// `length` bytes of a regular file from `offset` on, such as a blob inside of an image's
    /// archive. The file's position is neither used nor moved. That the file ends before is a
    /// failure of whoever reads the layer.
    pub fn section(file: impl Into<OwnedFd>, offset: u64, length: u64) -> Source<'a> {
        Source(Origin::Section(file.into(), offset..offset.saturating_add(length)))
    }

    /// A regular file that is still being written, such as a download, read from its beginning as far
    /// as the [`Growth`] tells. The file's position is neither used nor moved.
    ///
    /// Where an unpack waits for more it can be cancelled. That the file has less than was told is a
    /// failure of whoever reads the layer, `ENODATA`.
    ///
    /// # Errors
    ///
    /// No eventfd(2) can be had: `EMFILE`, `ENFILE`.
    pub fn growing(file: impl Into<OwnedFd>) -> Result<(Source<'a>, Growth), Errno> {
        let (growth, grown) = Growth::new()?;
        Ok((Source(Origin::Growing(file.into(), grown)), growth))
    }

    /// The blob as it lies in memory.
    pub fn memory(blob: &'a [u8]) -> Source<'a> {
        Source(Origin::Memory(blob))
    }

    /// `read` fills a part of the buffer and returns how much, 0 at the end. It runs on the thread
    /// that called unpack, and only there.
    pub fn reader(read: impl FnMut(&mut [u8]) -> Result<usize, Errno> + Send + 'a) -> Source<'a> {
        Source(Origin::Reader(Box::new(read)))
    }

    /// The same from its beginning, if this one does not have to be read for it: not of a pipe or a
    /// reader.
    pub(crate) fn again(&self) -> Option<Source<'a>> {
        match &self.0 {
            Origin::Path(path) => Some(Source::path(path)),
            Origin::File(fd) => {
                let (at, size) = (rustix::fs::tell(fd).ok()?, self.size()?);
                Some(Source::section(fd.try_clone().ok()?, at, size.saturating_sub(at)))
            }
            Origin::Section(fd, range) => {
                Some(Source(Origin::Section(fd.try_clone().ok()?, range.clone())))
            }
            Origin::Memory(blob) => Some(Source::memory(blob)),
            Origin::Growing(..) | Origin::Reader(_) => None,
        }
    }

    /// Bytes that it has, where that can be told before it is read.
    pub(crate) fn size(&self) -> Option<u64> {
        let regular = |metadata: Metadata| metadata.is_file().then_some(metadata.len());
        match &self.0 {
            Origin::Path(path) => path.metadata().ok().and_then(regular),
            Origin::File(fd) => {
                let stat = rustix::fs::fstat(fd).ok()?;
                let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
                is_file.then_some(stat.st_size as u64)
            }
            Origin::Section(_, range) => Some(range.end - range.start),
            Origin::Memory(blob) => Some(blob.len() as u64),
            Origin::Growing(..) | Origin::Reader(_) => None,
        }
    }

    /// Splits the source: what a worker thread can read by itself, and what only the caller's
    /// thread may.
    pub(crate) fn open(
        self,
        cancel: Option<&Cancel>,
        to: ReadTo,
    ) -> Result<(Input<'a>, Option<ReadCallback<'a>>), SourceError> {
        // A reader or pipe that stays open must not be asked for more than the archive has.
        let mut on_demand = to == ReadTo::EndOfArchive;
        let (kind, read_callback) = match self.0 {
            Origin::Path(path) => (Kind::File(Descriptor::open(path)?), None),
            Origin::File(fd) => (Kind::File(Descriptor::new(fd)), None),
            Origin::Section(fd, range) => (Kind::File(Descriptor::section(fd, range)), None),
            Origin::Growing(fd, grown) => (Kind::File(Descriptor::growing(fd, grown)), None),
            Origin::Memory(blob) => (Kind::Memory(blob), None),
            Origin::Reader(callback) => {
                let (consumer, read_callback) = read_callback(callback, cancel, on_demand);
                (Kind::Handoff(consumer), Some(read_callback))
            }
        };
        let interrupt = Interrupt { cancel: cancel.cloned(), stop: None };
        on_demand &= match &kind {
            Kind::File(file) => file.waits,
            Kind::Handoff(_) => true,
            _ => false,
        };
        Ok((Input { kind, interrupt, on_demand }, read_callback))
    }
}

impl fmt::Debug for Source<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Origin::Path(path) => f.debug_tuple("Source::path").field(path).finish(),
            Origin::File(fd) => f.debug_tuple("Source::file").field(fd).finish(),
            Origin::Section(fd, range) => {
                f.debug_tuple("Source::section").field(fd).field(range).finish()
            }
            Origin::Growing(fd, _) => f.debug_tuple("Source::growing").field(fd).finish(),
            Origin::Memory(blob) => f
                .debug_tuple("Source::memory")
                .field(&format_args!("{} bytes", blob.len()))
                .finish(),
            Origin::Reader(_) => f.debug_tuple("Source::reader").finish_non_exhaustive(),
        }
    }
}

impl From<File> for Source<'_> {
    fn from(file: File) -> Self {
        Source::file(file)
    }
}
