// SPDX-License-Identifier: Apache-2.0
//! What `make fuzz` found and nobody has mended yet: `cargo test --test found -- --ignored`. What is
//! mended moves to the tests of its subject, and out of the `is_known` of its fuzz target.

mod common;

use std::os::fd::AsFd;
use std::path::PathBuf;

use common::archive::{Entry, file, layer};
use common::needs;
use common::overlay::Overlay;
use common::runner::{Setting, Way, apply};
use common::seccomp::Openat2;
use common::tree::{Private, Tree};
use ocilayer::{AuditLayer, AuditObserver, AuditOptions, Damage, Errno, Source, audit};

#[derive(Default)]
struct Found(Vec<String>);

impl AuditObserver for Found {
    fn damage(&mut self, damage: &Damage) -> Result<(), Errno> {
        self.0.push(format!("{damage:?}"));
        Ok(())
    }
}

/// Audits what overlay mode makes of the layers.
#[track_caller]
fn assert_clean(stack: &[Vec<Entry>]) {
    if !needs::overlay() {
        return;
    }
    let setting = Setting { way: Way::Overlay, threads: 1, openat2: Openat2::Works };
    let outcome = apply(stack, setting);
    outcome.assert_applied();
    let audited = |options: &AuditOptions| {
        let layers = outcome.blobs.iter().enumerate();
        let layers = layers.map(|(number, blob)| {
            AuditLayer::new(Source::memory(blob), outcome.scene.root(number))
        });
        let mut found = Found::default();
        audit(layers.collect(), options, &mut found).expect("audit");
        found.0
    };
    let found = audited(&AuditOptions::default());
    audited(&AuditOptions::default().repair(true));
    let roots: Vec<PathBuf> = (0..stack.len()).rev().map(|n| outcome.scene.root(n)).collect();
    if roots.len() > 1 {
        let mount = Overlay::mount(&roots, false).expect("mount");
        let now = Tree::of_fd(mount.as_fd(), Private::Hide, &[]);
        assert_eq!(outcome.tree.differences(&now, "before", "repaired"), [""; 0], "{found:#?}");
    }
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
#[ignore = "audit: compares a hardlink with what has replaced its target"]
fn audit_of_a_hardlink_whose_target_is_replaced() {
    assert_clean(&[layer("c h=>c c")]);
}

#[test]
#[ignore = "audit: does not know that unpack skips what the file system refuses"]
fn audit_of_an_xattr_that_the_file_system_refuses() {
    assert_clean(&[vec![file("a").xattr("system.posix_acl_access", "nonsense")]]);
    assert_clean(&[vec![file("a").xattr("btrfs.compression", "zstd")]]);
}

/// acl(5): `u::rwx,u:1:r,g::rx,m::rwx,o::-`, and the mode of the entry, 644, says `m::r`.
#[test]
#[ignore = "audit: compares the mask of an ACL, which the mode sets"]
fn audit_of_an_acl_whose_mask_is_not_the_modes() {
    let acl = b"\x02\0\0\0\x01\0\x07\0\xff\xff\xff\xff\x02\0\x04\0\x01\0\0\0\
        \x04\0\x05\0\xff\xff\xff\xff\x10\0\x07\0\xff\xff\xff\xff\x20\0\0\0\xff\xff\xff\xff";
    assert_clean(&[vec![file("a").xattr("system.posix_acl_access", acl)]]);
}
