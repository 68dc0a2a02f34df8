// SPDX-License-Identifier: Apache-2.0
//! Where the bytes of a layer come from.
//!
//! A source splits in two when it is opened: an [`Input`] that any one thread can read, and, for
//! a read callback, a [`ReadCallback`] that stays on the caller's thread and fills the input's buffers.

mod read_ahead;
mod region;

use std::convert::Infallible;
use std::fs::File;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam_channel::{Receiver, Sender, bounded, never, select_biased, unbounded};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Advice, FileType, Mode, OFlags, SeekFrom, fadvise, fstat, open, seek};
use rustix::io::{Errno, pread, read, retry_on_intr};

use crate::cancel::Cancel;

pub(crate) use read_ahead::ReadAhead;
use region::Bytes;
pub(crate) use region::Region;

/// One read(2), and at most so much between two looks at the cancel token. Half of a usual L2
/// cache, since what was read is hashed and decompressed right after.
const PIECE: usize = 256 << 10;

/// Buffers between the caller's thread and the decompressor: one is filled and one is read, and
/// the others even out a source that comes in bursts.
const BUFFERS: usize = 4;

/// A read callback's buffer goes on once it holds this much. Waiting for a full one would starve
/// the decompressor behind a slow network; less would pay a turn between two threads for every
/// few KiB that a socket gives at a time.
const CALLBACK_ENOUGH: usize = 64 << 10;

/// A layer blob, compressed or not.
///
/// A regular file is the fast way: it is read in large pieces on a worker thread.
pub struct Source<'a>(pub(crate) Origin<'a>);

pub(crate) enum Origin<'a> {
    Path(PathBuf),
    File(OwnedFd),
    Section(OwnedFd, Range<u64>),
    Memory(&'a [u8]),
    Reader(Callback<'a>),
}

type Callback<'a> = Box<dyn FnMut(&mut [u8]) -> Result<usize, Errno> + 'a>;

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

    pub fn memory(blob: &'a [u8]) -> Source<'a> {
        Source(Origin::Memory(blob))
    }

    /// `read` fills a part of the buffer and returns how much, 0 at the end. It runs on the thread
    /// that called unpack, and only there.
    pub fn reader(read: impl FnMut(&mut [u8]) -> Result<usize, Errno> + 'a) -> Source<'a> {
        Source(Origin::Reader(Box::new(read)))
    }

    /// Splits the source: what a worker thread can read by itself, and what only the caller's
    /// thread may.
    pub(crate) fn open(
        self,
        cancel: Option<&Cancel>,
    ) -> Result<(Input<'a>, Option<ReadCallback<'a>>), SourceError> {
        let (kind, read_callback) = match self.0 {
            Origin::Path(path) => (Kind::File(Descriptor::open(path)?), None),
            Origin::File(fd) => (Kind::File(Descriptor::new(fd)), None),
            Origin::Section(fd, range) => (Kind::File(Descriptor::section(fd, range)), None),
            Origin::Memory(blob) => (Kind::Memory(blob), None),
            Origin::Reader(callback) => {
                let (consumer, read_callback) = read_callback(callback, cancel);
                (Kind::Consumer(consumer), Some(read_callback))
            }
        };
        let interrupt = Interrupt { cancel: cancel.cloned(), stop: None };
        Ok((Input { kind, interrupt }, read_callback))
    }
}

impl From<File> for Source<'_> {
    fn from(file: File) -> Self {
        Source::file(file)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    #[error("open {}: {errno}", path.display())]
    Open { path: PathBuf, errno: Errno },
    #[error("read at {offset}: {errno}")]
    Read { offset: u64, errno: Errno },
    /// The caller's read callback failed.
    #[error("read callback: {0}")]
    Callback(Errno),
    #[error("read callback returned {got} bytes for a buffer of {asked}")]
    Overrun { got: usize, asked: usize },
    /// No thread or descriptor for reading the source beside the work on its entries.
    #[error("start of the decompressor: {0}")]
    Start(Errno),
    #[error("cancelled")]
    Cancelled,
}

impl SourceError {
    pub(crate) fn errno(&self) -> Errno {
        match self {
            SourceError::Open { errno, .. } | SourceError::Read { errno, .. } => *errno,
            SourceError::Callback(errno) | SourceError::Start(errno) => *errno,
            SourceError::Overrun { .. } => Errno::INVAL,
            SourceError::Cancelled => Errno::CANCELED,
        }
    }
}

/// The part of a source that one thread reads by itself.
pub(crate) struct Input<'a> {
    kind: Kind<'a>,
    interrupt: Interrupt,
}

enum Kind<'a> {
    File(Descriptor),
    Memory(&'a [u8]),
    Consumer(Consumer),
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
            Kind::Consumer(consumer) => consumer.fill(&self.interrupt),
            #[cfg(test)]
            Kind::Panics => panic!("a defect, for the tests"),
        }
    }

    /// Moves past bytes that [`fill`](Input::fill) showed.
    pub(crate) fn consume(&mut self, count: usize) {
        match &mut self.kind {
            Kind::File(file) => file.start += count,
            Kind::Memory(blob) => *blob = &blob[count..],
            Kind::Consumer(consumer) => consumer.start += count,
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
        let event = Cancel::new()?;
        let (_gate, closed) = bounded(0);
        self.interrupt.stop = Some((event.clone(), closed));
        Ok(StopHandle { event, _gate })
    }

    #[cfg(test)]
    pub(crate) fn panicking() -> Input<'static> {
        Input { kind: Kind::Panics, interrupt: Interrupt { cancel: None, stop: None } }
    }
}

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
struct Interrupt {
    cancel: Option<Cancel>,
    stop: Option<(Cancel, Receiver<Infallible>)>,
}

