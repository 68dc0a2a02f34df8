// SPDX-License-Identifier: Apache-2.0
//! The examples do what their first lines say.

use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use sha2::{Digest, Sha256};
use tempfile::TempDir;

/// Built by cargo if `cargo test` was asked for this file only.
fn example(name: &str, directory: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO"));
    command.args(["run", "--quiet", "--example", name, "--manifest-path"]);
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")).arg("--").args(arguments);
    command.current_dir(directory).output().unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned()
}

/// A directory with `1.tar`, which has `etc/motd` and `gone`, and `2.tar`, which deletes `gone`.
fn layers() -> TempDir {
    let place = tempfile::tempdir().unwrap();
    let files = place.path().join("files");
    fs::create_dir_all(files.join("etc")).unwrap();
    for (name, content) in [("etc/motd", "welcome\n"), ("gone", ""), (".wh.gone", "")] {
        fs::write(files.join(name), content).unwrap();
    }
    for (layer, names) in [("1.tar", &["etc", "gone"][..]), ("2.tar", &[".wh.gone"])] {
        let mut tar = Command::new("tar");
        tar.arg("-C").arg(&files).arg("-cf").arg(place.path().join(layer)).args(names);
        assert!(tar.status().unwrap().success());
    }
    place
}

#[test]
fn scan_speed_times_each_contender() {
    let place = layers();
    let gzip = Command::new("gzip").arg(place.path().join("1.tar")).status().unwrap();
    assert!(gzip.success());
    let output = example("scan_speed", place.path(), &["1.tar.gz", "2"]);
    assert!(output.status.success(), "{}", text(&output));
    for expected in ["of 2 rounds", "inflate alone", "inflate, both digests", "scan, one thread"] {
        assert!(text(&output).contains(expected), "{}", text(&output));
    }
}

#[test]
fn unpack_layer_believes_only_the_right_digest() {
    let place = layers();
    let mut digest = "sha256:".to_owned();
    for byte in Sha256::digest(fs::read(place.path().join("1.tar")).unwrap()) {
        write!(digest, "{byte:02x}").unwrap();
    }
    fs::create_dir(place.path().join("root")).unwrap();
    let ran = example("unpack_layer", place.path(), &["1.tar", "root", &digest]);
    assert!(ran.status.success(), "{}", text(&ran));
    assert!(text(&ran).contains("3 entries, 8 bytes in files"), "{}", text(&ran));
    assert_eq!(fs::read_to_string(place.path().join("root/etc/motd")).unwrap(), "welcome\n");

    let wrong = format!("sha256:{}", "0".repeat(64));
    let ran = example("unpack_layer", place.path(), &["1.tar", "root", &wrong]);
    assert!(!ran.status.success(), "{}", text(&ran));
    assert!(text(&ran).contains(&digest), "{}", text(&ran));
}

#[test]
fn async_channel_unpacks_what_comes_through_it() {
    let place = layers();
    fs::create_dir(place.path().join("root")).unwrap();
    let ran = example("async_channel", place.path(), &["1.tar", "root"]);
    assert!(ran.status.success(), "{}", text(&ran));
    assert!(text(&ran).contains("3 entries, 8 bytes in files"), "{}", text(&ran));
    assert_eq!(fs::read_to_string(place.path().join("root/etc/motd")).unwrap(), "welcome\n");

    let ran = example("async_channel", place.path(), &["no.tar", "root"]);
    assert!(!ran.status.success(), "{}", text(&ran));
    assert!(text(&ran).contains("read callback"), "{}", text(&ran));
}

#[test]
fn async_unpack_ends_with_the_future() {
    let place = layers();
    fs::create_dir(place.path().join("root")).unwrap();
    let ran = example("async_unpack", place.path(), &["1.tar", "root"]);
    assert!(ran.status.success(), "{}", text(&ran));
    assert!(text(&ran).contains("3 entries"), "{}", text(&ran));
    // A pipe that nobody writes to would keep the blocking thread, and so the program, for good.
    let pipe = Command::new("mkfifo").arg(place.path().join("pipe")).status().unwrap();
    assert!(pipe.success());
    let pipe = fs::OpenOptions::new().read(true).write(true).open(place.path().join("pipe"));
    let ran = example("async_unpack", place.path(), &["pipe", "root", "0.2"]);
    drop(pipe);
    assert!(ran.status.success(), "{}", text(&ran));
    assert!(text(&ran).contains("cancelled"), "{}", text(&ran));
}

#[test]
fn unpack_stack_makes_one_directory_for_each_layer() {
    let place = layers();
    let ran = example("unpack_stack", place.path(), &[".", "1.tar", "2.tar"]);
    assert!(ran.status.success(), "{}", text(&ran));
    assert!(text(&ran).ends_with("lowerdir=./2:./1\n"), "{}", text(&ran));
    assert!(place.path().join("1/gone").is_file());
    assert!(fs::symlink_metadata(place.path().join("2/gone")).is_ok(), "the whiteout");
}

#[test]
fn compare_trees_sees_a_change_of_anything() {
    let place = layers();
    let shell = |script: &str| {
        let ran = Command::new("sh").arg("-ec").arg(script).current_dir(&place).status().unwrap();
        assert!(ran.success(), "{script}");
    };
    shell("ln files/etc/motd files/etc/link; ln -s motd files/etc/symlink");
    let changes = [
        "true",
        "chmod 600 other/etc/motd",
        "touch -d @1.000000001 other/etc",
        "printf 'Welcome\\n' >other/etc/motd; touch -r files/etc/motd other/etc/motd",
        "ln -sf motd2 other/etc/symlink; touch -hr files/etc/symlink other/etc/symlink; \
         touch -r files/etc other/etc",
        "rm other/gone; touch -r files other",
        "cp -p other/gone other/new; touch -r files other",
        "cp -p other/etc/link new; mv new other/etc/link; touch -r files/etc other/etc",
    ];
    for (number, change) in changes.iter().enumerate() {
        shell(&format!("rm -rf other; cp -a files other; {change}"));
        let ran = example("compare_trees", place.path(), &["files", "other"]);
        assert_eq!(ran.status.success(), number == 0, "{change}: {}", text(&ran));
    }
}

#[test]
fn readme_has_the_shortest_c_program_that_the_c_tests_run() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |name| fs::read_to_string(here.join(name)).unwrap();
    let program = read("examples/unpack.c");
    let (_licence, program) = program.split_once('\n').unwrap();
    assert!(program.lines().count() < 10);
    assert!(read("README.md").contains(&format!("```c\n{program}```\n")), "README.md differs");
}
