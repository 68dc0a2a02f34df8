// SPDX-License-Identifier: Apache-2.0
//! The archive itself: the last table of docs/layer-semantics.md.

mod common;

use std::collections::BTreeMap;

use common::archive::{
    BLOCK, Entry, SparseForm, archive, dir, extended, file, gzip, hardlink, layer, pax, symlink,
    unfinished, zstd,
};
use common::cases::{each, each_applied, each_refused};
use common::needs;
use common::runner::{EVERY, Scene, Way};
use common::tree::{Kind, Tree};
use ocilayer::{
    Compression, Digest, Error, ErrorKind, Expect, Options, ReadTo, Report, SkipReason,
};
use ocilayer::{Source, unpack};
use sha2::Digest as _;

/// The archive is read alike in every mode; one of each kind shows it.
const WAYS: &[Way] = &[Way::Directory, Way::Overlay];

/// Unpacks a blob as it is, with one thread, two and many.
#[track_caller]
fn unpack_blob(blob: &[u8], check: impl Fn(&Scene, Result<Report, Error>)) {
    for threads in [1, 2, 8] {
        let scene = Scene::new();
        let options = Options::default().threads(threads);
        let result = unpack(Source::memory(blob), scene.root(0), &options);
        check(&scene, result);
        scene.assert_untouched();
    }
}

#[track_caller]
fn refused_blob(what: &str, blob: &[u8], kind: ErrorKind) {
    unpack_blob(blob, |_, result| {
        let error = result.expect_err(what);
        assert_eq!(error.kind(), kind, "{what}: {error}");
        assert!(error.report().is_some_and(|report| report.partial), "{what}");
    });
}

#[track_caller]
fn accepted_blob(what: &str, blob: &[u8], list: &[&str]) -> Vec<Report> {
    let reports = std::cell::RefCell::new(Vec::new());
    unpack_blob(blob, |scene, result| {
        let report = result.unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(Tree::of(&scene.root(0)).list(), list, "{what}");
        assert!(!report.partial);
        reports.borrow_mut().push(report);
    });
    reports.into_inner()
}

fn sha256(bytes: &[u8]) -> Digest {
    let hex: String =
        sha2::Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}").parse().expect("a digest")
}

#[test]
fn pax_records_are_split_by_their_length() {
    if !needs::overlay() {
        return;
    }
    let value = b"a\n12 size=999\n11 path=evil\n\0b";
    let one = file("x").data("1").xattr("user.k", value);
    each_applied(WAYS, &[vec![one, file("y").data("2")]], |outcome| {
        assert_eq!(outcome.tree.list(), ["x=1", "y=2"]);
        assert_eq!(outcome.tree.at("x").xattr("user.k"), Some(&value[..]));
    });
    let name = "n\n13 path=evil\n";
    each_applied(WAYS, &[vec![file("x").record("path", name).data("1")]], |outcome| {
        assert!(outcome.tree.get(name).is_some());
    });
}

#[test]
fn last_of_repeated_pax_records_wins() {
    if !needs::overlay() {
        return;
    }
    let twice = file("x")
        .record("path", "first")
        .record("path", "second")
        .record("mtime", "1")
        .record("mtime", "2.5")
        .record("uid", "5")
        .record("uid", "6")
        .record("SCHILY.xattr.user.k", "one")
        .record("SCHILY.xattr.user.k", "two");
    each_applied(WAYS, &[vec![twice]], |outcome| {
        assert_eq!(outcome.tree.list(), ["second"]);
        let node = outcome.tree.at("second");
        assert_eq!((node.uid, node.mtime), (6, (2, 500_000_000)));
        assert_eq!(node.xattr("user.k"), Some(&b"two"[..]));
    });
    let size = file("x").data("12345").record("size", "9").record("size", "5");
    each_applied(WAYS, &[vec![size, file("y")]], |outcome| {
        assert_eq!(outcome.tree.list(), ["x=12345", "y"]);
    });
}

