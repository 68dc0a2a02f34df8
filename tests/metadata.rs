// SPDX-License-Identifier: Apache-2.0
//! Metadata: the third table of docs/layer-semantics.md.

mod common;

use std::os::unix::fs::MetadataExt;

use common::archive::{
    Entry, SparseForm, archive, block_device, char_device, dir, fifo, file, hardlink, layer,
    symlink,
};
use common::cases::{each, each_applied, each_refused};
use common::needs;
use common::runner::{
    EVERY, KNOWING, KNOWING_OVERLAYS, OVERLAYS, Outcome, Scene, Way, apply_with, plain_settings,
};
use common::tree::{Kind, Node, Tree};
use ocilayer::{Devices, Errno, ErrorKind, IdRange, Options, Owners, SkipReason, Source, unpack};
use rustix::fs::{XattrFlags, lsetxattr};

/// One entry of each type, without attributes.
fn types() -> Vec<Entry> {
    vec![
        file("f").data("1"),
        dir("d"),
        symlink("l", "nowhere"),
        fifo("p"),
        char_device("c", 1, 3),
        block_device("b", 8, 0),
    ]
}

const NAMES: [&str; 6] = ["f", "d", "l", "p", "c", "b"];

fn each_type(change: impl Fn(Entry) -> Entry, check: impl Fn(&str, &Node)) {
    each_applied(EVERY, &[types().into_iter().map(change).collect()], |outcome| {
        for name in NAMES {
            check(name, outcome.tree.at(name));
        }
    });
}

#[track_caller]
fn skipped(outcome: &Outcome, reason: SkipReason) -> u64 {
    outcome.reports.last().expect("a report").skipped.count(reason)
}

#[test]
fn owners_are_kept_to_the_last_id() {
    if !needs::overlay() {
        return;
    }
    for (uid, gid) in [(0, 0), (1, 2), (65534, 65535), (2097151, 2097152), (4294967294, 4294967294)]
    {
        for gnu in [false, true] {
            let change = |entry: Entry| {
                let entry = entry.owner(uid, gid);
                if gnu { entry.gnu() } else { entry }
            };
            each_type(change, |name, node| {
                assert_eq!((node.uid.into(), node.gid.into()), (uid, gid), "{name}");
            });
        }
    }
}

#[test]
fn owners_that_no_file_can_have_are_refused() {
    if !needs::overlay() {
        return;
    }
    for id in ["-1", "4294967295", "4294967296", "4294967297", "-4294967296", "1.5"] {
        for key in ["uid", "gid"] {
            let entry = file("x").mode(0o4755).record(key, id);
            each(EVERY, &[vec![entry]], |outcome| {
                let failure = outcome.failure.as_ref();
                let (_, error) = failure.unwrap_or_else(|| panic!("{key}={id} is accepted"));
                assert!(matches!(error.kind(), ErrorKind::Archive | ErrorKind::Layer), "{error}");
                assert!(outcome.tree.get("x").is_none(), "{key}={id} must not be made");
            });
        }
    }
    for id in [-1, 1 << 32, (1 << 32) + 5, 0xffff_ffff] {
        for entry in [file("x").gnu().owner(id, 0), file("x").gnu().owner(0, id)] {
            each_refused(&[Way::Directory], ErrorKind::Archive, &[vec![entry]]);
        }
    }
}

