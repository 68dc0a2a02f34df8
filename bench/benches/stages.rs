// SPDX-License-Identifier: Apache-2.0
//! Each stage of an unpack on its own, on one thread, with a Debian layer. `make bench-stages` makes
//! the layer and names it in LAYER.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use ocilayer::{Source, stages};

struct Layer {
    gzip: Vec<u8>,
    zstd: Vec<u8>,
    plain: Vec<u8>,
}

fn layer() -> Layer {
    let path = std::env::var_os("LAYER").map(PathBuf::from).expect("LAYER names a gzipped layer");
    let gzip = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut plain = Vec::new();
    stages::inflate(Source::memory(&gzip), |piece| plain.extend_from_slice(piece))
        .expect("a layer");
    let zstd = zstd::bulk::compress(&plain, 3).expect("zstd");
    Layer { gzip, zstd, plain }
}

/// A directory in memory, so that no disk is measured.
fn root() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").expect("a directory in /dev/shm")
}

fn all(criterion: &mut Criterion) {
    let layer = layer();
    let mut group = criterion.benchmark_group("stages");
    group.throughput(Throughput::Bytes(layer.plain.len() as u64));
    group.sample_size(10).measurement_time(Duration::from_secs(10));
    for (name, blob) in [("inflate gzip", &layer.gzip), ("inflate zstd", &layer.zstd)] {
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                stages::inflate(Source::memory(blob), |piece| {
                    std::hint::black_box(piece);
                })
            });
        });
    }
    group.bench_function("hash", |bencher| bencher.iter(|| stages::hash(&layer.plain)));
    group.bench_function("parse", |bencher| {
        bencher.iter(|| stages::parse(&layer.plain, |_, _| Ok(())));
    });
    let unpacked = root();
    stages::create(&layer.plain, unpacked.path()).expect("unpacked");
    let parents = stages::parents(&layer.plain).expect("names");
    group.bench_function("resolve", |bencher| {
        bencher.iter(|| {
            let found = stages::resolve(unpacked.path(), &parents).expect("resolved");
            assert_eq!(found, parents.len());
        });
    });
    group.bench_function("create", |bencher| {
        // The directory comes back to be removed outside of what is timed.
        let make = |root: tempfile::TempDir| {
            stages::create(&layer.plain, root.path()).expect("unpacked");
            root
        };
        bencher.iter_batched(root, make, BatchSize::PerIteration);
    });
    group.finish();
}

criterion_group!(benches, all);
criterion_main!(benches);
