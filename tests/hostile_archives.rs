// SPDX-License-Identifier: Apache-2.0
//! Archives that are damaged, or made to do harm. Nothing outside the root ever changes.

mod common;

use common::agree::{self, Below};
use common::archive::{
    BLOCK, Entry, SparseForm, archive, dir, extended, file, gzip, hardlink, layer, opaque, pax,
    symlink, unfinished, whiteout, zstd,
};
use common::cases::each;
use common::child::is_child;
use common::memory::high_water;
use common::needs;
use common::runner::{EVERY, KNOWING, Scene, Way, plain_settings, watched};
use ocilayer::{Digest, Error, ErrorKind, Limits, Options, Report, Source, unpack};
use sha2::Digest as _;

/// A bit of everything that an archive can hold.
fn rich() -> Vec<Entry> {
    let long = "n".repeat(150);
    vec![
        dir("d").mode(0o2751).owner(5, 6),
        file("d/f").data("x".repeat(1300)).xattr("user.k", "v").mtime(-5, 3),
        symlink("d/l", "../canary"),
        hardlink("h", "d/f"),
        file(&long).gnu().data("1"),
        file(format!("p/{long}")).data("2"),
        file("s").data("abcdefgh").sparse(SparseForm::Pax10, &[(0, 4), (9000, 4)], 20_000),
        file("g").data("abcdefgh").sparse(SparseForm::Gnu, &[(0, 4), (9000, 4)], 20_000),
        opaque("o"),
        whiteout("w"),
        file("d/l/file").data("evil"),
    ]
}

/// Unpacks into fresh roots, watched, and checks what lies beside them.
fn try_blob(what: &str, blob: &[u8], check: impl Fn(Result<Report, Error>)) {
    for setting in plain_settings(&[Way::Directory, Way::Overlay]) {
        for threads in [1, 2, 8] {
            let scene = Scene::new();
            let mode = setting.way.mode();
            let options = Options::default().mode(mode).threads(threads);
            let result = watched(what, || unpack(Source::memory(blob), scene.root(0), &options));
            scene.assert_untouched();
            agree::check(blob, &options, Below::Nothing, &result);
            if let Err(error) = &result {
                assert!(error.report().is_some_and(|report| report.partial), "{what}: {error}");
                assert_ne!(error.kind(), ErrorKind::Panic, "{what}: {error}");
            }
            check(result);
        }
    }
}

/// The error says where: by its entry, or by an offset in the message.
#[track_caller]
fn assert_located(what: &str, error: &Error) {
    let text = error.to_string();
    let offset =
        text.split(" at ").skip(1).any(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    assert!(error.place().is_some() || offset, "{what}: {text} says not where");
}

#[track_caller]
fn assert_damaged(what: &str, result: Result<Report, Error>) {
    let error = result.err().unwrap_or_else(|| panic!("{what}: accepted"));
    let kind = error.kind();
    assert!(matches!(kind, ErrorKind::Archive | ErrorKind::Corrupt), "{what}: {kind:?} {error}");
    assert_located(what, &error);
}

/// Positions that look random and are the same each time.
fn scattered(below: usize, count: usize) -> impl Iterator<Item = usize> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    (0..count).map(move |_| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) as usize % below
    })
}

#[test]
fn truncation_at_every_block_fails() {
    if !needs::overlay() {
        return;
    }
    let plain = unfinished(&rich());
    for cut in (BLOCK..=plain.len()).step_by(BLOCK) {
        let what = format!("cut at {cut}");
        try_blob(&what, &plain[..cut], |result| assert_damaged(&what, result));
    }
}

#[test]
fn truncation_inside_a_block_fails() {
    if !needs::overlay() {
        return;
    }
    let plain = unfinished(&rich());
    let edges = [1, 2, 100, BLOCK - 1, BLOCK + 1, plain.len() - 1];
    for cut in edges.into_iter().chain(scattered(plain.len(), 60)).filter(|cut| *cut > 0) {
        let what = format!("cut at {cut}");
        try_blob(&what, &plain[..cut], |result| assert_damaged(&what, result));
    }
}