#[test]
fn owners_are_mapped_through_ranges_and_refused_outside() {
    if !needs::overlay() {
        return;
    }
    let range = |container, host, count| IdRange { container, host, count };
    let owners = Owners::Map {
        uids: vec![range(0, 100_000, 1000), range(5000, 7, 1)],
        gids: vec![range(0, 200_000, 10)],
    };
    let adjust = |options: &mut Options| options.owners = owners.clone();
    let mapped = |uid, gid| vec![file("x").owner(uid, gid), file("d/y").owner(uid, gid)];
    for setting in plain_settings(EVERY) {
        for (uid, gid, want) in
            [(0, 0, (100_000, 200_000)), (999, 9, (100_999, 200_009)), (5000, 1, (7, 200_001))]
        {
            let outcome = apply_with(&[mapped(uid, gid)], setting, &adjust);
            outcome.assert_applied();
            for name in ["x", "d/y"] {
                let node = outcome.tree.at(name);
                assert_eq!((node.uid, node.gid), want, "{setting}");
            }
            let implied = outcome.tree.at("d");
            assert_eq!((implied.uid, implied.gid), (100_000, 200_000), "{setting}: root is mapped");
        }
        for (uid, gid) in [(1000, 0), (4999, 0), (5001, 0), (0, 10)] {
            let outcome = apply_with(&[mapped(uid, gid)], setting, &adjust);
            let (_, error) = outcome.failure.expect("an id outside of the ranges");
            assert_eq!(error.kind(), ErrorKind::Layer, "{error}");
            assert_eq!(error.place().expect("a place").path, b"x");
        }
    }
}

#[test]
fn ignored_owners_are_the_callers() {
    if !needs::overlay() {
        return;
    }
    for setting in plain_settings(EVERY) {
        let stack = [types().into_iter().map(|entry| entry.owner(5, 6)).collect()];
        let ignore = |options: &mut Options| options.owners = Owners::Ignore;
        let outcome = apply_with(&stack, setting, &ignore);
        outcome.assert_applied();
        for name in NAMES {
            assert_eq!((outcome.tree.at(name).uid, outcome.tree.at(name).gid), (0, 0), "{name}");
        }
    }
}

#[test]
fn all_mode_bits_survive_the_owner() {
    if !needs::overlay() {
        return;
    }
    for mode in [0, 0o1, 0o644, 0o755, 0o1777, 0o2755, 0o4755, 0o6711, 0o7777] {
        each_type(
            |entry| entry.mode(mode).owner(5, 6),
            |name, node| {
                let want = if name == "l" { 0o777 } else { mode };
                assert_eq!(node.mode, want, "{name}");
            },
        );
    }
    // A setgid parent passes its group and bit on to what is made in it, but not to a layer's.
    let below = vec![dir("d").mode(0o2777).owner(1, 7), dir("d/s"), file("d/f"), file("d/i/f")];
    each_applied(EVERY, &[below], |outcome| {
        for (name, mode) in [("d/s", 0o755), ("d/f", 0o644), ("d/i", 0o755), ("d/i/f", 0o644)] {
            let node = outcome.tree.at(name);
            assert_eq!((node.mode, node.gid), (mode, 0), "{name}");
        }
    });
}

#[test]
fn setgid_and_group_of_a_found_directory_pass_to_nothing() {
    if !needs::overlay() {
        return;
    }
    let names = ["i", "i/j", "i/j/k", "i/j/k/f", "d", "d/f", "d/s"];
    let upper = || layer("i/j/k/f=1 d/ d/f=1 d/s/");
    let plain = |tree: &Tree, context: &str| {
        for name in names {
            let node = tree.at(name);
            let mode = if name.ends_with('f') { 0o644 } else { 0o755 };
            assert_eq!((node.mode, node.gid), (mode, 0), "{context}: {name}");
        }
    };
    let root = dir(".").mode(0o2775).owner(0, 7);
    let inner = vec![dir("i").mode(0o2775).owner(0, 7), dir("i/j").mode(0o2775).owner(0, 7)];
    each_applied(EVERY, &[vec![root.clone()], upper()], |o| plain(&o.tree, "lower root"));
    each_applied(EVERY, &[[vec![root], upper()].concat()], |o| plain(&o.tree, "root entry"));
    each_applied(EVERY, &[inner.clone(), layer("i/j/n/x=1 i/j/f=1")], |outcome| {
        let node = outcome.tree.at("i/j/n");
        assert_eq!((node.mode, node.gid), (0o755, 0), "implied below a lower directory");
        assert_eq!(outcome.tree.at("i/j/f").gid, 0);
    });
    // Snapshot directories may be made below a setgid one, and are setgid themselves then.
    for way in EVERY {
        let scene = Scene::new();
        let found = scene.root(1);
        std::os::unix::fs::chown(&found, Some(0), Some(7)).expect("chown");
        let setgid = std::os::unix::fs::PermissionsExt::from_mode(0o2775);
        std::fs::set_permissions(&found, setgid).expect("chmod");
        let mut options = Options::default().mode(way.mode());
        if way.overlay() && !way.blind() {
            let lower = archive(&[inner[0].clone().mode(0o755).owner(0, 0)]);
            unpack(Source::memory(&lower), scene.root(0), &options).expect("lower");
            options.lowers = ocilayer::Lowers::Known(vec![scene.root(0)]);
        }
        let blob = archive(&upper());
        unpack(Source::memory(&blob), &found, &options).expect("unpack");
        plain(&Tree::of(&found), &format!("found root, {way:?}"));
    }
}

