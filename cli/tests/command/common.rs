// SPDX-License-Identifier: Apache-2.0
//! The command, layers for it, and a terminal.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

#[derive(Debug)]
pub struct Ran {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    /// What was printed on one line.
    pub fn line(&self, number: usize) -> Ran {
        let stdout = self.stdout.lines().nth(number).unwrap_or_default().to_owned();
        Ran { code: self.code, stdout, stderr: self.stderr.clone() }
    }
}

pub fn command(directory: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ocilayer"));
    command.current_dir(directory).args(arguments).stdin(Stdio::null());
    command
}

/// Runs the command with `input` to its end.
pub fn ocilayer(directory: &Path, arguments: &[&str], input: &[u8]) -> Ran {
    let mut command = command(directory, arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // A command that refuses its arguments closes the pipe before it read anything.
    let _ = child.stdin.take().unwrap().write_all(input);
    let output = child.wait_with_output().unwrap();
    Ran {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// An entry's name, typeflag and content or link target.
pub type Entry<'a> = (&'a str, u8, &'a [u8]);

/// An archive whose entries belong to whoever runs the test, so that anyone may unpack it.
pub fn layer(entries: &[Entry]) -> Vec<u8> {
    let owner = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    layer_of(owner, entries)
}

pub fn layer_of((uid, gid): (u32, u32), entries: &[Entry]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, flag, content) in entries {
        let mut header = tar::Header::new_ustar();
        // Not set_path: that one refuses the names that hostile layers have.
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(tar::EntryType::new(*flag));
        header.set_mode(0o755);
        header.set_uid(uid.into());
        header.set_gid(gid.into());
        header.set_mtime(1_700_000_000);
        header.set_device_major(1).unwrap();
        header.set_device_minor(3).unwrap();
        let data = if *flag == b'2' {
            header.as_old_mut().linkname[..content.len()].copy_from_slice(content);
            &[][..]
        } else {
            content
        };
        header.set_size(data.len() as u64);
        header.set_cksum();
        archive.append(&header, data).unwrap();
    }
    archive.into_inner().unwrap()
}

/// One entry of several kinds; all that the tests say about counts is about this layer.
pub fn small_layer() -> Vec<u8> {
    layer(&[
        ("etc/", b'5', b""),
        ("etc/motd", b'0', b"welcome\n"),
        ("etc/issue", b'2', b"motd"),
        (".wh.gone", b'0', b""),
        (".wh..wh.plnk", b'0', b""),
    ])
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A terminal of 80 columns: what its user sees, and what a program writes to.
pub fn terminal() -> (File, File) {
    let screen = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&screen).unwrap();
    unlockpt(&screen).unwrap();
    let size = Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(&screen, size).unwrap();
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let program = rustix::fs::open(ptsname(&screen, Vec::new()).unwrap(), flags, Mode::empty());
    (screen.into(), program.unwrap().into())
}

/// Only root may give files away. With CI=true a test that cannot run has failed.
pub fn is_root(test: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "{test} needs root");
        eprintln!("SKIPPED {test}: needs root");
    }
    root
}
