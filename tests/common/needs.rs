// SPDX-License-Identifier: Apache-2.0
//! What a test needs of the machine. Absent, it skips loudly, and fails where `CI=true`.

use std::path::Path;

use crate::common::{overlay, trap};

/// Owners, devices and mounts are root's.
pub fn root() -> bool {
    demand("root", rustix::process::geteuid().is_root())
}

/// Mounts of overlayfs, which root has on most machines but not in every container.
pub fn overlay() -> bool {
    root() && demand("overlay mounts", overlay::works())
}

/// System calls that a test answers: Linux 5.9, and no other listener above this process.
pub fn trap() -> bool {
    root() && demand("seccomp user notification", trap::works())
}

/// A program on the path.
pub fn tool(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found =
        std::env::split_paths(&path).any(|dir: std::path::PathBuf| is_file(&dir.join(name)));
    demand(name, found)
}

fn is_file(path: &Path) -> bool {
    path.metadata().is_ok_and(|data| data.is_file())
}

/// Where nothing may be skipped.
pub fn ci() -> bool {
    std::env::var("CI").as_deref() == Ok("true")
}

fn demand(what: &str, there: bool) -> bool {
    if !there {
        assert!(!ci(), "CI needs {what}, which is missing");
        let test = std::thread::current().name().unwrap_or("?").to_owned();
        // Not eprintln: the test harness would swallow it, and a skip would look like a pass.
        use std::io::Write;
        let _ = writeln!(std::io::stderr(), "SKIPPED {test}: needs {what}");
    }
    there
}