#[test]
fn times_are_exact_before_1970_and_after_2262() {
    if !needs::overlay() {
        return;
    }
    // What ext4 holds in 34 bits: 1901 to 2446.
    for (seconds, nanoseconds) in [
        (0, 0),
        (0, 1),
        (1, 999_999_999),
        (-1, 0),
        (-1, 999_999_999),
        (-2, 1),
        (-2_000_000_000, 123_456_789),
        (2_147_483_648, 5),
        (8_589_934_592, 0),
        (9_223_372_037, 7),
        (10_413_792_000, 999_999_999),
    ] {
        each_type(
            |entry| entry.mtime(seconds, nanoseconds),
            |name, node| assert_eq!(node.mtime, (seconds, nanoseconds), "{name}"),
        );
        let root = vec![dir(".").mtime(seconds, nanoseconds), file("x")];
        each_applied(EVERY, &[root], |outcome| {
            assert_eq!(outcome.tree.at("").mtime, (seconds, nanoseconds));
        });
    }
    let gnu = vec![file("x").gnu().mtime(-5, 0), file("y").gnu().mtime(9_999_999_999, 0)];
    each_applied(EVERY, &[gnu], |outcome| {
        assert_eq!(outcome.tree.at("x").mtime, (-5, 0));
        assert_eq!(outcome.tree.at("y").mtime, (9_999_999_999, 0));
    });
}

#[test]
fn digits_of_a_time_past_the_nanosecond_are_dropped() {
    if !needs::overlay() {
        return;
    }
    for (text, want) in [
        ("5.1234567899", (5, 123_456_789)),
        ("5.5", (5, 500_000_000)),
        ("-5.25", (-6, 750_000_000)),
        ("5.", (5, 0)),
    ] {
        let entry = file("x").record("mtime", text);
        each_applied(&[Way::Directory], &[vec![entry]], |outcome| {
            assert_eq!(outcome.tree.at("x").mtime, want, "{text}");
        });
    }
}

#[test]
fn xattrs_are_byte_exact() {
    if !needs::overlay() {
        return;
    }
    let all: Vec<u8> = (0..=255).collect();
    let values: [&[u8]; 6] = [b"", b"\0", b"a\nb", b"a=b", b"0sAAAA", &all];
    for value in values {
        let entries = vec![
            file("f").xattr("user.k", value).xattr("user.k 2", value),
            dir("d").xattr("user.k", value),
            file("d/f").xattr("user.ä", value),
        ];
        each_applied(EVERY, &[entries], |outcome| {
            for name in ["f", "d"] {
                assert_eq!(outcome.tree.at(name).xattr("user.k"), Some(value), "{name}");
            }
            assert_eq!(outcome.tree.at("f").xattr("user.k 2"), Some(value));
            assert_eq!(outcome.tree.at("d/f").xattrs.len(), 1);
        });
    }
}

