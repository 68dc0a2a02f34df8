// SPDX-License-Identifier: Apache-2.0
//! What scan tells of a layer. That it refuses what unpack refuses is checked wherever a test
//! unpacks something, by tests/common/agree.rs.

mod common;

use common::agree::{Kept, scanned};
use common::archive::{
    Entry, archive, block_device, char_device, dir, extended, fifo, file, gzip, hardlink, layer,
    opaque, pax, symlink, unfinished, whiteout, zstd,
};
use common::child::is_child;
use common::memory;
use common::runner::watched;
use ocilayer::{
    Cancel, Errno, ErrorKind, Expect, Finding, FindingKind, IdRange, Limits, Lowers, Mode, Options,
    Owners, ScanObserver, Source, scan,
};

use FindingKind::*;

fn bottom() -> Options {
    Options::default().lowers(Lowers::Known(Vec::new()))
}

/// Kind, entry and detail of each finding; of a refusal, the kind of its error.
fn told(kept: &Kept) -> Vec<(FindingKind, u64, String)> {
    let row = |finding: &Finding| {
        let detail = match &finding.refusal {
            Some(refusal) => format!("{:?}", refusal.kind),
            None => finding.detail.escape_ascii().to_string(),
        };
        (finding.kind, finding.place.as_ref().expect("a place").entry, detail)
    };
    kept.0.iter().map(row).collect()
}

#[test]
fn each_kind_of_finding_has_its_entry_and_detail() {
    let table: Vec<(Entry, &[(FindingKind, &str)])> = vec![
        (file("plain"), &[]),
        (dir("d").mode(0o7755), &[]),
        (whiteout("d/gone"), &[(Whiteout, "d/gone")]),
        (opaque("d"), &[(Opaque, "d")]),
        (opaque(""), &[(Opaque, "")]),
        (
            file("t").xattr("trusted.overlay.opaque", "y").xattr("trusted.x", ""),
            &[(TrustedXattr, "trusted.overlay.opaque"), (TrustedXattr, "trusted.x")],
        ),
        (dir("o").xattr("user.overlay.opaque", "y"), &[(OverlayXattr, "user.overlay.opaque")]),
        (symlink("s", "t").xattr("user.x", ""), &[(XattrOnSpecial, "user.x")]),
        (fifo("fifo").xattr("user.x", ""), &[(XattrOnSpecial, "user.x")]),
        (file("../up"), &[(NameLeavesRoot, ""), (Refused, "Layer")]),
        (symlink("d/l", "../../etc"), &[(LinkLeavesRoot, "../../etc")]),
        (symlink("d/inside", "../t"), &[]),
        (symlink("absolute", "/etc"), &[]),
        (hardlink("h", "../t"), &[(LinkLeavesRoot, "../t")]),
        (hardlink("h2", "/t").mode(0o4755).xattr("user.x", ""), &[]),
        (char_device("null", 1, 3), &[(Device, "c 1:3")]),
        (block_device("sda", 8, 0), &[(Device, "b 8:0")]),
        (file("su").mode(0o4755), &[(Setuid, "4755")]),
        (file("wall").mode(0o2755), &[(Setgid, "2755")]),
        (file("both").mode(0o6755), &[(Setuid, "6755"), (Setgid, "6755")]),
        (file("ping").xattr("security.capability", "x"), &[(FileCapability, "")]),
        (file("./plain"), &[(Duplicate, "")]),
        (file("d/../plain"), &[(Duplicate, "")]),
        (whiteout("d/gone"), &[(Whiteout, "d/gone"), (Duplicate, "")]),
        (file("d/inside/../up"), &[]),
        (file(".wh..wh.plnk"), &[(AufsMetadata, "")]),
        (file(".wh..wh.aufs"), &[(AufsMetadata, "")]),
        (hardlink("to-aufs", ".wh..wh.aufs"), &[(LinkToSkipped, ".wh..wh.aufs")]),
        (file(".wh..wh.plnk/1.2"), &[(AufsMetadata, "")]),
        (hardlink("from-aufs", ".wh..wh.plnk/1.2"), &[]),
        (file("t/x"), &[(Refused, "Layer")]),
        (hardlink("nowhere", "missing"), &[(Refused, "Layer")]),
        (file(".wh."), &[(Refused, "Layer")]),
        (file("acl").record("SCHILY.acl.access", ""), &[(IgnoredRecord, "SCHILY.acl.access")]),
        (file("last"), &[]),
    ];
    let entries: Vec<Entry> = table.iter().map(|(entry, _)| entry.clone()).collect();
    let rows = table.iter().enumerate();
    let expected: Vec<_> = rows
        .flat_map(|(entry, (_, findings))| {
            findings.iter().map(move |(kind, text)| (*kind, entry as u64, text.to_string()))
        })
        .collect();
    let plain = archive(&entries);
    for blob in [plain.clone(), gzip(&plain), zstd(&plain)] {
        for threads in [1, 2] {
            let (kept, report) = scanned(&blob, &bottom().threads(threads));
            let report = report.expect("scanned");
            assert_eq!(told(&kept), expected);
            assert_eq!(report.entries.total, entries.len() as u64);
            assert!(!report.partial && report.is_refused() && report.diff_id.is_some());
            // Of the archive, not of an entry.
            let others = [GlobalRecord, NoEndMarker, DataAfterEnd];
            for kind in FindingKind::ALL.into_iter().filter(|kind| !others.contains(kind)) {
                let count = expected.iter().filter(|(found, ..)| *found == kind).count();
                assert!(count > 0, "{kind:?} is in no row");
                assert_eq!(report.findings.count(kind), count as u64, "{kind:?}");
            }
        }
    }
}

