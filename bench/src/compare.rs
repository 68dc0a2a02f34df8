// SPDX-License-Identifier: Apache-2.0
//! The comparison: interleaved rounds, in which each outcome is checked.

use std::fs;
use std::path::Path;
use std::time::Instant;

use crate::layers::{Codec, Kind, Layer};
use crate::measure::{self, Measured};
use crate::peers::{BASELINE, Peer};
use crate::results::{Results, Row, median};
use crate::tree::Tree;
use crate::{Compare, Result, syscalls};

/// What one run left behind.
struct Outcome {
    measured: Measured,
    tree: Tree,
}

/// All runs of one peer on one layer.
struct Runs {
    peer: Peer,
    measured: Vec<Measured>,
    differs: Option<String>,
}

pub fn compare(arguments: &Compare) -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Err("owners and devices need root".into());
    }
    let peers: Vec<Peer> = Peer::all(&arguments.threads)
        .into_iter()
        .filter(|peer| {
            let asked = arguments.appliers.is_empty()
                || arguments.appliers.iter().any(|name| name == peer.name());
            *peer == BASELINE || asked && peer.present()
        })
        .collect();

    let mut rows = Vec::new();
    for (kind, codec) in plan(arguments) {
        let layer = kind.layer(codec, &arguments.cache)?;
        eprintln!("{} {}: {} entries", kind.name(), codec.name(), layer.entries);
        let rounds = arguments.rounds.unwrap_or(if arguments.quick { 3 } else { 7 });
        let runs = rounds_of(&layer, &peers, rounds, &arguments.roots)?;
        for run in &runs {
            rows.push(row(&layer, run, &runs[0], &arguments.roots)?);
        }
    }

    let results = Results::new(rows, BASELINE.name());
    results.write(&arguments.output)?;
    print!("{}", results.markdown());
    // A fast applier that does something else is a defect, not a result.
    match results.rows.iter().find(|row| row.applier == "ocilayer" && row.differs.is_some()) {
        Some(row) => Err(format!("{} {}: the outcome differs", row.layer, row.codec).into()),
        None => Ok(()),
    }
}

/// The layers to measure with, as asked for.
fn plan(arguments: &Compare) -> Vec<(Kind, Codec)> {
    let all = [
        (Kind::Base, &[Codec::Gzip, Codec::Zstd, Codec::None][..]),
        (Kind::Small, if arguments.quick { &[Codec::Gzip] } else { &[Codec::Gzip, Codec::Zstd] }),
        (Kind::Big100, &[Codec::Gzip]),
        (Kind::Big1400, if arguments.quick { &[] } else { &[Codec::Gzip, Codec::Zstd] }),
    ];
    let asked = |kind: Kind| match arguments.layers.as_slice() {
        [] => true,
        layers => layers.contains(&kind),
    };
    let codecs = |usual: &[Codec]| match arguments.codecs.as_slice() {
        [] => usual.to_vec(),
        codecs => codecs.to_vec(),
    };
    let asked_for = all.into_iter().filter(|(kind, _)| asked(*kind));
    asked_for.flat_map(|(kind, usual)| codecs(usual).into_iter().map(move |c| (kind, c))).collect()
}

fn rounds_of(layer: &Layer, peers: &[Peer], rounds: usize, roots: &Path) -> Result<Vec<Runs>> {
    let new = |&peer| Runs { peer, measured: Vec::new(), differs: None };
    let mut runs: Vec<Runs> = peers.iter().map(new).collect();
    // The first round is not counted: it is about the outcome, and loads the programs.
    for round in 0..=rounds {
        let mut baseline: Option<Outcome> = None;
        for run in &mut runs {
            let outcome = apply(layer, run.peer, roots)?;
            let expected = baseline.get_or_insert_with(|| outcome.copy());
            run.differs = run.differs.take().or_else(|| difference(run.peer, expected, &outcome));
            if round > 0 {
                run.measured.push(outcome.measured);
            }
        }
        eprint!(".");
    }
    eprintln!();
    Ok(runs)
}

