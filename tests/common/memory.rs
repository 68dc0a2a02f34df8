// SPDX-License-Identifier: Apache-2.0
//! What this process needs of it, and layers that need none.

use ocilayer::Source;

use super::archive::Entry;

/// A layer whose entries are made as they are read.
pub fn made_as_read<'s>(entries: usize, entry: impl Fn(usize) -> Entry + Send + 's) -> Source<'s> {
    let (mut made, mut piece) = (0, Vec::new());
    Source::reader(move |buffer| {
        if piece.is_empty() && made <= entries {
            piece = if made < entries { entry(made).bytes() } else { vec![0; 1024] };
            made += 1;
        }
        let count = piece.len().min(buffer.len());
        buffer[..count].copy_from_slice(&piece[..count]);
        piece.drain(..count);
        Ok(count)
    })
}

/// The most memory that this process has had, in bytes.
pub fn high_water() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("VmHWM");
    let kilobytes = line.trim().strip_suffix(" kB").expect("kB");
    kilobytes.parse::<usize>().expect("a number") << 10
}

/// A thousand findings on their way between two threads, and what the allocator leaves unused. All
/// of those that are counted below would take ten times as much.
pub const UNDER_WAY: usize = 4 << 20;