#[test]
fn what_is_odd_about_the_archive_has_its_place() {
    let global = extended(b'g', &pax(&[("comment", "x"), ("uid", "0")]));
    let entries = unfinished(&[file("a"), file("b").after(global)]);
    let ended = [entries.clone(), vec![0; 1024]].concat();
    let behind = [ended.clone(), file("c").bytes()].concat();
    let about = (GlobalRecord, 1, 1536, "uid");
    type Told<'t> = (FindingKind, u64, u64, &'t str);
    let table: [(Vec<u8>, &[Told]); 3] = [
        (ended, &[about]),
        (behind, &[about, (DataAfterEnd, 2, 3072, "")]),
        (gzip(&entries), &[about, (NoEndMarker, 2, 2048, "")]),
    ];
    for (blob, expected) in table {
        let (kept, report) = scanned(&blob, &bottom());
        assert!(!report.expect("scanned").is_refused());
        let told = kept.0.iter().map(|finding| {
            let place = finding.place.as_ref().expect("a place");
            (finding.kind, place.entry, place.offset, std::str::from_utf8(&finding.detail).unwrap())
        });
        assert_eq!(told.collect::<Vec<_>>(), expected);
    }
}

#[test]
fn names_are_the_same_when_a_symlink_leads_to_them() {
    let (kept, _) = scanned(&archive(&layer("usr/bin/ bin->usr/bin usr/bin/x bin/x")), &bottom());
    assert_eq!(told(&kept), [(Duplicate, 3, String::new())]);
}

#[test]
fn what_the_lower_layers_decide_is_left_open_unless_there_are_none() {
    let (any, none) = (Options::default(), bottom());
    let blind = Options::default().mode(Mode::Overlay);
    let table: &[(&str, &Options, Option<ErrorKind>)] = &[
        ("h=>lower", &any, None),
        ("h=>lower", &none, Some(ErrorKind::Layer)),
        ("h=>lower", &blind, Some(ErrorKind::Unsupported)),
        (".wh.lower h=>lower", &any, Some(ErrorKind::Layer)),
        ("h=>lower .wh.lower", &any, Some(ErrorKind::Layer)),
        ("h=>d/lower d/.wh..wh..opq", &any, Some(ErrorKind::Layer)),
        ("h=>d-/lower d/.wh..wh..opq", &any, None),
        ("d/.wh..wh..opq h=>d/lower", &any, Some(ErrorKind::Layer)),
        (".wh..wh..opq", &any, None),
        (".wh..wh..opq", &blind, Some(ErrorKind::Unsupported)),
        ("h=>lower h/x", &any, None),
        ("f f/x", &any, Some(ErrorKind::Layer)),
        // Below, b may be a symlink to the root, so that b/c is c.
        ("c=1 b/c->a c/a/x=1", &any, None),
        ("c=1 b/c->a c/a/x=1", &none, Some(ErrorKind::Layer)),
        ("c/x=1 b/c=1 h=>c", &any, None),
    ];
    for (text, options, expected) in table {
        let (kept, _) = scanned(&archive(&layer(text)), options);
        let got = kept.first_refused().and_then(|f| f.refusal.as_ref()).map(|r| r.kind);
        assert_eq!(got, *expected, "{text} {:?}", options.lowers);
    }
}

