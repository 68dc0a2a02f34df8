// SPDX-License-Identifier: Apache-2.0
//! The comparison: interleaved rounds, in which each outcome is checked.

use std::fs;
use std::path::Path;
use std::time::Instant;

use clap::ValueEnum;

use crate::layers::{Kind, Layer};
use crate::measure::{self, Measured, Times};
use crate::peers::{BASELINE, Peer};
use crate::plan::{Part, plan};
use crate::results::Results;
use crate::row::Row;
use crate::spread::Spread;
use crate::table::{Table, named};
use crate::target::{Filesystem, Target};
use crate::tree::Tree;
use crate::{Compare, Result, check, syscalls};

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

    let parts = possible(arguments)?;
    let mut results = match arguments.merge {
        true => Results::resume(&arguments.output)?,
        false => Results::new(),
    };
    for part in parts {
        let layer = part.kind.layer(part.codec, &arguments.cache)?;
        let place = (part.filesystem, arguments.roots.as_path());
        let rounds = arguments.rounds.unwrap_or(if arguments.quick { 3 } else { 5 });
        let codec = part.codec;
        let name = named(part.kind.name(), codec.name(), codec.variant());
        eprintln!("{name} on {}: {} entries", part.filesystem.name(), layer.entries);
        let peers: Vec<Peer> = (peers.iter().copied())
            .filter(|peer| {
                peer.differs_for(part.kind, codec)
                    && (part.all_peers || peer.shows_the_filesystem())
            })
            .collect();
        let runs = rounds_of(&layer, &peers, rounds, place)?;
        let rows = runs.iter().map(|run| row(&layer, run, &runs[0], place));
        results.replace(rows.collect::<Result<_>>()?);
        // Now: a long run may be cut off.
        results.write(&arguments.output)?;
        fs::write(arguments.output.with_extension("md"), Table(&results).to_string())?;
    }

    print!("{}", Table(&results));
    if let Some(table) = &arguments.against {
        check::against(&fs::read_to_string(table)?, &results.rows)?;
    }
    // A fast applier that does something else is a defect, not a result.
    match results.rows.iter().find(|row| row.applier == "ocilayer" && row.differs.is_some()) {
        Some(row) => Err(format!("{} {}: the outcome differs", row.layer.name(), row.codec).into()),
        None => Ok(()),
    }
}

/// What of the plan this machine has file systems for; what is left out is printed.
fn possible(arguments: &Compare) -> Result<Vec<Part>> {
    let mut parts = plan(arguments);
    for &filesystem in Filesystem::value_variants() {
        if parts.iter().any(|part| part.filesystem == filesystem)
            && let Some(why) = filesystem.lacking(&arguments.roots)
        {
            eprintln!("left out: {}, which cannot be had here: {why}", filesystem.name());
            parts.retain(|part| part.filesystem != filesystem);
        }
    }
    if parts.is_empty() { Err("there is nothing to measure".into()) } else { Ok(parts) }
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
    if peer.times_itself().is_some() {
        measured.times = serde_json::from_str(&measured.output)?;
    }
    let mut tree = peer.tree(layer, &root)?;
    // Appliers differ in whether an entry "./" applies to the root.
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

impl Runs {
    fn each(&self, value: impl Fn(&Times) -> f64) -> Vec<f64> {
        self.measured.iter().map(|measured| value(&measured.times)).collect()
    }
}

impl Outcome {
    fn copy(&self) -> Outcome {
        Outcome { measured: self.measured.clone(), tree: self.tree.clone() }
    }
}

fn row(layer: &Layer, run: &Runs, baseline: &Runs, place: Place<'_>) -> Result<Row> {
    let wall_runs_s = run.each(|times| times.wall_s);
    let cpu_runs_s = run.each(Times::cpu_s);
    let wall = spread(&wall_runs_s)?;
    // None is printed for an applier that does something else.
    let ratio = |runs: &[f64], value: fn(&Times) -> f64| {
        let equal = run.differs.is_none();
        equal.then(|| Spread::of_ratios(runs, &baseline.each(value))).flatten()
    };
    let wall_ratio = ratio(&wall_runs_s, |times| times.wall_s);
    let peak = run.measured.iter().map(|measured| measured.peak_rss_bytes as f64);
    Ok(Row {
        layer: layer.kind,
        codec: layer.codec.name().into(),
        variant: layer.codec.variant().into(),
        entries: layer.entries,
        layer_bytes: layer.bytes,
        applier: run.peer.name().into(),
        threads: run.peer.threads(),
        filesystem: place.0,
        runs: run.measured.len(),
        digests: run.peer.digests(),
        timed: run.peer.times_itself().unwrap_or("process").into(),
        wall_s: wall.median,
        wall_min_s: wall.min,
        wall_max_s: wall.max,
        cpu_s: spread(&cpu_runs_s)?.median,
        user_s: spread(&run.each(|times| times.user_s))?.median,
        system_s: spread(&run.each(|times| times.system_s))?.median,
        peak_rss_bytes: spread(&peak.collect::<Vec<_>>())?.median as u64,
        wall_ratio: wall_ratio.map(|ratio| ratio.median),
        wall_ratio_min: wall_ratio.map(|ratio| ratio.min),
        wall_ratio_max: wall_ratio.map(|ratio| ratio.max),
        cpu_ratio: ratio(&cpu_runs_s, Times::cpu_s).map(|ratio| ratio.median),
        syscalls_per_entry: syscalls_per_entry(layer, run.peer, place)?,
        differs: run.differs.clone(),
        wall_runs_s,
        cpu_runs_s,
    })
}

fn spread(values: &[f64]) -> Result<Spread> {
    Spread::of(values.iter().copied()).ok_or_else(|| "nothing comes of no rounds".into())
}

/// On layers of many entries only; on the others it would be a count of reads and writes. strace takes
/// minutes for all the calls that others make on node_modules: base shows those.
fn syscalls_per_entry(
    layer: &Layer,
    peer: Peer,
    (filesystem, roots): Place<'_>,
) -> Result<Option<f64>> {
    let counted = match layer.kind {
        Kind::Base => true,
        Kind::NodeModules => Peer::is_ours(peer.name()),
        Kind::PythonMl | Kind::BigFile | Kind::Image => false,
    };
    if !counted || !syscalls::present() {
        return Ok(None);
    }
    let target = Target::fresh(filesystem, roots)?;
    let calls = syscalls::count(&peer.command(layer, &target.root()?)?, &roots.join("strace"))?;
    Ok(Some(calls as f64 / layer.entries as f64))
}
