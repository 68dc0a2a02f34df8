// SPDX-License-Identifier: Apache-2.0
//! PAX records and GNU long names.

use super::super::error::NumberFault::{Malformed, Range};
use super::*;

fn pax_fault(archive: Archive) -> PaxFault {
    match archive.refused() {
        TarError::Pax { offset: 0, fault } => fault,
        other => panic!("{other}"),
    }
}

#[test]
fn records_and_long_names_override_the_header() {
    let all = Archive::default()
        .pax(&[("path", b"pax \xff name"), ("linkpath", b"pax link")])
        .entry("name", b'2', &[(157, b"link")]);
    let seen = all.one();
    assert_eq!(
        (&seen.entry.name[..], &seen.entry.link[..]),
        (&b"pax \xff name"[..], &b"pax link"[..])
    );
    assert_eq!(seen.entry.offset, 0);

    let gnu = Archive::default()
        .extension(b'L', b"gnu name\0\0\0")
        .extension(b'K', b"gnu link")
        .pax(&[("path", b""), ("linkpath", b"")])
        .entry("name", b'1', &[(157, b"link")])
        .entry("next", b'1', &[(157, b"own")]);
    let seen = gnu.read().unwrap();
    assert_eq!((seen[0].name().as_str(), &seen[0].entry.link[..]), ("gnu name", &b"gnu link"[..]));
    assert_eq!((seen[1].name().as_str(), &seen[1].entry.link[..]), ("next", &b"own"[..]));
}

#[test]
fn every_field_comes_from_its_record() {
    // What the header says of them is nonsense, as some writers leave it.
    let nonsense: &[Patch] =
        &[(108, b"bad"), (116, b"bad"), (136, b"bad"), (329, b"bad"), (337, b"b")];
    let entry = Archive::default()
        .pax(&[
            ("hdrcharset", b"BINARY"),
            ("uid", b"4294967294"),
            ("gid", b"7"),
            ("mtime", b"-1.5"),
            ("atime", b"2.25"),
            ("ctime", b"nonsense"),
            ("uname", b"\xff"),
            ("comment", b"path=a\n12 path=evil\n"),
            ("SCHILY.devmajor", b"4095"),
            ("SCHILY.devminor", b"9"),
            ("SCHILY.fflags", b"uappnd"),
        ])
        .entry("a", b'3', nonsense)
        .one()
        .entry;
    assert_eq!((entry.uid, entry.gid, entry.device), (u32::MAX - 1, 7, (4095, 9)));
    assert_eq!(entry.mtime, Time { seconds: -2, nanoseconds: 500_000_000 });
    assert_eq!(entry.atime, Some(Time { seconds: 2, nanoseconds: 250_000_000 }));
    assert_eq!(entry.name, b"a");
}

#[test]
fn the_last_of_repeated_records_counts_and_an_empty_one_removes() {
    let archive = Archive::default()
        .pax(&[
            ("uid", b"1"),
            ("uid", b"2"),
            ("gid", b"3"),
            ("gid", b""),
            ("size", b"9"),
            ("size", b"5"),
        ])
        .file("a", b"hello");
    let seen = archive.one();
    assert_eq!((seen.entry.uid, seen.entry.gid), (2, 0o1751));
    assert_eq!(seen.content(), b"hello");
}

#[test]
fn a_value_with_a_newline_hides_no_record() {
    // A parser that splits at newlines sees a size of 1024 here, and with it another archive.
    let archive = Archive::default()
        .pax(&[("SCHILY.xattr.user.a", b"x\n13 size=1024\n\0y")])
        .file("a", b"hello")
        .file("b", b"");
    let seen = archive.read().unwrap();
    assert_eq!(seen.len(), 2);
    assert_eq!(seen[0].entry.xattrs, [(b"user.a".to_vec(), b"x\n13 size=1024\n\0y".to_vec())]);
    assert_eq!(seen[1].entry.xattrs, []);
}

