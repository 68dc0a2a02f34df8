// SPDX-License-Identifier: Apache-2.0
//! `ocilayer check`.

use std::fmt::{self, Display, Formatter};

use ocilayer::{OverlayCheck, Verdict, check_overlay_opaque_propagation};

use crate::args;
use crate::{Exit, complain, output_failed, print};

const WIDTH: usize = 80;

/// Whatever goes wrong is "cannot tell" and never status 1: a script that could not ask must not
/// believe that the kernel is affected.
pub fn run(arguments: &args::Check) -> Exit {
    let check = match check_overlay_opaque_propagation(arguments.dir.as_deref()) {
        Ok(check) => check,
        Err(error) => {
            complain(&error);
            return Exit::CannotTell;
        }
    };
    let text = if arguments.json { check.to_json() + "\n" } else { Findings(&check).to_string() };
    if let Err(error) = print(&text) {
        output_failed(&error);
        return Exit::CannotTell;
    }
    match check.verdict {
        Verdict::NotAffected => Exit::Done,
        Verdict::Affected => Exit::AFFECTED,
        _ => Exit::CannotTell,
    }
}

/// The answer, how it was found, and what to do about it.
struct Findings<'a>(&'a OverlayCheck);

impl Display for Findings<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.0)?;
        for trial in &self.0.trials {
            writeln!(f, "  {}: {}", trial.copy_up.describe(), trial.outcome)?;
        }
        if let Some(advice) = self.0.advice() {
            writeln!(f)?;
            wrap(f, advice)?;
        }
        Ok(())
    }
}

fn wrap(f: &mut Formatter<'_>, paragraph: &str) -> fmt::Result {
    let mut column = 0;
    for word in paragraph.split_whitespace() {
        let separator = match column {
            0 => "",
            _ if column + 1 + word.len() > WIDTH => "\n",
            _ => " ",
        };
        column = if separator == " " { column + 1 } else { 0 } + word.len();
        write!(f, "{separator}{word}")?;
    }
    writeln!(f)
}