#[test]
fn values_that_nothing_can_hold_are_refused() {
    let map = IdRange { container: 1, host: 1000, count: 10 };
    let owners = Owners::Map { uids: vec![map], gids: vec![map] };
    let (plain, mapped) = (bottom(), bottom().owners(owners));
    let table: Vec<(Entry, &Options, Option<Errno>)> = vec![
        (file("f").xattr("user.".to_owned() + &"n".repeat(250), ""), &plain, None),
        (file("f").xattr("user.".to_owned() + &"n".repeat(251), ""), &plain, Some(Errno::RANGE)),
        (file("f").xattr("user.x", vec![b'v'; 65_537]), &plain, Some(Errno::TOOBIG)),
        (file("f").xattr("trusted.x", vec![b'v'; 65_537]), &plain, None),
        (symlink("s", "t".repeat(4095)), &plain, None),
        (symlink("s", "t".repeat(4096)), &plain, Some(Errno::NAMETOOLONG)),
        (file("f").owner(1, 1), &mapped, None),
        (file("f").owner(11, 1), &mapped, Some(Errno::INVAL)),
        (hardlink("f", "f").owner(11, 1), &mapped, Some(Errno::NOENT)),
        // The directory would belong to root, whom the ranges leave out.
        (file("d/f").owner(1, 1), &mapped, Some(Errno::INVAL)),
    ];
    for (entry, options, expected) in table {
        let (kept, _) = scanned(&archive(std::slice::from_ref(&entry)), options);
        let got = kept.first_refused().and_then(|f| f.refusal.as_ref()).map(|r| r.errno);
        assert_eq!(got, expected, "{entry:?}");
    }
}

#[test]
fn a_blob_that_is_damaged_or_another_is_a_finding() {
    let whole = archive(&layer("a=1 b=2 c=3"));
    let other = "sha256:".to_owned() + &"0".repeat(64);
    let expect = Expect::default().blob(other.parse().expect("a digest"));
    let limits = Limits::default().entries(2);
    let table = [
        ("cut", archive(&layer("a=1 b=2"))[..1400].to_vec(), bottom(), ErrorKind::Archive, 1, true),
        ("no end", unfinished(&layer("a=1 b=2")), bottom(), ErrorKind::Archive, 2, false),
        ("cut gzip", gzip(&whole)[..60].to_vec(), bottom(), ErrorKind::Corrupt, 0, true),
        ("digest", whole.clone(), bottom().expect(expect), ErrorKind::Digest, 3, false),
        ("limit", whole.clone(), bottom().limits(limits), ErrorKind::Limit, 2, true),
        ("text", b"no archive".repeat(100), bottom(), ErrorKind::Archive, 0, true),
    ];
    for (what, blob, options, kind, entries, partial) in table {
        let (kept, report) = scanned(&blob, &options);
        let report = report.expect(what);
        let last = kept.0.last().and_then(|finding| finding.refusal.as_ref()).expect(what);
        assert_eq!(last.kind, kind, "{what}: {}", last.message);
        assert_eq!((report.partial, report.entries.total), (partial, entries), "{what}");
        assert_eq!(report.blob_digest.is_none(), partial, "{what}");
    }
}

/// Ends the scan at the first finding.
struct Fails;

impl ScanObserver for Fails {
    fn finding(&mut self, _: &Finding) -> Result<(), Errno> {
        Err(Errno::DQUOT)
    }
}

#[test]
fn what_is_not_the_blobs_fault_is_an_error() {
    let blob = archive(&layer("a b@4755 c@4755"));
    let error = scan(Source::memory(&blob), &bottom(), &mut Fails).expect_err("the callback fails");
    assert_eq!((error.kind(), error.errno()), (ErrorKind::Callback, Errno::DQUOT));
    assert_eq!(error.place().map(|place| place.entry), Some(1));

    let cancel = Cancel::new().expect("a token");
    cancel.cancel();
    let options = bottom().cancel(cancel);
    let error = scan(Source::memory(&blob), &options, &mut ()).expect_err("cancelled");
    assert_eq!(error.kind(), ErrorKind::Cancelled);

    let read = |_: &mut [u8]| Err(Errno::IO);
    let error = scan(Source::reader(read), &bottom(), &mut ()).expect_err("no source");
    assert_eq!((error.kind(), error.errno()), (ErrorKind::Callback, Errno::IO));

    let error = scan(Source::path("/no/where"), &bottom(), &mut ()).expect_err("no file");
    assert_eq!(error.kind(), ErrorKind::Source);

    let lowers = Lowers::Known(vec!["/".into()]);
    let options = Options::default().lowers(lowers);
    let error = scan(Source::memory(&blob), &options, &mut ()).expect_err("directory mode");
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
}

