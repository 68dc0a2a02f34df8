// SPDX-License-Identifier: Apache-2.0
//! What every operation on a layer shares: the threads that it runs on, the callbacks, and the way
//! from the archive to its entries.
//!
//! The calling thread serves callbacks and nothing else. A thread of this library decompresses,
//! another one reads the archive, and all end before the operation returns.

pub(crate) mod callbacks;
pub(crate) mod entries;

use std::sync::Arc;
use std::thread::{self, Scope, available_parallelism};

use crate::cancel::Cancel;
use crate::error::{Cause, Result};
use crate::options::ReadTo;
use crate::pipeline::{Counters, Input, PipelineError, Source};
use crate::sys;

use callbacks::{CallbackSender, Handler};

/// Runs `work` on a thread of its own, while this one serves the calls that it sends.
pub(crate) fn run<C: Send, T: Send>(
    name: &str,
    source: Source<'_>,
    cancel: Option<&Cancel>,
    to: ReadTo,
    handler: &mut dyn Handler<C>,
    work: impl for<'s> FnOnce(
        &'s Scope<'s, '_>,
        Input<'s>,
        Arc<Counters>,
        CallbackSender<C>,
    ) -> Result<T>
    + Send,
) -> Result<T> {
    let (input, read_callback) = source.open(cancel, to)?;
    let counters = Arc::new(Counters::default());
    let (callbacks, server) = callbacks::channel(counters.clone(), input.size());
    thread::scope(|scope| {
        let worker = sys::spawn(scope, name, move || work(scope, input, counters, callbacks))
            .map_err(Cause::Thread)?;
        server.serve(handler, read_callback);
        worker.join().unwrap_or_else(|panic| Err(PipelineError::panicked(panic).into()))
    })
}

/// With more, all wait for the one that decompresses.
const ENOUGH: usize = 8;

/// How many threads to work on. When the caller leaves it to us (0): one for each CPU, up to a
/// number that is of use.
pub(crate) fn threads(asked: usize) -> usize {
    match asked {
        0 => available_parallelism().map_or(1, usize::from).min(ENOUGH),
        threads => threads,
    }
}