#[test]
fn malformed_pax_records_are_refused() {
    if !needs::overlay() {
        return;
    }
    let bodies: [&[u8]; 16] = [
        b"x path=a\n",
        b"path=a\n",
        b"11 path=a\n",
        b"8 path=a\n",
        b"999 path=a\n",
        b"0 path=a\n",
        b"-9 path=a\n",
        b"+9 path=a\n",
        b"9path=aa\n",
        b"9 path=ab",
        b"8 patha\n",
        b"5 =a\n",
        b"18446744073709551625 path=a\n",
        b"9 path=a\njunk",
        b"14 mtime=soon\n",
        b"12 size=1.5\n",
    ];
    for body in bodies {
        let entry = file("x").after(extended(b'x', body));
        let what = body.escape_ascii().to_string();
        refused_blob(&what, &archive(&[entry]), ErrorKind::Archive);
    }
    for (key, value) in [
        ("path", "a\0b"),
        ("linkpath", "a\0b"),
        ("size", "-1"),
        ("size", "18446744073709551616"),
        ("mtime", "1e9"),
        ("mtime", "1.5.5"),
        ("mtime", "99999999999999999999"),
        ("uid", "0x5"),
        ("gid", "1 "),
    ] {
        let entry = file("x").record(key, value);
        refused_blob(&format!("{key}={value:?}"), &archive(&[entry]), ErrorKind::Archive);
    }
}

#[test]
fn pax_header_of_one_mebibyte_is_read_and_more_is_not() {
    if !needs::overlay() {
        return;
    }
    let filler = |total: usize| {
        let one = pax(&[("comment", "")]).len();
        let mut length = total - one;
        while pax(&[("comment", "x".repeat(length))]).len() > total {
            length -= 1;
        }
        let body = pax(&[("comment", "x".repeat(length))]);
        assert_eq!(body.len(), total);
        extended(b'x', &body)
    };
    accepted_blob("1 MiB", &archive(&[file("x").after(filler(1 << 20))]), &["x"]);
    for total in [(1 << 20) + 1, 2 << 20] {
        let blob = archive(&[file("x").after(filler(total))]);
        unpack_blob(&blob, |_, result| {
            let kind = result.expect_err("too large").kind();
            assert!(matches!(kind, ErrorKind::Archive | ErrorKind::Limit), "{kind:?}");
        });
    }
}

#[test]
fn pax_global_header_is_not_an_entry() {
    if !needs::overlay() {
        return;
    }
    let global = extended(b'g', &pax(&[("comment", "a revision")]));
    let named = Entry { before: vec![], ..file("pax_global_header").typeflag(b'g') };
    let named = named.data(pax(&[("comment", "x")]));
    let entries = vec![file("x").data("1").after(&global), file("y").after(named.bytes())];
    each_applied(WAYS, &[layer("pax_global_header=keep pax/header=keep"), entries], |outcome| {
        let list = outcome.tree.list();
        assert_eq!(list, ["pax/", "pax/header=keep", "pax_global_header=keep", "x=1", "y"]);
        assert_eq!(outcome.reports[1].entries.total, 2);
        assert!(outcome.reports[1].skipped.is_empty());
    });
    accepted_blob("alone", &[global, vec![0; 2 * BLOCK]].concat(), &[]);
}

#[test]
fn records_of_a_global_header_are_reported_and_not_applied() {
    if !needs::overlay() {
        return;
    }
    let records = [
        ("comment", "x"),
        ("path", "evil"),
        ("uid", "0"),
        ("gid", "0"),
        ("mtime", "5"),
        ("SCHILY.xattr.user.k", "v"),
    ];
    let own = || file("su").data("1").mode(0o4755).owner(1000, 1001);
    let entries = vec![own().after(extended(b'g', &pax(&records)))];
    each_applied(WAYS, &[entries], |outcome| {
        let (node, plain) = (outcome.tree.at("su"), own());
        assert_eq!((node.uid, node.gid, node.mode), (1000, 1001, 0o4755));
        assert_eq!(node.mtime.0, plain.mtime.0);
        assert_eq!(node.xattr("user.k"), None);
        let skipped = outcome.reports[0].skipped.get(SkipReason::GlobalRecord).expect("reported");
        let keys: Vec<_> = skipped.examples.iter().map(|example| &example.detail[..]).collect();
        let told: Vec<_> = records[1..].iter().map(|(key, _)| key.as_bytes()).collect();
        assert_eq!(keys, told);
    });
}