#[test]
fn a_callback_that_fails_ends_the_scan_of_an_endless_layer() {
    let (read, write) = std::io::pipe().expect("a pipe");
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let mut write = write;
            let mut rest = file("su").mode(0o4755).bytes();
            // Until nobody reads any more.
            for number in 0.. {
                if std::io::Write::write_all(&mut write, &rest).is_err() {
                    break;
                }
                rest = file(format!("plain{number}")).data([0; 65_536]).bytes();
            }
        });
        // Nothing of what follows would be told.
        let scanned = watched("scan", || scan(Source::file(read), &bottom(), &mut Fails));
        assert_eq!(scanned.expect_err("the callback fails").kind(), ErrorKind::Callback);
    });
}

#[test]
fn a_section_of_a_file_is_a_layer() {
    let (before, blob) = (b"something else".repeat(100), gzip(&archive(&layer("a b@4755"))));
    let mut holder = tempfile::tempfile().expect("a file");
    std::io::Write::write_all(&mut holder, &[&before[..], &blob, &before].concat()).expect("write");
    for threads in [1, 2] {
        let own = holder.try_clone().expect("a descriptor");
        let source = Source::section(own, before.len() as u64, blob.len() as u64);
        let mut kept = Kept::default();
        let report = scan(source, &bottom().threads(threads), &mut kept).expect("scanned");
        assert_eq!(told(&kept), [(Setuid, 1, "4755".into())]);
        assert_eq!(report.blob_bytes, blob.len() as u64);
    }
}

#[test]
fn a_layer_with_more_names_than_are_kept_says_from_where_on() {
    // Their targets fill what is kept of texts.
    let target = "t".repeat(4000);
    let links = (0..4500).map(|number| symlink(format!("l{number}"), &target));
    let mut entries = vec![file("a"), file("a")];
    entries.extend(links);
    entries.extend([file("a"), hardlink("h", "missing"), file("b@").mode(0o4755)]);
    let (kept, report) = scanned(&archive(&entries), &bottom());
    let until = report.expect("scanned").names_kept_until.expect("too many names");
    assert!((4000..4500).contains(&until), "{until}");
    let last = entries.len() as u64 - 1;
    assert_eq!(told(&kept), [(Duplicate, 1, String::new()), (Setuid, last, "4755".into())]);
}

/// Scans entries that are made as they are read, and tells how many findings there were.
fn found_in(entries: usize, entry: impl Fn(usize) -> Entry + Send) -> u64 {
    let source = memory::made_as_read(entries, entry);
    let report = scan(source, &bottom(), &mut ()).expect("scanned");
    report.findings.iter().map(|(_, count)| count).sum()
}

#[test]
fn findings_do_not_grow_memory() {
    // Alone in a process: what other tests need would count as well.
    if !is_child("findings_do_not_grow_memory") {
        return;
    }
    const MANY: usize = 100_000;
    // Long enough to have had every buffer in use.
    assert_eq!(found_in(20_000, |_| file("same").mode(0o6755)), 59_999);
    let few = memory::high_water();
    assert_eq!(found_in(MANY, |_| file("same").mode(0o6755)) as usize, 3 * MANY - 1);
    let many = memory::high_water();
    assert!(
        many < few + memory::UNDER_WAY,
        "{few} bytes with 59,999 findings, {many} with 299,999"
    );

    assert_eq!(found_in(MANY, |number| file(number.to_string())), 0);
    let names = memory::high_water();
    // A hash and a few bits each, in a table that doubles.
    assert!(names < many + 64 * MANY, "{} bytes for {MANY} names", names - many);
    let findings = found_in(MANY, |number| file(number.to_string()).mode(0o6755));
    assert_eq!(findings as usize, 2 * MANY);
    let both = memory::high_water();
    assert!(both < names + memory::UNDER_WAY, "{names} bytes for names, {both} with findings");
}
