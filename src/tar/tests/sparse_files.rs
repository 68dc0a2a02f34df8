// SPDX-License-Identifier: Apache-2.0
//! Sparse files, in the four ways in which GNU tar has written them.

use super::*;
use SparseFault::*;

const GNU_MAGIC: Patch = (257, b"ustar  \0");

fn slots(pairs: &[(u64, u64)]) -> Vec<u8> {
    pairs.iter().flat_map(|(at, len)| format!("{at:011o}\0{len:011o}\0").into_bytes()).collect()
}

/// Old GNU: pairs in the header, then blocks of more pairs.
fn old(size: u64, stored: usize, pairs: &[(u64, u64)], more: &[&[(u64, u64)]]) -> Archive {
    let (slots_here, size) = (slots(pairs), format!("{size:011o}\0"));
    let extended: &[u8] = if more.is_empty() { b"\0" } else { b"\x01" };
    let patches = [GNU_MAGIC, (386, &slots_here), (482, extended), (483, size.as_bytes())];
    let mut archive = Archive::default().block(header("a", b'S', stored, &patches));
    for (n, pairs) in more.iter().enumerate() {
        let mut block = [0; BLOCK];
        let slots = slots(pairs);
        block[..slots.len()].copy_from_slice(&slots);
        block[504] = (n + 1 < more.len()) as u8;
        archive = archive.block(block);
    }
    archive.data(&vec![b'd'; stored])
}

/// Version 0.0, 0.1 or 1.0 with records as given, and stored data.
fn pax(records: &[(&str, &str)], stored: &[u8]) -> Archive {
    let keys: Vec<String> = records.iter().map(|(key, _)| format!("GNU.sparse.{key}")).collect();
    let records: Vec<(&str, &[u8])> = keys
        .iter()
        .zip(records)
        .map(|(key, (_, value))| (key.as_str(), value.as_bytes()))
        .collect();
    Archive::default().pax(&records).file("GNUSparseFile.1/a", stored)
}

fn in_data(size: &str, map: &str, data: &[u8]) -> Archive {
    let mut stored = map.as_bytes().to_vec();
    stored.resize(stored.len().next_multiple_of(BLOCK), 0);
    stored.extend_from_slice(data);
    pax(&[("major", "1"), ("minor", "0"), ("name", "a"), ("realsize", size)], &stored)
}

#[test]
fn every_version_puts_the_data_where_it_belongs() {
    let (zero, one) = ([("size", "30"), ("numblocks", "3")], [("size", "30"), ("numblocks", "3")]);
    let pairs = [
        ("offset", "4"),
        ("numbytes", "2"),
        ("offset", "10"),
        ("numbytes", "1"),
        ("offset", "30"),
        ("numbytes", "0"),
    ];
    let table = [
        old(30, 3, &[(4, 2), (10, 1), (30, 0)], &[]),
        old(30, 3, &[(0, 0), (1, 0), (2, 0), (4, 2)], &[&[(10, 1), (30, 0)]]),
        old(30, 3, &[(0, 0), (1, 0), (2, 0), (4, 2)], &[&[(5 + 1, 0); 21], &[(10, 1)]]),
        pax(&[&zero[..], &pairs].concat(), b"ddd"),
        pax(&[&one[..], &[("name", "a"), ("map", "4,2,10,1,30,0")]].concat(), b"ddd"),
        in_data("30", "3\n4\n2\n10\n1\n30\n0\n", b"ddd"),
    ];
    for archive in table {
        let seen = archive.file("next", b"n").read().unwrap();
        assert_eq!(seen.len(), 2);
        assert_eq!(seen[0].entry.size, 30);
        let segments = vec![Segment { offset: 4, length: 2 }, Segment { offset: 10, length: 1 }];
        assert_eq!(seen[0].entry.sparse, Some(segments));
        assert_eq!(seen[0].data, [(4, b"dd".to_vec()), (10, b"d".to_vec())]);
        assert_eq!(seen[1].entry.sparse, None);
        assert_eq!(seen[1].content(), b"n");
    }
}

#[test]
fn a_file_that_is_one_hole_has_no_data() {
    let table = [
        old(1 << 30, 0, &[(1 << 30, 0)], &[]),
        old(1 << 30, 0, &[], &[]),
        pax(&[("size", "1073741824"), ("numblocks", "0")], b""),
        pax(&[("size", "1073741824"), ("numblocks", "1"), ("map", "1073741824,0")], b""),
        in_data("1073741824", "1\n1073741824\n0\n", b""),
        in_data("1073741824", "0\n", b""),
    ];
    for archive in table {
        let seen = archive.one();
        assert_eq!((seen.entry.size, seen.entry.sparse), (1 << 30, Some(vec![])));
        assert_eq!(seen.data, []);
    }
}