#[test]
fn records_that_are_not_read_are_reported() {
    if !needs::overlay() {
        return;
    }
    let acl = file("f").record("SCHILY.acl.access", "user::rw-,group::r--,other::---");
    let entries = vec![acl.record("RHT.security.selinux", "label").record("ctime", "5")];
    each_applied(WAYS, &[entries], |outcome| {
        assert_eq!(outcome.tree.list(), ["f"]);
        let skipped = outcome.reports[0].skipped.get(SkipReason::IgnoredRecord).expect("reported");
        assert_eq!((skipped.count, &skipped.examples[0].path[..]), (2, &b"f"[..]));
        assert_eq!(skipped.examples[0].detail, b"SCHILY.acl.access");
    });
}

#[test]
fn gnu_long_names_and_links_are_read() {
    if !needs::overlay() {
        return;
    }
    let long = |letter: &str| format!("{}/{}", letter.repeat(120), letter.repeat(200));
    let entries = vec![
        file(long("a")).gnu().data("1"),
        symlink(long("b"), long("a")).gnu(),
        hardlink(long("c"), long("a")).gnu(),
        file("short").gnu().data("2"),
        dir(long("d")).gnu(),
    ];
    each_applied(WAYS, &[entries], |outcome| {
        assert!(outcome.tree.linked(&long("a"), &long("c")));
        assert_eq!(outcome.tree.at(&long("b")).kind, Kind::Symlink(long("a").into()));
        assert_eq!(outcome.tree.at(&long("d")).kind, Kind::Directory);
        assert!(outcome.tree.get("short").is_some());
    });
}

#[test]
fn last_of_two_long_names_counts_and_a_nul_ends_it() {
    if !needs::overlay() {
        return;
    }
    let long = |name: &[u8]| Entry { typeflag: b'L', ..file("././@LongLink") }.gnu().data(name);
    let two = [long(b"first\0").bytes(), long(b"second\0").bytes()].concat();
    let entries =
        vec![file("x").after(two).data("1"), file("y").after(long(b"kept\0dropped\0").bytes())];
    each_applied(WAYS, &[entries], |outcome| {
        assert_eq!(outcome.tree.list(), ["kept", "second=1"]);
    });
}

#[test]
fn long_name_and_record_that_differ_are_refused() {
    if !needs::overlay() {
        return;
    }
    let long = Entry { typeflag: b'L', ..file("././@LongLink") }.gnu().data(b"gnu\0").bytes();
    let entry = |path: &str| file("x").after(&long).record("path", path);
    each_refused(WAYS, ErrorKind::Archive, &[vec![entry("pax")]]);
    each_applied(WAYS, &[vec![entry("gnu")]], |outcome| assert_eq!(outcome.tree.list(), ["gnu"]));
}

#[test]
fn prefix_beside_gnu_magic_is_joined_as_old_go_wrote_it() {
    if !needs::overlay() {
        return;
    }
    let conf = |prefix: &str| file("conf").patch(257, *b"ustar  \0").patch(345, prefix);
    let whiteout = file(".wh.conf").patch(257, *b"ustar  \0").patch(345, "opt/one");
    let entries = vec![conf("opt/one").data("1"), conf("opt/two").data("2")];
    each_applied(WAYS, &[[layer("conf=keep"), entries].concat(), vec![whiteout]], |outcome| {
        let list = outcome.tree.list();
        assert_eq!(list, ["conf=keep", "opt/", "opt/one/", "opt/two/", "opt/two/conf=2"]);
    });
}

#[test]
fn directory_without_a_name_is_the_root() {
    if !needs::overlay() {
        return;
    }
    let nameless = |entry: Entry| Entry { name: vec![], ..entry };
    each_applied(WAYS, &[vec![nameless(dir("x")).mode(0o700), file("f")]], |outcome| {
        assert_eq!(outcome.tree.list(), ["f"]);
        let mode = std::os::unix::fs::PermissionsExt::mode(
            &outcome.scene.root(0).metadata().expect("stat").permissions(),
        );
        assert_eq!(mode & 0o7777, 0o700);
    });
    each_refused(WAYS, ErrorKind::Archive, &[vec![nameless(file("x"))]]);
}