impl Interrupt {
    fn events(&self) -> impl Iterator<Item = &Cancel> {
        self.cancel.iter().chain(self.stop.iter().map(|(event, _)| event))
    }

    fn check(&self) -> Result<(), SourceError> {
        if self.events().any(Cancel::is_cancelled) {
            return Err(SourceError::Cancelled);
        }
        Ok(())
    }

    /// Waits until `fd` can be read, has ended, or has failed: read(2) tells which.
    fn wait(&self, fd: &OwnedFd) -> Result<(), Errno> {
        let mut watched = vec![PollFd::new(fd, PollFlags::IN)];
        watched.extend(self.events().map(|event| PollFd::new(event, PollFlags::IN)));
        retry_on_intr(|| poll(&mut watched, None)).map(drop)
    }
}

/// A file, pipe, socket or terminal.
struct Descriptor {
    fd: OwnedFd,
    /// Whether read(2) may wait for another process.
    waits: bool,
    size: Option<u64>,
    /// Where a regular file was when reading began.
    position: u64,
    /// What is left of a section; none for a file that is read as it stands.
    section: Option<Range<u64>>,
    /// Bytes read so far.
    offset: u64,
    /// Set by the first empty read: a terminal would ask for more.
    ended: bool,
    /// Empty until something is to be shown; `start..end` is shown and not consumed.
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl Descriptor {
    fn open(path: PathBuf) -> Result<Descriptor, SourceError> {
        // NONBLOCK: opening a FIFO would wait for its writer, where no cancel token can wake it.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
        match retry_on_intr(|| open(&path, flags, Mode::empty())) {
            Ok(fd) => Ok(Descriptor::new(fd)),
            Err(errno) => Err(SourceError::Open { path, errno }),
        }
    }

    fn new(fd: OwnedFd) -> Descriptor {
        let mut file = Descriptor {
            fd,
            waits: true,
            size: None,
            position: 0,
            section: None,
            offset: 0,
            ended: false,
            buffer: Vec::new(),
            start: 0,
            end: 0,
        };
        if let Ok(stat) = fstat(&file.fd)
            && FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
        {
            file.waits = false;
            file.position = seek(&file.fd, SeekFrom::Current(0)).unwrap_or(0);
            let size = u64::try_from(stat.st_size).unwrap_or(0);
            file.size = Some(size.saturating_sub(file.position));
            // Advice: a file system that does not take it is only slower.
            let _ = fadvise(&file.fd, 0, None, Advice::Sequential);
        }
        file
    }

    fn section(fd: OwnedFd, range: Range<u64>) -> Descriptor {
        let mut file = Descriptor::new(fd);
        file.size = Some(range.end - range.start);
        file.section = Some(range);
        file
    }

    /// Where in the file lies what was not consumed; none if that is not known.
    fn left(&self) -> Option<Range<u64>> {
        if self.waits {
            return None;
        }
        // Behind what is shown.
        let unread = match &self.section {
            Some(left) => left.clone(),
            None => self.position + self.offset..self.position + self.size?,
        };
        Some(unread.start - (self.end - self.start) as u64..unread.end)
    }

    fn move_to_end(&mut self) {
        (self.start, self.end, self.ended) = (0, 0, true);
        if let (None, Some(range)) = (&self.section, self.left()) {
            // As if it had been read; nothing depends on it.
            let _ = seek(&self.fd, SeekFrom::Start(range.end));
        }
    }

    fn head(&mut self, count: usize, interrupt: &Interrupt) -> Result<&[u8], SourceError> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
        while self.end - self.start < count && !self.ended {
            let mut buffer = std::mem::take(&mut self.buffer);
            buffer.resize(PIECE, 0);
            let got = self.read(&mut buffer[self.end..], interrupt);
            self.buffer = buffer;
            self.end += got?;
        }
        Ok(&self.buffer[self.start..self.end])
    }

