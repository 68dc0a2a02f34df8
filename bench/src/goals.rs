// SPDX-License-Identifier: Apache-2.0
//! What is to be reached on two CPUs, and whether it was.

use serde::Serialize;

use crate::layers::Kind;
use crate::least::Least;
use crate::peers::Peer;
use crate::row::Row;
use crate::spread::Spread;
use crate::target::Filesystem;

#[derive(Debug, Clone, Serialize)]
pub struct Goal {
    pub layer: Kind,
    pub codec: String,
    pub variant: String,
    pub filesystem: Filesystem,
    pub goal: String,
    pub figure: f64,
    /// Where the figure is the median of pairs.
    pub spread: Option<Spread>,
    pub target: f64,
    /// Whether the figure must be below the target, rather than at most that.
    pub strict: bool,
    pub met: bool,
}

/// On ext4 with two threads: the wall time to the limit's, and to the baseline's.
const RATIOS: [(Kind, &str, f64, f64); 15] = [
    (Kind::Base, "gzip", 1.10, 0.25),
    (Kind::NodeModules, "gzip", 1.15, 0.22),
    (Kind::PythonMl, "gzip", 1.05, 0.24),
    (Kind::BigFile, "gzip", 1.05, 0.29),
    (Kind::Image, "gzip", 1.10, 0.25),
    (Kind::Base, "zstd", 1.10, 0.33),
    (Kind::NodeModules, "zstd", 1.15, 0.29),
    (Kind::PythonMl, "zstd", 1.10, 0.33),
    (Kind::BigFile, "zstd", 1.05, 0.40),
    (Kind::Image, "zstd", 1.10, 0.33),
    // Never slower.
    (Kind::Base, "none", 1.15, 1.0),
    (Kind::NodeModules, "none", 1.15, 1.0),
    (Kind::PythonMl, "none", 1.15, 1.0),
    (Kind::BigFile, "none", 1.15, 1.0),
    (Kind::Image, "none", 1.15, 1.0),
];

/// Of the CPU time, to that of decompression, digest and creation alone.
const CPU: f64 = 1.10;
/// openat, write, utimensat, close, and half a call for everything else.
const SYSCALLS: f64 = 4.5;
const PEAK_MIB: f64 = 64.0;
/// To the command on as many threads.
const FROM_GO: f64 = 1.02;
/// Each goal of each workload, as far as there are rows for it.
pub fn of(rows: &[Row]) -> Vec<Goal> {
    let workloads = rows.chunk_by(|a, b| a.workload() == b.workload());
    workloads.flat_map(|rows| Workload { rows }.goals()).collect()
}

/// The rows of one workload.
struct Workload<'a> {
    rows: &'a [Row],
}

