// SPDX-License-Identifier: Apache-2.0
//! Tasks that the reader leaves to others.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::error::{Cause, Error, ErrorKind};
use crate::pipeline::chunk::CHUNK;
use crate::pipeline::queue::{POOL, Task};
use crate::pipeline::*;

fn queue() -> Arc<Queue<Error>> {
    Queue::new(Some(Hasher::towards(None)), false)
}

fn chunk(queue: &Arc<Queue<Error>>) -> Chunk {
    Chunk::new(queue, queue.buffer().unwrap(), CHUNK)
}

fn count(done: &Arc<AtomicUsize>) -> Task<Error> {
    let done = done.clone();
    Box::new(move || {
        done.fetch_add(1, Ordering::Relaxed);
        Ok(())
    })
}

fn fail() -> Task<Error> {
    Box::new(|| Err(Cause::Filter(Errno::XDEV).into()))
}

#[test]
fn settle_does_what_nobody_else_does() {
    let (queue, done) = (queue(), Arc::new(AtomicUsize::new(0)));
    (0..5).for_each(|_| queue.submit(count(&done)));
    assert_eq!(done.load(Ordering::Relaxed), 0);
    queue.wait_for_tasks(|| false).unwrap();
    assert_eq!(done.load(Ordering::Relaxed), 5);
    queue.wait_for_tasks(|| false).unwrap();
}

#[test]
fn decompressor_gets_a_buffer_by_doing_what_keeps_it() {
    let (queue, done) = (queue(), Arc::new(AtomicUsize::new(0)));
    for _ in 0..POOL {
        let (kept, count) = (chunk(&queue), count(&done));
        queue.submit(Box::new(move || {
            assert_eq!(kept.len(), CHUNK);
            count()
        }));
    }
    drop(queue.buffer().expect("a buffer"));
    assert_eq!(done.load(Ordering::Relaxed), 1);
}

#[test]
fn helpers_work_until_a_stop() {
    let (queue, done) = (queue(), Arc::new(AtomicUsize::new(0)));
    thread::scope(|scope| {
        let workers: Vec<_> = (0..3).map(|_| scope.spawn(|| queue.work())).collect();
        (0..100).for_each(|_| queue.submit(count(&done)));
        while done.load(Ordering::Relaxed) < 100 {
            thread::yield_now();
        }
        assert!(!workers.iter().any(|worker| worker.is_finished()));
        queue.stop();
    });
    queue.submit(count(&done));
    queue.wait_for_tasks(|| false).unwrap();
    assert_eq!(done.load(Ordering::Relaxed), 100, "nothing is begun after a stop");
}

#[test]
fn first_error_comes_out_once_and_nothing_is_begun_after_it() {
    let (queue, done) = (queue(), Arc::new(AtomicUsize::new(0)));
    queue.put(chunk(&queue));
    [count(&done), fail(), count(&done)].into_iter().for_each(|work| queue.submit(work));
    assert_eq!(queue.wait_for_tasks(|| false).unwrap_err().errno(), Errno::XDEV);
    queue.submit(count(&done));
    assert_eq!(done.load(Ordering::Relaxed), 1);
    // Before the chunk that waits.
    assert_eq!(queue.take().err().unwrap().kind(), ErrorKind::Cancelled);
}

#[test]
fn panic_in_work_is_an_error_for_the_reader() {
    let queue = queue();
    queue.submit(Box::new(|| panic!("made to panic")));
    let error = queue.wait_for_tasks(|| false).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Panic);
    assert!(error.to_string().contains("made to panic"), "{error}");
}

#[test]
fn stretch_is_a_part_of_its_own_chunk_only() {
    let queue = queue();
    let (one, other) = (chunk(&queue), chunk(&queue));
    assert_eq!(one.slice(&one[3..10]).expect("a part").len(), 7);
    assert!(one.slice(&other[3..10]).is_none());
    assert_eq!(one.slice(&one[CHUNK..]).expect("nothing, at the end").len(), 0);
}
