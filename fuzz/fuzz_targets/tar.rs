// SPDX-License-Identifier: Apache-2.0
//! The tar parser on anything: no panic, the promises of its documentation, and the same entries
//! however the input is cut.
//!
//! The first byte of the input says into how large pieces the rest is cut. Checksums are put right
//! wherever a block looks like a header: otherwise hardly any input would get past the first.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ocilayer::Limits;
use ocilayer::fuzzing::{ArchiveEnd, Entry, Event, Kind, ParseError, Parser};

const BLOCK: usize = 512;
const CHECKSUM: std::ops::Range<usize> = 148..156;

type Outcome = (Vec<(Entry, Vec<u8>)>, Result<ArchiveEnd, ParseError>);

fuzz_target!(|input: &[u8]| {
    let Some((&size, archive)) = input.split_first() else { return };
    let mut archive = archive.to_vec();
    for block in archive.chunks_exact_mut(BLOCK).filter(|block| block[257..].starts_with(b"ustar"))
    {
        block[CHECKSUM].fill(b' ');
        let sum = block.iter().map(|&b| u32::from(b)).sum::<u32>();
        block[CHECKSUM].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
    let whole = read(&archive, archive.len().max(1));
    let pieces = read(&archive, usize::from(size) * 3 + 1);
    assert_eq!(whole, pieces);
});

fn read(archive: &[u8], size: usize) -> Outcome {
    let mut parser = Parser::new(&Limits::default());
    let mut seen = Vec::new();
    let result = archive.chunks(size).try_for_each(|piece| take(&mut parser, piece, &mut seen));
    (seen, result.and_then(|()| parser.finish()))
}

fn take(
    parser: &mut Parser,
    mut piece: &[u8],
    seen: &mut Vec<(Entry, Vec<u8>)>,
) -> Result<(), ParseError> {
    loop {
        let (taken, event) = parser.step(piece)?;
        piece = &piece[taken..];
        match event {
            Event::More => {
                assert!(piece.is_empty());
                return Ok(());
            }
            Event::Entry => seen.push((checked(parser.entry()), Vec::new())),
            Event::Data { at, bytes } => {
                let (entry, data) = seen.last_mut().expect("data belong to an entry");
                assert!(!bytes.is_empty());
                assert!(at + bytes.len() as u64 <= entry.size);
                data.extend_from_slice(bytes);
            }
            Event::EntryEnd => {
                let (entry, data) = seen.last().expect("an entry ends");
                let mapped =
                    |map: &Vec<_>| map.iter().map(|s: &ocilayer::fuzzing::Segment| s.length).sum();
                let stored: u64 = entry.sparse.as_ref().map_or(entry.size, mapped);
                assert_eq!(data.len() as u64, stored);
            }
            Event::End | Event::Global => {}
            other => panic!("an event that this target does not know: {other:?}"),
        }
    }
}

fn checked(entry: &Entry) -> Entry {
    assert!(!entry.name.is_empty() || entry.kind == Kind::Directory);
    assert!(!entry.name.contains(&0) && !entry.link.contains(&0));
    assert!(entry.mode <= 0o7777 && entry.uid != u32::MAX && entry.gid != u32::MAX);
    assert!(entry.device.0 < 1 << 12 && entry.device.1 < 1 << 20);
    assert!(entry.mtime.nanoseconds < 1_000_000_000);
    let mut end = 0;
    for segment in entry.sparse.iter().flatten() {
        assert!(segment.length > 0 && segment.offset >= end);
        end = segment.offset + segment.length;
    }
    assert!(end <= entry.size);
    entry.clone()
}
