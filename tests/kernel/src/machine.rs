// SPDX-License-Identifier: Apache-2.0
//! A User Mode Linux guest: this machine's files read-only, and a disk of its own.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};

use crate::Result;

/// The guest takes two seconds; a machine that is busy with other tests may take a while longer.
const PATIENCE: Duration = Duration::from_secs(300);
/// What is left in the pipes of a guest that was killed.
const AFTERWARDS: Duration = Duration::from_secs(5);
const DISK: u64 = 64 << 20;
/// Before each answer on the console.
pub const ANSWER: &str = "answer: ";
/// Before each line of what an operator sees.
pub const SESSION: &str = "session: ";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    Absent,
    Present,
}

/// What a guest had to say.
pub struct Machine {
    pub bug: Bug,
    pub console: String,
}

impl Bug {
    pub fn describe(self) -> &'static str {
        match self {
            Bug::Absent => "sound",
            Bug::Present => "with the bug",
        }
    }
}

impl Machine {
    /// Boots `linux` with this program as its first process, and waits for its end.
    pub fn run(linux: &Path, bug: Bug) -> Result<Machine> {
        let base = tempfile::Builder::new().prefix("ocilayer-kernel-").tempdir()?;
        let dir = base.path();
        let own = std::env::current_exe()?;
        // Names without spaces, which a kernel's command line could not carry.
        symlink(&own, dir.join("init"))?;
        symlink(own.with_file_name("ocilayer"), dir.join("ocilayer"))?;
        std::fs::create_dir(dir.join("mnt"))?;
        File::create(dir.join("disk"))?.set_len(DISK)?;
        let mut mke2fs = Command::new("mke2fs");
        mke2fs.args(["-q", "-F", "-t", "ext4"]).arg(dir.join("disk"));
        let made = path_with_sbin(&mut mke2fs).output()?;
        if !made.status.success() {
            return Err(String::from_utf8_lossy(&made.stderr).into());
        }
        let console = console(&mut command(linux, dir, bug))?;
        Ok(Machine { bug, console })
    }

    /// What an operator sees in it.
    pub fn session(&self) -> impl Iterator<Item = &str> {
        self.console.lines().filter_map(|line| line.strip_prefix(SESSION))
    }

    /// What the guest answered to one question.
    pub fn answer(&self, question: &str) -> Option<&str> {
        let answers = self.console.lines().filter_map(|line| line.strip_prefix(ANSWER));
        let mut pairs = answers.filter_map(|line| line.split_once(" = "));
        pairs.find(|(asked, _)| *asked == question).map(|(_, answer)| answer.trim_end())
    }
}

fn command(linux: &Path, dir: &Path, bug: Bug) -> Command {
    let at = dir.display();
    let mut command = Command::new(linux);
    command
        .args(["mem=128M", "rootfstype=hostfs", "rootflags=/", "quiet", "loglevel=3"])
        // Not rw: the guest's root would write to this machine's files.
        .arg("ro")
        .args(["con=null", "ssl=null", "con0=null,fd:1"])
        .arg(format!("uml_dir={at}"))
        .arg(format!("ubd0={at}/disk"))
        .arg(format!("init={at}/init"))
        .arg(format!("overlay.bug_opaque={}", u8::from(bug == Bug::Present)))
        .arg(format!("OCILAYER_GUEST={at}"))
        // The guest's memory is a file; in containers /dev/shm is small and noexec.
        .env("TMPDIR", dir)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // Its processes are ours: a guest that hangs is ended with all of them.
        .process_group(0);
    command
}

/// Users' paths lack the directory that mke2fs is in.
fn path_with_sbin(command: &mut Command) -> &mut Command {
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{path}:/usr/sbin:/sbin"))
}

/// Runs to the end, or for as long as our patience lasts. User Mode Linux exits with 0 whatever
/// happened, so its text is all that counts.
fn console(command: &mut Command) -> Result<String> {
    let mut child = command.spawn()?;
    let group = Pid::from_child(&child);
    let (sender, receiver) = channel();
    for mut pipe in [
        Box::new(child.stdout.take().expect("piped")) as Box<dyn Read + Send>,
        Box::new(child.stderr.take().expect("piped")),
    ] {
        let sender = sender.clone();
        thread::spawn(move || {
            let mut text = Vec::new();
            let _ = pipe.read_to_end(&mut text);
            let _ = sender.send(text);
        });
    }
    drop(sender);
    let (mut text, mut patience) = (Vec::new(), PATIENCE);
    loop {
        match receiver.recv_timeout(patience) {
            Ok(more) => text.extend(more),
            Err(RecvTimeoutError::Timeout) if patience == PATIENCE => {
                text.extend(b"the guest did not end and was killed; before that it said:\n");
                kill_process_group(group, Signal::KILL)?;
                patience = AFTERWARDS;
            }
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
        }
    }
    child.wait()?;
    Ok(String::from_utf8_lossy(&text).replace('\r', ""))
}