impl Workload<'_> {
    fn goals(&self) -> Vec<Goal> {
        let goals = [
            self.wall_ratio(),
            self.limit(),
            self.cpu_ratio(),
            self.syscalls(),
            self.peak(),
            self.go(),
            self.at_once(),
            self.wall_of_peers(),
            self.cpu_of_peers(),
        ];
        goals.into_iter().flatten().collect()
    }

    fn wall_ratio(&self) -> Option<Goal> {
        let ratio = self.ours(2)?.wall_ratio()?;
        let (_, target) = self.ratios()?;
        Some(self.pairs("wall to containerd, 2 threads".into(), ratio, target))
    }

    fn limit(&self) -> Option<Goal> {
        let ratio = self.ours(2)?.wall_s / Least::of(self.rows)?.wall_s(2);
        let (target, _) = self.ratios()?;
        Some(self.goal("wall to the limit, 2 threads".into(), ratio, target))
    }

    fn cpu_ratio(&self) -> Option<Goal> {
        let (ours, _) = (self.ours(2)?, self.ratios()?);
        let ratio = ours.cpu_s / Least::of(self.rows)?.cpu_s;
        Some(self.goal("CPU to the limit's, 2 threads".into(), ratio, CPU))
    }

    fn ratios(&self) -> Option<(f64, f64)> {
        let row = self.rows.first()?;
        let usual = row.filesystem == Filesystem::Ext4 && row.variant.is_empty();
        let mut ratios = RATIOS.iter().filter(|_| usual);
        let ratios = ratios.find(|ratio| (ratio.0, ratio.1) == (row.layer, &row.codec))?;
        Some((ratios.2, ratios.3))
    }

    fn syscalls(&self) -> Option<Goal> {
        let ours = self.ours(2).filter(|row| row.layer == Kind::NodeModules)?;
        Some(self.goal("system calls per entry".into(), ours.syscalls_per_entry?, SYSCALLS))
    }

    fn peak(&self) -> Option<Goal> {
        let mib = self.ours(2)?.peak_rss_bytes as f64 / f64::from(1 << 20);
        Some(self.goal("peak MiB, 2 threads".into(), mib, PEAK_MIB).below())
    }

    fn go(&self) -> Option<Goal> {
        let (go, ours) = (self.find("ocilayer-go", None)?, self.ours(2)?);
        let ratio = Spread::of_ratios(&go.wall_runs_s, &ours.wall_runs_s)?;
        Some(self.pairs("wall of ocilayer-go to ocilayer, 2 threads".into(), ratio, FROM_GO))
    }

    /// Never slower than any of them.
    fn wall_of_peers(&self) -> Option<Goal> {
        let (peer, ratio) = self.to_best_peer(self.ours(2)?, |row| &row.wall_runs_s)?;
        Some(self.pairs(format!("wall to the best peer, {peer}, 2 threads"), ratio, 1.0))
    }

    /// Ahead of all of them.
    fn cpu_of_peers(&self) -> Option<Goal> {
        let (peer, ratio) = self.to_best_peer(self.ours(1)?, |row| &row.cpu_runs_s)?;
        Some(self.pairs(format!("CPU to the best peer, {peer}, 1 thread"), ratio, 1.0).below())
    }

    /// The peer that comes closest, or is ahead, of those whose outcome is the right one.
    fn to_best_peer(&self, ours: &Row, runs: fn(&Row) -> &[f64]) -> Option<(&str, Spread)> {
        let is_peer = |row: &&Row| !Peer::is_ours(&row.applier) && !Peer::is_limit(&row.applier);
        let peers = self.rows.iter().filter(is_peer).filter(|row| row.differs.is_none());
        let ratio = |row| Spread::of_ratios(runs(ours), runs(row));
        let ratios = peers.filter_map(|row| Some((row.applier.as_str(), ratio(row)?)));
        ratios.max_by(|a, b| a.1.median.total_cmp(&b.1.median))
    }

    /// Of an image, all layers as one.
    fn ours(&self, threads: usize) -> Option<&Row> {
        match self.rows.first()?.layer {
            Kind::Image => self.find("ocilayer-image", Some(threads)),
            _ => self.find("ocilayer", Some(threads)),
        }
    }

    fn at_once(&self) -> Option<Goal> {
        let (image, each) =
            (self.find("ocilayer-image", Some(2))?, self.find("ocilayer", Some(2))?);
        let ratio = Spread::of_ratios(&image.wall_runs_s, &each.wall_runs_s)?;
        Some(self.pairs("wall of all layers at once to one by one, 2 threads".into(), ratio, 1.0))
    }

    /// Only where the outcome is the right one.
    fn find(&self, applier: &str, threads: Option<usize>) -> Option<&Row> {
        let asked = |row: &&Row| row.applier == applier && row.threads == threads;
        self.rows.iter().find(asked).filter(|row| row.differs.is_none())
    }

    fn pairs(&self, goal: String, ratio: Spread, target: f64) -> Goal {
        Goal { spread: Some(ratio), ..self.goal(goal, ratio.median, target) }
    }

    fn goal(&self, goal: String, figure: f64, target: f64) -> Goal {
        let row = &self.rows[0];
        Goal {
            layer: row.layer,
            codec: row.codec.clone(),
            variant: row.variant.clone(),
            filesystem: row.filesystem,
            goal,
            figure,
            spread: None,
            target,
            strict: false,
            met: figure <= target,
        }
    }
}

impl Goal {
    /// As much as the target is not enough.
    fn below(self) -> Goal {
        Goal { strict: true, met: self.figure < self.target, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::samples;

    #[test]
    fn an_image_is_judged_by_all_its_layers_as_one() {
        let mut rows = samples::rows(&[
            CONTAINERD,
            ("ocilayer", Some(2), &[1.0, 1.0, 1.0]),
            ("ocilayer-image", Some(2), &[0.5, 0.5, 1.0]),
        ]);
        for row in &mut rows {
            row.layer = Kind::Image;
        }
        let goals = of(&rows);
        assert_eq!(find(&goals, "wall to containerd").figure, 0.25);
        assert_eq!(find(&goals, "wall of all layers at once").figure, 0.5);
    }

    const CONTAINERD: (&str, Option<usize>, &[f64]) = ("containerd", None, &[2.0, 2.0, 4.0]);

    fn find<'a>(goals: &'a [Goal], name: &str) -> &'a Goal {
        let names = || goals.iter().map(|goal| &goal.goal).collect::<Vec<_>>();
        goals
            .iter()
            .find(|goal| goal.goal.starts_with(name))
            .unwrap_or_else(|| panic!("{:?}", names()))
    }

