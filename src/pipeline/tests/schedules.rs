// SPDX-License-Identifier: Apache-2.0
//! The queue under thousands of schedules, by shuttle: a deadlock or a lost wake-up in any of them
//! fails. `make test-schedules` runs them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use shuttle::thread;

use crate::digest::Hasher;
use crate::errno::Errno;
use crate::error::{Cause, Error};
use crate::pipeline::chunk::{CHUNK, Chunk};
use crate::pipeline::queue::Queue;

/// More than there are buffers.
const CHUNKS: usize = 7;

/// Of each kind, for each number of workers.
const SCHEDULES: usize = 1_500;

fn decompress(queue: &Arc<Queue<Error>>) {
    for number in 0..CHUNKS {
        let Some(mut buffer) = queue.buffer() else { break };
        buffer.fill(number as u8);
        queue.put(Chunk::new(queue, buffer, CHUNK));
        // As with a layer that is not compressed, and as with one that is.
        if number % 2 == 0 {
            queue.hash_next();
        }
    }
    queue.end(Ok(()));
    queue.work();
}

/// Reads all, leaves work for each chunk, which keeps it, and waits for all of it now and then.
fn read(queue: &Arc<Queue<Error>>, fails: Option<usize>) -> Result<usize, Error> {
    let done = Arc::new(AtomicUsize::new(0));
    let mut number = 0;
    while let Some(chunk) = queue.take()? {
        assert_eq!(chunk[0], number as u8, "chunks come in order");
        let (done, fails) = (done.clone(), fails == Some(number));
        queue.submit(Box::new(move || {
            if fails {
                return Err(Cause::Filter(Errno::XDEV).into());
            }
            done.fetch_add(chunk.len(), Ordering::Relaxed);
            Ok(())
        }));
        if number % 3 == 2 {
            queue.wait_for_tasks(|| false)?;
        }
        number += 1;
    }
    queue.wait_for_tasks(|| false)?;
    Ok(done.load(Ordering::Relaxed))
}

fn run(workers: usize, fails: Option<usize>) {
    let queue = Queue::new(Some(Hasher::towards(None)), false);
    let mut threads = Vec::new();
    let decompressing = queue.clone();
    threads.push(thread::spawn(move || decompress(&decompressing)));
    for _ in 0..workers {
        let queue = queue.clone();
        threads.push(thread::spawn(move || queue.work()));
    }
    let result = read(&queue, fails);
    if fails.is_none() {
        assert_eq!(result.expect("read to the end"), CHUNKS * CHUNK);
        let mut hasher = Hasher::towards(None);
        (0..CHUNKS).for_each(|number| hasher.update(&[number as u8; CHUNK]));
        assert_eq!(queue.finish().0, Some(hasher.finish()));
    } else {
        assert_eq!(result.expect_err("an error").errno(), Errno::XDEV);
    }
    queue.stop();
    threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
}

fn schedules(workers: usize, fails: Option<usize>) {
    shuttle::check_random(move || run(workers, fails), SCHEDULES);
    shuttle::check_pct(move || run(workers, fails), SCHEDULES, 3);
}

#[test]
fn two_threads_end_with_the_whole() {
    schedules(0, None);
}

#[test]
fn helpers_end_with_the_whole() {
    schedules(1, None);
    schedules(3, None);
}

#[test]
fn failed_work_ends_all() {
    (0..CHUNKS).step_by(3).for_each(|number| schedules(2, Some(number)));
}
