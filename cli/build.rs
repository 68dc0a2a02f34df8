// SPDX-License-Identifier: Apache-2.0
//! Tells the command which commit it is of: OCILAYER_COMMIT, or what git says, or nothing.

use std::process::Command;

fn main() {
    println!("cargo:rerun-if-env-changed=OCILAYER_COMMIT");
    println!("cargo:rerun-if-changed=../.git/logs/HEAD");
    let commit = std::env::var("OCILAYER_COMMIT").ok().or_else(by_git).unwrap_or_default();
    let shown = if commit.is_empty() { commit } else { format!(" ({commit})") };
    println!("cargo:rustc-env=OCILAYER_COMMIT={shown}");
}

fn by_git() -> Option<String> {
    let git = Command::new("git").args(["rev-parse", "--short=12", "HEAD"]).output().ok()?;
    let commit = String::from_utf8(git.stdout).ok()?;
    git.status.success().then(|| commit.trim().to_owned())
}
