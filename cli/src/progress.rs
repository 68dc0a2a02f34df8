// SPDX-License-Identifier: Apache-2.0
//! What is shown while an unpack goes on.

use std::io::{IsTerminal, stderr};

use indicatif::{HumanCount, ProgressBar, ProgressStyle};
use ocilayer::{Observer, Progress, Warning};

use crate::complain;
use crate::summary::quoted;

const WITH_SIZE: &str =
    "{bar:24} {binary_bytes}/{binary_total_bytes}, {binary_bytes_per_sec}, {msg}";
const WITHOUT_SIZE: &str = "{spinner} {binary_bytes}, {binary_bytes_per_sec}, {msg}";

/// A bar on a terminal, and warnings where they are wanted.
pub struct Display {
    bar: Option<ProgressBar>,
    verbose: bool,
}

impl Display {
    pub fn new(quiet: bool, verbose: bool) -> Display {
        let bar = (!quiet && stderr().is_terminal()).then(|| {
            let bar = ProgressBar::no_length().with_style(style(WITHOUT_SIZE));
            // Drawn before the first byte: a pipe may let us wait for it.
            bar.tick();
            bar
        });
        Display { bar, verbose }
    }

    /// Removes the bar, so that what follows stands on a line of its own.
    pub fn finish(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}

impl Observer for Display {
    fn progress(&mut self, progress: &Progress) {
        let Some(bar) = &self.bar else { return };
        if let (None, Some(size)) = (bar.length(), progress.blob_size) {
            bar.set_length(size);
            bar.set_style(style(WITH_SIZE));
        }
        bar.set_message(format!("{} entries", HumanCount(progress.entries.total)));
        bar.set_position(progress.blob_bytes);
    }

    fn warning(&mut self, warning: &Warning) {
        if !self.verbose {
            return;
        }
        let what = quoted(&warning.path, &warning.detail);
        let say = || {
            let reason = warning.reason.describe();
            complain(format_args!("entry {} {what}: {reason}", warning.entry));
        };
        match &self.bar {
            Some(bar) => bar.suspend(say),
            None => say(),
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("a constant").progress_chars("=> ")
}
