// SPDX-License-Identifier: Apache-2.0
//! Twice the layer takes at most twice the time and memory, give or take some noise, for every kind
//! of entry, alone and after each other one.
//!
//! `OCILAYER_COST=all` tries all pairs, and larger layers; any other value only the shapes whose name
//! it is a part of, as thoroughly. `--nocapture` shows the table.

mod common;
#[path = "cost/measure.rs"]
mod measure;
#[path = "cost/pairs.rs"]
mod pairs;
#[path = "cost/shapes.rs"]
mod shapes;

use std::fmt;

use common::archive::Entry;
use common::needs;
use measure::{Bench, Cost, Way};
use shapes::Shape;

/// How much more twice as many entries may cost.
const RATIO: f64 = 2.5;

/// Noise only adds: what it might have done is measured again, on twice as much, and the least of as
/// many measurements counts.
const TRIES: usize = 3;

/// Every so many are tried, of the shapes in most ways, and of the pairs; the latter shares no divisor
/// with the number of pairs or of their ways.
const DIRECTORY_STRIDE: usize = 2;
const OVERLAY_STRIDE: usize = 6;
const STRIDE: usize = 12;
const PAIRS_STRIDE: usize = 61;

/// What a name may keep in memory where only directories need be known, as docs/threat-model.md says:
/// so many bytes, and twice its own.
const KEPT: usize = 512;
/// An audit holds all names of a layer, and what is said of each (docs/audit.md).
const KEPT_BY_AUDIT: usize = 768;

/// Bytes that a thread has at one time and not at another.
const NOISE: f64 = 2.5e6;

/// What grows faster than the layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// User time at twice the size.
    Time,
    /// Memory at twice the size.
    Memory,
    /// Memory for each name: it doubles as it should, and is too much.
    Kept,
}

impl Fault {
    const ALL: [Fault; 3] = [Fault::Time, Fault::Memory, Fault::Kept];
}

/// How thoroughly.
struct Effort {
    /// Part of the names to try, if not only a sample.
    of: Option<String>,
    /// User seconds that are more than noise.
    floor: f64,
    /// n, 2n, and so on.
    sizes: usize,
}

impl Effort {
    fn asked_for() -> Effort {
        match std::env::var("OCILAYER_COST") {
            Err(_) => Effort { of: None, floor: 0.05, sizes: 2 },
            Ok(of) if of == "all" => Effort { of: Some(String::new()), floor: 0.2, sizes: 3 },
            Ok(of) => Effort { of: Some(of), floor: 0.2, sizes: 3 },
        }
    }

    fn wants(&self, shape: &Shape) -> bool {
        self.of.as_ref().is_none_or(|part| shape.name.contains(part))
    }
}

/// One shape in one way.
struct Row {
    shape: String,
    way: Way,
    n: usize,
    /// At n, at twice that, and so on.
    costs: Vec<Cost>,
    faults: Vec<Fault>,
}