    #[test]
    fn a_ratio_is_judged_by_the_median_of_pairs() {
        let judged = |walls: &[f64]| {
            let goals = of(&samples::rows(&[CONTAINERD, ("ocilayer", Some(2), walls)]));
            let goal = find(&goals, "wall to containerd").clone();
            (goal.figure, goal.met)
        };
        assert_eq!(judged(&[0.5, 0.5, 9.0]), (0.25, true));
        assert_eq!(judged(&[0.6, 0.5, 2.0]), (0.3, false));
    }

    #[test]
    fn what_was_not_measured_is_no_goal() {
        let two = of(&samples::rows(&[CONTAINERD, ("ocilayer", Some(2), &[0.5, 0.5, 1.0])]));
        assert!(!two.iter().any(|goal| goal.goal.contains("limit")), "{two:?}");
        assert!(!two.iter().any(|goal| goal.goal.contains("1 thread")), "{two:?}");
        // The system calls of other layers than node_modules are not mostly those of files.
        assert!(!two.iter().any(|goal| goal.goal.contains("system calls")), "{two:?}");
        assert!(of(&samples::rows(&[CONTAINERD])).is_empty());
    }

    #[test]
    fn an_outcome_that_differs_meets_no_goal() {
        let mut rows = samples::rows(&[
            CONTAINERD,
            ("ocilayer", Some(2), &[0.5, 0.5, 1.0]),
            ("tar-crate", Some(1), &[0.1, 0.1, 0.1]),
        ]);
        rows[2].differs = Some("times".into());
        let goals = of(&rows);
        let goal = find(&goals, "wall to the best peer, containerd");
        assert!(goal.met, "{goal:?}");
        rows[1].differs = Some("times".into());
        assert!(of(&rows).is_empty());
    }

    #[test]
    fn the_best_peer_is_neither_a_limit_nor_ourselves() {
        let goals = of(&samples::rows(&[
            CONTAINERD,
            ("ocilayer", Some(1), &[1.0, 1.0, 1.0]),
            ("ocilayer-c", None, &[0.1, 0.1, 0.1]),
            ("bsdtar", None, &[1.0, 1.0, 1.0]),
            ("limit-create", Some(1), &[0.1, 0.1, 0.1]),
        ]));
        let goal = find(&goals, "CPU to the best peer, bsdtar");
        assert_eq!((goal.figure, goal.met), (1.0, false), "as much is not less");
    }

    #[test]
    fn the_limit_is_that_of_two_processors() {
        let judged = |decompress: f64, digest: f64, create: f64| {
            let goals = of(&samples::rows(&[
                CONTAINERD,
                ("ocilayer", Some(2), &[1.0, 1.0, 1.0]),
                ("limit-decompress", Some(1), &[decompress, 9.0, 9.0]),
                ("limit-digest", Some(1), &[digest; 3]),
                ("limit-create", Some(2), &[9.0; 3]),
                ("limit-create", Some(1), &[create; 3]),
            ]));
            (find(&goals, "wall to the limit").figure, find(&goals, "CPU to the limit").figure)
        };
        // The sample's CPU seconds are twice its wall seconds.
        assert_eq!(judged(0.25, 0.125, 0.125), (1.0 / 0.5, 2.0 / 1.0));
        assert_eq!(judged(0.0, 0.0, 0.5).0, 1.0 / 0.5);
        let mut rows = samples::rows(&[
            CONTAINERD,
            ("ocilayer", Some(2), &[1.0, 1.0, 1.0]),
            ("limit-decompress", Some(1), &[0.8; 3]),
            ("limit-digest", Some(1), &[0.4; 3]),
            ("limit-create", Some(1), &[0.1; 3]),
        ]);
        for row in &mut rows[2..] {
            row.cpu_runs_s = row.wall_runs_s.clone();
        }
        assert_eq!(find(&of(&rows), "wall to the limit").figure, 1.0 / 0.8);
        rows[1].applier = "ocilayer-image".into();
        for row in &mut rows {
            row.layer = Kind::Image;
        }
        let figure = find(&of(&rows), "wall to the limit").figure;
        assert!((figure - 2.0 / 1.3).abs() < 1e-9, "{figure}: layers have a thread each");
    }

    #[test]
    fn go_is_compared_with_the_command_pair_by_pair() {
        let goals = of(&samples::rows(&[
            CONTAINERD,
            ("ocilayer", Some(2), &[1.0, 2.0, 1.0]),
            ("ocilayer-go", None, &[1.0, 2.02, 1.5]),
        ]));
        let goal = find(&goals, "wall of ocilayer-go");
        assert_eq!((goal.figure, goal.met), (1.01, true));
        assert_eq!(goal.spread.unwrap().max, 1.5);
    }
}
