// SPDX-License-Identifier: Apache-2.0
//! The tools that these tests compare with: whether they are here, and how they are run.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Programs, and the Debian package of each.
const PACKAGES: &[(&str, &str)] = &[
    ("bsdtar", "libarchive-tools"),
    ("buildah", "buildah"),
    ("debootstrap", "debootstrap"),
    ("gzip", "gzip"),
    ("setcap", "libcap2-bin"),
    ("setfacl", "acl"),
    ("setfattr", "attr"),
    ("skopeo", "skopeo"),
    ("tar", "tar"),
    ("umoci", "umoci"),
    ("zstd", "zstd"),
];

/// Whether a test can run here: as root, with these programs. If not it says so loudly, and with
/// CI=true it fails.
pub fn present(test: &str, programs: &[&str]) -> bool {
    let found = |program: &str| {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).chain(["/usr/sbin".into()]).any(|d| d.join(program).exists())
    };
    let mut missing: Vec<String> = Vec::new();
    if !rustix::process::geteuid().is_root() {
        missing.push("it needs root".into());
    }
    for program in programs.iter().filter(|program| !found(program)) {
        let package = PACKAGES.iter().find(|(name, _)| name == program).map_or("?", |p| p.1);
        missing.push(format!("no {program}: scripts/need {package}"));
    }
    if missing.is_empty() {
        return true;
    }
    let why = missing.join("; ");
    assert!(std::env::var("CI").as_deref() != Ok("true"), "{test} cannot run: {why}");
    // Not eprintln: the harness would capture it, and a skip would look like a pass.
    let loud = format!("\nSKIPPED {test}: {why}\n\n");
    std::io::stderr().write_all(loud.as_bytes()).expect("stderr");
    false
}

/// A command with a locale in which names are bytes.
pub fn command(program: &str) -> Command {
    let mut command = Command::new(program);
    command.env("LC_ALL", "C").env("TZ", "UTC").stdin(Stdio::null());
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{path}:/usr/sbin:/sbin"));
    command
}

/// Runs to success, or fails the test with what the command said.
pub fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// A shell script with `set -e`, run in `dir`; the arguments are `$1` and on.
pub fn shell(dir: &Path, script: &str, arguments: &[&Path]) {
    let mut sh = command("bash");
    sh.args(["-euo", "pipefail", "-c", script, "bash"]).args(arguments).current_dir(dir);
    run(&mut sh);
}

/// Where these tests keep what is slow to make. On the disk, since overlay needs real xattrs.
pub fn cache() -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("real-layers");
    std::fs::create_dir_all(&dir).expect("cache directory");
    dir
}
