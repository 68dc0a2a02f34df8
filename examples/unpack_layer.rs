// SPDX-License-Identifier: Apache-2.0
//! Unpacks one layer into a directory, and believes it only if the digest is right:
//! `cargo run --example unpack_layer -- layer.tar.gz root sha256:...`

use std::error::Error;
use std::process::ExitCode;

use ocilayer::{Expect, Options, Source, unpack};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("unpack_layer: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [layer, root, digest] = arguments.as_slice() else {
        return Err("usage: unpack_layer LAYER ROOT DIGEST".into());
    };
    let expect = Expect::default().blob(digest.parse()?);
    let options = Options::default().expect(expect);

    let report = unpack(Source::path(layer), root, &options)?;

    println!("{} entries, {} bytes in files", report.entries.total, report.bytes.files);
    for (reason, skipped) in report.skipped.iter() {
        println!("skipped {}: {}", skipped.count, reason.describe());
    }
    Ok(())
}