#[test]
fn sparse_files_of_all_forms_are_read_and_stay_sparse() {
    if !needs::overlay() {
        return;
    }
    // More segments than a header and one extension block hold; the last hole is at the end.
    let segments: Vec<(u64, u64)> = (0..30).map(|n| (n * 262_144 + 65_536, 4096)).collect();
    let size = 30 * 262_144 + 1_000_000;
    let data: Vec<u8> = (0..30 * 4096).map(|n| (n / 4096 + 1) as u8).collect();
    let mut whole = vec![0; size as usize];
    for (number, (offset, length)) in segments.iter().enumerate() {
        whole[*offset as usize..(offset + length) as usize].fill(number as u8 + 1);
    }
    for form in [SparseForm::Gnu, SparseForm::Pax00, SparseForm::Pax01, SparseForm::Pax10] {
        let sparse = file("s").data(&data).sparse(form, &segments, size);
        let empty = file("e").sparse(form, &[(1 << 20, 0)], 1 << 20);
        each_applied(WAYS, &[vec![sparse, empty, file("after").data("1")]], |outcome| {
            let path = outcome.scene.root(0).join("s");
            assert!(std::fs::read(&path).expect("read") == whole, "{form:?}: content");
            let blocks = |name: &str| {
                let path = outcome.scene.root(0).join(name);
                std::os::unix::fs::MetadataExt::blocks(&path.metadata().expect("stat")) * 512
            };
            assert!(blocks("s") < size / 4, "{form:?}: {} bytes on disk", blocks("s"));
            assert!(blocks("e") < 1 << 16, "{form:?}");
            let after = outcome.tree.at("after");
            assert!(matches!(after.kind, Kind::File { size: 1, .. }), "{form:?}");
        });
    }
}

#[test]
fn sparse_maps_that_lie_are_refused() {
    if !needs::overlay() {
        return;
    }
    let maps: [(&str, &[(u64, u64)]); 4] = [
        ("past the size", &[(0, 4), (8, 4)]),
        ("descending", &[(4, 2), (0, 2)]),
        ("overlapping", &[(0, 3), (2, 1)]),
        ("overflowing", &[(0, 4), (u64::MAX >> 2, u64::MAX >> 2)]),
    ];
    for form in [SparseForm::Gnu, SparseForm::Pax00, SparseForm::Pax01, SparseForm::Pax10] {
        for (what, map) in maps {
            let entry = file("s").data("abcd").sparse(form, map, 10);
            unpack_blob(&archive(&[entry]), |_, result| {
                let kind = result.expect_err(what).kind();
                assert!(matches!(kind, ErrorKind::Archive | ErrorKind::Limit), "{what}: {kind:?}");
            });
        }
    }
}

#[test]
fn contiguous_and_old_regular_files_are_files() {
    if !needs::overlay() {
        return;
    }
    let entries = vec![
        file("a").typeflag(b'7').data("1"),
        file("b").typeflag(0).data("2"),
        file("c").typeflag(0).patch(257, [0; 8]).data("3"),
    ];
    each_applied(WAYS, &[entries], |outcome| {
        assert_eq!(outcome.tree.list(), ["a=1", "b=2", "c=3"]);
    });
}

#[test]
fn names_are_bytes() {
    if !needs::overlay() {
        return;
    }
    let name: Vec<u8> = (1..=255).filter(|byte| *byte != b'/').collect();
    let entries = vec![
        file(b"\xff\xfe/\x80").data("1"),
        file(&name).data("2"),
        symlink("l", b"\xc3\x28"),
        file("new\nline"),
        file(" spaces "),
    ];
    each_applied(WAYS, &[entries], |outcome| {
        let tree: &BTreeMap<_, _> = &outcome.tree.0;
        assert!(tree.contains_key(&b"\xff\xfe/\x80"[..]));
        assert!(tree.contains_key(&name));
        assert!(tree.contains_key(&b"new\nline"[..]));
        assert!(tree.contains_key(&b" spaces "[..]));
        assert_eq!(outcome.tree.at("l").kind, Kind::Symlink(b"\xc3\x28".to_vec()));
    });
}

