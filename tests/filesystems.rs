// SPDX-License-Identifier: Apache-2.0
//! What is unpacked is clean to an audit with the same options: on each file system, whoever runs it.

mod common;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use common::agree;
use common::archive::{
    Entry, SparseForm, archive, block_device, char_device, dir, fifo, file, hardlink, opaque,
    symlink, whiteout,
};
use common::child::{is_in_child, run_in};
use common::mounted::{Mounted, run};
use common::needs;
use ocilayer::{Devices, IdRange, Lowers, Mode, Options, Owners, Source, unpack};

fn acl(tags: &[(u16, u16, u32)]) -> Vec<u8> {
    let entry = |(tag, perm, id): &(u16, u16, u32)| {
        [&tag.to_le_bytes()[..], &perm.to_le_bytes(), &id.to_le_bytes()].concat()
    };
    [2u32.to_le_bytes().to_vec(), tags.iter().flat_map(entry).collect()].concat()
}

/// One of everything, below a layer that changes it. `user` is one whom ACLs name.
fn layers(user: u32) -> [Vec<Entry>; 2] {
    const NONE: u32 = u32::MAX;
    let named = acl(&[(1, 7, NONE), (2, 6, user), (4, 5, NONE), (16, 7, NONE), (32, 4, NONE)]);
    let minimal = acl(&[(1, 6, NONE), (4, 4, NONE), (32, 0, NONE)]);
    let capability = |revision: u8| {
        let root: &[u8] = if revision == 3 { &[0; 4] } else { &[] };
        [&[1, 0, 0, revision][..], &[0, 4, 0, 0], &[0; 12], root].concat()
    };
    let timed = |name: &str, seconds| file(name).mtime(seconds, 123_456_789);
    let lower = vec![
        dir("d").mode(0o2755).owner(3, 4).xattr("user.d", "1"),
        dir("acl").xattr("system.posix_acl_default", &named).xattr("user.d", "2"),
        file("d/acl").data("1").mode(0o640).xattr("system.posix_acl_access", &named),
        file("d/minimal").mode(0o640).xattr("system.posix_acl_access", &minimal),
        file("d/ping").mode(0o755).xattr("security.capability", capability(2)),
        file("d/pong").mode(0o755).xattr("security.capability", capability(3)),
        file("d/signed").data("1").xattr("security.ima", [3, 2, 4, 9]).xattr("user.f", "x"),
        file("d/su").data("su").mode(0o4755),
        file("d/secret").data("0").mode(0),
        file("d/sparse").data([b'x'; 4096]).sparse(SparseForm::Pax10, &[(1 << 20, 4096)], 4 << 20),
        timed("d/old", -5_000_000_000),
        timed("d/before", -5),
        timed("d/after", 9_999_999_999),
        timed("d/late", 99_999_999_999),
        symlink("d/link", "../nowhere").owner(1, 2),
        fifo("d/fifo"),
        char_device("d/null", 1, 3),
        block_device("d/loop", 7, 0),
        file("e/f").data("1"),
        hardlink("e/g", "e/f"),
        file("e/f").data("2"),
        file("gone/x").data("1"),
        dir("emptied"),
        file("emptied/x"),
        file("compressible").data(vec![b'c'; 100_000]),
    ];
    let upper = vec![
        whiteout("gone"),
        opaque("emptied"),
        file("emptied/y"),
        hardlink("linked", "d/acl"),
        hardlink("fifo", "d/fifo"),
        dir("d").xattr("user.d", "3"),
        file("acl/new"),
    ];
    [lower, upper]
}

/// Unpacks below `base` with a number of options and audits what that left. Without `marks` there are no
/// whiteouts: the directory cannot hold them.
fn unpack_and_audit(base: &Path, mode: Mode, marks: bool, all_owners: bool) {
    // A user namespace that was made just now has root alone.
    let layers = layers(if all_owners { 5 } else { 0 });
    let range = IdRange { container: 0, host: 100_000, count: 65_536 };
    let map = Owners::Map { uids: vec![range], gids: vec![range] };
    let owners =
        if all_owners { vec![Owners::Keep, map, Owners::Ignore] } else { vec![Owners::Ignore] };
    let mut number = 0;
    for owners in owners {
        for devices in [Devices::Create, Devices::Skip] {
            for threads in [1, 4] {
                number += 1;
                let options = Options::default()
                    .mode(mode)
                    .owners(owners.clone())
                    .devices(devices)
                    .threads(threads);
                let directory = base.join(format!("stack{number}"));
                stack(&directory, &options, &layers[..if marks { 2 } else { 1 }]);
            }
        }
    }
}

