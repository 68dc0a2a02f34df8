// SPDX-License-Identifier: Apache-2.0
//! What those get who are not root: plain users, and root in a user namespace.

mod common;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use common::archive::{Entry, archive, char_device, dir, file, hardlink, layer, whiteout};
use common::child::{is_child_of, is_plain_user};
use common::needs;
use common::runner::Scene;
use common::tree::Tree;
use ocilayer::{Error, Options, Owners, Report, SkipReason, Source, unpack};

const NAMESPACE: [&str; 4] = ["unshare", "--user", "--map-root-user", "--mount"];

fn apply(scene: &Scene, entries: &[Entry]) -> Result<Report, Error> {
    let options = Options::default().owners(Owners::Ignore);
    unpack(Source::memory(&archive(entries)), scene.root(0), &options)
}

fn mode(path: impl AsRef<Path>) -> u32 {
    path.as_ref().metadata().expect("stat").permissions().mode() & 0o7777
}

fn security_xattrs_are_left_out() {
    let capability = [&[1, 0, 0, 3][..], &[0; 16], &70_000u32.to_le_bytes()].concat();
    let entries = [
        file("f").data("1").xattr("security.ima", [3, 2, 4, 9, 9, 9, 9]).xattr("user.kept", "v"),
        file("c").xattr("security.capability", capability),
        file("after"),
    ];
    let scene = Scene::new();
    let report = apply(&scene, &entries).expect("unpacked");
    let tree = Tree::of(&scene.root(0));
    assert_eq!(tree.list(), ["after", "c", "f=1"]);
    assert_eq!(tree.at("f").xattr("user.kept"), Some(&b"v"[..]));
    let skipped = report.skipped.get(SkipReason::XattrNotPermitted).expect("reported");
    let names: Vec<_> = skipped.examples.iter().map(|example| &example.detail[..]).collect();
    assert_eq!(names, [&b"security.ima"[..], b"security.capability"]);
}

#[test]
fn security_xattrs_that_take_privileges_are_left_out_for_a_plain_user() {
    let name = "security_xattrs_that_take_privileges_are_left_out_for_a_plain_user";
    if is_plain_user(name) {
        security_xattrs_are_left_out();
    }
}

#[test]
fn security_xattrs_that_take_privileges_are_left_out_in_a_user_namespace() {
    let name = "security_xattrs_that_take_privileges_are_left_out_in_a_user_namespace";
    if needs::root() && needs::tool("unshare") && is_child_of(name, &NAMESPACE) {
        security_xattrs_are_left_out();
    }
}

#[test]
fn read_only_file_of_a_plain_user_gets_its_xattrs() {
    let name = "read_only_file_of_a_plain_user_gets_its_xattrs";
    if !is_plain_user(name) {
        return;
    }
    let scene = Scene::new();
    let entries = [0o444, 0o000, 0o4555]
        .map(|mode| file(format!("{mode:o}")).data("1").mode(mode).xattr("user.note", "n"));
    apply(&scene, &entries).expect("unpacked");
    for wanted in [0o444, 0o000, 0o4555] {
        let path = scene.root(0).join(format!("{wanted:o}"));
        assert_eq!(mode(&path), wanted);
        fs::set_permissions(&path, Permissions::from_mode(0o600)).expect("chmod");
        assert_eq!(xattr::get(&path, "user.note").expect("xattr").as_deref(), Some(&b"n"[..]));
    }
}

#[test]
fn read_only_directories_of_earlier_layers_are_a_plain_users_to_change() {
    let name = "read_only_directories_of_earlier_layers_are_a_plain_users_to_change";
    if !is_plain_user(name) {
        return;
    }
    for locked in [0o555, 0o111, 0o000] {
        let lower = [
            dir("d").mode(locked),
            file("d/old"),
            dir("d/gone").mode(locked),
            file("d/gone/x"),
            dir("d/gone/deep").mode(locked),
            file("d/gone/deep/y"),
            dir("d/kept").mode(locked),
        ];
        let scene = Scene::new();
        apply(&scene, &lower).expect("the lower layer");
        let upper = [whiteout("d/old"), whiteout("d/gone"), file("d/new"), file("d/kept/new")];
        apply(&scene, &upper).expect("the upper layer");
        let d = scene.root(0).join("d");
        assert_eq!(mode(&d), locked);
        fs::set_permissions(&d, Permissions::from_mode(0o755)).expect("chmod");
        assert_eq!(mode(d.join("kept")), locked);
        fs::set_permissions(d.join("kept"), Permissions::from_mode(0o755)).expect("chmod");
        assert_eq!(Tree::of(&scene.root(0)).list(), ["d/", "d/kept/", "d/kept/new", "d/new"]);

        // A failure leaves them as they were, too.
        for path in [d.join("kept"), d.clone()] {
            fs::set_permissions(path, Permissions::from_mode(locked)).expect("chmod");
        }
        apply(&scene, &[file("d/kept/more"), file("../up")]).expect_err("refused");
        assert_eq!(mode(&d), locked);
        fs::set_permissions(&d, Permissions::from_mode(0o755)).expect("chmod");
        assert_eq!(mode(d.join("kept")), locked);
        fs::set_permissions(d.join("kept"), Permissions::from_mode(0o755)).expect("chmod");
    }
}

#[test]
fn devices_of_a_plain_user_are_left_out_and_hardlinks_to_them() {
    let name = "devices_of_a_plain_user_are_left_out_and_hardlinks_to_them";
    if !is_plain_user(name) {
        return;
    }
    let scene = Scene::new();
    let entries = [char_device("null", 1, 3), hardlink("zero", "null"), file("f").mode(0o6755)];
    let report = apply(&scene, &entries).expect("unpacked");
    assert_eq!(report.skipped.count(SkipReason::Device), 1);
    assert_eq!(report.skipped.count(SkipReason::LinkToSkipped), 1);
    assert_eq!(Tree::of(&scene.root(0)).list(), ["f"]);
}

#[test]
fn owners_that_cannot_be_kept_are_explained() {
    let name = "owners_that_cannot_be_kept_are_explained";
    if !is_plain_user(name) {
        return;
    }
    let blob = archive(&layer("f"));
    let error = unpack(Source::memory(&blob), Scene::new().root(0), &Options::default())
        .expect_err("not root");
    assert!(error.to_string().ends_with("only root gives files away: map or ignore the owners"));
}

#[test]
fn owners_that_a_user_namespace_lacks_are_explained() {
    let name = "owners_that_a_user_namespace_lacks_are_explained";
    if !needs::root() || !needs::tool("unshare") || !is_child_of(name, &NAMESPACE) {
        return;
    }
    let blob = archive(&[file("f").owner(4711, 0)]);
    let error = unpack(Source::memory(&blob), Scene::new().root(0), &Options::default())
        .expect_err("no such id");
    let hint = "this user namespace has no such id: map or ignore the owners";
    assert!(error.to_string().ends_with(hint), "{error}");
    let none = u32::MAX.to_le_bytes();
    let entry = |tag: u16, id: [u8; 4]| [&tag.to_le_bytes()[..], &6u16.to_le_bytes(), &id].concat();
    let ids = [(1, none), (2, 4711u32.to_le_bytes()), (4, none), (16, none), (32, none)];
    let acl = [vec![2, 0, 0, 0], ids.into_iter().flat_map(|(tag, id)| entry(tag, id)).collect()];
    let error = apply(&Scene::new(), &[file("f").xattr("system.posix_acl_access", acl.concat())])
        .expect_err("no such id");
    assert!(error.to_string().ends_with(hint), "{error}");
}
