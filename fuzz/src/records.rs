// SPDX-License-Identifier: Apache-2.0
//! Inputs made of records of one length: libFuzzer's own mutations shift all that follows, and what
//! was learned of it is lost.

use arbitrary::{Result, Unstructured};
use libfuzzer_sys::fuzzer_mutate;

/// One entry, or one thing in a lower directory.
pub const RECORD: usize = 20;

/// The first one holds the settings.
pub const RECORDS: usize = 24;

/// What `-max_len` is to say.
pub const LONGEST: usize = RECORD * RECORDS;

/// Each record by itself; the last one may be short, and what it lacks is zero.
pub fn each<'a>(input: &'a [u8]) -> impl Iterator<Item = Unstructured<'a>> {
    input.chunks(RECORD).map(Unstructured::new)
}

/// One of a table, by one byte.
pub fn pick<'t, T>(u: &mut Unstructured<'_>, table: &'t [T]) -> Result<&'t T> {
    let byte: u8 = u.arbitrary()?;
    Ok(&table[usize::from(byte) % table.len()])
}

/// A custom mutator of libFuzzer: records come, go, move and change.
pub fn mutate(data: &mut [u8], size: usize, max_size: usize, seed: u32) -> usize {
    let mut random = Random(seed.into());
    let (count, room) = (size / RECORD, max_size / RECORD);
    if count == 0 && room > 0 {
        let count = 2 + random.below(room.min(8));
        let size = count.min(room) * RECORD;
        data[..size].fill_with(|| random.byte());
        return size;
    }
    let at = random.below(count.max(1)) * RECORD;
    match random.below(8) {
        0 if count < room => {
            data.copy_within(at..count * RECORD, at + RECORD);
            data[at..at + RECORD].fill_with(|| random.byte());
            (count + 1) * RECORD
        }
        1 if count < room => {
            let from = random.below(count) * RECORD;
            let mut copy = [0; RECORD];
            copy.copy_from_slice(&data[from..from + RECORD]);
            data.copy_within(at..count * RECORD, at + RECORD);
            data[at..at + RECORD].copy_from_slice(&copy);
            (count + 1) * RECORD
        }
        2 if count > 1 => {
            data.copy_within(at + RECORD..count * RECORD, at);
            (count - 1) * RECORD
        }
        3 if count > 1 => {
            let other = random.below(count) * RECORD;
            (0..RECORD).for_each(|byte| data.swap(at + byte, other + byte));
            count * RECORD
        }
        4 if count > 0 => {
            data[at..at + RECORD].fill_with(|| random.byte());
            count * RECORD
        }
        5 | 6 if count > 0 => {
            for _ in 0..=random.below(3) {
                data[at + random.below(RECORD)] = random.byte();
            }
            count * RECORD
        }
        _ => fuzzer_mutate(data, size, max_size),
    }
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    fn byte(&mut self) -> u8 {
        (self.next() >> 24) as u8
    }
}
