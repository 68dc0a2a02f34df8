// SPDX-License-Identifier: Apache-2.0
//! `ocilayer check` as a user runs it. What it answers on an affected kernel is not for this
//! kernel to say: the library's own tests judge that.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::common::ocilayer;

#[test]
fn status_and_words_agree_with_the_verdict() {
    let place = tempfile::tempdir().unwrap();
    for arguments in [&["check"][..], &["check", "."]] {
        let ran = ocilayer(place.path(), &[arguments, &["--json"]].concat(), b"");
        let answer: Value = serde_json::from_str(&ran.stdout).unwrap();
        let (status, words) = match answer["verdict"].as_str().unwrap() {
            "not_affected" => (0, "not affected"),
            "affected" => (1, "affected"),
            "unknown" => (3, "cannot tell"),
            other => panic!("{other:?}"),
        };
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(status), ""), "{answer}");

        let ran = ocilayer(place.path(), arguments, b"");
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(status), ""), "{ran:?}");
        assert!(ran.stdout.contains(words), "{ran:?}");
    }
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0, "something was left behind");
}

#[test]
fn a_check_that_could_not_be_made_is_not_taken_for_an_affected_kernel() {
    for arguments in [&["check", "/nowhere/at/all"][..], &["check", "/dev/null"]] {
        let ran = ocilayer(Path::new("/"), arguments, b"");
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(3), ""), "{ran:?}");
        assert!(ran.stderr.starts_with("ocilayer: "), "{ran:?}");
    }
    // A file system that holds no xattr at all.
    let ran = ocilayer(Path::new("/"), &["check", "/proc/self"], b"");
    assert_eq!(ran.code, Some(3), "{ran:?}");
    assert!(ran.stdout.contains("cannot tell"), "{ran:?}");
}

#[test]
fn command_lines_without_meaning_are_status_2() {
    for arguments in [&["check", "/tmp", "/tmp"][..], &["check", "--mode", "overlay"]] {
        let ran = ocilayer(Path::new("/"), arguments, b"");
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""), "{ran:?}");
    }
}
