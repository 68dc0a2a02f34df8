// SPDX-License-Identifier: Apache-2.0
//! How many system calls an applier makes, counted by strace.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::Result;
use crate::layers::run;

pub fn present() -> bool {
    Command::new("strace").arg("-V").output().is_ok_and(|output| output.status.success())
}

/// Of all processes and threads that `command` starts.
pub fn count(command: &Command, summary: &Path) -> Result<u64> {
    let mut strace = Command::new("strace");
    strace.args(["-f", "-c", "-o"]).arg(summary).arg("--");
    strace.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        strace.env(name, value.unwrap_or_default());
    }
    run(strace.stdout(std::process::Stdio::null()))?;
    total(&fs::read_to_string(summary)?).ok_or_else(|| "no total in strace's summary".into())
}

/// `100.00 0.001000 5 199 12 total`.
fn total(summary: &str) -> Option<u64> {
    let line = summary.lines().rev().find(|line| line.trim_end().ends_with(" total"))?;
    let columns: Vec<&str> = line.split_whitespace().collect();
    columns.get(3)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::total;

    #[test]
    fn the_total_is_the_column_of_calls() {
        let summary = "\
% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 60.00    0.000600           6       100           write
 40.00    0.000400           4        99        12 openat
------ ----------- ----------- --------- --------- ----------------
100.00    0.001000           5       199        12 total
";
        assert_eq!(total(summary), Some(199));
    }
}
