// SPDX-License-Identifier: Apache-2.0
//! The thread that called unpack, while others work: it serves the callbacks, all of them, so
//! that a caller never hears from a thread that it does not know.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded, never, select, tick};
use rustix::io::Errno;

use crate::error::Cause;
use crate::flow::Counters;
use crate::observer::{Observer, Progress, Warning};
use crate::report::EntryCounts;
use crate::source::Feed;
use crate::tar::Entry;

/// How often progress is told.
const TICK: Duration = Duration::from_millis(100);

/// Warnings that may wait while the caller is in its read callback.
const WARNINGS: usize = 1024;

enum Call {
    Filter(Box<Entry>, Sender<Result<bool, Errno>>),
    Warning(Warning),
}

/// The worker's line to the desk. The desk closes when it is dropped.
pub(crate) struct Line {
    calls: Sender<Call>,
    filters: bool,
    entries: Arc<Mutex<EntryCounts>>,
}

/// What the calling thread needs to serve.
pub(crate) struct Desk {
    calls: Receiver<Call>,
    entries: Arc<Mutex<EntryCounts>>,
    counters: Arc<Counters>,
    blob_size: Option<u64>,
}

pub(crate) fn open(filters: bool, counters: Arc<Counters>, blob_size: Option<u64>) -> (Line, Desk) {
    let (send, calls) = bounded(WARNINGS);
    let entries = Arc::new(Mutex::new(EntryCounts::default()));
    let line = Line { calls: send, filters, entries: entries.clone() };
    (line, Desk { calls, entries, counters, blob_size })
}

impl Line {
    /// Asks the caller's filter. Without one everything is wanted.
    pub(crate) fn wants(&self, entry: &Entry) -> Result<bool, Cause> {
        if !self.filters {
            return Ok(true);
        }
        let (reply, answer) = bounded(1);
        // The desk is gone only when a callback panicked: that is on its way to the caller.
        self.calls
            .send(Call::Filter(Box::new(entry.clone()), reply))
            .map_err(|_| Cause::Cancelled)?;
        answer.recv().map_err(|_| Cause::Cancelled)?.map_err(Cause::Filter)
    }

    pub(crate) fn warn(&self, warning: Warning) {
        let _ = self.calls.send(Call::Warning(warning));
    }

    /// What the next progress call tells of entries.
    pub(crate) fn count(&self, entries: EntryCounts) {
        *self.entries.lock().unwrap_or_else(PoisonError::into_inner) = entries;
    }
}

impl Desk {
    /// Serves until the worker has hung up.
    pub(crate) fn serve(self, observer: &mut dyn Observer, mut feed: Option<Feed<'_>>) {
        let nothing = never();
        let ticks = tick(TICK);
        loop {
            let wanted = feed.as_ref().map_or(&nothing, Feed::wanted).clone();
            select! {
                recv(self.calls) -> call => match call {
                    Ok(Call::Filter(entry, reply)) => {
                        let _ = reply.send(observer.filter(&entry));
                    }
                    Ok(Call::Warning(warning)) => observer.warning(&warning),
                    Err(_) => break,
                },
                recv(wanted) -> buffer => match (buffer, &mut feed) {
                    (Ok(buffer), Some(feed)) => feed.serve(buffer),
                    // The source was read to its end, or nobody reads it any more.
                    _ => feed = None,
                },
                recv(ticks) -> _ => observer.progress(&self.progress()),
            }
        }
        observer.progress(&self.progress());
    }

    fn progress(&self) -> Progress {
        use std::sync::atomic::Ordering::Relaxed;
        Progress {
            blob_bytes: self.counters.blob_bytes.load(Relaxed),
            blob_size: self.blob_size,
            layer_bytes: self.counters.layer_bytes.load(Relaxed),
            entries: *self.entries.lock().unwrap_or_else(PoisonError::into_inner),
        }
    }
}