fn apply(layer: &Layer, peer: Peer, roots: &Path) -> Result<Outcome> {
    let root = fresh(roots)?;
    measure::make_ready(&layer.blob, layer.bytes)?;
    let ready = Instant::now();
    let measured = measure::command(&peer.command(layer, &root)?)?;
    let idle = ready.elapsed().as_secs_f64() - measured.wall_s;
    if idle > measure::READY_FOR.as_secs_f64() {
        return Err(format!("{idle:.1} s passed between warming the memory and the run").into());
    }
    let mut tree = Tree::read(&root)?;
    // Whether an entry "./" applies to the root is a matter of opinion among appliers.
    tree.forget_root();
    fs::remove_dir_all(&root)?;
    Ok(Outcome { measured, tree })
}

/// An empty directory that no run has used before.
fn fresh(roots: &Path) -> Result<std::path::PathBuf> {
    fs::create_dir_all(roots)?;
    let root = roots.join("root");
    if root.exists() {
        fs::remove_dir_all(&root)?;
    }
    fs::create_dir(&root)?;
    Ok(root.canonicalize()?)
}

/// In what an outcome is not the baseline's: the digest, or else the first difference of the trees.
fn difference(peer: Peer, expected: &Outcome, outcome: &Outcome) -> Option<String> {
    let (theirs, ours) = (&expected.measured.output, &outcome.measured.output);
    if peer.digests() && theirs != ours {
        return Some(format!("digest {ours}, not {theirs}"));
    }
    let differences = outcome.tree.differences(&expected.tree);
    let first = differences.first()?;
    Some(format!("{} differences from {}, as {first}", differences.len(), BASELINE.name()))
}

impl Outcome {
    fn copy(&self) -> Outcome {
        Outcome { measured: self.measured.clone(), tree: self.tree.clone() }
    }
}

fn row(layer: &Layer, run: &Runs, baseline: &Runs, roots: &Path) -> Result<Row> {
    let medians = |value: fn(&Measured) -> f64| median(run.measured.iter().map(value));
    let ratio = |value: fn(&Measured) -> f64| {
        let pairs = run.measured.iter().zip(&baseline.measured);
        let equal = run.differs.is_none();
        equal.then(|| median(pairs.map(|(run, base)| value(run) / value(base))))
    };
    let (wall, cpu) = (|m: &Measured| m.wall_s, |m: &Measured| m.cpu_s);
    Ok(Row {
        layer: layer.kind.name(),
        codec: layer.codec.name(),
        entries: layer.entries,
        layer_bytes: layer.bytes,
        applier: run.peer.name(),
        threads: run.peer.threads(),
        filesystem: filesystem(roots)?,
        runs: run.measured.len(),
        digests: run.peer.digests(),
        wall_s: medians(wall),
        cpu_s: medians(cpu),
        peak_rss_bytes: medians(|m| m.peak_rss_bytes as f64) as u64,
        wall_ratio: ratio(wall),
        cpu_ratio: ratio(cpu),
        syscalls_per_entry: syscalls_per_entry(layer, run.peer, roots)?,
        differs: run.differs.clone(),
    })
}

/// On layers of many entries only; on the others it would be a count of reads and writes.
fn syscalls_per_entry(layer: &Layer, peer: Peer, roots: &Path) -> Result<Option<f64>> {
    if !matches!(layer.kind, Kind::Base | Kind::Small) || !syscalls::present() {
        return Ok(None);
    }
    let root = fresh(roots)?;
    let calls = syscalls::count(&peer.command(layer, &root)?, &roots.join("strace"))?;
    fs::remove_dir_all(&root)?;
    Ok(Some(calls as f64 / layer.entries as f64))
}

/// The type of the file system that `path` is on.
fn filesystem(path: &Path) -> Result<String> {
    let path = path.canonicalize()?;
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    let mounts = mounts.lines().filter_map(|line| {
        let mut columns = line.split(' ').skip(1);
        Some((columns.next()?, columns.next()?))
    });
    // The last of the longest: a later mount hides an earlier one.
    let best = mounts.filter(|(at, _)| path.starts_with(at)).max_by_key(|(at, _)| at.len());
    Ok(best.map_or("unknown", |(_, kind)| kind).to_owned())
}
