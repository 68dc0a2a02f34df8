// SPDX-License-Identifier: Apache-2.0
//! Work that the reader of an archive leaves to other threads.

use std::sync::Arc;
use std::time::Duration;

use super::queue::{Failure, Queue, Task};

/// The threads of a pipeline, for a reader that leaves work to them.
pub(crate) struct Workers<E> {
    queue: Arc<Queue<E>>,
    threads: usize,
}

impl<E: Failure> Workers<E> {
    pub(super) fn new(queue: Arc<Queue<E>>, threads: usize) -> Workers<E> {
        Workers { queue, threads }
    }

    /// The reader and the decompressor included.
    pub(crate) fn threads(&self) -> usize {
        self.threads
    }

    /// Has somebody do it, sooner or later. Its first error comes out of
    /// [`Pipeline::next`](super::Pipeline::next) or [`wait`](Workers::wait), and what nobody has begun
    /// by then is dropped.
    pub(crate) fn submit(&self, task: Task<E>) {
        self.queue.submit(task);
    }

    /// Waits until all is done that was left so far, and does its part of it.
    pub(crate) fn wait(&self) -> Result<(), E> {
        self.queue.wait_for_tasks(|| false)
    }

    /// The same until there is no need to wait any more, which a task's end may bring about.
    pub(crate) fn wait_until(&self, enough: impl Fn() -> bool) -> Result<(), E> {
        self.queue.wait_for_tasks(enough)
    }

    /// How long it took so far, but for what was done in [`wait`](Workers::wait).
    pub(crate) fn time(&self) -> Duration {
        self.queue.task_time()
    }
}
