// SPDX-License-Identifier: Apache-2.0
//! Work that the reader of an archive leaves to other threads.

use std::sync::Arc;
use std::time::Duration;

use super::queue::{Failure, Queue, Task};

/// The threads of a pipeline, for a reader that leaves work to them.
pub(crate) struct Workers<E>(Arc<Queue<E>>);

impl<E: Failure> Workers<E> {
    pub(super) fn new(queue: Arc<Queue<E>>) -> Workers<E> {
        Workers(queue)
    }

    /// Has somebody do it, sooner or later. Its first error comes out of [`Pipeline::next`](super::Pipeline::next) or
    /// [`wait`](Workers::wait), and what nobody has begun by then is dropped.
    pub(crate) fn submit(&self, task: Task<E>) {
        self.0.submit(task);
    }

    /// Waits until all is done that was left so far, and does its part of it.
    pub(crate) fn wait(&self) -> Result<(), E> {
        self.0.wait_for_tasks()
    }

    /// How long it took so far, but for what was done in [`wait`](Workers::wait).
    pub(crate) fn time(&self) -> Duration {
        self.0.task_time()
    }
}
