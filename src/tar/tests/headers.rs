// SPDX-License-Identifier: Apache-2.0
//! Headers, numbers and the end of an archive.

use super::super::error::NumberFault::{self, Malformed, Range};
use super::super::number;
use super::*;

#[test]
fn fields_are_octal_or_base_256() {
    let table: &[(&[u8], Result<i64, NumberFault>)] = &[
        (b"0000644\0", Ok(0o644)),
        (b"   644 \0", Ok(0o644)),
        (b"\0\0 644  ", Ok(0o644)),
        (b"644\0junk", Ok(0o644)),
        (b"77777777777\0", Ok(0o77777777777)),
        (b"777777777777", Ok(0o777777777777)),
        (b"\0\0\0\0\0\0\0\0", Ok(0)),
        (b"        ", Ok(0)),
        (b"0000648\0", Err(Malformed)),
        (b"64 4    ", Err(Malformed)),
        (b"-1\0\0\0\0\0\0", Err(Malformed)),
        (b"0x1\0\0\0\0\0", Err(Malformed)),
        (b"\x80\0\0\0\0\0\x01\0", Ok(256)),
        (b"\xff\xff\xff\xff\xff\xff\xff\xff", Ok(-1)),
        (b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe", Ok(-2)),
        (b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff", Ok(i64::MAX)),
        (b"\xff\xff\xff\xff\x80\0\0\0\0\0\0\0", Ok(i64::MIN)),
        (b"\x80\0\0\0\x80\0\0\0\0\0\0\0", Err(Range)),
        (b"\xff\xff\xff\xff\x7f\xff\xff\xff\xff\xff\xff\xff", Err(Range)),
    ];
    for (bytes, expected) in table {
        assert_eq!(&number::field(bytes), expected, "{}", bytes.escape_ascii());
    }
}

#[test]
fn decimals_and_times_are_exact() {
    type Parsed = Result<(i64, u32), NumberFault>;
    let table: &[(&str, Parsed)] = &[
        ("0", Ok((0, 0))),
        ("1.5", Ok((1, 500_000_000))),
        ("1.", Ok((1, 0))),
        ("-1.5", Ok((-2, 500_000_000))),
        ("-0.5", Ok((-1, 500_000_000))),
        ("-0.0", Ok((0, 0))),
        ("-1", Ok((-1, 0))),
        ("1.000000001", Ok((1, 1))),
        ("1.0000000019", Ok((1, 1))),
        ("-1.0000000019", Ok((-2, 999_999_999))),
        ("-1.0000000009", Ok((-1, 0))),
        ("9223372036854775807.999999999", Ok((i64::MAX, 999_999_999))),
        ("-9223372036854775808", Ok((i64::MIN, 0))),
        ("-9223372036854775808.1", Err(Range)),
        ("9223372036854775808", Err(Range)),
        ("99999999999999999999999", Err(Range)),
        ("", Err(Malformed)),
        (".5", Err(Malformed)),
        ("+1", Err(Malformed)),
        ("1.-5", Err(Malformed)),
        ("1.5.5", Err(Malformed)),
        ("1e3", Err(Malformed)),
        (" 1", Err(Malformed)),
        ("-", Err(Malformed)),
    ];
    for (text, expected) in table {
        let time = number::time(text.as_bytes()).map(|time| (time.seconds, time.nanoseconds));
        assert_eq!(&time, expected, "{text}");
    }
}

#[test]
fn every_typeflag_has_its_kind() {
    let link: Patch = (157, b"target");
    let table = [
        (b'0', Kind::File),
        (0, Kind::File),
        (b'7', Kind::File),
        (b'1', Kind::Hardlink),
        (b'2', Kind::Symlink),
        (b'3', Kind::CharDevice),
        (b'4', Kind::BlockDevice),
        (b'5', Kind::Directory),
        (b'6', Kind::Fifo),
    ];
    for (typeflag, kind) in table {
        let entry = Archive::default().entry("a", typeflag, &[link]).one().entry;
        assert_eq!(entry.kind, kind);
        let has_link = matches!(kind, Kind::Hardlink | Kind::Symlink);
        assert_eq!(entry.link, if has_link { &b"target"[..] } else { b"" });
        assert_eq!((entry.uid, entry.gid, entry.mode), (0o1750, 0o1751, 0o644));
        assert_eq!(entry.mtime, Time { seconds: 0o1000, nanoseconds: 0 });
    }
    for typeflag in (0..=255u8).filter(|b| !b"\x0001234567LKxXgS".contains(b)) {
        let error = Archive::default().entry("a", typeflag, &[]).refused();
        let found = Quoted::new(&[typeflag]);
        assert_eq!(error, TarError::UnknownType { offset: 0, found });
    }
}

#[test]
fn names_are_joined_only_where_the_dialect_has_a_prefix() {
    let prefix: Patch = (345, b"some/where");
    let table: &[(&[Patch], &str)] = &[
        (&[prefix], "some/where/a"),
        (&[prefix, (257, &[0; 8])], "a"),
        (&[prefix, (476, b"00000000001"), (508, b"tar\0")], "some/where/a"),
        (&[], "a"),
    ];
    for (patches, name) in table {
        assert_eq!(Archive::default().entry("a", b'0', patches).one().name(), *name);
    }
    let full = "n".repeat(100);
    let prefix = [b'p'; 155];
    let name = Archive::default().entry(&full, b'0', &[(345, &prefix)]).one().name();
    assert_eq!(name, format!("{}/{full}", "p".repeat(155)));
}

#[test]
fn a_file_named_like_a_directory_is_one_unless_it_has_data() {
    for typeflag in [0, b'0', b'7'] {
        let entry = Archive::default().entry("a/", typeflag, &[]).one().entry;
        assert_eq!(entry.kind, Kind::Directory);
        let archive = Archive::default().block(header("a/", typeflag, 5, &[])).data(b"hello");
        let error = archive.refused();
        assert_eq!(error, TarError::FileNamedAsDirectory { offset: 0, size: 5 });
    }
}

/// Go and POSIX see the second entry, whatever the first one's size says.
#[test]
fn only_files_have_data() {
    for typeflag in *b"123456" {
        let hidden = header("hidden", b'0', 0, &[]);
        let first = header("a", typeflag, BLOCK, &[(157, b"target")]);
        let seen = Archive::default().block(first).block(hidden).read().unwrap();
        assert_eq!(seen.iter().map(Seen::name).collect::<Vec<_>>(), ["a", "hidden"]);
        assert_eq!(seen[0].entry.size, 0);
        // Where there was data after all, it is no header.
        let error = Archive::default().block(first).data(&[b'd'; BLOCK]).refused();
        assert!(matches!(error, TarError::Checksum { offset: 512, .. }));
    }
}

#[test]
fn numbers_that_linux_would_cut_off_are_refused() {
    let huge = b"\x80\0\0\x01\0\0\0\0";
    let minus = b"\xff\xff\xff\xff\xff\xff\xff\xff";
    let minus12 = [0xff; 12];
    let all_ones = b"\x80\0\0\0\xff\xff\xff\xff";
    let table: &[(&str, u8, usize, &[u8])] = &[
        ("uid", b'0', 108, huge),
        ("uid", b'0', 108, minus),
        ("uid", b'0', 108, all_ones),
        ("gid", b'5', 116, huge),
        ("gid", b'5', 116, minus),
        ("gid", b'5', 116, all_ones),
        ("mode", b'0', 100, minus),
        ("size", b'0', 124, &minus12),
        ("device major", b'3', 329, b"0010000\0"),
        ("device major", b'4', 329, minus),
        ("device minor", b'3', 337, b"4000000\0"),
        ("device minor", b'4', 337, minus),
    ];
    for (name, typeflag, at, bytes) in table {
        let archive = Archive::default().file("first", b"").entry("a", *typeflag, &[(*at, bytes)]);
        let found = Quoted::new(bytes);
        let expected = TarError::Number { offset: 512, field: name, found, fault: Range };
        assert_eq!(archive.refused(), expected);
    }
    let largest: &[Patch] = &[
        (108, b"\x80\0\0\0\xff\xff\xff\xfe"),
        (329, b"0007777\0"),
        (337, b"3777777\0"),
        (100, b"0147777\0"),
        (136, &minus12),
    ];
    let entry = Archive::default().entry("a", b'3', largest).one().entry;
    assert_eq!((entry.uid, entry.device, entry.mode), (u32::MAX - 1, (4095, 1048575), 0o7777));
    assert_eq!(entry.mtime.seconds, -1);
    // Other kinds keep anything there.
    let entry = Archive::default().entry("a", b'0', &[(329, b"garbage")]).one().entry;
    assert_eq!(entry.device, (0, 0));
}

#[test]
fn both_checksums_are_accepted_and_no_other() {
    let name = [0xe4; 100];
    let mut block = header("a", b'0', 0, &[(0, &name)]);
    assert!(read(&Archive::default().block(block).end()).is_ok());
    let stored = u32::from_str_radix(std::str::from_utf8(&block[148..154]).unwrap(), 8).unwrap();
    let signed = stored - 100 * 256;
    block[148..156].copy_from_slice(format!("{signed:06o}\0 ").as_bytes());
    assert!(read(&Archive::default().block(block).end()).is_ok());
    block[148..156].copy_from_slice(format!("{:06o}\0 ", stored + 1).as_bytes());
    assert_eq!(Archive::default().block(block).refused(), TarError::NotTar);
    let error = Archive::default().file("first", b"x").block(block).refused();
    let TarError::Checksum { offset: 1024, computed, .. } = error else { panic!("{error}") };
    assert_eq!(computed, i64::from(stored));
}

#[test]
fn what_is_no_archive_is_called_so() {
    for garbage in [&b"<html>".repeat(200)[..], &[0xff; 512], &[1; 4096]] {
        let error = read(garbage).unwrap_err();
        assert_eq!(error.to_string(), "not a tar archive");
    }
}

#[test]
fn names_must_not_be_empty() {
    let error = Archive::default().entry("", b'0', &[]).refused();
    assert_eq!(error.to_string(), "header at 0: name: is empty");
    let error = Archive::default().entry("a", b'2', &[]).refused();
    assert_eq!(error.to_string(), "header at 0: link target: is empty");
}

#[test]
fn end_marker_has_two_zero_blocks_or_is_the_last_one() {
    let good = Archive::default().file("a", b"hello");
    for after in
        [vec![], vec![0; 512], vec![0; 700], Archive::default().block([0; BLOCK]).file("b", b"").0]
    {
        let mut archive = good.clone().block([0; BLOCK]).0;
        archive.extend_from_slice(&after);
        let seen = read(&archive).unwrap();
        assert_eq!(seen.len(), 1);
        assert_eq!(seen[0].content(), b"hello");
    }
    assert_eq!(read(b"").unwrap(), []);
    assert_eq!(Archive::default().read().unwrap(), []);
}

#[test]
fn limits_are_exact() {
    type Change = fn(&mut Limits);
    let deep = Archive::default().file("a/./b//c", b"12345").file("b", b"123456");
    let pax = Archive::default().pax(&[("SCHILY.xattr.user.a", b"12345")]).file("a", b"");
    let link = Archive::default().entry("a", b'2', &[(157, b"long target")]);
    let table: &[(&Archive, Change, Change, LimitExceeded)] = &[
        (&deep, |l| l.entries = 2, |l| l.entries = 1, LimitExceeded::Entries(1)),
        (&deep, |l| l.bytes = 11, |l| l.bytes = 10, LimitExceeded::Bytes { got: 11, limit: 10 }),
        (
            &deep,
            |l| l.path_bytes = 8,
            |l| l.path_bytes = 7,
            LimitExceeded::PathBytes { got: 8, limit: 7 },
        ),
        (
            &link,
            |l| l.path_bytes = 11,
            |l| l.path_bytes = 10,
            LimitExceeded::PathBytes { got: 11, limit: 10 },
        ),
        (
            &deep,
            |l| l.path_depth = 3,
            |l| l.path_depth = 2,
            LimitExceeded::PathDepth { got: 3, limit: 2 },
        ),
        (
            &pax,
            |l| l.xattr_bytes = 11,
            |l| l.xattr_bytes = 10,
            LimitExceeded::XattrBytes { got: 11, limit: 10 },
        ),
    ];
    for (archive, enough, short, exceeded) in table {
        let archive = (*archive).clone().end();
        let mut limits = Limits::default();
        enough(&mut limits);
        assert!(read_pieces([&archive[..]], &limits).is_ok(), "{exceeded}");
        short(&mut limits);
        let error = read_pieces([&archive[..]], &limits).unwrap_err();
        assert_eq!(error, ParseError::Limit(*exceeded));
    }
}

#[test]
fn errors_tell_the_entry() {
    let archive = Archive::default().file("first", b"x");
    let long = archive.clone().pax(&[("path", b"second"), ("uid", b"1")]);
    let table = [
        (archive.clone().block([1; BLOCK]), 1, "", 1024),
        (archive.clone().global(&[]).block([1; BLOCK]), 1, "", 1536),
        (long.clone().entry("a", b'?', &[]), 1, "", 1024),
        (long.entry("a", b'0', &[(100, b"xx")]), 1, "second", 1024),
        // In an extension header: the name that it gives, or the one that its own header has.
        (archive.clone().pax(&[("path", b"third"), ("uid", b"x")]), 1, "third", 1024),
        (archive.clone().pax(&[("uid", b"x")]), 1, "extension", 1024),
        (archive.clone().extension(b'L', b"long\0").extension(b'x', b"?"), 1, "long", 1024),
        (archive.block(header("cut", b'0', 512, &[])), 1, "cut", 1024),
    ];
    for (archive, index, path, offset) in table {
        let mut parser = Parser::new(&Limits::default());
        let mut rest = &archive.0[..];
        while let Ok((taken, event)) = parser.step(rest)
            && event != Event::More
        {
            rest = &rest[taken..];
        }
        let error = parser.finish().unwrap_err();
        let place = parser.place();
        assert_eq!((place.entry, &place.path[..], place.offset), (index, path.as_bytes(), offset));
        if !matches!(error, ParseError::Tar(TarError::Truncated { .. })) {
            assert_eq!(parser.step(&[0; 512]), Err(error), "a refused archive stays refused");
        }
    }
}

#[test]
fn prefix_beside_gnu_magic_is_one_where_the_times_are_no_numbers() {
    const GNU: Patch = (257, b"ustar  \0");
    let table: &[(&[Patch], &str)] = &[
        (&[GNU, (345, b"opt/one")], "opt/one/conf"),
        // What GNU tar writes there: atime and ctime.
        (&[GNU, (345, b"14712251532\x0014712251532\0")], "conf"),
        (&[GNU, (345, b"14712251532\0no time\0")], "14712251532/conf"),
        (&[GNU, (345, b"\x80\0\0\0\0\0\0\0\0\0\0\x05")], "conf"),
        (&[GNU, (345, b"opt/\xff")], "conf"),
        (&[GNU], "conf"),
    ];
    for (patches, name) in table {
        assert_eq!(Archive::default().entry("conf", b'0', patches).one().name(), *name);
    }
}

#[test]
fn only_a_directory_may_have_no_name() {
    assert_eq!(Archive::default().entry("", b'5', &[]).one().name(), "");
    let empty = TarError::Name { offset: 0, field: "name", fault: NameFault::Empty };
    assert_eq!(Archive::default().entry("", b'0', &[]).refused(), empty);
}
