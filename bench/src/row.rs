// SPDX-License-Identifier: Apache-2.0
//! One row of the table: what was measured of one applier on one workload.

use serde::{Deserialize, Serialize};

use crate::layers::Kind;
use crate::spread::Spread;
use crate::target::Filesystem;

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
    /// What the times are of: the "process", or "digest" or "creation" alone.
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
    /// Each round's, in their order: those of rows of one workload are pairs.
    pub wall_runs_s: Vec<f64>,
    pub cpu_runs_s: Vec<f64>,
}

/// Layer, file system, codec and variant: rows of one workload are measured together, compared with
/// each other, and replaced together.
pub type Workload<'a> = (Kind, Filesystem, &'a str, &'a str);

impl Row {
    pub fn workload(&self) -> Workload<'_> {
        (self.layer, self.filesystem, &self.codec, &self.variant)
    }

    pub fn wall_ratio(&self) -> Option<Spread> {
        let (min, max) = (self.wall_ratio_min?, self.wall_ratio_max?);
        Some(Spread { median: self.wall_ratio?, min, max })
    }
}

/// Rows for tests, of one workload.
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
