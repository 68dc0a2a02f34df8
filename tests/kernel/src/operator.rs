// SPDX-License-Identifier: Apache-2.0
//! What an operator does on such a machine, with the command, in a directory of layers.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::Result;
use crate::guest::answer;
use crate::layers::{LAYERS, archive, verdict};
use crate::machine::SESSION;
use crate::mounts::Mount;

/// Is this kernel affected, what is in the image, what was lost, and mend it.
pub fn find_and_repair(ocilayer: &Path, dir: &Path) -> Result<()> {
    for (number, layer) in (1..).zip(LAYERS) {
        fs::write(dir.join(format!("{number}.tar")), archive(layer))?;
    }
    let session = Session { ocilayer, dir };
    let layers: Vec<String> =
        (1..=LAYERS.len()).map(|number| format!("--layer {number}.tar={number}")).collect();
    let layers = layers.join(" ");
    let statuses = [
        ("ocilayer check", "check .".into()),
        ("ocilayer scan", "scan 2.tar".into()),
        ("ocilayer audit, directories only", "audit 5:4:3:2:1".into()),
        ("ocilayer audit", format!("audit {layers}")),
        ("ocilayer audit --repair", format!("audit --repair {layers}")),
        ("ocilayer audit, again", format!("audit {layers}")),
    ];
    for (question, arguments) in statuses {
        let (status, sum) = session.run(&arguments)?;
        answer(question, &format!("exit status {status}{sum}"));
    }
    answer("after the repair", &verdict(&Mount::for_reading(dir, LAYERS.len(), "")?.path)?);
    Ok(())
}

struct Session<'s> {
    ocilayer: &'s Path,
    dir: &'s Path,
}

impl Session<'_> {
    /// Exit status, and what an audit comes to. All that was printed goes to the console.
    fn run(&self, arguments: &str) -> Result<(i32, String)> {
        println!("{SESSION}$ ocilayer {arguments}");
        let output = Command::new(self.ocilayer)
            .args(arguments.split_whitespace())
            .current_dir(self.dir)
            .output()?;
        let said = String::from_utf8([output.stdout, output.stderr].concat())?;
        for line in said.lines() {
            println!("{SESSION}{line}");
        }
        let status = output.status.code().ok_or("the command was killed")?;
        let sum = match (arguments.starts_with("audit"), said.lines().last()) {
            (true, Some(last)) => format!("; {last}"),
            _ => String::new(),
        };
        Ok((status, sum))
    }
}
