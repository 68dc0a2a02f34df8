// SPDX-License-Identifier: Apache-2.0
//! `ocilayer audit` as an operator runs it.

use std::fs;
use std::path::Path;

use rustix::fs::{XattrFlags, getxattr, setxattr};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::common::{Ran, is_root, layer, ocilayer};

/// A mark that needs no privilege, so that these tests need none.
const OPAQUE: &str = "user.overlay.opaque";

/// Three layers over one directory, unpacked; the second has an opaque marker.
fn unpacked() -> TempDir {
    let place = tempfile::tempdir().unwrap();
    let file = |name| (name, b'0', &b"content"[..]);
    let directories = [("srv/", b'5', &b""[..]), ("srv/app/", b'5', &b""[..])];
    let layers = [
        vec![file("srv/app/one")],
        vec![("srv/app/.wh..wh..opq", b'0', &b""[..]), file("srv/app/two")],
        vec![file("srv/app/three")],
    ];
    let mut lowers: Vec<String> = Vec::new();
    for (number, entries) in (1..).zip(layers) {
        let (blob, root) = (format!("{number}.tar"), format!("{number}"));
        let all: Vec<_> = directories.iter().copied().chain(entries).collect();
        fs::write(place.path().join(&blob), layer(&all)).unwrap();
        fs::create_dir(place.path().join(&root)).unwrap();
        let list = lowers.join(":");
        let mut arguments = vec!["unpack", "--quiet", "--mode", "overlay-userxattr"];
        arguments.extend(["--lower", &list]);
        arguments.extend([blob.as_str(), root.as_str()]);
        let ran = ocilayer(place.path(), &arguments, b"");
        assert_eq!(ran.code, Some(0), "{ran:?}");
        lowers.insert(0, root);
    }
    place
}

fn mark(place: &TempDir, directory: &str) {
    setxattr(place.path().join(directory), OPAQUE, b"y", XattrFlags::empty()).unwrap();
}

fn is_marked(place: &TempDir, directory: &str) -> bool {
    getxattr(place.path().join(directory), OPAQUE, &mut [0_u8; 8][..]).is_ok()
}

const LAYERS: [&str; 8] =
    ["audit", "--userxattr", "--layer", "1.tar=1", "--layer", "2.tar=2", "--layer", "3.tar=3"];

fn audit(place: &TempDir, more: &[&str]) -> Ran {
    ocilayer(place.path(), &[&LAYERS, more].concat(), b"")
}

fn directories(place: &TempDir, more: &[&str]) -> Ran {
    ocilayer(place.path(), &[&["audit", "--userxattr", "3:2:1"], more].concat(), b"")
}

#[test]
fn what_unpack_made_is_clean_and_status_0() {
    let place = unpacked();
    let ran = audit(&place, &[]);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{ran:?}");
    assert_eq!(ran.stdout, "3 layers: clean\n");
    let ran = directories(&place, &[]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), "3:2:1: 3 layers: clean\n"), "{ran:?}");
}

#[test]
fn damage_is_status_1_and_gone_after_a_repair() {
    let place = unpacked();
    mark(&place, "3/srv/app");
    let list = "wrongly opaque       3 \"srv/app\"\n\
                lost                 3 \"srv/app/two\" \"2\"\n\
                3 layers: wrongly opaque 1, lost 1\n";
    let ran = audit(&place, &[]);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(1), ""), "{ran:?}");
    assert_eq!(ran.stdout, list);
    assert!(is_marked(&place, "3/srv/app"), "nothing is changed unless asked for");

    let ran = audit(&place, &["--repair"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert_eq!(ran.stdout, format!("{list}removed 1 mark; mount the layers anew to see it\n"));
    assert!(!is_marked(&place, "3/srv/app") && is_marked(&place, "2/srv/app"));
    assert_eq!(audit(&place, &["--repair"]).code, Some(0));
}

#[test]
fn directories_without_layers_give_suspects_and_status_3() {
    let place = unpacked();
    mark(&place, "3/srv/app");
    let ran = directories(&place, &[]);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(3), ""), "{ran:?}");
    assert_eq!(
        ran.stdout,
        "suspect mark         3 \"srv/app\" \"2\"\n3:2:1: 3 layers: suspect mark 1\n"
    );
}

#[test]
fn json_has_a_line_for_each_finding_and_one_for_the_stack() {
    let place = unpacked();
    mark(&place, "3/srv/app");
    let ran = audit(&place, &["--json"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(1), ""), "{ran:?}");
    let lines: Vec<Value> =
        ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let wrong = json!({ "damage": "wrongly_opaque", "directory": "3", "path": "srv/app" });
    let lost = json!({ "damage": "lost", "directory": "3", "path": "srv/app/two", "detail": "2" });
    assert_eq!(lines[..2], [wrong, lost]);
    assert_eq!((lines.len(), &lines[2]["audited"]), (3, &Value::Null));
    let report = &lines[2]["report"];
    assert_eq!((&report["layers"], &report["repaired"]), (&json!(3), &json!(0)));
    assert_eq!(report["damage"], json!({ "wrongly_opaque": 1, "lost": 1 }));

    fs::remove_file(place.path().join("2.tar")).unwrap();
    let ran = audit(&place, &["--json"]);
    let line: Value = serde_json::from_str(ran.stdout.trim_end()).unwrap();
    assert_eq!((ran.code, &line["error"]["kind"]), (Some(1), &json!("source")), "{ran:?}");
    assert!(ran.stderr.contains("2.tar"), "{ran:?}");
}

