// SPDX-License-Identifier: Apache-2.0
//! The first invariant: the same layers give the same tree in every mode.
//!
//! `PROPTEST_CASES=5000 cargo test --test property` looks longer.

mod common;

use common::archive::Entry;
use common::runner::{Setting, Way, apply};
use common::seccomp::Openat2;
use common::stack::{Stack, compare, describe, verdict};
use common::{needs, random};
use proptest::prelude::*;
use proptest::test_runner::{TestCaseError, TestError, TestRunner};

fn setting(way: Way, threads: usize, openat2: Openat2) -> Setting {
    Setting { way, threads, openat2 }
}

fn reference() -> Setting {
    setting(Way::Directory, 1, Openat2::Works)
}

fn others() -> [Setting; 4] {
    [
        setting(Way::Overlay, 1, Openat2::Works),
        setting(Way::Overlay, 8, Openat2::Enosys),
        setting(Way::Userxattr, 2, Openat2::Works),
        setting(Way::Directory, 2, Openat2::Eperm),
    ]
}

/// Runs `check` on generated stacks and fails with the smallest one that breaks it.
fn property(check: impl Fn(&Stack, u64) -> Result<(), String>) {
    let mut runner = TestRunner::new(random::config());
    let result = runner.run(&(random::stack(), any::<u64>()), |(stack, seed)| {
        check(&stack, seed).map_err(TestCaseError::fail)
    });
    match result {
        Ok(()) => {}
        Err(TestError::Fail(reason, (stack, seed))) => {
            panic!("{reason}\nwith seed {seed} for the stack\n{stack:?}")
        }
        Err(abort) => panic!("{abort}"),
    }
}

#[test]
fn all_modes_give_the_same_tree() {
    if !needs::overlay() {
        return;
    }
    property(|stack, _| {
        let mut stack = stack.clone();
        // Random layers are refused often. The entry at fault goes, and the rest is looked at.
        while let Some((layer, entry)) = same_everywhere(&stack)? {
            stack.0[layer].remove(entry);
        }
        Ok(())
    });
}

/// The runner holds each unpack against a scan, and a bottom layer leaves the scan no excuse.
#[test]
fn scan_refuses_exactly_what_unpack_refuses() {
    if !needs::overlay() {
        return;
    }
    property(|stack, _| {
        for way in [Way::Directory, Way::Overlay, Way::OverlayBlind] {
            let mut layer = stack.0.concat();
            // The entry at fault goes, and the rest is looked at.
            while let Some((_, error)) =
                apply(&[layer.clone()], setting(way, 1, Openat2::Works)).failure
            {
                let place = error.place().ok_or(format!("no entry named: {error}"))?;
                layer.remove(place.entry as usize);
            }
        }
        Ok(())
    });
}

/// The layer and entry that every mode refuses, or none when all applied and agree.
fn same_everywhere(stack: &Stack) -> Result<Option<(usize, usize)>, String> {
    let expected = apply(&stack.0, reference());
    let refused = verdict(&expected);
    for setting in others() {
        let got = apply(&stack.0, setting);
        let context = format!("{} and {setting}", reference());
        if verdict(&got) != refused {
            let [left, right] = [&expected, &got].map(describe);
            return Err(format!("{context} disagree: {left}; {right}\n{stack:?}"));
        }
        let damage = got.damage();
        if !damage.is_empty() {
            return Err(format!("{setting} changed what is not its own: {}", damage.join("\n")));
        }
        if refused.is_none() {
            compare(&expected, &got).map_err(|text| format!("{context}\n{text}\n{stack:?}"))?;
        }
    }
    let Some((layer, error)) = &expected.failure else {
        return Ok(None);
    };
    let place = error.place().ok_or(format!("no entry named: {error}"))?;
    Ok(Some((*layer, place.entry as usize)))
}

#[test]
fn place_of_whiteouts_and_markers_in_a_layer_does_not_matter() {
    if !needs::overlay() {
        return;
    }
    property(|stack, seed| {
        let stack = Stack(stack.0.iter().map(|layer| plain(layer)).collect());
        let expected = apply(&stack.0, reference());
        if expected.failure.is_some() {
            return Ok(());
        }
        let mut random = seed;
        let shuffled = stack.0.iter().map(|layer| shuffle(layer, &mut random)).collect();
        let shuffled = Stack(shuffled);
        for setting in [reference(), setting(Way::Overlay, 1, Openat2::Works)] {
            let got = apply(&shuffled.0, setting);
            let context = || format!("{setting}, shuffled:\n{shuffled:?}as written:\n{stack:?}");
            if got.failure.is_some() {
                return Err(format!("{} {}", describe(&got), context()));
            }
            compare(&expected, &got).map_err(|text| format!("{text}\n{}", context()))?;
        }
        Ok(())
    });
}

/// Without symlinks, and without marks below what is also a file in the same layer: there the
/// place of an entry decides what a name means, or whether it means anything.
fn plain(layer: &[Entry]) -> Vec<Entry> {
    let files: Vec<&[u8]> = layer
        .iter()
        .filter(|entry| entry.typeflag != b'5' && !is_mark(entry))
        .map(|entry| entry.name.as_slice())
        .collect();
    let below_file = |entry: &Entry| {
        let below = |file: &&[u8]| {
            entry.name.strip_prefix(*file).is_some_and(|rest| rest.starts_with(b"/"))
        };
        files.iter().any(below)
    };
    let meant = |entry: &&Entry| entry.typeflag != b'2' && !(is_mark(entry) && below_file(entry));
    layer.iter().filter(meant).cloned().collect()
}

fn is_mark(entry: &Entry) -> bool {
    entry.name.starts_with(b".wh.") || entry.name.windows(5).any(|part| part == b"/.wh.")
}

/// Whiteouts and markers anywhere between the other entries, which keep their order.
fn shuffle(layer: &[Entry], random: &mut u64) -> Vec<Entry> {
    let (marks, mut rest): (Vec<&Entry>, Vec<&Entry>) =
        layer.iter().partition(|entry| is_mark(entry));
    for mark in marks {
        // Knuth's MMIX generator; only its high bits are any good.
        *random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        let at = (*random >> 33) as usize % (rest.len() + 1);
        rest.insert(at, mark);
    }
    rest.into_iter().cloned().collect()
}