#[test]
fn libarchive_xattrs_are_decoded_where_schily_has_none() {
    if !needs::overlay() {
        return;
    }
    let entry = file("f")
        .record("LIBARCHIVE.xattr.user.a", "AAECCg==")
        .record("LIBARCHIVE.xattr.user.b", "AAECCg")
        .record("LIBARCHIVE.xattr.user.c%3dd", "eA==")
        .record("LIBARCHIVE.xattr.user.both", "eA==")
        .xattr("user.both", "schily");
    let first = Entry { name: "g".into(), ..file("g").xattr("user.both", "schily") }
        .record("LIBARCHIVE.xattr.user.both", "eA==");
    each_applied(EVERY, &[vec![entry, first]], |outcome| {
        let node = outcome.tree.at("f");
        assert_eq!(node.xattr("user.a"), Some(&b"\0\x01\x02\n"[..]));
        assert_eq!(node.xattr("user.b"), Some(&b"\0\x01\x02\n"[..]));
        assert_eq!(node.xattr("user.c=d"), Some(&b"x"[..]));
        assert_eq!(node.xattr("user.both"), Some(&b"schily"[..]));
        assert_eq!(outcome.tree.at("g").xattr("user.both"), Some(&b"schily"[..]));
    });
}

#[test]
fn trusted_and_overlay_private_xattrs_are_dropped_and_reported() {
    if !needs::overlay() {
        return;
    }
    for (name, reason) in [
        ("trusted.overlay.opaque", SkipReason::TrustedXattr),
        ("trusted.overlay.redirect", SkipReason::TrustedXattr),
        ("trusted.other", SkipReason::TrustedXattr),
        ("user.overlay.opaque", SkipReason::OverlayXattr),
        ("user.overlay.whiteout", SkipReason::OverlayXattr),
        ("user.overlay.new.in.some.kernel", SkipReason::OverlayXattr),
    ] {
        let marked = |entry: Entry| entry.xattr(name, "y").xattr("user.k", "v");
        let entries = vec![marked(dir("d")), marked(file("d/f")), marked(dir("."))];
        each_applied(EVERY, &[layer("d/ d/low=1"), entries], |outcome| {
            assert_eq!(skipped(outcome, reason), 3, "{name}");
            assert!(outcome.tree.get("d/low").is_some(), "{name} must hide nothing");
            let root = if outcome.setting.way.overlay() { 1 } else { 0 };
            let raw = Tree::of(&outcome.scene.root(root));
            for path in ["", "d", "d/f"] {
                assert_eq!(raw.at(path).xattr(name), None, "{name} on {path:?}");
                assert_eq!(raw.at(path).xattr("user.k"), Some(&b"v"[..]));
            }
            let examples = &outcome.reports[1].skipped.get(reason).expect("skips").examples;
            assert_eq!(examples[0].detail, name.as_bytes());
            assert_eq!(examples[0].path, b"d/");
        });
    }
}

#[test]
fn implied_directories_take_no_trusted_xattrs_from_the_parents() {
    if !needs::overlay() {
        return;
    }
    for way in KNOWING_OVERLAYS {
        let scene = Scene::new();
        let options = |lowers: Vec<std::path::PathBuf>| {
            Options::default().mode(way.mode()).lowers(ocilayer::Lowers::Known(lowers))
        };
        let lower = archive(&layer("d/ d/f=1"));
        unpack(Source::memory(&lower), scene.root(0), &options(vec![])).expect("lower");
        let names = ["trusted.other", "trusted.overlay.opaque", "user.overlay.opaque", "user.k"];
        for name in names {
            lsetxattr(scene.root(0).join("d"), name, b"y", XattrFlags::CREATE).expect("setxattr");
        }
        let upper = archive(&layer("d/x=2 h=>d/f"));
        unpack(Source::memory(&upper), scene.root(1), &options(vec![scene.root(0)]))
            .expect("upper");
        let made = Tree::of(&scene.root(1));
        assert_eq!(made.at("d").xattrs.len(), 1, "{way:?}: {}", made.at("d"));
        assert_eq!(made.at("d").xattr("user.k"), Some(&b"y"[..]), "{way:?}");
        scene.assert_untouched();
    }
}