#[test]
fn twice_the_layer_costs_at_most_twice_as_much() {
    if measure::was_here() || !needs::overlay() {
        return;
    }
    let effort = Effort::asked_for();
    let mut wrong = Vec::new();
    println!("{HEAD}");
    for (shape, ways) in plan(&effort) {
        let mut bench = Bench::new("twice_the_layer_costs_at_most_twice_as_much", &shape);
        for way in ways {
            wrong.extend(surprise(&mut bench, &shape, way, &effort));
        }
    }
    let [here, there] = [libc::RUSAGE_SELF, libc::RUSAGE_CHILDREN].map(measure::used);
    println!("{:.0} CPU seconds here, {:.0} in measured processes", sum(here), sum(there));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn sum(of: [f64; 2]) -> f64 {
    of.iter().sum()
}

/// What is to be measured: all or a sample.
fn plan(effort: &Effort) -> Vec<(Shape, Vec<Way>)> {
    let sample = |shapes: Vec<Shape>, stride: fn(Way) -> usize| {
        let mut count = 0;
        let mut in_sample = move |way: Way| {
            count += 1;
            count % stride(way) == 0
        };
        let all = effort.of.is_some();
        let with_ways = move |shape: Shape| {
            let ways = shape.ways.iter().copied().filter(|way| all || in_sample(*way));
            let ways = ways.collect();
            (shape, ways)
        };
        shapes.into_iter().map(with_ways)
    };
    let alone = sample(shapes::shapes(), |way| match way {
        Way::Directory => DIRECTORY_STRIDE,
        Way::Overlay => OVERLAY_STRIDE,
        _ => STRIDE,
    });
    let pairs = sample(pairs::pairs(), |_| PAIRS_STRIDE);
    alone.chain(pairs).filter(|(shape, _)| effort.wants(shape)).collect()
}

/// Says what is wrong, after as many tries as it takes to believe it.
fn surprise(bench: &mut Bench, shape: &Shape, way: Way, effort: &Effort) -> Option<String> {
    let mut from = shape.from;
    let mut doubtful = Fault::ALL.to_vec();
    let mut last = None;
    for times in 1..=TRIES {
        let row = measured(bench, shape, way, from, times, effort);
        println!("{row}");
        doubtful.retain(|fault| row.faults.contains(fault));
        if doubtful.is_empty() {
            return None;
        }
        from = 2 * row.n;
        last = Some(row);
    }
    let row = last.expect("several tries");
    let words = |fault: &Fault| format!("{row}\n  {fault:?} grows faster than the layer");
    Some(doubtful.iter().map(words).collect::<Vec<_>>().join("\n"))
}

/// At the first size from `from` on whose time is more than noise, and at its double.
fn measured(
    bench: &mut Bench,
    shape: &Shape,
    way: Way,
    from: usize,
    times: usize,
    effort: &Effort,
) -> Row {
    let most = shape.largest >> (effort.sizes - 1);
    let mut n = from.min(most);
    let mut costs = vec![bench.cost(way, n)];
    while costs[0].user < effort.floor && 2 * n <= most {
        n *= 2;
        costs[0] = bench.cost(way, n);
    }
    costs.extend((1..effort.sizes).map(|doubled| bench.cost(way, n << doubled)));
    for _ in 1..times {
        for (doubled, cost) in costs.iter_mut().enumerate() {
            *cost = cost.least(bench.cost(way, n << doubled));
        }
    }
    let faults = faults(shape, way, n, &costs, effort);
    Row { shape: shape.name.clone(), way, n, costs, faults }
}

fn faults(shape: &Shape, way: Way, n: usize, costs: &[Cost], effort: &Effort) -> Vec<Fault> {
    let [.., once, twice] = costs else { unreachable!("at least two") };
    let n = n << (costs.len() - 2);
    let allowance = |n: usize| -> usize {
        let kept = if way == Way::Audit { KEPT_BY_AUDIT } else { KEPT };
        let entries = (shape.layer)(n);
        let texts = |entry: &Entry| entry.name.len() + entry.link.len();
        entries.iter().map(|entry| shape.names * kept + 2 * texts(entry)).sum()
    };
    let noise = NOISE * way.threads() as f64;
    let growth = twice.memory - once.memory;
    let mut faults = Vec::new();
    if once.user >= effort.floor && twice.user > RATIO * once.user {
        faults.push(Fault::Time);
    }
    if once.memory > noise && twice.memory > RATIO * once.memory {
        faults.push(Fault::Memory);
    }
    // Last, since it takes the layers once more.
    if growth > noise && growth > (allowance(2 * n) - allowance(n)) as f64 {
        faults.push(Fault::Kept);
    }
    faults
}

const HEAD: &str = "shape | way | n | user seconds at n, 2n, 4n | system | MB at the peak | faults";

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Row { shape, way, n, costs, faults } = self;
        let three = |of: fn(&Cost) -> f64| {
            let one = |at: usize| costs.get(at).map_or("-".into(), |it| format!("{:.2}", of(it)));
            [0, 1, 2].map(|at| format!("{:>6}", one(at))).concat()
        };
        let (user, system) = (three(|it| it.user), three(|it| it.system));
        let memory = three(|it| it.memory / 1e6);
        let way = way.name();
        write!(f, "{shape:56} | {way:20} | {n:6} | {user} | {system} | {memory} | {faults:?}")
    }
}
