// SPDX-License-Identifier: Apache-2.0
//! The comparison: interleaved rounds, in which each outcome is checked.

use std::path::Path;
use std::time::Instant;

use crate::layers::{Codec, Kind, Layer};
use crate::measure::{self, Measured};
use crate::peers::{BASELINE, Peer};
use crate::results::{Results, Row, median};
use crate::target::{Filesystem, Target};
use crate::tree::Tree;
use crate::{Compare, Result, syscalls};

/// Which file system to unpack to, and below which directory it is made.
type Place<'a> = (Filesystem, &'a Path);

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
            *peer == BASELINE || asked
        })
        .collect();
    if let Some(program) = peers.iter().find_map(|peer| peer.missing()) {
        return Err(format!("{program} is missing: `make bench` installs it").into());
    }

    let mut rows = Vec::new();
    for (kind, codec) in plan(arguments) {
        let layer = kind.layer(codec, &arguments.cache)?;
        eprintln!(
            "{} {} {}: {} entries",
            kind.name(),
            codec.name(),
            codec.variant(),
            layer.entries
        );
        let rounds = arguments.rounds.unwrap_or(if arguments.quick { 3 } else { 7 });
        let peers: Vec<Peer> =
            peers.iter().copied().filter(|peer| peer.differs_for(codec)).collect();
        for &filesystem in &arguments.filesystems {
            let place = (filesystem, arguments.roots.as_path());
            let runs = rounds_of(&layer, &peers, rounds, place)?;
            for run in &runs {
                rows.push(row(&layer, run, &runs[0], place)?);
            }
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
    use Codec::{Gzip, Members, None, Pigz, Zstd};
    let all: [(Kind, &[Codec]); 5] = match arguments.quick {
        true => [
            (Kind::Base, &[Gzip, Zstd]),
            (Kind::NodeModules, &[Gzip]),
            (Kind::PythonMl, &[]),
            (Kind::BigFile, &[]),
            (Kind::Image, &[]),
        ],
        false => [
            (Kind::Base, &[Gzip, Members, Pigz, Zstd, None]),
            (Kind::NodeModules, &[Gzip, Zstd]),
            (Kind::PythonMl, &[Gzip, Zstd]),
            (Kind::BigFile, &[Gzip, Zstd]),
            (Kind::Image, &[Gzip, Zstd]),
        ],
    };
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

fn rounds_of(layer: &Layer, peers: &[Peer], rounds: usize, place: Place<'_>) -> Result<Vec<Runs>> {
    let new = |&peer| Runs { peer, measured: Vec::new(), differs: None };
    let mut runs: Vec<Runs> = peers.iter().map(new).collect();
    // The first round is not counted: it is about the outcome, and loads the programs.
    for round in 0..=rounds {
        let mut baseline: Option<Outcome> = None;
        for run in &mut runs {
            let outcome = apply(layer, run.peer, place)?;
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

fn apply(layer: &Layer, peer: Peer, (filesystem, roots): Place<'_>) -> Result<Outcome> {
    let target = Target::fresh(filesystem, roots)?;
    let root = target.root()?;
    measure::make_ready(peer.inputs(layer), layer.bytes)?;
    let ready = Instant::now();
    let mut measured = measure::command(&peer.command(layer, &root)?)?;
    let idle = ready.elapsed().as_secs_f64() - measured.times.wall_s;
    if idle > measure::READY_FOR.as_secs_f64() {
        return Err(format!("{idle:.1} s passed between warming the memory and the run").into());
    }
    if peer.times_itself() {
        measured.times = serde_json::from_str(&measured.output)?;
    }
    let mut tree = peer.tree(layer, &root)?;
    // Whether an entry "./" applies to the root is a matter of opinion among appliers.
    tree.forget_root();
    Ok(Outcome { measured, tree })
}

/// In what an outcome is not the baseline's: the digest, or else the first difference of the trees.
fn difference(peer: Peer, expected: &Outcome, outcome: &Outcome) -> Option<String> {
    if !peer.makes_tree() {
        return None;
    }
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

fn row(layer: &Layer, run: &Runs, baseline: &Runs, place: Place<'_>) -> Result<Row> {
    let medians = |value: fn(&Measured) -> f64| median(run.measured.iter().map(value));
    let ratio = |value: fn(&Measured) -> f64| {
        let pairs = run.measured.iter().zip(&baseline.measured);
        let equal = run.differs.is_none();
        equal.then(|| median(pairs.map(|(run, base)| value(run) / value(base))))
    };
    let (wall, cpu) = (|m: &Measured| m.times.wall_s, |m: &Measured| m.times.cpu_s());
    Ok(Row {
        layer: layer.kind.name(),
        codec: layer.codec.name(),
        variant: layer.codec.variant(),
        entries: layer.entries,
        layer_bytes: layer.bytes,
        applier: run.peer.name(),
        threads: run.peer.threads(),
        filesystem: place.0,
        runs: run.measured.len(),
        digests: run.peer.digests(),
        timed: if run.peer.times_itself() { "creation" } else { "process" },
        wall_s: medians(wall),
        cpu_s: medians(cpu),
        peak_rss_bytes: medians(|m| m.peak_rss_bytes as f64) as u64,
        wall_ratio: ratio(wall),
        cpu_ratio: ratio(cpu),
        syscalls_per_entry: syscalls_per_entry(layer, run.peer, place)?,
        differs: run.differs.clone(),
    })
}

/// On layers of many entries only; on the others it would be a count of reads and writes.
fn syscalls_per_entry(
    layer: &Layer,
    peer: Peer,
    (filesystem, roots): Place<'_>,
) -> Result<Option<f64>> {
    if !matches!(layer.kind, Kind::Base | Kind::NodeModules) || !syscalls::present() {
        return Ok(None);
    }
    let target = Target::fresh(filesystem, roots)?;
    let calls = syscalls::count(&peer.command(layer, &target.root()?)?, &roots.join("strace"))?;
    Ok(Some(calls as f64 / layer.entries as f64))
}