#[test]
fn user_xattrs_on_symlinks_and_special_files_are_skipped_and_reported() {
    if !needs::overlay() {
        return;
    }
    let entries = types().into_iter().map(|entry| entry.xattr("user.k", "v")).collect();
    each_applied(EVERY, &[entries], |outcome| {
        assert_eq!(skipped(outcome, SkipReason::XattrOnSpecial), 4);
        for name in NAMES {
            let want = if ["f", "d"].contains(&name) { Some(&b"v"[..]) } else { None };
            assert_eq!(outcome.tree.at(name).xattr("user.k"), want, "{name}");
        }
    });
}

#[test]
fn security_xattrs_are_set_on_symlinks_and_special_files_too() {
    if !needs::overlay() {
        return;
    }
    each_type(
        |entry| entry.xattr("security.ocilayer", "v"),
        |name, node| assert_eq!(node.xattr("security.ocilayer"), Some(&b"v"[..]), "{name}"),
    );
}

#[test]
fn xattrs_that_the_file_system_lacks_are_skipped_and_reported() {
    if !needs::overlay() {
        return;
    }
    let entries = vec![
        file("f").xattr("nonsense.k", "v").xattr("user.k", "v"),
        dir("d").xattr("nonsense.k", "v"),
    ];
    each_applied(EVERY, &[entries], |outcome| {
        assert!(skipped(outcome, SkipReason::XattrUnsupported) >= 1);
        assert_eq!(outcome.tree.at("f").xattrs.len(), 1);
        assert_eq!(outcome.tree.at("d").xattrs.len(), 0);
    });
}

