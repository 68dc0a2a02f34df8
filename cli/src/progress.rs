// SPDX-License-Identifier: Apache-2.0
//! What is shown while an unpack goes on.

use std::io::{IsTerminal, stderr};

use glob::{MatchOptions, Pattern};
use indicatif::{HumanCount, ProgressBar, ProgressStyle};
use ocilayer::{Entry, Errno, Observer, Progress, Warning};

use crate::complain;
use crate::summary::quoted;

const WITH_SIZE: &str = "{bar:24} {percent:>3}%, {eta} left, {binary_bytes}/{binary_total_bytes}, {binary_bytes_per_sec}, {msg}";
const WITHOUT_SIZE: &str = "{spinner} {binary_bytes}, {binary_bytes_per_sec}, {msg}";

/// A bar on a terminal, and warnings where they are wanted.
pub struct Display<'a> {
    bar: Option<ProgressBar>,
    verbose: bool,
    exclude: &'a [Pattern],
}

impl Display<'_> {
    pub fn new(quiet: bool, verbose: bool, exclude: &[Pattern]) -> Display<'_> {
        let bar = (!quiet && stderr().is_terminal()).then(|| {
            let bar = ProgressBar::no_length().with_style(style(WITHOUT_SIZE));
            // Drawn before the first byte: a pipe may let us wait for it.
            bar.tick();
            bar
        });
        Display { bar, verbose, exclude }
    }

    /// How far it is, of how much, if that is known.
    pub fn show(&self, bytes: u64, size: Option<u64>, what: String) {
        let Some(bar) = &self.bar else { return };
        if let (None, Some(size)) = (bar.length(), size) {
            bar.set_length(size);
            bar.set_style(style(WITH_SIZE));
        }
        bar.set_message(what);
        bar.set_position(bytes);
    }

    /// Something was left out.
    pub fn warn(&self, place: &str, warning: &Warning) {
        if !self.verbose {
            return;
        }
        let what = quoted(&warning.path, &warning.detail);
        let say = || complain(format_args!("{place} {what}: {}", warning.reason.describe()));
        self.beside(say);
    }

    /// Prints something while there is a bar.
    pub fn beside<T>(&self, print: impl FnOnce() -> T) -> T {
        match &self.bar {
            Some(bar) => bar.suspend(print),
            None => print(),
        }
    }

    /// Removes the bar, so that what follows stands on a line of its own.
    pub fn finish(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}

impl Observer for Display<'_> {
    fn filters(&self) -> bool {
        !self.exclude.is_empty()
    }

    fn filter(&mut self, entry: &Entry) -> Result<bool, Errno> {
        Ok(!is_excluded(self.exclude, &entry.name))
    }

    fn progress(&mut self, progress: &Progress) {
        let what = format!("{} entries", HumanCount(progress.entries.total));
        self.show(progress.blob_bytes, progress.blob_size, what);
    }

    fn warning(&mut self, warning: &Warning) {
        self.warn(&format!("entry {}", warning.entry), warning);
    }
}

/// Whether a pattern is the name, or that of a directory that it is in.
fn is_excluded(exclude: &[Pattern], name: &[u8]) -> bool {
    let name = String::from_utf8_lossy(name);
    let parts = name.split('/').filter(|part| !matches!(*part, "" | "."));
    let mut above = String::new();
    parts.into_iter().any(|part| {
        if !above.is_empty() {
            above.push('/');
        }
        above.push_str(part);
        let options = MatchOptions { require_literal_separator: true, ..MatchOptions::new() };
        exclude.iter().any(|pattern| pattern.matches_with(&above, options))
    })
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("a constant").progress_chars("=> ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_names_and_all_below() {
        let table = [
            ("etc", "etc/passwd", true),
            ("etc", "./etc/", true),
            ("etc", "usr/etc", false),
            ("*.log", "a.log", true),
            ("*.log", "var/a.log", false),
            ("**/*.log", "var/x/a.log", true),
            ("usr/share/[dm]*", "usr/share/doc/x/y", true),
            ("usr/*", "usr", false),
            ("usr/*/x", "usr/a/b/x", false),
            ("caf?", "caf\u{e9}", true),
        ];
        for (pattern, name, expected) in table {
            let exclude = [Pattern::new(pattern).unwrap()];
            assert_eq!(is_excluded(&exclude, name.as_bytes()), expected, "{pattern} {name}");
        }
    }
}
