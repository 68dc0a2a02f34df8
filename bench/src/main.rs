// SPDX-License-Identifier: Apache-2.0
//! Compares ocilayer with other ways to apply a layer: equal work, equal outcome, one run.

mod builtin;
mod check;
mod compare;
mod goals;
mod layers;
mod least;
mod limit;
mod measure;
mod peers;
mod plan;
mod results;
mod row;
mod spread;
mod syscalls;
mod table;
mod target;
// One notion of "the same tree" for the tests and for what is measured.
#[path = "../../tests/real/tree.rs"]
mod tree;

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::builtin::Builtin;
use crate::layers::{Codec, Kind};
use crate::target::Filesystem;

pub type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;

/// Compares ocilayer with other appliers on real layers. Needs root.
#[derive(Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    inside: Option<Inside>,
    #[command(flatten)]
    compare: Compare,
}

#[derive(clap::Args)]
pub struct Compare {
    /// Fewer runs and only the smaller layers, in minutes; for a first look
    #[arg(long)]
    quick: bool,
    /// Only these layers
    #[arg(long = "layer", value_enum, value_delimiter = ',')]
    layers: Vec<Kind>,
    /// Only these compressions
    #[arg(long = "codec", value_enum, value_delimiter = ',')]
    codecs: Vec<Codec>,
    /// Only these appliers, as the table names them; containerd is always there
    #[arg(long = "applier", value_delimiter = ',')]
    appliers: Vec<String>,
    /// Rounds, in each of which every applier runs once: 5, and 3 of a quick run
    #[arg(long)]
    rounds: Option<usize>,
    /// Threads of ocilayer to measure
    #[arg(long, value_delimiter = ',', default_values_t = [1, 2])]
    threads: Vec<usize>,
    /// What layers are unpacked to, a new one for each run: ext4, and in a full run for some
    /// layers and appliers the others
    #[arg(long = "filesystem", value_enum, value_delimiter = ',')]
    filesystems: Vec<Filesystem>,
    /// Where these are made and mounted; on a tmpfs, so that no disk is measured
    #[arg(long, default_value = "/dev/shm/ocilayer-bench")]
    roots: PathBuf,
    /// Where layers are kept between runs
    #[arg(long, default_value = "target/bench/layers")]
    cache: PathBuf,
    /// Where the results are written as JSON, and beside it with .md as the table
    #[arg(long, default_value = "target/bench/results.json")]
    output: PathBuf,
    /// Say afterwards what is worse than in this table, by more than the spread, and fail then
    #[arg(long, value_name = "TABLE")]
    against: Option<PathBuf>,
    /// Keep what these results have of the same commit on this machine and is not measured again
    #[arg(long)]
    merge: bool,
}

/// What this program runs itself as, to be measured from outside.
#[derive(Subcommand)]
enum Inside {
    /// Applies layers, one upon the other, and prints their diffIDs
    #[command(hide = true)]
    Apply {
        applier: Builtin,
        root: PathBuf,
        #[arg(required = true)]
        layers: Vec<PathBuf>,
        #[arg(long, default_value_t = 1)]
        threads: usize,
        /// Of the layers, for those that apply whole images
        #[arg(long = "diff-id")]
        diff_ids: Vec<String>,
    },
    /// Runs a command and prints what it took
    #[command(hide = true)]
    Measure {
        #[arg(last = true)]
        command: Vec<std::ffi::OsString>,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match arguments.inside {
        Some(Inside::Apply { applier, root, layers, threads, diff_ids }) => {
            applier.apply(&root, &layers, &diff_ids, threads)
        }
        Some(Inside::Measure { command }) => measure::here(&command),
        None => compare::compare(&arguments.compare),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ocilayer-bench: {error}");
            ExitCode::FAILURE
        }
    }
}
