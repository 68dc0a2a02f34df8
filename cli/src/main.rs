// SPDX-License-Identifier: Apache-2.0
//! `ocilayer`, the command: arguments first, then their meaning, then the library.

#![forbid(unsafe_code)]

mod args;
mod progress;
mod signals;
mod summary;
mod unpack;
mod values;

use std::process::ExitCode;

use clap::Parser;

use args::{Arguments, Command};

/// What the command's exit status says; `ocilayer --help` has the same table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    Done = 0,
    Failed = 1,
    Usage = 2,
}

fn main() -> ExitCode {
    let exit = match Arguments::try_parse() {
        Ok(arguments) => match arguments.command {
            Command::Unpack(arguments) => unpack::run(arguments),
        },
        Err(answer) if !answer.use_stderr() => print_help(&answer),
        Err(wrong) => {
            let text = wrong.render().to_string();
            match text.strip_prefix("error: ") {
                Some(message) => complain(message.trim_end()),
                // No arguments at all: clap answers with the help.
                None => eprint!("{text}"),
            }
            Exit::Usage
        }
    };
    ExitCode::from(exit as u8)
}

/// Every message to people has the command's name before it.
fn complain(message: impl std::fmt::Display) {
    eprintln!("ocilayer: {message}");
}

fn print_help(answer: &clap::Error) -> Exit {
    match answer.print() {
        Ok(()) => Exit::Done,
        Err(error) => output_failed(&error),
    }
}

/// A script must not take a cut report for a whole one.
fn output_failed(error: &std::io::Error) -> Exit {
    complain(format_args!("standard output: {error}"));
    Exit::Failed
}