#[test]
fn component_of_more_than_255_bytes_fails() {
    if !needs::overlay() {
        return;
    }
    let fits = "a".repeat(255);
    each_applied(WAYS, &[vec![file(&fits), file(format!("d/{fits}/x"))]], |outcome| {
        assert!(outcome.tree.get(&fits).is_some());
    });
    let long = "a".repeat(256);
    for entry in [file(&long), dir(&long), file(format!("{long}/x")), symlink(&long, "x")] {
        each(EVERY, &[vec![entry]], |outcome| {
            let (_, error) = outcome.failure.as_ref().expect("a failure");
            assert!(error.place().is_some(), "{error}");
        });
    }
}

#[test]
fn nothing_after_the_end_is_extracted_but_all_of_it_is_digested() {
    if !needs::overlay() {
        return;
    }
    let evil = file("evil").data("x").bytes();
    let ends: [(&str, Vec<u8>); 6] = [
        ("two zero blocks", vec![0; 2 * BLOCK]),
        ("lone zero block", vec![0; BLOCK]),
        ("padding to 10 KiB", vec![0; 18 * BLOCK]),
        ("entry after two", [vec![0; 2 * BLOCK], evil.clone()].concat()),
        ("entry after two, and its end", [vec![0; 2 * BLOCK], evil, vec![0; 2 * BLOCK]].concat()),
        ("junk", [vec![0; 2 * BLOCK], b"junk of no size".to_vec()].concat()),
    ];
    for (what, end) in ends {
        let plain = [unfinished(&layer("a=1 d/ d/x=2")), end].concat();
        let blobs = [
            (plain.clone(), Compression::None),
            (gzip(&plain), Compression::Gzip),
            (zstd(&plain), Compression::Zstd),
        ];
        for (blob, compression) in blobs {
            for report in accepted_blob(what, &blob, &["a=1", "d/", "d/x=2"]) {
                assert_eq!(report.diff_id, Some(sha256(&plain)), "{what}");
                assert_eq!(report.blob_digest, Some(sha256(&blob)), "{what}");
                assert_eq!(report.bytes.layer, plain.len() as u64, "{what}");
                assert_eq!(report.bytes.blob, blob.len() as u64, "{what}");
                assert_eq!(report.compression, compression, "{what}");
                let told = report.skipped.count(SkipReason::DataAfterEnd);
                assert_eq!(
                    told,
                    u64::from(!what.contains("zero") && !what.contains("pad")),
                    "{what}"
                );
            }
        }
    }
}

#[test]
fn entry_behind_a_lone_zero_block_is_refused() {
    if !needs::overlay() {
        return;
    }
    let more = file("b").data("x").bytes();
    let blob = [unfinished(&layer("a=1")), vec![0; BLOCK], more, vec![0; 2 * BLOCK]].concat();
    refused_blob("one zero block", &blob, ErrorKind::Archive);
}

#[test]
fn gzip_of_several_members_is_one_stream() {
    if !needs::overlay() {
        return;
    }
    let plain = archive(&layer("a=1 d/ d/x=2"));
    for cut in [1, 100, 512, 1000, plain.len() - 1] {
        let (head, tail) = plain.split_at(cut);
        let blob = [gzip(head), gzip(b""), gzip(tail)].concat();
        for report in accepted_blob("members", &blob, &["a=1", "d/", "d/x=2"]) {
            assert_eq!(report.diff_id, Some(sha256(&plain)));
            assert_eq!(report.blob_digest, Some(sha256(&blob)));
        }
    }
}

#[test]
fn damaged_gzip_trailer_fails() {
    if !needs::overlay() {
        return;
    }
    let blob = gzip(&archive(&layer("a=1")));
    let end = blob.len();
    for (what, at) in [("CRC", end - 8), ("CRC", end - 5), ("length", end - 4), ("length", end - 1)]
    {
        let mut damaged = blob.clone();
        damaged[at] ^= 1;
        refused_blob(what, &damaged, ErrorKind::Corrupt);
        refused_blob(what, &[damaged, gzip(b"")].concat(), ErrorKind::Corrupt);
    }
    for cut in 1..=8 {
        refused_blob("cut", &blob[..end - cut], ErrorKind::Corrupt);
    }
    refused_blob("second member cut", &[&blob[..], &blob[..20]].concat(), ErrorKind::Corrupt);
    refused_blob("junk", &[&blob[..], b"junk that is no member"].concat(), ErrorKind::Corrupt);
}

