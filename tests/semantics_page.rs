// SPDX-License-Identifier: Apache-2.0
//! docs/layer-semantics.md names the tests of its rules, all of them, and no others.

use std::collections::BTreeSet;
use std::path::Path;

/// What the page calls a source of tests.
const SOURCES: [(&str, &str); 7] = [
    ("whiteouts", include_str!("semantics_whiteouts.rs")),
    ("links", include_str!("semantics_links.rs")),
    ("archive", include_str!("semantics_archive.rs")),
    ("parents", include_str!("parents.rs")),
    ("metadata", include_str!("metadata.rs")),
    ("unprivileged", include_str!("unprivileged.rs")),
    ("property", include_str!("property.rs")),
];

fn tests() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (source, text) in SOURCES {
        for after in text.split("#[test]\n").skip(1) {
            let name = after.split_once("fn ").and_then(|(_, rest)| rest.split_once('('));
            names.insert(format!("{source}::{}", name.expect("a function follows").0));
        }
    }
    names
}

fn named() -> BTreeSet<String> {
    let page = include_str!("../docs/layer-semantics.md");
    let is_test = |word: &&str| {
        SOURCES
            .iter()
            .any(|(source, _)| word.strip_prefix(source).is_some_and(|rest| rest.starts_with("::")))
    };
    page.split('`').filter(is_test).map(String::from).collect()
}

#[test]
fn page_and_tests_name_each_other() {
    let (tests, named) = (tests(), named());
    assert!(tests.len() > 50, "the sources are read wrongly");
    let missing: Vec<_> = named.difference(&tests).collect();
    let unnamed: Vec<_> = tests.difference(&named).collect();
    assert!(missing.is_empty(), "docs/layer-semantics.md names no tests: {missing:?}");
    assert!(unnamed.is_empty(), "not in docs/layer-semantics.md: {unnamed:?}");
}

#[test]
fn every_semantics_source_is_on_the_page() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    for entry in std::fs::read_dir(tests).expect("tests") {
        let name = entry.expect("entry").file_name().into_string().expect("UTF-8");
        let Some(rest) = name.strip_prefix("semantics_") else { continue };
        let source = rest.strip_suffix(".rs").expect("a source");
        let known = SOURCES.iter().any(|(known, _)| *known == source);
        assert!(known || source == "page", "{name} is not looked at");
    }
}
