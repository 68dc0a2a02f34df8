// SPDX-License-Identifier: Apache-2.0
//! Boots a kernel twice, once with the overlayfs bug and once without, runs the library inside,
//! and compares what came out: `ocilayer-kernel-test LINUX`, as `make test-kernel` runs it.
//!
//! The same program is the guest's init; docs/affected-kernels.md tells how it works.

mod guest;
mod layers;
mod machine;
mod mounts;
mod operator;

#[path = "../../common"]
mod common {
    #[allow(dead_code)]
    pub mod archive;
}

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use machine::{Bug, Machine};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// What each question must be answered on the sound kernel, and on the affected one.
const EXPECTED: [(&str, &str, &str); 16] = [
    ("check, as root", "not affected", "affected by create, metadata, rename"),
    ("check, in a user namespace", "not affected", "affected by create, metadata"),
    (
        "overlay mounts, as containerd 1.2 did",
        "nothing lost",
        "lost: srv/app/conf/four srv/app/conf/two srv/app/two srv/log/d",
    ),
    ("ocilayer check", "exit status 0", "exit status 1"),
    ("ocilayer scan", "exit status 0", "exit status 0"),
    (
        "ocilayer audit, directories only",
        "exit status 0; 5:4:3:2:1: 5 layers: clean",
        "exit status 3; 5:4:3:2:1: 5 layers: suspect mark 4",
    ),
    (
        "ocilayer audit",
        "exit status 0; 5 layers: clean",
        "exit status 1; 5 layers: wrongly opaque 4, lost 11, missing whiteout 1",
    ),
    (
        "ocilayer audit --repair",
        "exit status 0; 5 layers: clean",
        "exit status 1; removed 4 marks, wrote 1 whiteout; mount the layers anew to see it",
    ),
    ("ocilayer audit, again", "exit status 0; 5 layers: clean", "exit status 0; 5 layers: clean"),
    ("after the repair", "nothing lost", "nothing lost"),
    ("unpack --mode overlay", "nothing lost", "nothing lost"),
    ("unpack --mode overlay-userxattr", "nothing lost", "nothing lost"),
    (
        "unpack on a mount",
        "nothing lost",
        "lost: srv/app/conf/four srv/app/conf/two srv/app/two srv/log/d",
    ),
    ("unpack --upper on a mount", "nothing lost", "nothing lost; removed marks of srv/app srv/log"),
    ("the same, userxattr", "nothing lost", "nothing lost; removed marks of srv/app srv/log"),
    ("the same, redirect_dir=on", "nothing lost", "nothing lost; removed marks of srv/app srv/log"),
];

fn main() -> Result<ExitCode> {
    // The first process of the guest is this program, too.
    if std::process::id() == 1 {
        guest::main();
    }
    let arguments: Vec<_> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let linux = match arguments.as_slice() {
        [linux] => linux,
        [flag, dir] if flag == Path::new("--check") => {
            guest::print_check(dir)?;
            return Ok(ExitCode::SUCCESS);
        }
        _ => {
            eprintln!("usage: ocilayer-kernel-test LINUX");
            return Ok(ExitCode::from(2));
        }
    };
    let sound = Machine::run(linux, Bug::Absent)?;
    let affected = Machine::run(linux, Bug::Present)?;
    println!("--- {}, sound | with the bug", sound.answer("kernel").unwrap_or_default());
    let mut failed = false;
    for (question, on_sound, on_affected) in EXPECTED {
        println!("{question}");
        for (machine, expected) in [(&sound, on_sound), (&affected, on_affected)] {
            let answer = machine.answer(question);
            let right = answer == Some(expected);
            failed |= !right;
            println!("    {:<13} {}", machine.bug.describe(), answer.unwrap_or("no answer"));
            if !right {
                println!("    {:<13} {expected}", "EXPECTED");
            }
        }
    }
    println!("--- an operator's session on the kernel {}", affected.bug.describe());
    affected.session().for_each(|line| println!("{line}"));
    if failed {
        for machine in [&sound, &affected] {
            println!("--- console of the kernel {}\n{}", machine.bug.describe(), machine.console);
        }
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}
