// SPDX-License-Identifier: Apache-2.0
//! What is kept of the runs, as JSON, and how a run that is made in pieces is put together.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde::{Deserialize, Serialize};

use crate::Result;
use crate::goals::{self, Goal};
use crate::layers::output;
use crate::peers::{self, BASELINE};
use crate::row::Row;

#[derive(Debug, Serialize, Deserialize)]
pub struct Results {
    pub machine: String,
    /// With `-dirty` where the work tree differs from it.
    pub commit: String,
    /// What the ratios are to.
    pub baseline: String,
    /// Of the appliers.
    #[serde(default)]
    pub versions: Vec<String>,
    pub rows: Vec<Row>,
    /// Made from the rows.
    #[serde(skip_deserializing)]
    pub goals: Vec<Goal>,
}

impl Results {
    /// Of this machine and commit, without rows so far.
    pub fn new() -> Results {
        let baseline = BASELINE.name().into();
        let (rows, goals) = (Vec::new(), Vec::new());
        let versions = peers::versions();
        Results { machine: machine(), commit: commit(), baseline, versions, rows, goals }
    }

    /// Those of an earlier run, to add to. Refused where they say nothing about this commit on
    /// this machine.
    pub fn resume(path: &Path) -> Result<Results> {
        let new = Results::new();
        if !path.exists() {
            return Ok(new);
        }
        let old: Results = serde_json::from_slice(&fs::read(path)?)
            .map_err(|error| format!("{}: {error}", path.display()))?;
        match new.differs_from(&old) {
            None => Ok(old),
            Some(why) => Err(format!("{} is not to be merged with: {why}", path.display()).into()),
        }
    }

    fn differs_from(&self, old: &Results) -> Option<String> {
        if old.machine != self.machine {
            return Some(format!("it is of another machine, {}", old.machine));
        }
        if old.commit != self.commit {
            return Some(format!("it is of {}, and this is {}", old.commit, self.commit));
        }
        // Two such states of the work tree need not be the same.
        let vague = self.commit.ends_with(DIRTY) || self.commit == UNKNOWN;
        vague.then(|| format!("commit \"{}\" may be anything", self.commit))
    }

    /// Adds all rows of one workload, instead of those that an earlier run left.
    pub fn replace(&mut self, rows: Vec<Row>) {
        self.rows.retain(|old| !rows.iter().any(|row| row.workload() == old.workload()));
        self.rows.extend(rows);
        // Stable: the appliers keep their order.
        self.rows.sort_by(|a, b| a.workload().cmp(&b.workload()));
        self.goals = goals::of(&self.rows);
    }

    /// Whole or not at all: a run may be cut off at any time.
    pub fn write(&self, path: &Path) -> Result<()> {
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory)?;
        }
        let part = path.with_extension("part");
        fs::write(&part, serde_json::to_string_pretty(self)? + "\n")?;
        Ok(fs::rename(&part, path)?)
    }
}

const DIRTY: &str = "-dirty";
const UNKNOWN: &str = "unknown";

fn machine() -> String {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let cpu = read("/proc/cpuinfo");
    let cpu = cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let cpus = std::thread::available_parallelism().map_or(0, usize::from);
    let memory = read("/proc/meminfo");
    let kib = memory.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok());
    let kernel = read("/proc/sys/kernel/osrelease");
    format!(
        "{cpus} CPUs ({}), {} GiB, Linux {}",
        cpu.map_or("unknown", |(_, name)| name),
        kib.unwrap_or(0).div_ceil(1 << 20),
        kernel.trim()
    )
}

fn commit() -> String {
    let dirty = format!("--dirty={DIRTY}");
    let git = ["describe", "--always", &dirty, "--abbrev=12"];
    output(Command::new("git").args(git)).unwrap_or_else(|_| UNKNOWN.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::samples;
    use crate::target::Filesystem;

    fn results() -> Results {
        Results { commit: "0123456789ab".into(), ..Results::new() }
    }

    fn at(codec: &str, filesystem: Filesystem, wall: f64) -> Vec<Row> {
        let mut rows =
            samples::rows(&[("containerd", None, &[2.0]), ("ocilayer", Some(2), &[wall])]);
        rows.iter_mut().for_each(|row| (row.codec, row.filesystem) = (codec.into(), filesystem));
        rows
    }

    fn walls(results: &Results) -> Vec<(&str, Filesystem, f64)> {
        let ours = results.rows.iter().filter(|row| row.applier == "ocilayer");
        ours.map(|row| (row.codec.as_str(), row.filesystem, row.wall_s)).collect()
    }

    #[test]
    fn what_is_measured_again_replaces_its_own_workload_only() {
        use Filesystem::{Ext4, Tmpfs};
        let mut results = results();
        results.replace(at("gzip", Ext4, 0.5));
        results.replace(at("zstd", Ext4, 0.6));
        results.replace(at("gzip", Tmpfs, 0.7));
        // With fewer appliers, too: pairs are of one run.
        results.replace(at("gzip", Ext4, 0.4).split_off(1));
        let expected = [("gzip", Ext4, 0.4), ("zstd", Ext4, 0.6), ("gzip", Tmpfs, 0.7)];
        assert_eq!(walls(&results), expected);
        assert_eq!(results.rows.len(), 5);
    }

    #[test]
    fn results_are_the_same_once_written_and_read() {
        let mut before = results();
        before.replace(at("gzip", Filesystem::Ext4, 0.5));
        let json = serde_json::to_string(&before).unwrap();
        let after: Results = serde_json::from_str(&json).unwrap();
        assert_eq!(format!("{:?}", after.rows), format!("{:?}", before.rows));
        assert!(json.contains("\"goals\":[{"), "{json}");
    }

    #[test]
    fn other_machines_and_commits_are_not_merged_with() {
        let other = |machine: &str, commit: &str| Results {
            machine: machine.into(),
            commit: commit.into(),
            ..results()
        };
        let refused = |new: &Results, old: &Results| new.differs_from(old).is_some();
        let new = other("2 CPUs", "abc");
        assert!(!refused(&new, &other("2 CPUs", "abc")));
        assert!(refused(&new, &other("4 CPUs", "abc")));
        assert!(refused(&new, &other("2 CPUs", "def")));
        let dirty = other("2 CPUs", "abc-dirty");
        assert!(refused(&dirty, &dirty));
    }
}
