// SPDX-License-Identifier: Apache-2.0
//! The structure of `src/`: stages know only what lies below them, and CONTRIBUTING's map is the tree.
//!
//! Imports are read from the source as it stands, with those of tests left out.

#[path = "structure/imports.rs"]
mod imports;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use imports::Graph;

/// Files that import each other, each inside one noun, and why they may.
const CIRCLES: [(&[&str], &str); 0] = [];

fn noun(file: &str) -> &str {
    file.split('/').next().unwrap_or(file).trim_end_matches(".rs")
}

#[test]
fn no_circle_runs_through_two_nouns() {
    let graph = Graph::of(Path::new("src"));
    let mut nouns: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (from, to) in graph.edges() {
        if noun(from) != noun(to) {
            nouns.entry(noun(from)).or_default().insert(noun(to));
        }
    }
    let circles = imports::circles(&nouns);
    let edges = |circle: &BTreeSet<&str>| -> Vec<String> {
        let inside = |(from, to): &(&str, &str)| {
            noun(from) != noun(to) && circle.contains(noun(from)) && circle.contains(noun(to))
        };
        graph.edges().filter(inside).map(|(from, to)| format!("{from} -> {to}")).collect()
    };
    let shown: Vec<_> = circles.iter().map(|circle| (circle, edges(circle))).collect();
    assert!(circles.is_empty(), "these know each other: {shown:#?}");
}

#[test]
fn circles_of_files_are_those_with_a_reason() {
    let graph = Graph::of(Path::new("src"));
    let mut files: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (from, to) in graph.edges() {
        files.entry(from).or_default().insert(to);
    }
    let found = imports::circles(&files);
    let known: BTreeSet<BTreeSet<&str>> =
        CIRCLES.iter().map(|(files, _)| files.iter().copied().collect()).collect();
    let found: BTreeSet<_> = found.into_iter().collect();
    assert_eq!(found, known, "circles of files that have no reason, or are gone");
}

/// Names in backquotes in the first column of CONTRIBUTING's tables that begin with `src/`.
fn mapped() -> Vec<String> {
    let page = std::fs::read_to_string("CONTRIBUTING.md").expect("the page is there");
    let rows = page.lines().filter(|line| line.starts_with("| `"));
    let cells = rows.filter_map(|line| line.split('|').nth(1));
    cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)).map(str::to_owned).collect()
}

#[test]
fn the_map_names_what_is_there_and_every_noun() {
    let mapped = mapped();
    for name in mapped.iter().filter(|name| name.contains('/') || name.contains('.')) {
        assert!(Path::new(name).exists(), "CONTRIBUTING.md names {name}, which is not there");
    }
    for entry in std::fs::read_dir("src").expect("src is there") {
        let entry = entry.expect("listed");
        let name = entry.file_name().to_string_lossy().into_owned();
        let name = match entry.file_type().expect("a type").is_dir() {
            true => format!("src/{name}/"),
            false => format!("src/{name}"),
        };
        assert!(mapped.contains(&name), "CONTRIBUTING.md leaves out {name}");
    }
}