#[test]
fn truncation_of_a_compressed_stream_fails_everywhere() {
    if !needs::overlay() {
        return;
    }
    let plain = archive(&rich());
    for (name, blob) in [("gzip", gzip(&plain)), ("zstd", zstd(&plain))] {
        let edges = [1, 2, 3, 4, 9, 10, 18, blob.len() - 8, blob.len() - 4, blob.len() - 1];
        for cut in edges.into_iter().chain(scattered(blob.len(), 60)).filter(|cut| *cut > 0) {
            let what = format!("{name} cut at {cut} of {}", blob.len());
            try_blob(&what, &blob[..cut], |result| assert_damaged(&what, result));
        }
    }
}

#[test]
fn flipped_bit_in_a_tar_header_fails() {
    if !needs::overlay() {
        return;
    }
    let entry = file("d/x").data("1").owner(5, 6);
    let blob = archive(&[entry]);
    for at in 0..BLOCK {
        // The checksum is not of itself: a flip may leave a number that reads the same.
        if (148..156).contains(&at) {
            continue;
        }
        let mut damaged = blob.clone();
        damaged[at] ^= 1 << (at % 8);
        let what = format!("bit {} of byte {at}", at % 8);
        try_blob(&what, &damaged, |result| assert_damaged(&what, result));
    }
}

#[test]
fn flipped_bit_in_a_compressed_stream_never_changes_the_layer() {
    if !needs::overlay() {
        return;
    }
    let plain = archive(&rich());
    let whole = sha256(&plain);
    for (name, blob) in [("gzip", gzip(&plain)), ("zstd", zstd(&plain))] {
        let header = (0..24 * 8).chain((blob.len() - 8) * 8..blob.len() * 8);
        for bit in header.chain(scattered(blob.len() * 8, 100)) {
            let mut damaged = blob.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let what = format!("{name}, bit {bit}");
            try_blob(&what, &damaged, |result| match result {
                // Some bits mean nothing, such as the time in a gzip header.
                Ok(report) => assert_eq!(report.diff_id.as_ref(), Some(&whole), "{what}"),
                Err(error) => assert_located(&what, &error),
            });
        }
    }
}

fn sha256(bytes: &[u8]) -> Digest {
    hex("sha256", &sha2::Sha256::digest(bytes))
}

fn sha512(bytes: &[u8]) -> Digest {
    hex("sha512", &sha2::Sha512::digest(bytes))
}

fn hex(algorithm: &str, bytes: &[u8]) -> Digest {
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{algorithm}:{hex}").parse().expect("a digest")
}

#[test]
fn wrong_digests_fail_and_right_ones_do_not() {
    if !needs::overlay() {
        return;
    }
    let plain = archive(&layer("a=1"));
    for blob in [plain.clone(), gzip(&plain), zstd(&plain)] {
        let right = [(sha256(&blob), sha256(&plain)), (sha512(&blob), sha512(&plain))];
        for (of_blob, of_layer) in right {
            let wrong = sha256(b"something else");
            for (blob_digest, diff_id, fits) in [
                (Some(&of_blob), None, true),
                (None, Some(&of_layer), true),
                (Some(&of_blob), Some(&of_layer), true),
                (Some(&wrong), None, false),
                (None, Some(&wrong), false),
                (Some(&of_blob), Some(&wrong), false),
                (Some(&wrong), Some(&of_layer), false),
            ] {
                let scene = Scene::new();
                let mut options = Options::default();
                options.expect.blob = blob_digest.cloned();
                options.expect.diff_id = diff_id.cloned();
                match unpack(Source::memory(&blob), scene.root(0), &options) {
                    Ok(report) => assert!(fits && !report.partial),
                    Err(error) => {
                        assert!(!fits, "{error}");
                        assert_eq!(error.kind(), ErrorKind::Digest);
                        assert!(error.to_string().contains(&wrong.to_string()), "{error}");
                        let report = error.report().expect("a report");
                        assert!(report.partial);
                        // Both digests of what came, of the kind that was expected.
                        assert!(report.blob_digest.is_some() && report.diff_id.is_some());
                    }
                }
            }
        }
    }
}

