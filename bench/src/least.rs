// SPDX-License-Identifier: Apache-2.0
//! What every applier takes at least of one workload: its three stages, each measured alone.

use crate::layers::Kind;
use crate::row::Row;
use crate::spread::Spread;

/// Of the fastest run each: what slowed one was the machine.
#[derive(Debug, Clone, Copy)]
pub struct Least {
    /// CPU seconds of decompression, digest and creation, by one thread each.
    pub cpu_s: f64,
    /// Wall seconds of what only one thread does at a time.
    serial_s: f64,
}

impl Least {
    /// None where not all three were measured.
    pub fn of(workload: &[Row]) -> Option<Least> {
        let one = |applier: &str| {
            let alone = |row: &&Row| row.applier == applier && row.threads == Some(1);
            let row = workload.iter().find(alone)?;
            let least = |runs: &[f64]| Some(Spread::of(runs.iter().copied())?.min);
            Some((least(&row.wall_runs_s)?, least(&row.cpu_runs_s)?))
        };
        let (decompress, digest) = (one("limit-decompress")?, one("limit-digest")?);
        let create = one("limit-create")?;
        // Layers of one image have a thread each.
        let image = workload.first()?.layer == Kind::Image;
        let serial_s = if image { 0.0 } else { decompress.0.max(digest.0) };
        Some(Least { cpu_s: decompress.1 + digest.1 + create.1, serial_s })
    }

    pub fn wall_s(self, threads: usize) -> f64 {
        (self.cpu_s / threads as f64).max(self.serial_s)
    }
}
