// SPDX-License-Identifier: Apache-2.0
//! What is kept of the runs, as JSON, and how a run that is made in pieces is put together.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde::{Deserialize, Serialize};

use crate::Result;
use crate::goals::{self, Goal};
use crate::layers::{Kind, output};
use crate::peers::BASELINE;
use crate::spread::Spread;
use crate::target::Filesystem;

#[derive(Debug, Serialize, Deserialize)]
pub struct Results {
    pub machine: String,
    /// With `-dirty` where the work tree differs from it.
    pub commit: String,
    /// What the ratios are to.
    pub baseline: String,
    pub rows: Vec<Row>,
    /// Made from the rows.
    #[serde(skip_deserializing)]
    pub goals: Vec<Goal>,
}

/// One applier on one layer. Medians, unless the name says otherwise.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Row {
    pub layer: Kind,
    pub codec: String,
    /// What made it so, where that is not the usual program.
    pub variant: String,
    pub entries: u64,
    /// Uncompressed.
    pub layer_bytes: u64,
    pub applier: String,
    /// Null where the applier decides itself.
    pub threads: Option<usize>,
    pub filesystem: Filesystem,
    pub runs: usize,
    /// Whether it hashed the uncompressed layer, too.
    pub digests: bool,
    /// What the times are of: the "process", or "creation" alone.
    pub timed: String,
    pub wall_s: f64,
    pub wall_min_s: f64,
    pub wall_max_s: f64,
    pub cpu_s: f64,
    pub user_s: f64,
    pub system_s: f64,
    pub peak_rss_bytes: u64,
    /// Of the ratios in each round; null for an applier whose outcome differs.
    pub wall_ratio: Option<f64>,
    pub wall_ratio_min: Option<f64>,
    pub wall_ratio_max: Option<f64>,
    pub cpu_ratio: Option<f64>,
    pub syscalls_per_entry: Option<f64>,
    /// In what the outcome differs from the baseline's, if it does.
    pub differs: Option<String>,
    /// Each round's, in their order: those of rows of one place are pairs.
    pub wall_runs_s: Vec<f64>,
    pub cpu_runs_s: Vec<f64>,
}

/// What is measured at one time: rows of one place are compared with each other, and replaced
/// together.
pub type Place<'a> = (Kind, Filesystem, &'a str, &'a str);

impl Row {
    pub fn place(&self) -> Place<'_> {
        (self.layer, self.filesystem, &self.codec, &self.variant)
    }

    pub fn wall_ratio(&self) -> Option<Spread> {
        let (min, max) = (self.wall_ratio_min?, self.wall_ratio_max?);
        Some(Spread { median: self.wall_ratio?, min, max })
    }
}

impl Results {
    /// Of this machine and commit, without rows so far.
    pub fn new() -> Results {
        let baseline = BASELINE.name().into();
        let (rows, goals) = (Vec::new(), Vec::new());
        Results { machine: machine(), commit: commit(), baseline, rows, goals }
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

    /// Adds all rows of one place, instead of those that an earlier run left.
    pub fn replace(&mut self, rows: Vec<Row>) {
        self.rows.retain(|old| !rows.iter().any(|row| row.place() == old.place()));
        self.rows.extend(rows);
        // Stable: the appliers keep their order.
        self.rows.sort_by(|a, b| a.place().cmp(&b.place()));
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

/// Rows for tests, of one place.
#[cfg(test)]
pub mod samples {
    use super::*;

    /// Of base in gzip on ext4, with these wall seconds, and twice as many CPU seconds; those of
    /// the baseline must be given first.
    pub fn rows(appliers: &[(&str, Option<usize>, &[f64])]) -> Vec<Row> {
        let baseline = appliers[0].2;
        appliers
            .iter()
            .map(|&(applier, threads, walls)| row(applier, threads, walls, baseline))
            .collect()
    }

    fn row(applier: &str, threads: Option<usize>, walls: &[f64], baseline: &[f64]) -> Row {
        let wall = Spread::of(walls.iter().copied()).unwrap();
        let ratio = Spread::of_ratios(walls, baseline).unwrap();
        Row {
            layer: Kind::Base,
            codec: "gzip".into(),
            variant: String::new(),
            entries: 10,
            layer_bytes: 1000,
            applier: applier.into(),
            threads,
            filesystem: Filesystem::Ext4,
            runs: walls.len(),
            digests: true,
            timed: "process".into(),
            wall_s: wall.median,
            wall_min_s: wall.min,
            wall_max_s: wall.max,
            cpu_s: 2.0 * wall.median,
            user_s: wall.median,
            system_s: wall.median,
            peak_rss_bytes: 8 << 20,
            wall_ratio: Some(ratio.median),
            wall_ratio_min: Some(ratio.min),
            wall_ratio_max: Some(ratio.max),
            cpu_ratio: Some(ratio.median),
            syscalls_per_entry: Some(4.0),
            differs: None,
            wall_runs_s: walls.to_vec(),
            cpu_runs_s: walls.iter().map(|wall| 2.0 * wall).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn what_is_measured_again_replaces_its_own_place_only() {
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
