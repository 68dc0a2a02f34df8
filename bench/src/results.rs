// SPDX-License-Identifier: Apache-2.0
//! The table for people, and the same as JSON.

use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde::Serialize;

use crate::Result;
use crate::layers::output;
use crate::target::Filesystem;

#[derive(Debug, Serialize)]
pub struct Results {
    pub machine: String,
    /// With `-dirty` where the work tree differs from it.
    pub commit: String,
    /// What the ratios are to.
    pub baseline: &'static str,
    pub rows: Vec<Row>,
}

/// Medians of one applier on one layer.
#[derive(Debug, Serialize)]
pub struct Row {
    pub layer: &'static str,
    pub codec: &'static str,
    /// What made it so, where that is not the usual program.
    pub variant: &'static str,
    pub entries: u64,
    /// Uncompressed.
    pub layer_bytes: u64,
    pub applier: &'static str,
    /// Null where the applier decides itself.
    pub threads: Option<usize>,
    pub filesystem: Filesystem,
    pub runs: usize,
    /// Whether it hashed the uncompressed layer, too.
    pub digests: bool,
    /// What the times are of: the "process", or "creation" alone.
    pub timed: &'static str,
    pub wall_s: f64,
    pub cpu_s: f64,
    pub peak_rss_bytes: u64,
    /// Medians of the ratios in each round; null for an applier whose outcome differs.
    pub wall_ratio: Option<f64>,
    pub cpu_ratio: Option<f64>,
    pub syscalls_per_entry: Option<f64>,
    /// In what the outcome differs from the baseline's, if it does.
    pub differs: Option<String>,
}

impl Results {
    pub fn new(rows: Vec<Row>, baseline: &'static str) -> Results {
        Results { machine: machine(), commit: commit(), baseline, rows }
    }

    pub fn write(&self, path: &Path) -> Result<()> {
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory)?;
        }
        Ok(fs::write(path, serde_json::to_string_pretty(self)? + "\n")?)
    }

    pub fn markdown(&self) -> String {
        let mut text = format!("{}, commit {}\n\n", self.machine, self.commit);
        text += "| layer | file system | applier | threads | wall s | CPU s | peak MiB | syscalls/entry | wall | CPU |\n";
        text += "|---|---|---|---:|---:|---:|---:|---:|---:|---:|\n";
        for row in &self.rows {
            let or_dash = |value: Option<String>| value.unwrap_or_else(|| "-".into());
            let applier = if row.digests { "" } else { " (no digest)" };
            let ratios = match (row.wall_ratio, row.cpu_ratio) {
                (Some(wall), Some(cpu)) => format!("{wall:.2} | {cpu:.2}"),
                _ => "differs | differs".into(),
            };
            let _ = writeln!(
                text,
                "| {} {} {}| {} | {}{applier} | {} | {:.3} | {:.3} | {:.1} | {} | {ratios} |",
                row.layer,
                row.codec,
                if row.variant.is_empty() { String::new() } else { format!("{} ", row.variant) },
                format!("{:?}", row.filesystem).to_lowercase(),
                row.applier,
                or_dash(row.threads.map(|n| n.to_string())),
                row.wall_s,
                row.cpu_s,
                row.peak_rss_bytes as f64 / f64::from(1 << 20),
                or_dash(row.syscalls_per_entry.map(|n| format!("{n:.1}"))),
            );
        }
        let _ = writeln!(text, "\nMedians; the last two columns are ratios to {}.", self.baseline);
        for row in &self.rows {
            if let Some(differs) = &row.differs {
                let _ = writeln!(
                    text,
                    "\n{} {}, {}: the outcome differs: {differs}",
                    row.layer, row.codec, row.applier
                );
            }
        }
        text
    }
}

pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => values[n / 2],
        n => (values[n / 2 - 1] + values[n / 2]) / 2.0,
    }
}

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
    let git = ["describe", "--always", "--dirty", "--abbrev=12"];
    output(Command::new("git").args(git)).unwrap_or_else(|_| "unknown".into())
}