#[test]
fn zeros_behind_gzip_and_zstd_are_padding() {
    if !needs::overlay() {
        return;
    }
    let plain = archive(&layer("a=1"));
    // bsdtar fills its last record behind either, when it writes to a pipe.
    for (compress, zeros) in
        [1, 2, 700, 1 << 20].into_iter().flat_map(|n| [(gzip as fn(&[u8]) -> _, n), (zstd, n)])
    {
        let blob = [compress(&plain), vec![0; zeros]].concat();
        for report in accepted_blob("padding", &blob, &["a=1"]) {
            assert_eq!(report.diff_id, Some(sha256(&plain)));
            assert_eq!(report.blob_digest, Some(sha256(&blob)));
        }
        // Neither GNU gzip nor zstd nor Go would read on behind padding.
        let more = [&blob[..], &compress(b"")[..]].concat();
        refused_blob("member behind padding", &more, ErrorKind::Corrupt);
        refused_blob("junk behind padding", &[&blob[..], b"x"].concat(), ErrorKind::Corrupt);
    }
    refused_blob("nothing but zeros", &[0; 100], ErrorKind::Archive);
}

#[test]
fn zstd_of_several_and_skippable_frames_is_one_stream() {
    if !needs::overlay() {
        return;
    }
    let plain = archive(&layer("a=1 d/ d/x=2"));
    let (head, tail) = plain.split_at(700);
    let skippable =
        |kind: u8| [&[0x50 | kind, 0x2a, 0x4d, 0x18, 5, 0, 0, 0][..], b"hello"].concat();
    let blobs = [
        [zstd(head), zstd(tail)].concat(),
        [zstd(head), zstd(b""), zstd(tail)].concat(),
        [skippable(0), zstd(&plain)].concat(),
        [zstd(head), skippable(7), zstd(tail), skippable(15)].concat(),
    ];
    for blob in blobs {
        for report in accepted_blob("frames", &blob, &["a=1", "d/", "d/x=2"]) {
            assert_eq!(report.diff_id, Some(sha256(&plain)));
            assert_eq!(report.blob_digest, Some(sha256(&blob)));
            assert_eq!(report.compression, Compression::Zstd);
        }
    }
    let whole = zstd(&plain);
    refused_blob("cut", &whole[..whole.len() - 1], ErrorKind::Corrupt);
    let mut damaged = whole.clone();
    *damaged.last_mut().expect("bytes") ^= 1;
    refused_blob("checksum", &damaged, ErrorKind::Corrupt);
    refused_blob("junk", &[whole, b"junk".to_vec()].concat(), ErrorKind::Corrupt);
}

#[test]
fn layer_without_entries_is_accepted() {
    if !needs::overlay() {
        return;
    }
    let end = vec![0; 2 * BLOCK];
    for blob in [vec![], end.clone(), gzip(b""), gzip(&end), zstd(b""), zstd(&end)] {
        for report in accepted_blob("nothing", &blob, &[]) {
            assert_eq!(report.entries.total, 0);
            assert_eq!(report.blob_digest, Some(sha256(&blob)));
        }
    }
    each_applied(EVERY, &[layer("a=1"), vec![], layer("b=2")], |outcome| {
        assert_eq!(outcome.tree.list(), ["a=1", "b=2"]);
    });
}