#[test]
fn what_is_no_archive_is_refused() {
    if !needs::overlay() {
        return;
    }
    let program = std::fs::read("/proc/self/exe").expect("own program");
    let blobs: [(&str, Vec<u8>); 9] = [
        ("text", b"{\"errors\":[{\"code\":\"UNAUTHORIZED\"}]}\n".repeat(100)),
        ("one byte", vec![b'x']),
        ("one zero byte", vec![0]),
        ("ones", vec![0xff; 10_240]),
        ("program", program[..100_000].to_vec()),
        ("xz", [&b"\xfd7zXZ\0"[..], &[0; 2000]].concat()),
        ("bzip2", [&b"BZh91AY&SY"[..], &[1; 2000]].concat()),
        ("gzip of text", gzip(b"hello, world")),
        ("zstd of text", zstd(b"hello, world")),
    ];
    for (what, blob) in blobs {
        try_blob(what, &blob, |result| {
            let error = result.err().unwrap_or_else(|| panic!("{what}: accepted"));
            let kind = error.kind();
            let refused =
                matches!(kind, ErrorKind::Archive | ErrorKind::Corrupt | ErrorKind::Unsupported);
            assert!(refused, "{what}: {kind:?} {error}");
        });
    }
}

/// Ways to get out. Each may fail or land inside, and must do nothing else.
const ESCAPES: [(&str, &[&str]); 27] = [
    ("name", &["../canary/file=evil"]),
    ("deep name", &["a/b/../../../canary/file=evil"]),
    ("absolute name", &["/CANARY/file=evil /CANARY/dir/"]),
    ("whiteout", &["../canary/.wh.file"]),
    ("absolute whiteout", &["/CANARY/.wh.file /CANARY/.wh.dir"]),
    ("marker", &["../canary/.wh..wh..opq"]),
    ("absolute marker", &["/CANARY/.wh..wh..opq /CANARY/dir/.wh..wh..opq"]),
    ("symlink", &["l->../canary l/file=evil l/dir/x=evil l/new=evil"]),
    ("absolute symlink", &["l->/CANARY l/file=evil l/dir/x=evil l/new=evil"]),
    ("symlink to a file", &["l->../canary/file l=evil"]),
    ("symlink below", &["d/ d/l->../../canary d/l/dir/x=evil"]),
    ("chain", &["a->.. b->a/canary b/file=evil"]),
    ("lower symlink", &["l->../canary", "l/file=evil l/.wh.dir l/dir/.wh..wh..opq"]),
    ("lower absolute symlink", &["l->/CANARY", "l/file=evil l/.wh.dir l/dir/.wh..wh..opq"]),
    ("directory made a link", &["d/ d/x=1 d->../canary d/file=evil d/dir/"]),
    ("link made a directory", &["d->../canary d/ d/file=evil"]),
    ("cached parent", &["d/e/x=1 d/e->../../canary d/e/file=evil d/e/dir/x=evil"]),
    ("cached grandparent", &["d/e/f/x=1 d->../canary d/dir/below/file=evil"]),
    ("whiteout, then a link", &["d/ d/x=1", ".wh.d d->../canary d/file=evil"]),
    ("directory over a link", &["l->../canary l/@700 l/dir/@700"]),
    ("hardlink", &["h=>../canary/file h=evil"]),
    ("absolute hardlink", &["h=>/CANARY/file h=evil"]),
    ("hardlink through a link", &["l->../canary h=>l/file", "h=evil"]),
    ("hardlink to a link", &["l->../canary/file h=>l", "h=evil l=evil"]),
    ("two links", &[TWO_LINKS, "out/canary/file=evil out/canary/dir/x=evil out/canary/new=evil"]),
    ("marker through two links", &[TWO_LINKS, "out/canary/.wh.file out/canary/dir/.wh..wh..opq"]),
    ("hardlink through two links", &[TWO_LINKS, "h=>out/canary/file h=evil"]),
];

/// Each leads inside by its text: `out` to `d/e`, with its `..` taken off. In truth `d/e/up` is the root,
/// and `out` above it.
const TWO_LINKS: &str = "d/e/ d/e/up->../.. out->d/e/up/..";

#[test]
fn no_name_link_or_whiteout_leaves_the_root() {
    if !needs::overlay() {
        return;
    }
    for (what, layers) in ESCAPES {
        let stack: Vec<Vec<Entry>> = layers.iter().map(|text| layer(text)).collect();
        // `each` compares what lies beside the root; here that is all there is to see.
        each(EVERY, &stack, |outcome| {
            if let Some((_, error)) = &outcome.failure {
                assert!(error.place().is_some(), "{what}: {error}");
            }
        });
    }
}