#[test]
fn xattrs_are_exact_and_libarchive_s_only_a_substitute() {
    type Pairs = [(&'static str, &'static [u8])];
    let table: &[(&Pairs, &Pairs)] = &[
        (&[("SCHILY.xattr.user.e", b"")], &[("user.e", b"")]),
        (&[("SCHILY.xattr.user.a%25", b"=")], &[("user.a%25", b"=")]),
        (&[("LIBARCHIVE.xattr.user.%3d%25", b"AAEC/w")], &[("user.=%", b"\0\x01\x02\xff")]),
        (&[("LIBARCHIVE.xattr.a", b"AA==")], &[("a", b"\0")]),
        (&[("LIBARCHIVE.xattr.a", b"")], &[("a", b"")]),
        (&[("SCHILY.xattr.a", b"s"), ("LIBARCHIVE.xattr.a", b"AAAA")], &[("a", b"s")]),
        (&[("LIBARCHIVE.xattr.a", b"AAAA"), ("SCHILY.xattr.a", b"s")], &[("a", b"s")]),
        (
            &[("SCHILY.xattr.a", b"1"), ("SCHILY.xattr.b", b"2"), ("SCHILY.xattr.a", b"3")],
            &[("a", b"3"), ("b", b"2")],
        ),
    ];
    for (records, expected) in table {
        let entry = Archive::default().pax(records).file("a", b"").one().entry;
        let found: Vec<_> =
            entry.xattrs.iter().map(|(name, value)| (str(name), &value[..])).collect();
        assert_eq!(&found, expected);
    }
}

