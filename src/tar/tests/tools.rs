// SPDX-License-Identifier: Apache-2.0
//! What GNU tar and bsdtar write must come back as it was on disk.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{XattrFlags, lsetxattr};

use super::*;

fn have(tool: &str) -> bool {
    let found = Command::new(tool).arg("--version").output().is_ok();
    found || skip(&format!("no {tool} here, its archives were not tried"))
}

/// False, and loud; in CI a failure.
fn skip(why: &str) -> bool {
    assert!(std::env::var_os("CI").is_none(), "{why}");
    eprintln!("SKIPPED: {why}");
    false
}

/// The archive of `tree` that `command` writes.
fn archive(tree: &Path, command: &[&str]) -> Vec<u8> {
    let mut tar = Command::new(command[0]);
    let output =
        tar.args(&command[1..]).args(["-cf", "-", "-C"]).arg(tree).arg(".").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// Files, links, long names, sparse files, one time to try. True where the file system took
/// xattrs as well.
fn tree(at: &Path, oldest: SystemTime) -> bool {
    let long = "d".repeat(120) + "/" + &"e".repeat(120);
    fs::create_dir_all(at.join(&long)).unwrap();
    fs::write(at.join(&long).join("f".repeat(200)), b"deep").unwrap();
    fs::write(at.join("empty"), b"").unwrap();
    fs::write(at.join("plain"), vec![b'p'; 70_000]).unwrap();
    fs::set_permissions(at.join("plain"), fs::Permissions::from_mode(0o6751)).unwrap();
    fs::hard_link(at.join("plain"), at.join("twin")).unwrap();
    symlink("x".repeat(150), at.join("symlink")).unwrap();
    File::options().write(true).open(at.join("empty")).unwrap().set_modified(oldest).unwrap();
    let sparse = File::create(at.join("sparse")).unwrap();
    sparse.set_len(40 << 20).unwrap();
    // Enough pieces for several blocks of any kind of map.
    (1..=90).for_each(|n| sparse.write_all_at(b"piece", n * 400_000).unwrap());
    let hole = File::create(at.join("hole")).unwrap();
    hole.set_len(1 << 20).unwrap();
    let set = |name, value: &[u8]| lsetxattr(at.join("plain"), name, value, XattrFlags::empty());
    let set = set("user.binary", b"a\n12 path=b\n\0\xff").and(set("user.empty", b""));
    set.is_ok() || skip("no user xattrs on the temporary directory, none were tried")
}

/// How much of a tree a format can say.
#[derive(Clone, Copy, PartialEq)]
enum Says {
    Everything,
    WholeSeconds,
}

fn agrees(tree: &Path, seen: &[Seen], says: Says, xattrs: bool) {
    let mut plain = Vec::new();
    for Seen { entry, .. } in seen {
        let path = tree.join(std::str::from_utf8(&entry.name).unwrap());
        let real = fs::symlink_metadata(&path).unwrap();
        let kind = match entry.kind {
            Kind::Hardlink => {
                assert!(matches!(&entry.link[..], b"./plain" | b"./twin"));
                continue;
            }
            Kind::File => real.is_file(),
            Kind::Directory => real.is_dir(),
            Kind::Symlink => real.is_symlink(),
            other => panic!("{other:?}"),
        };
        assert!(kind, "{}", path.display());
        assert_eq!((entry.uid, entry.gid), (real.uid(), real.gid()));
        if entry.kind != Kind::Symlink {
            assert_eq!(entry.mode, real.mode() & 0o7777);
        }
        let nanoseconds = if says == Says::Everything { real.mtime_nsec() as u32 } else { 0 };
        assert_eq!(entry.mtime, Time { seconds: real.mtime(), nanoseconds }, "{}", path.display());
        if entry.kind == Kind::Symlink {
            assert_eq!(entry.link, fs::read_link(&path).unwrap().as_os_str().as_encoded_bytes());
        }
    }
    for seen in seen.iter().filter(|seen| seen.entry.kind == Kind::File) {
        let path = tree.join(seen.name());
        assert!(seen.content() == fs::read(&path).unwrap(), "{}", path.display());
        if matches!(&seen.entry.name[..], b"./plain" | b"./twin") {
            plain.clone_from(&seen.entry.xattrs);
        }
    }
    assert_eq!(seen.len(), 10, "{:?}", seen.iter().map(Seen::name).collect::<Vec<_>>());
    if xattrs {
        plain.retain(|(name, _)| name.starts_with(b"user."));
        plain.sort();
        let binary = (b"user.binary".to_vec(), b"a\n12 path=b\n\0\xff".to_vec());
        assert_eq!(plain, [binary, (b"user.empty".to_vec(), b"".to_vec())]);
    }
}

#[test]
fn gnu_tar_is_understood_in_every_format() {
    let directory = tempfile::tempdir().unwrap();
    let tree_has_xattrs = tree(directory.path(), UNIX_EPOCH - Duration::from_millis(1_500));
    if !have("tar") {
        return;
    }
    let posix = ["tar", "--format=posix", "--xattrs", "--xattrs-include=*"];
    let with = |option: &'static str| [&posix[..], &["--sparse", option]].concat();
    let table: &[(&[&str], Says, bool, bool)] = &[
        (&["tar", "--format=gnu"], Says::WholeSeconds, false, false),
        (&["tar", "--format=gnu", "--sparse"], Says::WholeSeconds, false, true),
        (&posix, Says::Everything, true, false),
        (&with("--sparse-version=0.0"), Says::Everything, true, true),
        (&with("--sparse-version=0.1"), Says::Everything, true, true),
        (&with("--sparse-version=1.0"), Says::Everything, true, true),
    ];
    for (command, says, xattrs, sparse) in table {
        let archive = archive(directory.path(), command);
        let seen = read(&archive).unwrap_or_else(|error| panic!("{command:?}: {error}"));
        agrees(directory.path(), &seen, *says, *xattrs && tree_has_xattrs);
        let found: Vec<_> = seen.iter().filter(|seen| seen.entry.sparse.is_some()).collect();
        assert_eq!(found.len(), if *sparse { 2 } else { 0 }, "{command:?}");
        if *sparse {
            assert!(archive.len() < 2 << 20, "GNU tar found the holes");
        }
        assert_eq!(read_pieces(archive.chunks(509), &Limits::default()).unwrap(), seen);
    }
}

#[test]
fn bsdtar_is_understood() {
    if !have("bsdtar") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    // bsdtar 3.6 writes 1.5 s before 1970 as "-2.5", and in GNU format as 0.
    let tree_has_xattrs = tree(directory.path(), UNIX_EPOCH);
    let table: &[(&[&str], Says, bool)] = &[
        (&["bsdtar", "--format=pax"], Says::Everything, true),
        (&["bsdtar", "--format=gnutar"], Says::WholeSeconds, false),
    ];
    for (command, says, xattrs) in table {
        let archive = archive(directory.path(), command);
        let seen = read(&archive).unwrap_or_else(|error| panic!("{command:?}: {error}"));
        agrees(directory.path(), &seen, *says, *xattrs && tree_has_xattrs);
    }
}

/// v7 and ustar say less, but what they say must come back.
#[test]
fn the_oldest_formats_are_understood() {
    if !have("tar") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let nested = at.join("d".repeat(60)).join("e".repeat(60));
    fs::create_dir_all(&nested).unwrap();
    fs::write(nested.join("ustar splits this"), b"x").unwrap();
    let seen = read(&archive(at, &["tar", "--format=ustar"])).unwrap();
    assert!(at.join(seen[3].name()).is_file());
    fs::remove_dir_all(at.join("d".repeat(60))).unwrap();
    fs::create_dir(at.join("dir")).unwrap();
    fs::write(at.join("dir/file"), b"content").unwrap();
    let seen = read(&archive(at, &["tar", "--format=v7"])).unwrap();
    let kinds: Vec<_> = seen.iter().map(|seen| seen.entry.kind).collect();
    assert_eq!(kinds, [Kind::Directory, Kind::Directory, Kind::File]);
    assert_eq!(seen[2].content(), b"content");
}
