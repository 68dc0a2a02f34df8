// SPDX-License-Identifier: Apache-2.0
//! What every applier takes at least of one workload: its three stages, each measured alone.

use crate::layers::Kind;
use crate::row::Row;
use crate::spread::Spread;

/// Of the fastest run each: what slowed one was the machine.
#[derive(Debug, Clone, Copy)]
pub struct Least {
    /// CPU seconds of decompression, digest and creation, by however many threads.
    pub cpu_s: f64,
    /// Wall seconds of what only one thread does at a time.
    serial_s: f64,
}

impl Least {
    /// None where not all three were measured.
    pub fn of(workload: &[Row]) -> Option<Least> {
        let least = |applier: &str, runs: fn(&Row) -> &[f64]| {
            let rows = workload.iter().filter(|row| row.applier == applier);
            Some(Spread::of(rows.flat_map(|row| runs(row).iter().copied()))?.min)
        };
        let wall = |applier| least(applier, |row| &row.wall_runs_s);
        let cpu = |applier| least(applier, |row| &row.cpu_runs_s);
        let (decompress, digest) = ("limit-decompress", "limit-digest");
        // Layers of one image have a thread each.
        let image = workload.first()?.layer == Kind::Image;
        let serial_s = if image { 0.0 } else { wall(decompress)?.max(wall(digest)?) };
        Some(Least { cpu_s: cpu(decompress)? + cpu(digest)? + cpu("limit-create")?, serial_s })
    }

    pub fn wall_s(self, threads: usize) -> f64 {
        (self.cpu_s / threads as f64).max(self.serial_s)
    }
}
