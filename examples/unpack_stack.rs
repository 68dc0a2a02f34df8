// SPDX-License-Identifier: Apache-2.0
//! Unpacks an image's layers for overlayfs, each into a directory of its own, while an observer
//! watches: `cargo run --example unpack_stack -- DIR BOTTOM.tar.gz ... TOP.tar.gz`
//!
//! Prints the `lowerdir` option of the mount that shows them as one tree.

use std::error::Error;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use ocilayer::{Lowers, Mode, Observer, Options, Progress, Source, Warning, unpack_with};

/// Callbacks run on the thread that called `unpack_with`: no lock is needed.
#[derive(Default)]
struct Watch {
    bytes: u64,
    skipped: u64,
}

impl Observer for Watch {
    fn progress(&mut self, progress: &Progress) {
        self.bytes = progress.layer_bytes;
    }

    fn warning(&mut self, warning: &Warning) {
        self.skipped += 1;
        // Names come from the layer: escaped, they cannot write control sequences to a terminal.
        println!("  skipped {}: {}", warning.path.escape_ascii(), warning.reason.describe());
    }
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("unpack_stack: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let dir = arguments.next().ok_or("usage: unpack_stack DIR LAYER...")?;
    // Topmost first, as overlayfs wants them.
    let mut stack: Vec<PathBuf> = Vec::new();

    for (number, layer) in (1..).zip(arguments) {
        println!("layer {number}: {}", layer.display());
        let upper = dir.join(number.to_string());
        fs::create_dir(&upper)?;
        // With its parents known, a layer leaves no ghosts, and directories that it does not describe
        // keep their owners and modes.
        let lowers = Lowers::Known(stack.clone());
        let options = Options::default().mode(Mode::Overlay).lowers(lowers);
        let mut watch = Watch::default();
        let report = unpack_with(Source::path(&layer), &upper, &options, &mut watch)?;
        println!(
            "  {} bytes, {} entries, {} whiteouts, {} opaque directories, {} skipped",
            watch.bytes,
            report.entries.total,
            report.whiteouts,
            report.opaque_directories,
            watch.skipped
        );
        stack.insert(0, upper);
    }

    let lowerdir: Vec<String> = stack.iter().map(|dir| dir.display().to_string()).collect();
    println!("lowerdir={}", lowerdir.join(":"));
    Ok(())
}
