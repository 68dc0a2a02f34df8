// SPDX-License-Identifier: Apache-2.0
//! Stacks of layers that nobody wrote by hand, and whether two ways to apply one agree.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::common::archive::Entry;
use crate::common::runner::Outcome;
use crate::common::tree::Tree;

/// The layers from the bottom up.
#[derive(Clone)]
pub struct Stack(pub Vec<Vec<Entry>>);

/// A line each entry: what a failure prints.
impl fmt::Debug for Stack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, layer) in self.0.iter().enumerate() {
            writeln!(f, "\nlayer {number}:")?;
            for entry in layer {
                let kind = match entry.typeflag {
                    b'0' => "file",
                    b'1' => "hardlink",
                    b'2' => "symlink",
                    b'3' => "device",
                    b'4' => "block device",
                    b'5' => "directory",
                    b'6' => "FIFO",
                    b'S' => "sparse",
                    _ => "other",
                };
                write!(f, "  {kind} {}", entry.name.escape_ascii())?;
                if !entry.link.is_empty() {
                    write!(f, " -> {}", entry.link.escape_ascii())?;
                }
                let (seconds, nanoseconds) = entry.mtime;
                write!(f, "  {:o} {}:{}", entry.mode, entry.uid, entry.gid)?;
                write!(f, " {seconds}.{nanoseconds:09}")?;
                for (name, value) in &entry.xattrs {
                    write!(f, " {}={}", name.escape_ascii(), value.escape_ascii())?;
                }
                if let Some(sparse) = &entry.sparse {
                    write!(f, " {sparse:?}")?;
                }
                writeln!(f, " {:?}", entry.data.escape_ascii().to_string())?;
            }
        }
        Ok(())
    }
}

/// Which layer failed.
pub fn verdict(outcome: &Outcome) -> Option<usize> {
    outcome.failure.as_ref().map(|(layer, _)| *layer)
}

/// The same with the reason.
pub fn describe(outcome: &Outcome) -> String {
    match &outcome.failure {
        Some((layer, error)) => format!("layer {layer}: {error}"),
        None => "applied".into(),
    }
}

/// Whether two ways to apply a stack came to the same tree.
pub fn compare(expected: &Outcome, got: &Outcome) -> Result<(), String> {
    let [left, right] = [expected, got].map(|outcome| without_links(&outcome.tree));
    let names = [expected, got].map(|outcome| format!("{:?}", outcome.setting.way));
    let differences = left.differences(&right, &names[0], &names[1]);
    if !differences.is_empty() {
        return Err(differences.join("\n"));
    }
    // A link to a lower file makes a copy of that one name, as link(2) on the merged view does:
    // then, and only then, overlay has the groups in parts.
    let [whole, parts] = [groups(&expected.tree), groups(&got.tree)];
    let copied = got.reports.iter().any(|report| report.copied_up > 0);
    let inside = |part: &BTreeSet<_>| whole.iter().any(|group| part.is_subset(group));
    if if copied { parts.iter().all(inside) } else { whole == parts } {
        return Ok(());
    }
    Err(format!("hardlinks {whole:?} and {parts:?}"))
}

fn without_links(tree: &Tree) -> Tree {
    let mut tree = tree.clone();
    tree.0.values_mut().for_each(|node| node.linked = None);
    tree
}

fn groups(tree: &Tree) -> BTreeSet<BTreeSet<String>> {
    let mut groups: BTreeMap<&[u8], BTreeSet<String>> = BTreeMap::new();
    for (path, node) in &tree.0 {
        if let Some(first) = &node.linked {
            groups.entry(first).or_default().insert(path.escape_ascii().to_string());
        }
    }
    groups.into_values().collect()
}
