// SPDX-License-Identifier: Apache-2.0
//! Runs a test again in a process of its own, where limits and descriptors are nobody else's.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Stdio};

use super::needs;

const CHILD: &str = "OCILAYER_TEST_CHILD";

/// Whether `test` is to do its work here. In the parent it runs the child and fails as it fails.
pub fn is_child(test: &str) -> bool {
    is_child_of(test, &[])
}

/// The same as a user who has nothing: what the test needs of the machine is asked in the parent, since
/// the child is not root.
pub fn is_plain_user(test: &str) -> bool {
    let starter = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    let able = is_in_child() || (needs::root() && needs::tool("setpriv"));
    able && is_child_of(test, &starter) && {
        assert!(!rustix::process::geteuid().is_root(), "the child is not who it should be");
        true
    }
}

/// The same, started by a program such as unshare(1).
pub fn is_child_of(test: &str, starter: &[&str]) -> bool {
    if is_in_child() {
        return true;
    }
    run_in(test, starter, &std::env::temp_dir());
    false
}

/// Whether this process is one that was started here.
pub fn is_in_child() -> bool {
    std::env::var_os(CHILD).is_some()
}

/// Runs the test in a process of its own, with temporary files in a directory.
pub fn run_in(test: &str, starter: &[&str], temporary: &Path) {
    let program = std::env::current_exe().expect("own path");
    let mut words: Vec<&OsStr> = starter.iter().map(OsStr::new).collect();
    words.push(program.as_os_str());
    let output = Command::new(words[0])
        .args(&words[1..])
        .args(["--exact", test, "--test-threads=1", "--nocapture"])
        .env(CHILD, "1")
        .env("TMPDIR", temporary)
        .stdin(Stdio::null())
        .output()
        .expect("run the test again");
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "in a process of its own, on {}:\n{text}",
        temporary.display()
    );
    assert!(text.contains("1 passed"), "no test of that name ran:\n{text}");
}