#[test]
fn links_that_lead_out_only_together_lead_to_the_root() {
    if !needs::overlay() {
        return;
    }
    let change = "out/canary/file=inside h=>out/canary/file";
    let one = layer(&format!("{TWO_LINKS} {change}"));
    for stack in [vec![one], vec![layer(TWO_LINKS), layer(change)]] {
        each(KNOWING, &stack, |outcome| {
            outcome.assert_applied();
            let list = outcome.tree.list();
            assert!(list.contains(&"canary/file=inside".to_owned()), "{list:?}");
            assert!(outcome.tree.linked("h", "canary/file"), "{list:?}");
        });
    }
    // What they would lead to outside is there, and inside it is not.
    each(KNOWING, &[layer(TWO_LINKS), layer("h=>out/canary/file")], |outcome| {
        assert!(outcome.failure.is_some(), "linked to a file outside");
    });
}

#[test]
fn metadata_never_lands_on_what_a_link_points_to() {
    if !needs::overlay() {
        return;
    }
    let loud = |entry: Entry| {
        entry
            .mode(0o4777)
            .owner(9, 9)
            .mtime(1, 1)
            .xattr("user.evil", "x")
            .xattr("security.evil", "x")
    };
    for target in ["../canary", "/CANARY", "../canary/file", "/CANARY/file", "../canary/dir"] {
        let stacks = [
            vec![vec![loud(symlink("l", target))]],
            vec![vec![symlink("l", target), loud(dir("l"))]],
            vec![vec![symlink("l", target)], vec![loud(dir("l"))]],
            vec![vec![symlink("l", target)], vec![loud(file("l"))]],
            vec![vec![loud(dir("l")), symlink("l", target)]],
            vec![vec![symlink("l", target), loud(hardlink("h", "l"))]],
            vec![vec![symlink("l", target)], vec![loud(hardlink("h", "l"))]],
            vec![vec![loud(dir("l/dir")), symlink("l", target), loud(dir("l/dir"))]],
        ];
        for stack in stacks {
            each(EVERY, &stack, |_| {});
        }
    }
}

#[test]
fn content_is_never_written_through_a_hardlink() {
    if !needs::overlay() {
        return;
    }
    // The name is made anew: its siblings, in this layer or a lower one, keep what they have.
    each(KNOWING, &[layer("a=1 b=>a"), layer("c=>a c=evil a=evil")], |outcome| {
        outcome.assert_applied();
        assert_eq!(outcome.tree.list(), ["a=evil", "b=1", "c=evil"]);
    });
}

#[test]
fn claims_of_huge_sizes_fail_at_once() {
    if !needs::overlay() {
        return;
    }
    let huge = (1i64 << 62).to_string();
    let mut base256 = [0u8; 12];
    base256[0] = 0x80;
    base256[4..].copy_from_slice(&i64::MAX.to_be_bytes());
    let long = |typeflag: u8| {
        Entry { typeflag, ..file("././@LongLink") }.gnu().patch(124, b"77777777777\0")
    };
    let entries: [(&str, Entry); 7] = [
        ("octal", file("x").patch(124, b"77777777777\0")),
        ("base-256", file("x").gnu().patch(124, base256)),
        ("record", file("x").record("size", &huge)),
        ("long name", long(b'L')),
        ("long link", long(b'K')),
        ("extended header", file("x").typeflag(b'x').patch(124, b"77777777777\0")),
        ("global header", file("x").typeflag(b'g').patch(124, b"77777777777\0")),
    ];
    for (what, entry) in entries {
        try_blob(what, &archive(&[file("a"), entry]), |result| {
            let error = result.err().unwrap_or_else(|| panic!("{what}: accepted"));
            let kind = error.kind();
            assert!(matches!(kind, ErrorKind::Archive | ErrorKind::Limit), "{what}: {error}");
            assert_located(what, &error);
        });
    }
    let sparse = file("s").sparse(SparseForm::Pax10, &[], 1 << 60);
    try_blob("sparse", &archive(&[sparse]), |result| {
        assert_eq!(result.expect_err("an exbibyte").kind(), ErrorKind::Limit);
    });
}

/// Content that is an archive itself, for readers that lose count.
fn smuggled() -> Vec<u8> {
    unfinished(&[file("evil").data("x".repeat(BLOCK)), symlink("evil-link", "/etc")])
}