    /// One system call.
    fn read_some(&mut self, into: &mut [u8]) -> Result<usize, Errno> {
        let Some(left) = &mut self.section else { return read(&self.fd, into) };
        let most = usize::try_from(left.end - left.start).unwrap_or(usize::MAX);
        let most = most.min(into.len());
        let got = pread(&self.fd, &mut into[..most], left.start)?;
        left.start += got as u64;
        Ok(got)
    }

    fn read(&mut self, into: &mut [u8], interrupt: &Interrupt) -> Result<usize, SourceError> {
        let offset = self.offset;
        let failed = |errno| SourceError::Read { offset, errno };
        let mut wait = self.waits;
        while !self.ended {
            if wait {
                interrupt.wait(&self.fd).map_err(failed)?;
            }
            interrupt.check()?;
            match self.read_some(into) {
                Ok(got) => {
                    self.offset += got as u64;
                    self.ended = got == 0;
                    return Ok(got);
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => wait = true,
                Err(errno) => return Err(failed(errno)),
            }
        }
        Ok(0)
    }
}

/// One buffer on its way from whoever reads.
struct Filled {
    /// Always of full length, so that it need not be cleared again.
    buffer: Vec<u8>,
    len: usize,
    /// Set behind the source's last byte.
    end: Option<Result<(), SourceError>>,
}

impl Filled {
    /// Reads until there is enough, the end, or an error.
    fn by(
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
struct Consumer {
    /// None when no more is wanted, which ends the loop of whoever reads.
    wanted: Option<Sender<Vec<u8>>>,
    filled: Receiver<Filled>,
    buffer: Vec<u8>,
    start: usize,
    len: usize,
    end: Option<Result<(), SourceError>>,
    disconnected: Arc<AtomicBool>,
}

/// The caller's side of a read callback. It must stay on the thread that called unpack.
///
/// Dropping it before the source's end ends the worker's side with `Cancelled`.
pub(crate) struct ReadCallback<'a> {
    callback: Callback<'a>,
    cancel: Option<Cancel>,
    producer: Producer,
    ended: bool,
}

/// The other end of a [`Consumer`].
struct Producer {
    wanted: Receiver<Vec<u8>>,
    filled: Sender<Filled>,
    disconnected: Arc<AtomicBool>,
}

fn read_callback<'a>(
    callback: Callback<'a>,
    cancel: Option<&Cancel>,
) -> (Consumer, ReadCallback<'a>) {
    let (consumer, producer) = channel();
    (consumer, ReadCallback { callback, cancel: cancel.cloned(), producer, ended: false })
}

fn channel() -> (Consumer, Producer) {
    // Not bounded by the channels but by the buffers: there are no others to send.
    let (want, wanted) = unbounded();
    let (fill, filled) = unbounded();
    for _ in 0..BUFFERS {
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
        disconnected: disconnected.clone(),
    };
    (consumer, Producer { wanted, filled: fill, disconnected })
}

impl Consumer {
    fn fill(&mut self, interrupt: &Interrupt) -> Result<&[u8], SourceError> {
        interrupt.check()?;
        while self.start == self.len {
            if let Some(end) = &self.end {
                end.clone()?;
                break;
            }
            let filled = self.receive(interrupt)?;
            let used = std::mem::replace(&mut self.buffer, filled.buffer);
            (self.start, self.len) = (0, filled.len);
            self.end = filled.end;
            if self.end.is_some() {
                self.wanted = None;
            } else if let Some(wanted) = &self.wanted
                && !used.is_empty()
            {
                // A caller that has gone wants none; the next receive tells.
                let _ = wanted.send(used);
            }
        }
        Ok(&self.buffer[self.start..self.len])
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
        let filled = Filled::by(buffer, CALLBACK_ENOUGH, &disconnected, |into| self.read(into));
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