#[test]
fn a_command_line_that_makes_no_sense_is_status_2() {
    let place = unpacked();
    for arguments in [
        &["audit"][..],
        &["audit", "--layer", "1.tar"],
        &["audit", "--layer", "=1"],
        &["audit", "--mounts", "3:2:1"],
        &["audit", "--layer", "1.tar=1", "3:2:1"],
        &["audit", "--live", "3:2:1"],
        &["audit", "3::1"],
    ] {
        let ran = ocilayer(place.path(), arguments, b"");
        assert_eq!(ran.code, Some(2), "{arguments:?}: {ran:?}");
        assert!(!ran.stderr.is_empty() && ran.stdout.is_empty(), "{ran:?}");
    }
}

/// Mounts layers as containers have them, until it is dropped.
struct Mounted<'p>(&'p Path);

impl<'p> Mounted<'p> {
    fn new(at: &'p Path, place: &Path) -> Mounted<'p> {
        let name = |number| place.join(number).to_str().unwrap().to_owned();
        let data = format!("lowerdir={}:{}:{},userxattr", name("3"), name("2"), name("1"));
        let status = std::process::Command::new("mount")
            .args(["-t", "overlay", "overlay", "-o", &data])
            .arg(at)
            .status()
            .unwrap();
        assert!(status.success(), "mount {data}");
        Mounted(at)
    }
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg(self.0).status();
    }
}

#[test]
fn layers_of_a_live_mount_are_found_by_it_and_repaired_only_when_told_to() {
    if !is_root("the audit of a mount") {
        return;
    }
    let place = unpacked();
    mark(&place, "3/srv/app");
    let at = place.path().join("merged");
    fs::create_dir(&at).unwrap();
    let mounted = Mounted::new(&at, place.path());

    let ran = ocilayer(place.path(), &["audit", "--mounts"], b"");
    let shown = at.to_str().unwrap();
    assert!(ran.stdout.contains(&format!("{shown}: 3 layers: suspect mark 1\n")), "{ran:?}");
    assert!(matches!(ran.code, Some(1 | 3)), "{ran:?}");

    let ran = audit(&place, &["--repair"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stderr.contains("merged") && is_marked(&place, "3/srv/app"), "{ran:?}");
    let ran = audit(&place, &["--repair", "--live"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(!is_marked(&place, "3/srv/app"));
    drop(mounted);
    assert_eq!(audit(&place, &[]).code, Some(0));
}

#[test]
fn what_was_cut_is_found_restored_and_found_no_more() {
    let place = unpacked();
    let verify = |more: &[&str]| {
        let mut arguments: Vec<&str> = LAYERS.to_vec();
        arguments[0] = "verify";
        ocilayer(place.path(), &[&arguments, more].concat(), b"")
    };
    let ran = verify(&[]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), "3 layers: clean\n"), "{ran:?}");
    let file = place.path().join("3/srv/app/three");
    let (time, size) = (fs::metadata(&file).unwrap().modified().unwrap(), 7);
    for cut in [0, size] {
        let open = fs::File::options().write(true).open(&file).unwrap();
        open.set_len(0).unwrap();
        open.set_len(cut).unwrap();
        open.set_modified(time).unwrap();
        let ran = verify(&["--json"]);
        assert_eq!(ran.code, Some(1), "{ran:?}");
        let found: Value = serde_json::from_str(ran.stdout.lines().next().unwrap()).unwrap();
        assert_eq!(
            (&found["damage"], &found["path"]),
            (&json!("differs"), &json!("srv/app/three"))
        );
        let ran = audit(&place, &["--restore"]);
        assert_eq!(ran.code, Some(1), "{ran:?}");
        assert!(ran.stdout.ends_with("3 layers: differs 1\nrestored 1 name\n"), "{ran:?}");
        assert_eq!(fs::read(&file).unwrap(), b"content");
        assert_eq!(verify(&["--content"]).code, Some(0));
    }
    fs::write(place.path().join("2.tar"), b"junk").unwrap();
    let ran = verify(&[]);
    assert_eq!(
        (ran.code, ran.stdout.as_str()),
        (Some(1), "2 layers: 1 could not be read\n"),
        "{ran:?}"
    );
    for wrong in [&["--restore", "--repair"][..], &["--live"]] {
        assert_eq!(audit(&place, wrong).code, Some(2), "{wrong:?}");
    }
    for wrong in [&["--restore", "--userxattr", "3:2:1"][..], &["--restore", "--mounts"]] {
        let ran = ocilayer(place.path(), &[&["audit"], wrong].concat(), b"");
        assert_eq!(ran.code, Some(2), "{wrong:?}");
    }
}