/// The header's own size, as digits that stand in it.
fn size(entry: Entry, size: usize) -> Entry {
    entry.patch(124, format!("{size:011o}\0"))
}

#[test]
fn size_of_a_record_counts_and_not_the_headers() {
    if !needs::overlay() {
        return;
    }
    let content = smuggled();
    let long = "n".repeat(150);
    let cases = [
        ("header says 0", file("x"), 0),
        ("header says less", file("x"), BLOCK),
        ("header says more", file("x"), content.len() + 2 * BLOCK),
        // The record is for the file behind the long name, which has its size from its own header.
        ("with a GNU long name", file(&long).gnu(), 0),
        ("with a GNU long name, which says more", file(&long).gnu(), content.len() + BLOCK),
    ];
    for (what, entry, header) in cases {
        let name = String::from_utf8(entry.name.clone()).expect("ASCII");
        let record = content.len().to_string();
        let entry = size(entry.data(&content).record("size", record), header);
        each(EVERY, &[vec![entry, file("y").data("1")]], |outcome| {
            outcome.assert_applied();
            let expected = [format!("{name}=<{}>", content.len()), "y=1".to_owned()];
            assert_eq!(outcome.tree.list(), expected, "{what}");
        });
    }
}

#[test]
fn sparse_map_without_an_end_is_refused_and_not_remembered() {
    if !needs::root() || !is_child("sparse_map_without_an_end_is_refused_and_not_remembered") {
        return;
    }
    let entry = file("s").sparse(SparseForm::Gnu, &[(0, 0); 5], 1 << 32).bytes();
    let mut segments = (0..).map(|number| format!("{:011o}\0{:011o}\0", 2 * number, 1));
    // Each block of the map says that there is one more.
    let mut block = move || {
        let map: String = segments.by_ref().take(21).collect();
        [map.as_bytes(), &[1; BLOCK - 21 * 24]].concat()
    };
    let mut piece = entry[..BLOCK].to_vec();
    let source = Source::reader(move |buffer| {
        let count = piece.len().min(buffer.len());
        buffer[..count].copy_from_slice(&piece[..count]);
        piece.drain(..count);
        if piece.is_empty() {
            piece = block();
        }
        Ok(count)
    });
    let scene = Scene::new();
    let before = high_water();
    let result = watched("map", || unpack(source, scene.root(0), &Options::default()));
    let error = result.expect_err("no end");
    assert!(error.to_string().contains("65536 segments"), "{error}");
    assert!(high_water() - before < 16 << 20, "{} bytes", high_water() - before);
    scene.assert_untouched();
}

#[test]
fn digits_are_a_name_and_blanks_no_time() {
    if !needs::overlay() {
        return;
    }
    // A v7 header ends with the link's name: no magic, no user, no device.
    let v7 = |entry: Entry| entry.patch(257, [0; BLOCK - 257]);
    let entries = vec![
        file("x").record("path", "12345").data("1"),
        dir("y").record("path", "0/"),
        v7(file("blank").patch(136, [b' '; 12]).data("2")),
        v7(file("blank and NUL").patch(136, b"           \0")),
    ];
    each(EVERY, &[entries], |outcome| {
        outcome.assert_applied();
        assert_eq!(outcome.tree.list(), ["0/", "12345=1", "blank and NUL", "blank=2"]);
        for name in ["blank", "blank and NUL"] {
            assert_eq!(outcome.tree.at(name).mtime, (0, 0), "{name}");
        }
    });
}

