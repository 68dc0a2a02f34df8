// SPDX-License-Identifier: Apache-2.0
//! Time, CPU and memory of one command and all that it starts.

use std::ffi::OsString;
use std::fs::{self, File};
use std::hint::black_box;
use std::io;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::Result;

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Times {
    pub wall_s: f64,
    /// Of all threads and processes.
    pub user_s: f64,
    pub system_s: f64,
}

impl Times {
    pub fn cpu_s(&self) -> f64 {
        self.user_s + self.system_s
    }

    /// What `work` takes of this process, in which nothing else runs.
    pub fn of(work: impl FnOnce() -> Result<()>) -> Result<Times> {
        let (before, start) = (used_here(), Instant::now());
        work()?;
        let wall_s = start.elapsed().as_secs_f64();
        let after = used_here();
        let user_s = seconds(after.ru_utime) - seconds(before.ru_utime);
        Ok(Times { wall_s, user_s, system_s: seconds(after.ru_stime) - seconds(before.ru_stime) })
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Measured {
    pub times: Times,
    /// Of the largest process.
    pub peak_rss_bytes: u64,
    pub output: String,
}

/// Runs `command` below a small process of this program, which measures it.
///
/// The kernel counts the memory of the process that calls exec as the new program's peak
/// (`setmax_mm_hiwater_rss` in exec_mmap), and this process was large when it warmed the memory.
pub fn command(command: &Command) -> Result<Measured> {
    let mut outer = Command::new(std::env::current_exe()?);
    outer.arg("measure").arg("--").arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        outer.env(name, value.unwrap_or_default());
    }
    let output = outer.stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err(format!("{command:?} failed").into());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// The small process: runs the command and prints a [`Measured`].
pub fn here(command: &[OsString]) -> Result<()> {
    let [program, arguments @ ..] = command else { return Err("measure what?".into()) };
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped());
    let start = Instant::now();
    let mut child = command.spawn()?;
    let output = io::read_to_string(child.stdout.take().expect("piped"))?;
    let (status, usage) = wait(child.id())?;
    let wall_s = start.elapsed().as_secs_f64();
    if status != 0 {
        return Err(format!("{command:?}: wait status {status:#x}").into());
    }
    let (user_s, system_s) = (seconds(usage.ru_utime), seconds(usage.ru_stime));
    let measured = Measured {
        times: Times { wall_s, user_s, system_s },
        // Linux counts in KiB.
        peak_rss_bytes: usage.ru_maxrss as u64 * 1024,
        output: output.trim().to_owned(),
    };
    println!("{}", serde_json::to_string(&measured)?);
    Ok(())
}

fn seconds(time: libc::timeval) -> f64 {
    time.tv_sec as f64 + time.tv_usec as f64 / 1e6
}

/// The resources that this process used so far.
fn used_here() -> libc::rusage {
    // SAFETY: an rusage is plain numbers, for which zero is a value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a local that outlives the call, which cannot fail with it.
    unsafe { libc::getrusage(libc::RUSAGE_SELF, &mut usage) };
    usage
}

/// What std's wait leaves out: the resources that the child and its own children used.
fn wait(pid: u32) -> io::Result<(i32, libc::rusage)> {
    // SAFETY: an rusage is plain numbers, for which zero is a value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    let mut status = 0;
    loop {
        // SAFETY: both pointers are to locals that outlive the call.
        match unsafe { libc::wait4(pid as libc::pid_t, &mut status, 0, &mut usage) } {
            -1 if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted => {}
            -1 => return Err(io::Error::last_os_error()),
            _ => return Ok((status, usage)),
        }
    }
}

/// Room for what an unpack needs beside the page cache of its files.
const SLACK: u64 = 256 << 20;

/// Makes the machine ready for one run that reads `inputs` and writes `bytes`.
///
/// A virtual machine that hands free memory back to its host pays some ten times more for the first
/// touch of a page; without this the host would be measured. It gives back after two seconds or
/// so, so that the run must start at once.
pub fn make_ready(inputs: &[PathBuf], bytes: u64) -> Result<()> {
    rustix::fs::sync();
    let size = bytes + SLACK;
    if size > available_memory()? / 2 {
        return Err(format!("too little memory to warm {} MiB of it", size >> 20).into());
    }
    for input in inputs {
        io::copy(&mut File::open(input)?, &mut io::sink())?;
    }
    drop(black_box(vec![1_u8; size as usize]));
    Ok(())
}

fn available_memory() -> Result<u64> {
    let memory = fs::read_to_string("/proc/meminfo")?;
    let line = memory.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")).ok_or("no MemAvailable")?;
    Ok(kib.parse::<u64>()? << 10)
}

/// How long after [`make_ready`] a run may start and still count.
pub const READY_FOR: Duration = Duration::from_secs(2);
