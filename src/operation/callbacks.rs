// SPDX-License-Identifier: Apache-2.0
//! The thread that called unpack or scan, while others work: it serves the callbacks, all of them, so
//! that a caller never hears from a thread that it does not know.

use std::convert::Infallible;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded, never, select, tick};

use crate::errno::Errno;
use crate::error::Cause;
use crate::observer::{Observer, Progress, Warning};
use crate::pipeline::{Counters, ReadCallback};
use crate::report::EntryCounts;
use crate::tar::Entry;

/// How often progress is told.
pub(crate) const TICK: Duration = Duration::from_millis(100);

/// Calls that may wait while the caller is in a callback.
pub(crate) const CALLS: usize = 1024;

/// What unpack's worker calls for.
pub(crate) enum Call {
    Filter(Box<Entry>, Sender<Result<bool, Errno>>),
    Lowers(Sender<Result<Vec<PathBuf>, Errno>>),
    Warning(Warning),
}

/// A worker's way to the caller's callbacks. Dropping it ends the server.
pub(crate) struct CallbackSender<C> {
    calls: Sender<C>,
    /// Disconnected once the server has ended.
    served: Receiver<Infallible>,
    entries: Arc<Mutex<EntryCounts>>,
}

/// What the calling thread needs to serve.
pub(crate) struct CallbackServer<C> {
    calls: Receiver<C>,
    _serves: Sender<Infallible>,
    entries: Arc<Mutex<EntryCounts>>,
    counters: Arc<Counters>,
    blob_size: Option<u64>,
}

/// The caller's callbacks.
pub(crate) trait Handler<C> {
    /// Break ends the server: the worker's next call fails.
    fn call(&mut self, call: C) -> ControlFlow<()>;

    fn progress(&mut self, progress: &Progress);
}

pub(crate) fn channel<C>(
    counters: Arc<Counters>,
    blob_size: Option<u64>,
) -> (CallbackSender<C>, CallbackServer<C>) {
    let (send, calls) = bounded(CALLS);
    let (serves, served) = bounded(0);
    let entries = Arc::new(Mutex::new(EntryCounts::default()));
    let sender = CallbackSender { calls: send, served, entries: entries.clone() };
    (sender, CallbackServer { calls, _serves: serves, entries, counters, blob_size })
}

impl<C> CallbackSender<C> {
    /// Fails once the server has ended.
    pub(crate) fn call(&self, call: C) -> Result<(), Cause> {
        self.calls.send(call).map_err(|_| Cause::Cancelled)
    }

    /// Makes a call that is answered. Fails as well when the server ends with the call still waiting:
    /// then the channel keeps it, and the other end of its answer.
    pub(crate) fn ask<T>(&self, call: impl FnOnce(Sender<T>) -> C) -> Result<T, Cause> {
        let (reply, answer) = bounded(1);
        self.call(call(reply))?;
        select! {
            recv(answer) -> answer => answer.map_err(|_| Cause::Cancelled),
            recv(self.served) -> _ => answer.try_recv().map_err(|_| Cause::Cancelled),
        }
    }

    /// Whether nobody serves any more. The server has the other half of what they share.
    pub(crate) fn is_disconnected(&self) -> bool {
        Arc::strong_count(&self.entries) == 1
    }

    /// What the next progress call tells of entries.
    pub(crate) fn count(&self, entries: EntryCounts) {
        *self.entries.lock().unwrap_or_else(PoisonError::into_inner) = entries;
    }
}

impl CallbackSender<Call> {
    /// Asks the caller's filter.
    pub(crate) fn wants(&self, entry: &Entry) -> Result<bool, Cause> {
        // The server is gone only when a callback panicked: that is on its way to the caller.
        let answer = self.ask(|reply| Call::Filter(Box::new(entry.clone()), reply))?;
        answer.map_err(Cause::Filter)
    }

    pub(crate) fn warn(&self, warning: Warning) {
        let _ = self.call(Call::Warning(warning));
    }
}

/// Serves unpack's worker.
pub(crate) struct Observed<'o>(pub(crate) &'o mut dyn Observer);

impl Handler<Call> for Observed<'_> {
    fn call(&mut self, call: Call) -> ControlFlow<()> {
        match call {
            Call::Filter(entry, reply) => {
                let _ = reply.send(self.0.filter(&entry));
            }
            Call::Lowers(reply) => {
                let _ = reply.send(self.0.lowers());
            }
            Call::Warning(warning) => self.0.warning(&warning),
        }
        ControlFlow::Continue(())
    }

    fn progress(&mut self, progress: &Progress) {
        self.0.progress(progress);
    }
}

impl<C> CallbackServer<C> {
    /// Serves until one of the two has ended.
    pub(crate) fn serve(
        self,
        caller: &mut dyn Handler<C>,
        mut read_callback: Option<ReadCallback<'_>>,
    ) {
        let nothing = never();
        let ticks = tick(TICK);
        loop {
            let wanted = read_callback.as_ref().map_or(&nothing, ReadCallback::wanted).clone();
            select! {
                recv(self.calls) -> call => match call {
                    Ok(call) => if caller.call(call).is_break() { return },
                    Err(_) => break,
                },
                recv(wanted) -> buffer => match (buffer, &mut read_callback) {
                    (Ok(buffer), Some(read_callback)) => read_callback.serve(buffer),
                    // The source was read to its end, or nobody reads it any more.
                    _ => read_callback = None,
                },
                recv(ticks) -> _ => caller.progress(&self.progress()),
            }
        }
        caller.progress(&self.progress());
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

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    /// Ends at the first call, while others are waiting.
    struct Ends;

    impl Handler<Sender<()>> for Ends {
        fn call(&mut self, _: Sender<()>) -> ControlFlow<()> {
            ControlFlow::Break(())
        }

        fn progress(&mut self, _: &Progress) {}
    }

    #[test]
    fn nobody_waits_for_an_answer_of_a_server_that_has_ended() {
        for _ in 0..100 {
            let (sender, server) = channel(Arc::default(), None);
            thread::scope(|scope| {
                let asking = scope.spawn(move || {
                    let (first, _) = bounded(1);
                    sender.call(first).and_then(|()| sender.ask(|reply| reply))
                });
                server.serve(&mut Ends, None);
                assert!(matches!(asking.join().expect("no panic"), Err(Cause::Cancelled)));
            });
        }
    }
}
