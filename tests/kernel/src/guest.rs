// SPDX-License-Identifier: Apache-2.0
//! The guest's first process: asks the questions, prints the answers, turns the machine off.

use std::fs::create_dir;
use std::path::{Path, PathBuf};
use std::process::Command;

use ocilayer::{Lowers, Mode, Options, Outcome, Report, SkipReason, Source, Verdict, unpack};
use rustix::system::{RebootCommand, reboot, uname};

use crate::Result;
use crate::layers::{LAYERS, apply_naively, archive, verdict};
use crate::machine::ANSWER;
use crate::mounts::Mount;
use crate::operator;

/// Never returns: the kernel panics if its first process ends.
pub fn main() -> ! {
    let result = std::panic::catch_unwind(|| {
        if let Err(error) = ask() {
            println!("the guest failed: {error}");
        }
    });
    if result.is_err() {
        println!("the guest panicked");
    }
    let _ = reboot(RebootCommand::PowerOff);
    unreachable!("the machine is off")
}

pub fn answer(question: &str, answer: &str) {
    println!("{ANSWER}{question} = {answer}");
}

fn ask() -> Result<()> {
    let base = PathBuf::from(std::env::var_os("OCILAYER_GUEST").ok_or("no OCILAYER_GUEST")?);
    Mount::of("proc", Path::new("/proc"), "proc")?;
    Mount::of("dev", Path::new("/dev"), "devtmpfs")?;
    // The file system of this machine has no xattrs in the guest, and is read-only.
    let disk = base.join("mnt");
    Mount::of("/dev/ubda", &disk, "ext4")?;
    answer("kernel", &uname().release().to_string_lossy());

    answer("check, as root", &check(&disk)?);
    answer("check, in a user namespace", &check_in_user_namespace(&base, &disk)?);
    let damaged = fresh(&disk, "layers")?;
    answer("overlay mounts, as containerd 1.2 did", &as_containerd_did(&damaged)?);
    operator::find_and_repair(&base.join("ocilayer"), &damaged)?;
    for (question, mode, options) in [
        ("unpack --mode overlay", Mode::Overlay, ""),
        ("unpack --mode overlay-userxattr", Mode::OverlayUserxattr, ",userxattr"),
    ] {
        let dir = fresh(&disk, &format!("{mode:?}"))?;
        for number in 1..=LAYERS.len() {
            unpack_beside(&dir, number, mode)?;
        }
        answer(question, &verdict(&Mount::for_reading(&dir, LAYERS.len(), options)?.path)?);
    }
    for (question, options, names_upper) in [
        ("unpack on a mount", "", false),
        ("unpack --upper on a mount", "", true),
        ("the same, userxattr", ",userxattr", true),
        ("the same, redirect_dir=on", ",redirect_dir=on", true),
    ] {
        let dir = fresh(&disk, &format!("mount{names_upper}{options}").replace(',', "-"))?;
        answer(question, &through_mounts(&dir, options, names_upper)?);
    }
    Ok(())
}

fn fresh(disk: &Path, name: &str) -> Result<PathBuf> {
    let dir = disk.join(name);
    create_dir(&dir)?;
    Ok(dir)
}

fn check(dir: &Path) -> Result<String> {
    let check = ocilayer::check_overlay_opaque_propagation(Some(dir))?;
    let ways = check.trials.iter().filter(|trial| trial.outcome == Outcome::Propagated);
    let ways: Vec<String> =
        ways.map(|trial| format!("{:?}", trial.copy_up).to_lowercase()).collect();
    Ok(match &check.verdict {
        Verdict::NotAffected => "not affected".into(),
        Verdict::Affected => format!("affected by {}", ways.join(", ")),
        Verdict::Unknown { obstacle } => format!("unknown: {obstacle}"),
        other => format!("{other:?}"),
    })
}

/// As root of a user namespace: other mounts, and another mark.
fn check_in_user_namespace(base: &Path, disk: &Path) -> Result<String> {
    let dir = fresh(disk, "check")?;
    let output = Command::new("/usr/bin/unshare")
        .args(["--user", "--map-root-user", "--mount"])
        .args([&base.join("init"), Path::new("--check"), &dir])
        .output()?;
    let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    Ok(if output.status.success() { said } else { format!("failed: {output:?}") })
}

/// What unshare(1) runs.
pub fn print_check(dir: &Path) -> Result<()> {
    println!("{}", check(dir)?);
    Ok(())
}

fn as_containerd_did(dir: &Path) -> Result<String> {
    // The first layer has no parents to mount.
    create_dir(dir.join("1"))?;
    apply_naively(LAYERS[0], &dir.join("1"))?;
    for number in 2..=LAYERS.len() {
        let mount = Mount::for_writing(dir, number, "")?;
        apply_naively(LAYERS[number - 1], &mount.path)?;
    }
    verdict(&Mount::for_reading(dir, LAYERS.len(), "")?.path)
}

/// A layer written straight into its upper directory.
fn unpack_beside(dir: &Path, number: usize, mode: Mode) -> Result<()> {
    let lowers = (1..number).rev().map(|lower| dir.join(lower.to_string())).collect();
    let root = fresh(dir, &number.to_string())?;
    let options = Options::default().mode(mode).lowers(Lowers::Known(lowers));
    unpack_layer(number, &root, &options)?;
    Ok(())
}

/// The layers above the opaque one go through a mount of their parents.
fn through_mounts(dir: &Path, options: &str, names_upper: bool) -> Result<String> {
    let userxattr = options.contains("userxattr");
    let mode = if userxattr { Mode::OverlayUserxattr } else { Mode::Overlay };
    let mut unmarked = Vec::new();
    for number in 1..=LAYERS.len() {
        if number <= 2 {
            unpack_beside(dir, number, mode)?;
            continue;
        }
        let mount = Mount::for_writing(dir, number, options)?;
        let upper = names_upper.then(|| dir.join(number.to_string()));
        let mut options = Options::default();
        options.upper = upper;
        let report = unpack_layer(number, &mount.path, &options)?;
        unmarked.extend(removed_marks(&report)?);
    }
    let mut answer = verdict(&Mount::for_reading(dir, LAYERS.len(), options)?.path)?;
    if !unmarked.is_empty() {
        answer += &format!("; removed marks of {}", unmarked.join(" "));
    }
    Ok(answer)
}

/// The directories, as the report names them.
fn removed_marks(report: &Report) -> Result<Vec<String>> {
    let removed = report.skipped.get(SkipReason::PropagatedMark);
    let examples = removed.map_or(Default::default(), |removed| removed.examples.clone());
    if examples.len() as u64 != report.propagated_marks {
        return Err(format!("a count of {} and {examples:?}", report.propagated_marks).into());
    }
    Ok(examples.iter().map(|it| String::from_utf8_lossy(&it.path).into_owned()).collect())
}

fn unpack_layer(number: usize, root: &Path, options: &Options) -> Result<Report> {
    let archive = archive(LAYERS[number - 1]);
    let report = unpack(Source::memory(&archive), root, options)
        .map_err(|error| format!("layer {number} into {}: {error}", root.display()))?;
    Ok(report)
}
