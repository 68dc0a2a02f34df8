// SPDX-License-Identifier: Apache-2.0
//! Work that the reader leaves to others.

use std::sync::atomic::AtomicUsize;
use std::thread;

use crate::error::ErrorKind;
use crate::pipeline::queue::{CHUNK, POOL};
use crate::pipeline::*;

fn belt() -> Arc<Belt> {
    Belt::new(Hasher::towards(None))
}

fn chunk(belt: &Arc<Belt>) -> Chunk {
    Chunk::new(belt, belt.buffer().unwrap(), CHUNK)
}

fn count(done: &Arc<AtomicUsize>) -> Work {
    let done = done.clone();
    Box::new(move || {
        done.fetch_add(1, Ordering::Relaxed);
        Ok(())
    })
}

fn fail() -> Work {
    Box::new(|| Err(Cause::Filter(Errno::XDEV).into()))
}

#[test]
fn settle_does_what_nobody_else_does() {
    let (belt, done) = (belt(), Arc::new(AtomicUsize::new(0)));
    (0..5).for_each(|_| belt.leave(count(&done)));
    assert_eq!(done.load(Ordering::Relaxed), 0);
    belt.settle().unwrap();
    assert_eq!(done.load(Ordering::Relaxed), 5);
    belt.settle().unwrap();
}

#[test]
fn decompressor_gets_a_buffer_by_doing_what_keeps_it() {
    let (belt, done) = (belt(), Arc::new(AtomicUsize::new(0)));
    for _ in 0..POOL {
        let (kept, count) = (chunk(&belt), count(&done));
        belt.leave(Box::new(move || {
            assert_eq!(kept.len(), CHUNK);
            count()
        }));
    }
    drop(belt.buffer().expect("a buffer"));
    assert_eq!(done.load(Ordering::Relaxed), 1);
}

#[test]
fn helpers_work_until_a_stop() {
    let (belt, done) = (belt(), Arc::new(AtomicUsize::new(0)));
    thread::scope(|scope| {
        let helpers: Vec<_> = (0..3).map(|_| scope.spawn(|| belt.help())).collect();
        (0..100).for_each(|_| belt.leave(count(&done)));
        while done.load(Ordering::Relaxed) < 100 {
            thread::yield_now();
        }
        assert!(!helpers.iter().any(|helper| helper.is_finished()));
        belt.stop();
    });
    belt.leave(count(&done));
    belt.settle().unwrap();
    assert_eq!(done.load(Ordering::Relaxed), 100, "nothing is begun after a stop");
}

#[test]
fn first_error_comes_out_once_and_nothing_is_begun_after_it() {
    let (belt, done) = (belt(), Arc::new(AtomicUsize::new(0)));
    belt.put(chunk(&belt));
    [count(&done), fail(), count(&done)].into_iter().for_each(|work| belt.leave(work));
    assert_eq!(belt.settle().unwrap_err().errno(), Errno::XDEV);
    belt.leave(count(&done));
    assert_eq!(done.load(Ordering::Relaxed), 1);
    // Before the chunk that waits.
    assert_eq!(belt.take().err().unwrap().kind(), ErrorKind::Cancelled);
}

#[test]
fn panic_in_work_is_an_error_for_the_reader() {
    let belt = belt();
    belt.leave(Box::new(|| panic!("made to panic")));
    let error = belt.settle().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Panic);
    assert!(error.to_string().contains("made to panic"), "{error}");
}

#[test]
fn stretch_is_a_part_of_its_own_chunk_only() {
    let belt = belt();
    let (one, other) = (chunk(&belt), chunk(&belt));
    assert_eq!(one.stretch(&one[3..10]).expect("a part").len(), 7);
    assert!(one.stretch(&other[3..10]).is_none());
    assert_eq!(one.stretch(&one[CHUNK..]).expect("nothing, at the end").len(), 0);
}
