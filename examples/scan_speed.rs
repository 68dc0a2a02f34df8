// SPDX-License-Identifier: Apache-2.0
//! How scan compares with decompressing alone, in rounds that take turns:
//! `cargo run --release --example scan_speed LAYER.tar.gz [ROUNDS]`

use std::fs::File;
use std::io::{Read, Result};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use flate2::read::MultiGzDecoder;
use ocilayer::{Options, Source, scan};
use sha2::{Digest, Sha256};

/// As much as the library reads at a time.
const PIECE: usize = 256 << 10;

type Contender = (&'static str, fn(&Path) -> Result<()>);

const CONTENDERS: [Contender; 4] = [
    ("inflate alone", |layer| read_all(MultiGzDecoder::new(File::open(layer)?), |_| ())),
    ("inflate, both digests", |layer| {
        let mut blob = Sha256::new();
        read_all(File::open(layer)?, |bytes| blob.update(bytes))?;
        let mut archive = Sha256::new();
        read_all(MultiGzDecoder::new(File::open(layer)?), |bytes| archive.update(bytes))
    }),
    ("scan, one thread", |layer| scan_with(layer, 1)),
    ("scan, a thread for each CPU", |layer| scan_with(layer, 0)),
];

fn read_all(mut from: impl Read, mut with: impl FnMut(&[u8])) -> Result<()> {
    let mut piece = vec![0; PIECE];
    loop {
        match from.read(&mut piece)? {
            0 => return Ok(()),
            got => with(&piece[..got]),
        }
    }
}

fn scan_with(layer: &Path, threads: usize) -> Result<()> {
    let options = Options::default().threads(threads);
    scan(Source::path(layer), &options, &mut ()).map(drop).map_err(std::io::Error::other)
}

fn main() -> Result<()> {
    let mut arguments = std::env::args_os().skip(1);
    let layer = PathBuf::from(arguments.next().expect("usage: scan_speed LAYER.tar.gz [ROUNDS]"));
    let rounds = arguments.next().and_then(|text| text.to_str()?.parse().ok()).unwrap_or(9);
    let mut times: [Vec<Duration>; CONTENDERS.len()] = Default::default();
    for _ in 0..rounds {
        for ((_, run), times) in CONTENDERS.iter().zip(&mut times) {
            let begin = Instant::now();
            run(&layer)?;
            times.push(begin.elapsed());
        }
    }
    println!("{:<28} {:>8} {:>8}   of {rounds} rounds", "", "median", "least");
    for ((name, _), times) in CONTENDERS.iter().zip(&mut times) {
        times.sort();
        let (median, least) = (times[times.len() / 2], times[0]);
        println!("{name:<28} {:>6.3} s {:>6.3} s", median.as_secs_f64(), least.as_secs_f64());
    }
    Ok(())
}
