// SPDX-License-Identifier: Apache-2.0
//! Input in pieces, cut short, or damaged.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// One of everything.
pub(super) fn everything() -> Vec<u8> {
    let map = "2\n4\n2\n600\n600\n";
    let mut in_data = map.as_bytes().to_vec();
    in_data.resize(BLOCK, 0);
    in_data.resize(BLOCK + 602, b's');
    let mut slots = b"00000000000\x0000000000005\0".to_vec();
    slots.extend_from_slice(&b"00000000005\x0000000000000\0".repeat(3));
    let mut more = [0; BLOCK];
    more[..24].copy_from_slice(b"00000001000\x0000000000005\0");
    let gnu: &[Patch] =
        &[(257, b"ustar  \0"), (386, &slots), (482, b"\x01"), (483, b"00000002000\0")];
    Archive::default()
        .global(&[("comment", b"for all"), ("uid", b"77")])
        .entry("dir/", b'5', &[])
        .file("dir/file", &[b'f'; 1300])
        .file("dir/block", &[b'b'; BLOCK])
        .extension(b'L', &[&[b'n'; 700][..], b"\0"].concat())
        .extension(b'K', &[&[b'k'; 600][..], b"\0"].concat())
        .entry("short", b'1', &[(157, b"short")])
        .pax(&[
            ("GNU.sparse.major", b"1"),
            ("GNU.sparse.minor", b"0"),
            ("GNU.sparse.realsize", b"2000"),
            ("GNU.sparse.name", b"sparse"),
            ("SCHILY.xattr.user.a", &[b'\n'; 600]),
        ])
        .file("GNUSparseFile/sparse", &in_data)
        .block(header("old", b'S', 10, gnu))
        .block(more)
        .data(b"helloworld")
        .entry("device", b'3', &[])
        .end()
}

proptest! {
    #[test]
    fn pieces_of_any_size_give_the_same_entries(cuts in vec(0usize..9_000, 0..40)) {
        let archive = everything();
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % archive.len()).collect();
        cuts.extend([0, archive.len()]);
        cuts.sort_unstable();
        let pieces = cuts.windows(2).map(|ends| &archive[ends[0]..ends[1]]);
        prop_assert_eq!(read_pieces(pieces, &Limits::default()), read(&archive));
    }

    #[test]
    fn random_bytes_never_panic(bytes in vec(any::<u8>(), 0..3_000)) {
        let _ = read(&bytes);
    }

    /// Checksums are put right again, so that damage gets past them.
    #[test]
    fn damage_never_panics_and_pieces_agree_about_it(
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..12),
        size in 1usize..700,
    ) {
        let mut archive = everything();
        for (at, byte) in damage {
            let at = at.index(archive.len());
            archive[at] = byte;
            let start = at / BLOCK * BLOCK;
            let block: Block = archive[start..start + BLOCK].try_into().unwrap();
            if block[257..262] == *b"ustar" {
                archive[start..start + BLOCK].copy_from_slice(&checksummed(block));
            }
        }
        let whole = read(&archive);
        prop_assert_eq!(read_pieces(archive.chunks(size), &Limits::default()), whole);
    }

    #[test]
    fn random_records_never_panic(bytes in vec(any::<u8>(), 0..400), key in 0usize..6) {
        let keys = ["path", "size", "mtime", "GNU.sparse.map", "LIBARCHIVE.xattr.a", "SCHILY.xattr.a"];
        let _ = Archive::default().extension(b'x', &bytes).file("a", b"").read();
        let _ = Archive::default().pax(&[(keys[key], &bytes)]).file("a", b"").read();
    }
}

#[test]
fn byte_by_byte_is_the_same() {
    let archive = everything();
    let whole = read(&archive).unwrap();
    assert_eq!(whole.len(), 7);
    assert_eq!(read_pieces(archive.chunks(1), &Limits::default()).unwrap(), whole);
}

#[test]
fn a_file_in_one_piece_of_input_comes_in_one_piece() {
    let archive = Archive::default().file("a", &[b'x'; 100_000]).end();
    let mut parser = Parser::new(&Limits::default());
    let (taken, event) = parser.step(&archive).unwrap();
    assert_eq!((taken, event), (BLOCK, Event::Entry));
    let (taken, event) = parser.step(&archive[BLOCK..]).unwrap();
    let Event::Data { at: 0, bytes } = event else { panic!("{event:?}") };
    assert_eq!((taken, bytes.as_ptr()), (100_000, archive[BLOCK..].as_ptr()));
}

#[test]
fn only_ends_at_a_header_or_in_padding_may_be_whole() {
    let archive = everything();
    let finish = |bytes: &[u8]| {
        let mut parser = Parser::new(&Limits::default());
        let mut rest = bytes;
        loop {
            let (taken, event) = parser.step(rest).unwrap();
            rest = &rest[taken..];
            if event == Event::More {
                return parser.finish();
            }
        }
    };
    // From the end of some data to where the next header begins: of the global header, the files of
    // 1300 and 512 bytes, the long name, the long link target, the PAX header and so on.
    let records = |keys: &[(&str, &[u8])]| body(keys).len();
    let sizes = [
        records(&[("comment", b"for all"), ("uid", b"77")]),
        0,
        1300,
        BLOCK,
        701,
        601,
        0,
        records(&[
            ("GNU.sparse.major", b"1"),
            ("GNU.sparse.minor", b"0"),
            ("GNU.sparse.realsize", b"2000"),
            ("GNU.sparse.name", b"sparse"),
            ("SCHILY.xattr.user.a", &[b'\n'; 600]),
        ]),
        BLOCK + 602,
        BLOCK + 10,
        0,
    ];
    let (mut at, mut ends) = (0, vec![]);
    for size in sizes {
        let end = at + BLOCK + size;
        at = end.next_multiple_of(BLOCK);
        ends.push(end..=at);
    }
    assert_eq!(at + 2 * BLOCK, archive.len());
    for length in 1..archive.len() {
        let offset = length as u64;
        let expected = match ends.iter().any(|end| end.contains(&length)) {
            true => Ok(ArchiveEnd::Missing { offset }),
            // A lone block of zeros.
            false if length == at + BLOCK => Ok(ArchiveEnd::Marker),
            false => Err(ParseError::Tar(TarError::Truncated { offset })),
        };
        assert_eq!(finish(&archive[..length]), expected, "cut to {length}");
    }
    assert_eq!(finish(b""), Ok(ArchiveEnd::Empty));
    assert_eq!(finish(&archive), Ok(ArchiveEnd::Marker));
}

#[test]
fn entry_behind_a_lone_block_of_zeros_is_refused() {
    let archive = Archive::default().file("a", b"").block([0; BLOCK]).file("b", b"");
    assert_eq!(archive.refused(), TarError::LoneZeroBlock { offset: 1024 });
}