/// struct vfs_cap_data, revision 2: cap_net_raw, effective.
const CAPABILITY: [u8; 20] = [1, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

#[test]
fn file_capabilities_and_setuid_survive_the_chown() {
    if !needs::overlay() {
        return;
    }
    let entries = vec![
        file("ping").data("1").mode(0o4755).owner(5, 6).xattr("security.capability", CAPABILITY),
        file("empty").mode(0o2755).owner(5, 6).xattr("security.capability", CAPABILITY),
    ];
    each_applied(EVERY, &[entries], |outcome| {
        for (name, mode) in [("ping", 0o4755), ("empty", 0o2755)] {
            let node = outcome.tree.at(name);
            assert_eq!((node.mode, node.uid, node.gid), (mode, 5, 6), "{name}");
            assert_eq!(node.xattr("security.capability"), Some(&CAPABILITY[..]), "{name}");
        }
    });
}

/// A POSIX ACL as the kernel stores it: u::rwx u:7:MIDDLE g::r-x m::rwx o::---.
fn acl(middle: u8) -> Vec<u8> {
    let mut acl = vec![2, 0, 0, 0];
    for (tag, permission, id) in [
        (1, 7, u32::MAX),
        (2, middle, 7),
        (4, 5, u32::MAX),
        (0x10, 7, u32::MAX),
        (0x20, 0, u32::MAX),
    ] {
        acl.extend([tag, 0, permission, 0]);
        acl.extend(u32::to_le_bytes(id));
    }
    acl
}

const ACCESS: &str = "system.posix_acl_access";
const DEFAULT: &str = "system.posix_acl_default";

#[test]
fn acls_are_kept() {
    if !needs::overlay() {
        return;
    }
    let (access, default) = (acl(6), acl(4));
    let entries = vec![
        file("f").mode(0o770).xattr(ACCESS, &access),
        dir("d").mode(0o770).xattr(ACCESS, &access).xattr(DEFAULT, &default),
    ];
    each_applied(EVERY, &[entries], |outcome| {
        assert_eq!(outcome.tree.at("f").xattr(ACCESS), Some(&access[..]));
        assert_eq!(outcome.tree.at("d").xattr(ACCESS), Some(&access[..]));
        assert_eq!(outcome.tree.at("d").xattr(DEFAULT), Some(&default[..]));
        assert_eq!(outcome.tree.at("f").mode, 0o770);
    });
}

#[test]
fn default_acl_of_the_parent_is_not_inherited() {
    if !needs::overlay() {
        return;
    }
    let parent = || vec![dir("d").xattr(DEFAULT, acl(7)), dir("e").xattr(DEFAULT, acl(7))];
    let children = || {
        let below: Vec<Entry> = types()
            .into_iter()
            .map(|entry| Entry { name: [b"d/", &entry.name[..]].concat(), ..entry })
            .collect();
        [below, vec![file("e/i/j/x").data("1"), dir("d/d/s")]].concat()
    };
    let plain = |outcome: &Outcome| {
        for name in ["d/f", "d/d", "d/l", "d/p", "d/c", "d/b", "d/d/s", "e/i", "e/i/j", "e/i/j/x"] {
            let node = outcome.tree.at(name);
            assert!(node.xattrs.is_empty(), "{name}: {node}");
        }
        assert_eq!(outcome.tree.at("d/f").mode, 0o644);
        assert_eq!(outcome.tree.at("d/d").mode, 0o755);
        assert_eq!(outcome.tree.at("e/i").mode, 0o755);
        assert_eq!(outcome.tree.at("d").xattr(DEFAULT), Some(&acl(7)[..]));
    };
    each_applied(EVERY, &[[parent(), children()].concat()], plain);
    each_applied(&[Way::Directory, Way::Overlay, Way::Userxattr], &[parent(), children()], plain);
    let root = vec![dir(".").xattr(DEFAULT, acl(7)), file("x"), dir("y")];
    each_applied(EVERY, &[root, layer("z=1")], |outcome| {
        for name in ["x", "y", "z"] {
            assert!(outcome.tree.at(name).xattrs.is_empty(), "{name}");
        }
    });
}

#[test]
fn stale_acls_of_a_merged_directory_are_removed() {
    if !needs::overlay() {
        return;
    }
    let lower =
        vec![dir("d").mode(0o770).xattr(ACCESS, acl(6)).xattr(DEFAULT, acl(4)), file("d/x")];
    each_applied(EVERY, &[lower, layer("d/@711")], |outcome| {
        let node = outcome.tree.at("d");
        assert!(node.xattrs.is_empty(), "{node}");
        assert_eq!(node.mode, 0o711);
    });
}

#[test]
fn fifos_and_devices_are_made() {
    if !needs::overlay() {
        return;
    }
    let entries = vec![
        fifo("p").mode(0o622),
        char_device("null", 1, 3).mode(0o666),
        block_device("sda", 8, 0),
        char_device("last", 4095, 1_048_575),
        block_device("zero", 0, 0),
    ];
    each_applied(EVERY, &[entries], |outcome| {
        assert_eq!(outcome.tree.at("p").kind, Kind::Fifo);
        assert_eq!(outcome.tree.at("null").kind, Kind::CharDevice(1, 3));
        assert_eq!(outcome.tree.at("sda").kind, Kind::BlockDevice(8, 0));
        assert_eq!(outcome.tree.at("last").kind, Kind::CharDevice(4095, 1_048_575));
        assert_eq!(outcome.tree.at("zero").kind, Kind::BlockDevice(0, 0));
        assert_eq!(outcome.tree.at("null").mode, 0o666);
        let entries = outcome.reports[0].entries;
        assert_eq!((entries.fifos, entries.devices), (1, 4));
    });
}

#[test]
fn device_numbers_that_the_kernel_cannot_hold_are_refused() {
    if !needs::overlay() {
        return;
    }
    for (major, minor) in [(4096, 0), (4096, 3), (0, 1 << 20), (1, (1 << 20) + 3), (2_097_151, 0)] {
        for entry in [char_device("x", major, minor), block_device("x", major, minor)] {
            each(EVERY, &[vec![entry]], |outcome| {
                let (_, error) = outcome.failure.as_ref().expect("a failure");
                assert!(matches!(error.kind(), ErrorKind::Archive | ErrorKind::Layer), "{error}");
                assert!(outcome.tree.get("x").is_none());
            });
        }
    }
}

#[test]
fn character_device_0_0_is_refused_where_it_would_be_a_whiteout() {
    if !needs::overlay() {
        return;
    }
    each_refused(OVERLAYS, ErrorKind::Layer, &[layer("x=1"), layer("x%0:0")]);
    each_refused(OVERLAYS, ErrorKind::Layer, &[layer("d/x%0:0")]);
    each(&[Way::Directory], &[layer("x%0:0")], |outcome| {
        outcome.assert_applied();
        // The snapshot's name for this device.
        assert_eq!(outcome.tree.at("x").kind, Kind::Ghost);
    });
}

#[test]
fn devices_are_skipped_and_reported_on_request() {
    if !needs::overlay() {
        return;
    }
    for setting in plain_settings(EVERY) {
        let skip = |options: &mut Options| options.devices = Devices::Skip;
        let outcome = apply_with(&[layer("c%1:3 b#8:0 p| f=1")], setting, &skip);
        outcome.assert_applied();
        assert_eq!(outcome.tree.list(), ["f=1", "p|"], "{setting}");
        assert_eq!(skipped(&outcome, SkipReason::Device), 2);
    }
}

#[test]
fn devices_in_a_user_namespace_are_skipped_and_reported() {
    let name = "devices_in_a_user_namespace_are_skipped_and_reported";
    let starter = ["unshare", "--user", "--map-root-user", "--mount"];
    if !needs::tool("unshare") || !common::child::is_child_of(name, &starter) {
        return;
    }
    let stack = [layer("f=1 d/ d/old=1"), layer("c%1:3 b#8:0 p| .wh.f d/new=2 d/.wh..wh..opq")];
    each_applied(&[Way::Directory, Way::Userxattr, Way::UserxattrBlind], &stack, |outcome| {
        assert_eq!(outcome.tree.list(), ["d/", "d/new=2", "p|"]);
        assert_eq!(skipped(outcome, SkipReason::Device), 2);
        assert_eq!(outcome.reports[1].entries.devices, 0);
    });
}

#[test]
fn holes_stay_holes() {
    if !needs::overlay() {
        return;
    }
    let size = 8 << 20;
    let map = [(1 << 20, 4096), (6 << 20, 4096)];
    let entry = file("s").data([b"x".repeat(4096), b"y".repeat(4096)].concat());
    let entry = entry.sparse(SparseForm::Pax10, &map, size).mode(0o4711).mtime(3, 4);
    each_applied(EVERY, &[vec![entry]], |outcome| {
        let path = outcome.scene.root(0).join("s");
        let stat = path.metadata().expect("stat");
        assert_eq!(stat.len(), size);
        assert!(stat.blocks() * 512 < 1 << 20, "{} bytes on disk", stat.blocks() * 512);
        let opened = std::fs::File::open(&path).expect("open");
        use rustix::fs::{SeekFrom, seek};
        assert_eq!(seek(&opened, SeekFrom::Data(0)), Ok(1 << 20));
        assert_eq!(seek(&opened, SeekFrom::Hole(1 << 20)), Ok((1 << 20) + 4096));
        assert_eq!(seek(&opened, SeekFrom::Data((1 << 20) + 4096)), Ok(6 << 20));
        let node = outcome.tree.at("s");
        assert_eq!((node.mode, node.mtime), (0o4711, (3, 4)));
    });
    // A file copied up for a hardlink keeps its holes as well.
    let lower = file("s").data("x").sparse(SparseForm::Gnu, &[(1 << 20, 1)], size);
    each_applied(KNOWING_OVERLAYS, &[vec![lower], layer("h=>s")], |outcome| {
        let stat = outcome.scene.root(1).join("h").metadata().expect("stat");
        assert_eq!(stat.len(), size);
        assert!(stat.blocks() * 512 < 1 << 20, "{} bytes on disk", stat.blocks() * 512);
    });
}

#[test]
fn callers_umask_changes_nothing() {
    if !needs::overlay() || !common::child::is_child("callers_umask_changes_nothing") {
        return;
    }
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    each_applied(EVERY, &[layer("f=1@666 d/@777 p|@666 i/f=1 c%1:3@666")], |outcome| {
        for (name, mode) in
            [("f", 0o666), ("d", 0o777), ("p", 0o666), ("i", 0o755), ("i/f", 0o644), ("c", 0o666)]
        {
            assert_eq!(outcome.tree.at(name).mode, mode, "{name}");
        }
    });
    let umask = rustix::process::umask(rustix::fs::Mode::empty());
    assert_eq!(umask.as_raw_mode(), 0o077, "the caller's umask is its own");
}

#[test]
fn ids_in_xattrs_are_mapped_as_owners_are() {
    if !needs::overlay() {
        return;
    }
    let acl = |id: u32| {
        let entry = |tag: u16, id: u32| {
            [&tag.to_le_bytes()[..], &6u16.to_le_bytes(), &id.to_le_bytes()].concat()
        };
        let none = u32::MAX;
        let entries =
            [entry(1, none), entry(2, id), entry(4, none), entry(16, none), entry(32, none)];
        [&2u32.to_le_bytes()[..], &entries.concat()].concat()
    };
    let capability = [&[1, 0, 0, 2][..], &[0, 4, 0, 0], &[0; 12]].concat();
    let mapped = [&[1, 0, 0, 3][..], &[0, 4, 0, 0], &[0; 12], &100_000u32.to_le_bytes()].concat();
    let range = IdRange { container: 0, host: 100_000, count: 65_536 };
    let owners = Owners::Map { uids: vec![range], gids: vec![range] };
    let entries = [
        file("secret").mode(0o666).xattr("system.posix_acl_access", acl(1000)),
        dir("d").xattr("system.posix_acl_default", acl(1000)),
        file("ping").xattr("security.capability", &capability),
    ];
    let options = Options::default().owners(owners);
    let scene = Scene::new();
    unpack(Source::memory(&archive(&entries)), scene.root(0), &options).expect("unpacked");
    let get = |path: &str, name: &str| xattr::get(scene.root(0).join(path), name).expect("xattr");
    assert_eq!(get("secret", "system.posix_acl_access"), Some(acl(101_000)));
    assert_eq!(get("d", "system.posix_acl_default"), Some(acl(101_000)));
    assert_eq!(get("ping", "security.capability"), Some(mapped));
    let outside = [file("f").xattr("system.posix_acl_access", acl(70_000))];
    let result = unpack(Source::memory(&archive(&outside)), Scene::new().root(0), &options);
    assert_eq!(result.expect_err("outside").errno(), Errno::INVAL);
}

#[test]
fn what_is_copied_up_keeps_its_xattrs() {
    if !needs::overlay() {
        return;
    }
    let entry = |tag: u16, perm: u16, id: u32| {
        [&tag.to_le_bytes()[..], &perm.to_le_bytes(), &id.to_le_bytes()].concat()
    };
    let none = u32::MAX;
    let entries = [
        entry(1, 6, none),
        entry(2, 4, 1000),
        entry(4, 4, none),
        entry(16, 4, none),
        entry(32, 0, none),
    ];
    let acl = [&2u32.to_le_bytes()[..], &entries.concat()].concat();
    let with = |entry: Entry| {
        let entry = entry.xattr("security.note", "n").mode(0o640);
        match entry.typeflag {
            b'2' => entry,
            _ => entry.xattr("system.posix_acl_access", &acl),
        }
    };
    let lower = vec![
        with(file("f").data("1")),
        with(fifo("p")),
        with(char_device("c", 5, 6)),
        with(symlink("l", "f")),
    ];
    let links = ["f", "p", "c", "l"].map(|name| hardlink(format!("{name}2"), name)).to_vec();
    each_applied(KNOWING, &[lower, links], |outcome| {
        for name in ["f2", "p2", "c2", "l2"] {
            let node = outcome.tree.at(name);
            assert_eq!(node.xattr("security.note"), Some(&b"n"[..]), "{name}");
            if name != "l2" {
                assert_eq!(node.xattr("system.posix_acl_access"), Some(&acl[..]), "{name}");
                assert_eq!(node.mode, 0o640, "{name}");
            }
        }
    });
}
