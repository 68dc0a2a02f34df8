// SPDX-License-Identifier: Apache-2.0
//! The limits: what every applier must do at least, by bare loops without safety and without most
//! rules for layers. To be compared with, never to be used.

mod wanted;

use std::hint::black_box;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use ocilayer::{Source, stages};
use rustix::fs::{
    AtFlags, Mode, OFlags, chownat, fchmod, fchown, futimens, linkat, mkdirat, mknodat, open,
    openat, symlinkat, utimensat,
};
use rustix::io::{Result, write};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit, umask};
use sha2::{Digest, Sha256};

use self::wanted::{Node, Other, Wanted};
use crate::measure::Times;

/// Decompression alone, into nothing and without a digest, by the library's own decompressor.
pub fn decompress(blobs: &[PathBuf]) -> crate::Result<()> {
    for blob in blobs {
        stages::inflate(Source::path(blob), |piece| {
            black_box(piece);
        })?;
    }
    Ok(())
}

/// SHA-256 of as many bytes as plain archives have, of which each piece is in the CPU's cache: as if
/// somebody had just decompressed it there.
pub fn digest(archives: &[PathBuf]) -> crate::Result<Times> {
    let piece = vec![0x5a; 128 << 10];
    let mut left = Vec::new();
    for archive in archives {
        left.push(std::fs::metadata(archive)?.len());
    }
    Times::of(|| {
        for mut left in left {
            let mut hash = Sha256::new();
            while left > 0 {
                let now = left.min(piece.len() as u64);
                hash.update(&piece[..now as usize]);
                left -= now;
            }
            black_box(hash.finalize());
        }
        Ok(())
    })
}

/// Makes the tree of plain archives with as few system calls as there can be, and tells what that
/// took; reading and parsing come before and are not in it.
pub fn create(root: &Path, archives: &[PathBuf], threads: usize) -> crate::Result<Times> {
    let wanted = Wanted::in_archives(archives)?;
    umask(Mode::empty());
    // Every directory stays open.
    let most = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: most, maximum: most })?;
    Times::of(|| Ok(make(&wanted, root, threads)?))
}

/// Entries or bytes that a thread takes at a time: neighbours, since two threads in one directory
/// wait for each other, but not all of a few large files.
const SHARE: (usize, usize) = (64, 1 << 20);

fn make(wanted: &Wanted, root: &Path, threads: usize) -> Result<()> {
    let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut fds: Vec<OwnedFd> = vec![open(root, flags, Mode::empty())?];
    for node in &wanted.directories {
        let parent = &fds[node.parent];
        mkdirat(parent, &node.name, node.mode)?;
        let made = openat(parent, &node.name, flags, Mode::empty())?;
        fds.push(made);
    }
    let shares = wanted.shares(SHARE);
    let next = AtomicUsize::new(0);
    let make_others = || {
        while let Some(share) = shares.get(next.fetch_add(1, Ordering::Relaxed)) {
            share.iter().try_for_each(|node| make_other(node, &fds[node.parent]))?;
        }
        Ok(())
    };
    thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(make_others)).collect();
        let mine = make_others();
        others.into_iter().fold(mine, |done, thread| done.and(thread.join().expect("no panic")))
    })?;
    for link in &wanted.links {
        linkat(&fds[0], &link.what, &fds[link.parent], &link.name, AtFlags::empty())?;
    }
    // Last: what came into a directory changed its times.
    wanted.directories.iter().zip(&fds[1..]).try_for_each(|(node, fd)| finish(node, fd))
}

fn make_other(node: &Node<Other>, parent: &OwnedFd) -> Result<()> {
    match &node.what {
        &Other::File(mut bytes) => {
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
            let file = openat(parent, &node.name, flags, node.mode)?;
            while !bytes.is_empty() {
                bytes = &bytes[write(&file, bytes)?..];
            }
            return finish(node, &file);
        }
        Other::Symlink(target) => symlinkat(target, parent, &node.name)?,
        Other::Device(kind, device) => mknodat(parent, &node.name, *kind, node.mode, *device)?,
    }
    let flags = AtFlags::SYMLINK_NOFOLLOW;
    if let Some((uid, gid)) = node.owner {
        chownat(parent, &node.name, Some(uid), Some(gid), flags)?;
    }
    utimensat(parent, &node.name, &node.times, flags)
}

fn finish<T>(node: &Node<T>, fd: &OwnedFd) -> Result<()> {
    if let Some((uid, gid)) = node.owner {
        fchown(fd, Some(uid), Some(gid))?;
    }
    // A new owner clears these bits, and mkdir(2) does not take them.
    if node.mode.intersects(Mode::SUID | Mode::SGID) {
        fchmod(fd, node.mode)?;
    }
    futimens(fd, &node.times)
}