#[test]
fn limits_are_kept() {
    if !needs::overlay() {
        return;
    }
    let limits = Limits::default();
    let deep = |depth: usize| format!("{}x", "d/".repeat(depth - 1));
    let long = |bytes: usize| {
        let name = format!("{}/", "n".repeat(99)).repeat(bytes / 100 + 1);
        name[..bytes - 1].to_owned() + "x"
    };
    let value = "v".repeat(600);
    let cases: Vec<(&str, Limits, Vec<Entry>, bool)> = vec![
        ("entries", limits.entries(3), layer("a b c"), true),
        ("entries", limits.entries(3), layer("a b c .wh.d"), false),
        ("bytes", limits.bytes(10_000), vec![file("a").data([b'x'; 5000])], true),
        ("bytes", limits.bytes(10_000), vec![file("a").data([b'x'; 10_001])], false),
        (
            "bytes of sparse files together",
            limits.bytes(10_000),
            ["a", "b"].map(|name| file(name).sparse(SparseForm::Pax10, &[], 6000)).to_vec(),
            false,
        ),
        ("depth", limits.path_depth(5), vec![file(deep(5))], true),
        ("depth", limits.path_depth(5), vec![file(deep(6))], false),
        ("name", limits.path_bytes(300), vec![file(long(300))], true),
        ("name", limits.path_bytes(300), vec![file(long(301))], false),
        ("target", limits.path_bytes(300), vec![symlink("l", long(301))], false),
        ("xattrs", limits.xattr_bytes(1000), vec![file("a").xattr("user.a", &value)], true),
        (
            "xattrs",
            limits.xattr_bytes(1000),
            vec![file("a").xattr("user.a", &value).xattr("user.b", &value)],
            false,
        ),
    ];
    for (what, limits, entries, fits) in cases {
        for threads in [1, 2, 8] {
            let scene = Scene::new();
            let options = Options::default().limits(limits).threads(threads);
            let blob = archive(&entries);
            match unpack(Source::memory(&blob), scene.root(0), &options) {
                Ok(_) => assert!(fits, "{what}: accepted"),
                Err(error) => {
                    assert!(!fits, "{what}: {error}");
                    assert_eq!(error.kind(), ErrorKind::Limit, "{what}: {error}");
                }
            }
        }
    }
}

#[test]
fn bomb_is_stopped_by_its_ratio() {
    if !needs::overlay() {
        return;
    }
    // Zeros after the archive's end: nothing is written, and only the ratio can stop it.
    let zeros = vec![0; 64 << 20];
    let frame = zstd(&zeros);
    let blob: Vec<u8> = [zstd(&archive(&layer("a=1")))]
        .into_iter()
        .chain((0..20).map(|_| frame.clone()))
        .flatten()
        .collect();
    let by_default = unpack(Source::memory(&blob), Scene::new().root(0), &Options::default());
    by_default.expect("real layers reach any ratio");
    let options = Options::default().limits(Limits::default().ratio(400));
    let result = unpack(Source::memory(&blob), Scene::new().root(0), &options);
    let error = result.expect_err("a bomb");
    assert_eq!(error.kind(), ErrorKind::Limit);
    assert!(error.to_string().contains("times its size, the limit ratio is 400"), "{error}");
}

#[test]
fn deepest_names_are_made_and_removed() {
    if !needs::overlay() {
        return;
    }
    let deep = "d/".repeat(511);
    let stack = [vec![file(format!("{deep}x")).data("1")], layer("d=2")];
    each(&[Way::Directory, Way::Overlay], &stack, |outcome| {
        outcome.assert_applied();
        assert_eq!(outcome.tree.list(), ["d=2"]);
    });
}

#[test]
fn headers_for_headers_are_refused_or_harmless() {
    if !needs::overlay() {
        return;
    }
    let record = |path: &str| extended(b'x', &pax(&[("path", path)]));
    let many: Vec<u8> = (0..1000).flat_map(|_| record("a")).collect();
    let blobs: [(&str, Vec<u8>); 3] = [
        ("record of a record", [record("a"), record("../canary/file")].concat()),
        ("a thousand records", many),
        ("record of a long name", [record("a"), file("x".repeat(200)).gnu().bytes()].concat()),
    ];
    for (what, head) in blobs {
        let blob = [head, archive(&[file("x").data("evil")])].concat();
        try_blob(what, &blob, |_| {});
    }
}

#[test]
fn a_directory_that_is_emptied_again_and_again_is_looked_at_once() {
    if !needs::overlay() {
        return;
    }
    const MANY: usize = 20_000;
    let children = (0..MANY).map(|number| dir(format!("d/{number}")));
    let again = (0..MANY).flat_map(|_| [opaque("d"), whiteout("d")]);
    let entries: Vec<Entry> = children.chain(again).collect();
    let blob = archive(&entries);
    let scene = Scene::new();
    let options = Options::default().mode(Way::Overlay.mode());
    // Each marker would look at each child: half a billion steps.
    let result = watched("markers", || unpack(Source::memory(&blob), scene.root(0), &options));
    assert_eq!(result.expect("unpacked").entries.total, 3 * MANY as u64);
}