fn str(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn malformed_records_are_refused() {
    let table: &[(&[u8], PaxFault)] = &[
        (b"0 a=b\n", PaxFault::Length),
        (b"1", PaxFault::Length),
        (b"2 a=b\n", PaxFault::Length),
        (b"7 a=b\n", PaxFault::Length),
        (b"a=b\n", PaxFault::Length),
        (b" 6 a=b\n", PaxFault::Length),
        (b"-6 a=b\n", PaxFault::Length),
        (b"+6 a=b\n", PaxFault::Length),
        (b"6\0a=b\n", PaxFault::Length),
        (b"6 a=b\n\n", PaxFault::Length),
        (b"6 a=b\n\0\0", PaxFault::Length),
        (b"18446744073709551616 a=b\n", PaxFault::Length),
        (b"18446744073709551622 a=b\n", PaxFault::Length),
        (b"000000000000000000000000006 a=b\n", PaxFault::Length),
        (b"6 a=bc\n", PaxFault::NoNewline),
        (b"5 a=b\n", PaxFault::NoNewline),
        (b"6 abc\n", PaxFault::NoEquals),
        (b"5 =a\n", PaxFault::NoKey),
        (b"4 =\n", PaxFault::NoKey),
    ];
    for (bytes, fault) in table {
        let archive = Archive::default().extension(b'x', bytes).file("a", b"");
        assert_eq!(&pax_fault(archive), fault, "{}", bytes.escape_ascii());
        let archive = Archive::default().extension(b'g', bytes).file("a", b"");
        assert_eq!(&pax_fault(archive), fault, "{}", bytes.escape_ascii());
    }
}

#[test]
fn records_with_impossible_values_are_refused() {
    let number = |key: &str, found: &str, fault| PaxFault::Number {
        key: Quoted::new(key.as_bytes()),
        found: Quoted::new(found.as_bytes()),
        fault,
    };
    let nul = |key: &str| PaxFault::Nul { key: Quoted::new(key.as_bytes()) };
    let encoding = |key: &str| PaxFault::Encoding { key: Quoted::new(key.as_bytes()) };
    let table: &[(&str, &str, PaxFault)] = &[
        ("path", "a\0b", nul("path")),
        ("linkpath", "\0", nul("linkpath")),
        ("pa\0th", "a", nul("pa\0th")),
        ("SCHILY.xattr.a\0", "a", nul("SCHILY.xattr.a\0")),
        ("SCHILY.xattr.", "a", PaxFault::NoKey),
        ("LIBARCHIVE.xattr.", "", PaxFault::NoKey),
        ("LIBARCHIVE.xattr.%00", "", nul("LIBARCHIVE.xattr.%00")),
        ("LIBARCHIVE.xattr.%0", "", encoding("LIBARCHIVE.xattr.%0")),
        ("LIBARCHIVE.xattr.%zz", "", encoding("LIBARCHIVE.xattr.%zz")),
        ("LIBARCHIVE.xattr.a", "A", encoding("LIBARCHIVE.xattr.a")),
        ("LIBARCHIVE.xattr.a", "AAA-", encoding("LIBARCHIVE.xattr.a")),
        ("LIBARCHIVE.xattr.a", "AA=", encoding("LIBARCHIVE.xattr.a")),
        ("LIBARCHIVE.xattr.a", "=AAA", encoding("LIBARCHIVE.xattr.a")),
        ("size", "-1", number("size", "-1", Range)),
        ("size", "9223372036854775808", number("size", "9223372036854775808", Range)),
        ("size", "1 ", number("size", "1 ", Malformed)),
        ("uid", "-1", number("uid", "-1", Range)),
        ("uid", "4294967295", number("uid", "4294967295", Range)),
        ("gid", "4294967296", number("gid", "4294967296", Range)),
        ("mtime", "1.x", number("mtime", "1.x", Malformed)),
        ("SCHILY.devmajor", "4096", number("SCHILY.devmajor", "4096", Range)),
        ("SCHILY.devminor", "1048576", number("SCHILY.devminor", "1048576", Range)),
    ];
    for (key, value, fault) in table {
        let archive = Archive::default().pax(&[(key, value.as_bytes())]).entry("a", b'3', &[]);
        assert_eq!(&pax_fault(archive), fault);
    }
}

#[test]
fn records_of_a_global_header_are_told_of_and_not_applied() {
    let records: [(&str, &[u8]); 8] = [
        ("comment", b"x"),
        ("path", b"x"),
        ("uid", b"0"),
        ("gid", b"no number"),
        ("size", b"0"),
        ("mtime", b"9"),
        ("SCHILY.xattr.a", b"1"),
        ("GNU.sparse.major", b"1"),
    ];
    let plain = Archive::default().file("a", b"hello").file("b", b"");
    let archive = Archive::default().global(&records).file("a", b"hello");
    let archive = archive.global(&[("SCHILY.acl.access", b"")]).file("b", b"");
    let seen = archive.clone().read().unwrap();
    for (seen, plain) in seen.iter().zip(plain.read().unwrap()) {
        let entry = Entry { offset: plain.entry.offset, ..seen.entry.clone() };
        assert_eq!(Seen { entry, ..seen.clone() }, plain);
    }
    let places: Vec<_> = seen.iter().map(|s| (s.entry.index, s.entry.offset)).collect();
    assert_eq!(places, [(0, 1024), (1, 3072)]);
    let keys = global_records(&archive.end());
    let expected =
        "0: path uid gid size mtime SCHILY.xattr.a GNU.sparse.major; 1: SCHILY.acl.access; ";
    assert_eq!(keys, expected);
    assert_eq!(global_records(&Archive::default().global(&[("comment", b"x")]).end()), "");
}

/// What each global header says of entries, after the index of the entry behind it.
fn global_records(archive: &[u8]) -> String {
    let (mut parser, mut rest, mut keys) =
        (Parser::new(&Limits::default()), archive, String::new());
    loop {
        let (taken, event) = parser.step(rest).unwrap();
        rest = &rest[taken..];
        match event {
            Event::Global => {
                let records: Vec<&str> = parser.global_records().iter().map(|k| str(k)).collect();
                keys += &format!("{}: {}; ", parser.place().entry, records.join(" "));
            }
            Event::More => return keys,
            _ => {}
        }
    }
}

#[test]
fn records_that_are_not_read_are_told_of() {
    let records: [(&str, &[u8]); 7] = [
        ("SCHILY.acl.access", b"user::rw-"),
        ("SCHILY.fflags", b"nodump"),
        ("RHT.security.selinux", b"label"),
        ("MSWINDOWS.rawsd", b"AQAA"),
        // These mean nothing on disk, or are read.
        ("ctime", b"5"),
        ("SCHILY.dev", b"5"),
        ("mtime", b"5"),
    ];
    let seen = Archive::default().pax(&records).file("a", b"").file("b", b"").read().unwrap();
    let keys: Vec<_> = records[..4].iter().map(|(key, _)| key.as_bytes().to_vec()).collect();
    assert_eq!(seen[0].entry.ignored, keys);
    assert_eq!(seen[1].entry.ignored, Vec::<Vec<u8>>::new());
    let many: Vec<(&str, &[u8])> = vec![("SCHILY.acl.access", b""); 5_000];
    let entry = Archive::default().pax(&many).file("a", b"").one().entry;
    assert_eq!(entry.ignored.len(), 64);
}

#[test]
fn last_of_two_long_names_counts_and_a_nul_ends_it() {
    let long = |name: &[u8]| Archive::default().extension(b'L', name);
    assert_eq!(long(b"first\0").extension(b'L', b"second\0").file("a", b"").one().name(), "second");
    assert_eq!(long(b"kept\0dropped\0").file("a", b"").one().name(), "kept");
    let link = Archive::default().extension(b'K', b"first").extension(b'K', b"x\0y\0");
    assert_eq!(link.entry("a", b'2', &[]).one().entry.link, b"x");
}

#[test]
fn gnu_and_pax_names_agree_or_are_refused() {
    let both = |gnu: u8, key: &str, value: &[u8]| {
        Archive::default().extension(gnu, b"x\0").pax(&[(key, value)]).entry(
            "a",
            b'2',
            &[(157, b"t")],
        )
    };
    assert_eq!(both(b'L', "path", b"x").one().name(), "x");
    assert_eq!(both(b'K', "linkpath", b"x").one().entry.link, b"x");
    let two = |what| TarError::TwoNames { offset: 2048, what };
    assert_eq!(both(b'L', "path", b"y").refused(), two("long name"));
    assert_eq!(both(b'K', "linkpath", b"y").refused(), two("long link target"));
}

#[test]
fn extension_header_without_its_entry_says_nothing() {
    let pax = Archive::default().file("a", b"").pax(&[("path", b"never")]);
    let long = Archive::default().file("a", b"").extension(b'L', b"never\0");
    for archive in [pax, long] {
        let names: Vec<_> = archive.read().unwrap().iter().map(Seen::name).collect();
        assert_eq!(names, ["a"]);
    }
}

#[test]
fn extension_headers_that_readers_would_take_differently_are_refused() {
    let pax = Archive::default().pax(&[("path", b"x")]);
    let long = Archive::default().extension(b'L', b"x\0");
    let link = Archive::default().extension(b'K', b"x\0");
    let repeated = |what| TarError::RepeatedExtension { offset: 1024, what };
    let name = |field, fault| TarError::Name { offset: 0, field, fault };
    let start = Archive::default;
    let table = [
        (pax.clone().pax(&[]), repeated("PAX header")),
        (pax.clone().extension(b'X', b""), repeated("PAX header")),
        (pax.global(&[]), TarError::MisplacedGlobal { offset: 1024 }),
        (long.global(&[]), TarError::MisplacedGlobal { offset: 1024 }),
        (link.global(&[]), TarError::MisplacedGlobal { offset: 1024 }),
        (start().extension(b'L', b""), name("long name", NameFault::Empty)),
        (start().extension(b'L', b"\0x"), name("long name", NameFault::Empty)),
    ];
    for (archive, expected) in table {
        assert_eq!(archive.refused(), expected);
    }
}

#[test]
fn extension_headers_have_a_bound_together() {
    const MAX: usize = 1 << 20;
    let comment = |length: usize| {
        let body = body(&[("comment", &vec![b'c'; length])]);
        (body.len(), body)
    };
    let (overhead, _) = comment(MAX - 100);
    let (length, most) = comment(2 * MAX - 100 - overhead);
    assert_eq!(length, MAX);
    assert!(Archive::default().extension(b'x', &most).file("a", b"").read().is_ok());
    let archive = Archive::default().extension(b'L', b"x\0").extension(b'x', &most);
    let expected =
        TarError::ExtensionsTooLong { offset: 1024, got: MAX as u64 + 2, limit: MAX as u64 };
    assert_eq!(archive.file("a", b"").refused(), expected);
    // Refused by its header, before any memory is taken for it.
    let claim = header("a", b'x', 1 << 32, &[]);
    let error = read(&claim).unwrap_err();
    assert!(matches!(error, ParseError::Tar(TarError::ExtensionsTooLong { .. })));
}

#[test]
fn too_many_xattrs_are_refused() {
    let names: Vec<String> = (0..1025).map(|n| format!("SCHILY.xattr.user.{n}")).collect();
    let records: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), &b"v"[..])).collect();
    let entry = Archive::default().pax(&records[..1024]).file("a", b"").one().entry;
    assert_eq!(entry.xattrs.len(), 1024);
    let fault = PaxFault::TooManyXattrs { limit: 1024 };
    assert_eq!(pax_fault(Archive::default().pax(&records).file("a", b"")), fault);
}