#[test]
fn a_map_in_the_data_may_be_longer_than_a_block() {
    let count = 1000u64;
    let mut map = format!("{count}\n");
    (0..count).for_each(|n| map.push_str(&format!("{}\n1\n", n * 5_000)));
    let data = vec![b'd'; count as usize];
    let seen = in_data("5000000", &map, &data).one();
    assert_eq!(seen.data.len(), 1000);
    assert_eq!(seen.data[999], (999 * 5_000, b"d".to_vec()));
    assert_eq!(seen.name(), "a");
}

#[test]
fn maps_that_do_not_fit_are_refused() {
    let huge = u64::MAX.to_string();
    let many = format!("{}\n", 1 << 20);
    let table = [
        (old(30, 3, &[(4, 2), (5, 1)], &[]), Order),
        (old(30, 3, &[(10, 2), (4, 1)], &[]), Order),
        (old(10, 3, &[(4, 2), (10, 1)], &[]), PastSize),
        (old(30, 3, &[(4, 2), (10, 2)], &[]), Stored { mapped: 4, stored: 3 }),
        (old(30, 3, &[(4, 2)], &[]), Stored { mapped: 2, stored: 3 }),
        (old(30, 3, &[(4, 2)], &[&[(10, 1)]]), Ambiguous),
        (pax(&[("map", "4,3")], b"ddd"), NoSize),
        (pax(&[("size", "30")], b"ddd"), NoMap),
        (pax(&[("name", "a")], b"ddd"), NoSize),
        (
            pax(&[("size", "30"), ("numblocks", "2"), ("map", "4,3")], b"ddd"),
            Count { announced: 2, got: 1 },
        ),
        (
            pax(&[("size", "30"), ("major", "2"), ("map", "4,3")], b"ddd"),
            Version { major: 2, minor: 0 },
        ),
        (pax(&[("size", "30"), ("major", "1"), ("minor", "0"), ("map", "4,3")], b""), Ambiguous),
        (in_data("30", "1\n29\n2\n", b"dd"), PastSize),
        (in_data("30", "1\n4\n2\n", b"d"), Stored { mapped: 2, stored: 1 }),
        (in_data("30", &many, b""), TooMany { limit: 65_536 }),
        (in_data("30", "1\n", b""), Malformed),
        (in_data("30", "\n", b""), Malformed),
        (in_data("30", "1\n4\n-2\n", b""), Malformed),
        (in_data("30", &format!("1\n{huge}0\n2\n"), b""), Malformed),
        (in_data("30", &format!("1\n{huge}\n2\n"), b""), PastSize),
        (in_data("30", &"0".repeat(1024), b""), NoMap),
        (in_data("30", "", b""), NoMap),
    ];
    for (n, (archive, expected)) in table.into_iter().enumerate() {
        let TarError::Sparse { fault, .. } = archive.refused() else { panic!("{expected}") };
        assert_eq!(fault, expected, "{n}");
    }
    let table: &[(&[(&str, &str)], SparseFault)] = &[
        (&[("offset", "4"), ("offset", "5")], Unpaired),
        (&[("offset", "4")], Unpaired),
        (&[("numbytes", "4")], Unpaired),
        (&[("offset", "")], Malformed),
        (&[("offset", "4"), ("numbytes", "1"), ("map", "4,1")], Ambiguous),
        (&[("map", "4,1"), ("offset", "4")], Ambiguous),
        (&[("map", "4")], Unpaired),
        (&[("map", "4,")], Malformed),
        (&[("map", "4,1,x,1")], Malformed),
        (&[("map", "4,2,5,2")], Order),
    ];
    for (records, expected) in table {
        let TarError::Pax { fault, .. } = pax(records, b"").refused() else { panic!("{expected}") };
        assert_eq!(fault, PaxFault::Sparse(*expected));
    }
}

#[test]
fn only_files_in_the_right_dialect_are_sparse() {
    let sparse: &[(&str, &[u8])] = &[("GNU.sparse.size", b"1"), ("GNU.sparse.map", b"1,0")];
    for typeflag in *b"123456S" {
        let archive =
            Archive::default().pax(sparse).entry("a", typeflag, &[(157, b"t"), GNU_MAGIC]);
        assert_eq!(archive.refused(), TarError::Sparse { offset: 1024, fault: NotAFile });
    }
    let error = Archive::default().entry("a", b'S', &[]).refused();
    assert_eq!(error, TarError::Sparse { offset: 0, fault: NotGnu });
}

#[test]
fn a_sparse_file_claims_no_more_than_the_limit() {
    let limits = Limits { bytes: 1 << 30, ..Limits::default() };
    let archive = old((1 << 30) + 1, 0, &[], &[]).end();
    let error = read_pieces([&archive[..]], &limits).unwrap_err();
    assert_eq!(
        error,
        ParseError::Limit(LimitExceeded::Bytes { got: (1 << 30) + 1, limit: 1 << 30 })
    );
    let archive = in_data(&((1u64 << 30) + 1).to_string(), "0\n", b"").end();
    assert!(read_pieces([&archive[..]], &limits).is_err());
}