#[test]
fn archive_without_an_end_marker_needs_something_else_to_prove_it_whole() {
    if !needs::overlay() {
        return;
    }
    let at_header = unfinished(&layer("a=1 d/ d/x=2"));
    let dangling = extended(b'x', &pax(&[("path", "never")]));
    let ends: [(&str, Vec<u8>); 4] = [
        ("at a header", at_header.clone()),
        ("after data", at_header[..at_header.len() - BLOCK + 1].to_vec()),
        ("in padding", at_header[..at_header.len() - 100].to_vec()),
        ("after a PAX header", [at_header.clone(), dangling].concat()),
    ];
    let list = ["a=1", "d/", "d/x=2"];
    let reported = |report: &Report| report.skipped.count(SkipReason::NoEndMarker);
    for (what, plain) in ends {
        unpack_blob(&plain, |_, result| {
            let error = result.expect_err(what);
            assert_eq!(error.kind(), ErrorKind::Archive, "{what}");
            assert!(error.to_string().contains("give its digest"), "{what}: {error}");
        });
        for blob in [gzip(&plain), zstd(&plain)] {
            let reports = accepted_blob(what, &blob, &list);
            assert!(reports.iter().all(|report| reported(report) == 1), "{what}");
        }
        let by = |change: fn(Options, Digest) -> Options, digest: &[u8]| {
            let scene = Scene::new();
            let options = change(Options::default(), sha256(digest));
            let result = unpack(Source::memory(&plain), scene.root(0), &options);
            result.map(|report| {
                assert_eq!(Tree::of(&scene.root(0)).list(), list, "{what}");
                reported(&report)
            })
        };
        let blob = |options: Options, digest| options.expect(Expect::default().blob(digest));
        let diff_id = |options: Options, digest| options.expect(Expect::default().diff_id(digest));
        let to_end = |options: Options, _| options.read_to(ReadTo::EndOfArchive);
        for proof in [blob, diff_id, to_end] {
            assert_eq!(by(proof, &plain).expect(what), 1, "{what}");
        }
        let error = by(diff_id, b"another").expect_err(what);
        assert_eq!(error.kind(), ErrorKind::Digest, "{what}");
    }
}

#[test]
fn archive_that_is_cut_within_an_entry_fails() {
    if !needs::overlay() {
        return;
    }
    let plain = unfinished(&layer("a=1 d/ d/x=hello"));
    let in_data = plain[..plain.len() - BLOCK + 3].to_vec();
    let in_header = plain[..plain.len() - BLOCK - 100].to_vec();
    let half_an_end = [&plain[..], &[0; BLOCK / 2]].concat();
    for (what, plain) in [("data", in_data), ("header", in_header), ("half an end", half_an_end)] {
        for blob in [gzip(&plain), zstd(&plain)] {
            refused_blob(what, &blob, ErrorKind::Archive);
        }
        let options = Options::default().expect(Expect::default().blob(sha256(&plain)));
        let result = unpack(Source::memory(&plain), Scene::new().root(0), &options);
        assert_eq!(result.expect_err(what).kind(), ErrorKind::Archive);
    }
}

#[test]
fn unknown_types_are_refused() {
    if !needs::overlay() {
        return;
    }
    for typeflag in [b'8', b'9', b'A', b'D', b'M', b'V', b'z', 0xff] {
        let entry = file("x").typeflag(typeflag);
        each(WAYS, &[vec![file("a"), entry]], |outcome| {
            let (_, error) = outcome.failure.as_ref().expect("a failure");
            assert!(matches!(error.kind(), ErrorKind::Archive | ErrorKind::Layer), "{error}");
        });
    }
}

#[test]
fn headers_that_contradict_themselves_are_refused() {
    if !needs::overlay() {
        return;
    }
    let entries = [
        ("checksum", file("x").damage(0, b"y")),
        ("checksum of letters", file("x").damage(148, b"zzzzzz")),
        ("size of letters", file("x").patch(124, b"zzzzzzzzzzz")),
        ("negative size", file("x").patch(124, [0xff; 12])),
        ("mode of letters", file("x").patch(100, b"zzzzzzz")),
    ];
    for (what, entry) in entries {
        refused_blob(what, &archive(&[file("a"), entry]), ErrorKind::Archive);
    }
    let dangling = [unfinished(&[file("a")]), extended(b'x', &pax(&[("path", "b")]))].concat();
    accepted_blob("record for nothing", &[dangling, vec![0; 2 * BLOCK]].concat(), &["a"]);
    each_refused(&[Way::Directory], ErrorKind::Archive, &[vec![file("x").damage(148, b"0000000")]]);
}
