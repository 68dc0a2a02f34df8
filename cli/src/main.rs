// SPDX-License-Identifier: Apache-2.0
//! `ocilayer`, the command: arguments first, then their meaning, then the library.

#![forbid(unsafe_code)]

mod args;
mod audit;
mod check;
mod findings;
mod image;
mod input;
mod progress;
mod scan;
mod signals;
mod summary;
mod unpack;
mod values;
mod verify;

use std::io::{self, Write, stdout};
use std::process::ExitCode;

use clap::Parser;

use args::{Arguments, Command};

/// What the command's exit status says; `ocilayer --help` has the same table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    Done = 0,
    Failed = 1,
    Usage = 2,
    CannotTell = 3,
}

impl Exit {
    /// What `check` answers when the kernel has the bug.
    pub const AFFECTED: Exit = Exit::Failed;

    /// What `audit` answers when it found nothing certain.
    pub const SUSPECTS: Exit = Exit::CannotTell;
}

fn main() -> ExitCode {
    let exit = match Arguments::try_parse() {
        Ok(arguments) => match arguments.command {
            Command::Unpack(arguments) => unpack::run(&arguments),
            Command::Check(arguments) => check::run(&arguments),
            Command::Scan(arguments) => scan::run(&arguments),
            Command::Audit(arguments) => audit::run(&arguments),
            Command::Verify(arguments) => verify::run(&arguments),
            Command::Images(arguments) => image::list(&arguments),
        },
        Err(answer) if !answer.use_stderr() => print_help(&answer),
        Err(wrong) => {
            let text = wrong.render().to_string();
            match text.strip_prefix("error: ") {
                Some(message) => complain(message.trim_end()),
                // No arguments at all: clap answers with the help.
                None => say(&text),
            }
            Exit::Usage
        }
    };
    ExitCode::from(exit as u8)
}

/// Every message to people has the command's name before it.
fn complain(message: impl std::fmt::Display) {
    say(&format!("ocilayer: {message}\n"));
}

/// Nobody may read standard error: that is no reason to stop, and none to panic as `eprint!` does.
fn say(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

fn print_help(answer: &clap::Error) -> Exit {
    match answer.print() {
        Ok(()) => Exit::Done,
        Err(error) => output_failed(&error),
    }
}

/// As the library says it: without the number.
fn plain(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(errno) => ocilayer::Errno::from_raw_os_error(errno).to_string(),
        None => error.to_string(),
    }
}

/// Standard output, whole or not at all as far as the exit status is concerned.
fn print(text: &str) -> io::Result<()> {
    let mut out = stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// A script must not take a cut report for a whole one.
fn output_failed(error: &io::Error) -> Exit {
    complain(format_args!("standard output: {}", plain(error)));
    Exit::Failed
}
