// SPDX-License-Identifier: Apache-2.0
//! Nobody can read what the command says on standard error: what it does, and its status, stay the
//! same. A panic would be status 101, in the middle of a layer.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::common::{command, layer, small_layer, terminal};

/// Layers good and bad, and a root of each kind.
fn place() -> TempDir {
    let place = tempfile::tempdir().unwrap();
    let climbing = layer(&[("ok", b'0', b""), ("a/../../up", b'0', b"")]);
    fs::write(place.path().join("good.tar"), small_layer()).unwrap();
    fs::write(place.path().join("bad.tar"), climbing).unwrap();
    fs::create_dir(place.path().join("root")).unwrap();
    place
}

/// Command lines that have something to say there, and their status.
const TALKATIVE: [(&[&str], i32); 16] = [
    (&["unpack", "--verbose", "good.tar", "root"], 0),
    (&["unpack", "--verbose", "--json", "good.tar", "root"], 0),
    (&["unpack", "bad.tar", "root"], 1),
    (&["unpack", "--json", "bad.tar", "root"], 1),
    (&["unpack", "missing.tar", "root"], 1),
    (&["unpack", "--lower", "", "good.tar", "root"], 2),
    (&["unpack", "good.tar"], 2),
    (&["explode"], 2),
    // clap answers with the whole help.
    (&[], 2),
    (&["scan", "missing.tar", "good.tar"], 1),
    (&["scan"], 2),
    (&["audit", "--layer", "missing.tar=root"], 1),
    (&["audit", "--layer", "good.tar"], 2),
    (&["audit", "a::b"], 2),
    (&["check", "/nowhere/at/all"], 3),
    (&["check", "one", "two"], 2),
];

/// A way to have it run so that nothing can be written to standard error.
type Unreadable = fn(&Path, &[&str]) -> Command;

const UNREADABLE: [(&str, Unreadable); 4] = [
    ("a full disk", |place, arguments| {
        let mut command = command(place, arguments);
        command.stderr(File::options().write(true).open("/dev/full").unwrap());
        command
    }),
    ("a pipe that nobody reads", |place, arguments| {
        let mut command = command(place, arguments);
        let (read, write) = std::io::pipe().unwrap();
        drop(read);
        command.stderr(write);
        command
    }),
    ("open for reading", |place, arguments| {
        let mut command = command(place, arguments);
        command.stderr(File::open("/dev/null").unwrap());
        command
    }),
    ("closed", |place, arguments| {
        let mut shell = Command::new("sh");
        shell.args(["-c", "exec \"$0\" \"$@\" 2>&-", env!("CARGO_BIN_EXE_ocilayer")]);
        shell.current_dir(place).args(arguments).stdin(Stdio::null());
        shell
    }),
];

#[test]
fn status_and_tree_do_not_depend_on_who_reads_the_messages() {
    for (arguments, status) in TALKATIVE {
        let read = place();
        let output = command(read.path(), arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(status), "{arguments:?}: {output:?}");
        assert!(!output.stderr.is_empty(), "{arguments:?} is no test: {output:?}");
        for (what, unreadable) in UNREADABLE {
            let unread = place();
            let ran = unreadable(unread.path(), arguments).output().unwrap();
            assert_eq!(ran.status.code(), Some(status), "{arguments:?}, {what}: {ran:?}");
            // The same but for times: as many lines.
            let lines = |bytes: &[u8]| bytes.iter().filter(|byte| **byte == b'\n').count();
            assert_eq!(lines(&ran.stdout), lines(&output.stdout), "{arguments:?}, {what}: {ran:?}");
            assert_eq!(names(&unread), names(&read), "{arguments:?}, {what}");
        }
    }
}

/// All that is in the root.
fn names(place: &TempDir) -> Vec<String> {
    let mut names = Vec::new();
    let mut directories = vec![place.path().join("root")];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() {
                directories.push(entry.path());
            }
            names.push(entry.path().strip_prefix(place.path()).unwrap().display().to_string());
        }
    }
    names.sort();
    names
}

#[test]
fn neither_output_can_be_written() {
    let full = || File::options().write(true).open("/dev/full").unwrap();
    for (arguments, status) in [
        (&["--help"][..], 1),
        (&["unpack", "good.tar", "root"], 1),
        (&["unpack", "--json", "bad.tar", "root"], 1),
        (&["scan", "good.tar"], 1),
        (&["audit", "--layer", "good.tar=root"], 1),
        (&["check"], 3),
    ] {
        let place = place();
        let mut command = command(place.path(), arguments);
        let ended = command.stdout(full()).stderr(full()).status().unwrap();
        assert_eq!(ended.code(), Some(status), "{arguments:?}");
    }
}

/// With the progress bar on it, and a message over the bar.
#[test]
fn terminal_that_goes_away_does_not_end_an_unpack() {
    let place = place();
    let (mut screen, stderr) = terminal();
    let mut command = command(place.path(), &["unpack", "--verbose", "-", "root"]);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(stderr);
    let mut child = command.spawn().unwrap();
    drop(command);
    // The bar, of which one byte is enough.
    screen.read_exact(&mut [0]).unwrap();
    drop(screen);
    child.stdin.take().unwrap().write_all(&small_layer()).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(place.path().join("root/etc/issue").is_symlink());
}