fn stack(directory: &Path, options: &Options, layers: &[Vec<Entry>]) {
    fs::create_dir(directory).expect("mkdir");
    let (mut blobs, mut roots, mut reports) = (Vec::new(), Vec::new(), Vec::new());
    for (number, entries) in layers.iter().enumerate() {
        let root = directory.join(number.to_string());
        fs::create_dir(&root).expect("mkdir");
        let blob = archive(entries);
        let lowers = roots.iter().rev().cloned().collect();
        let options = options.clone().lowers(Lowers::Known(lowers));
        let report = unpack(Source::memory(&blob), &root, &options);
        reports.push(report.unwrap_or_else(|error| panic!("{}: {error}", root.display())));
        blobs.push(blob);
        roots.push(root);
    }
    let layers: Vec<_> = blobs.iter().zip(roots).collect();
    agree::audited_by_the_same(&layers, options, &reports);
}

/// Each file system that this machine can make, mounted.
fn each_file_system(with: impl Fn(&Path)) {
    with(&Mounted::new("tmpfs", None).at);
    for (kind, make) in [
        ("ext4", &["mkfs.ext4", "-q", "-F"][..]),
        // Times of 32 bits, in whole seconds.
        ("ext4", &["mkfs.ext4", "-q", "-F", "-I", "128"]),
        ("xfs", &["mkfs.xfs", "-q", "-f"]),
        ("xfs", &["mkfs.xfs", "-q", "-f", "-m", "bigtime=0"]),
        ("btrfs", &["mkfs.btrfs", "-q", "-f"]),
    ] {
        if !needs::tool(make[0]) {
            continue;
        }
        let mounted = Mounted::new(kind, Some(make));
        if kind == "btrfs" && needs::tool("btrfs") {
            // New files inherit it, and show it as an xattr.
            run(
                "btrfs",
                &["property", "set", "-t", "inode"],
                &[&mounted.at, Path::new("compression"), Path::new("zstd")],
            );
        }
        with(&mounted.at);
    }
}

#[test]
fn root_on_each_file_system() {
    if needs::overlay() && needs::tool("mount") {
        each_file_system(|at| unpack_and_audit(at, Mode::Overlay, true, true));
    }
}

/// Runs the test again on each file system, by a program such as unshare(1); true in that process.
fn on_each_file_system(test: &str, starter: &[&str]) -> bool {
    if !is_in_child() {
        if needs::overlay() && needs::tool("mount") && needs::tool(starter[0]) {
            each_file_system(|at| {
                fs::set_permissions(at, Permissions::from_mode(0o1777)).expect("chmod");
                run_in(test, starter, at);
            });
        }
        return false;
    }
    true
}

#[test]
fn root_on_an_overlay_mount() {
    if !needs::overlay() || !needs::tool("mount") {
        return;
    }
    let below = Mounted::new("tmpfs", None);
    let path = |name: &str| {
        let path = below.at.join(name);
        fs::create_dir(&path).expect("mkdir");
        path
    };
    let [lower, upper, work, merged] = ["lower", "upper", "work", "merged"].map(path);
    let option = |name: &str, path: &Path| format!("{name}={}", path.display());
    let options =
        [option("lowerdir", &lower), option("upperdir", &upper), option("workdir", &work)]
            .join(",");
    run("mount", &["-t", "overlay", "-o", &options, "overlay"], &[&merged]);
    unpack_and_audit(&merged, Mode::Overlay, false, true);
    run("umount", &[], &[&merged]);
}

#[test]
fn root_of_a_user_namespace_on_each_file_system() {
    let name = "root_of_a_user_namespace_on_each_file_system";
    if on_each_file_system(name, &["unshare", "--user", "--map-root-user", "--mount"]) {
        let base = tempfile::tempdir().expect("tempdir");
        unpack_and_audit(base.path(), Mode::OverlayUserxattr, true, false);
    }
}

#[test]
fn plain_user_on_each_file_system() {
    let name = "plain_user_on_each_file_system";
    let starter = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    if on_each_file_system(name, &starter) {
        assert!(!rustix::process::geteuid().is_root(), "the child is not who it should be");
        let base = tempfile::tempdir().expect("tempdir");
        unpack_and_audit(base.path(), Mode::OverlayUserxattr, true, false);
    }
}
