// SPDX-License-Identifier: Apache-2.0
//! Lower directories that no layer of ours made, straight on disk.

use std::ffi::OsStr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use arbitrary::{Arbitrary, Result, Unstructured};
use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, ResolveFlags, XattrFlags, linkat, lsetxattr, makedev, mkdirat,
    mknodat, openat, openat2, symlinkat,
};
use rustix::io::Errno;

use crate::common::archive::Entry;
use crate::common::overlay::plain;
use crate::common::runner::CANARY;
use crate::common::stack::Stack;
use crate::layers;
use crate::records::{self, pick};

pub const LOWERS: usize = 3;

/// One thing at one place of a lower directory; what was there before stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Thing {
    pub lower: usize,
    pub path: String,
    pub what: What,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    Dir,
    File(&'static str),
    Symlink(&'static str),
    Hardlink(String),
    Fifo,
    Socket,
    /// As overlayfs makes them.
    Whiteout,
    Device,
    Mode(u32),
    Xattr(&'static str, &'static [u8]),
    /// So many directories, each in the one before.
    Deep(usize),
    /// Symlinks, each to the next.
    Chain(usize, &'static str),
}

/// Lower directories and a layer on top of them.
#[derive(Clone, Debug)]
pub struct Recipe {
    pub lowers: usize,
    pub threads: usize,
    pub things: Vec<Thing>,
    pub layer: Stack,
}

impl<'a> Arbitrary<'a> for Recipe {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Recipe> {
        let mut records = records::each(u.peek_bytes(u.len()).expect("all of it"));
        let mut head = records.next().unwrap_or(Unstructured::new(&[]));
        let lowers = *pick(&mut head, &[1, 2, 2, LOWERS])?;
        let threads = *pick(&mut head, &[1, 2, 3])?;
        let (mut things, mut layer) = (Vec::new(), Vec::<Entry>::new());
        for mut record in records {
            match *pick(&mut record, &[true, true, false])? {
                true => things.push(thing(&mut record, lowers)?),
                false => layer.extend(layers::entries(&mut record)?),
            }
        }
        Ok(Recipe { lowers, threads, things, layer: Stack(vec![layer]) })
    }
}

fn thing(u: &mut Unstructured<'_>, lowers: usize) -> Result<Thing> {
    let lower = usize::from(u.arbitrary::<u8>()?) % lowers;
    let path = path(u)?;
    let what = match u.arbitrary::<u8>()? % 24 {
        0..=4 => What::Dir,
        5..=7 => What::File(pick(u, &["", "1", "two"])?),
        8..=11 => What::Symlink(pick(u, TARGETS)?),
        12 => What::Hardlink(self::path(u)?),
        13 => What::Fifo,
        14 => What::Socket,
        15..=17 => What::Whiteout,
        18 => What::Device,
        19 => What::Mode(*pick(u, &[0, 0o7777, 0o1500, 0o2070])?),
        20..=22 => {
            let (name, value) = *pick(u, XATTRS)?;
            What::Xattr(name, value)
        }
        _ => match *pick(u, &[false, true])? {
            false => What::Deep(*pick(u, &[5, 50, 120])?),
            true => What::Chain(*pick(u, &[2, 39, 40, 41])?, pick(u, TARGETS)?),
        },
    };
    Ok(Thing { lower, path, what })
}

/// Without symlinks in it: what this file makes must not leave the lower directory.
fn path(u: &mut Unstructured<'_>) -> Result<String> {
    let depth = *pick(u, &[1, 1, 2, 2, 3])?;
    let names: Result<Vec<&str>> = (0..depth).map(|_| Ok(*pick(u, &["a", "b", "c"])?)).collect();
    Ok(names?.join("/"))
}

const TARGETS: &[&str] = &[
    "a",
    "b",
    "c",
    "a/b",
    "b/a",
    "../a",
    "../b",
    "../c",
    "/a",
    "/b/c",
    "../../../c",
    "no",
    ".",
    "..",
    "/",
    "chain0",
    "/CANARY/dir",
    "/CANARY",
    "/CANARY/file",
    "/proc/self/root",
    "/dev/null",
];

const XATTRS: &[(&str, &[u8])] = &[
    ("trusted.overlay.opaque", b"y"),
    ("trusted.overlay.opaque", b"y"),
    ("user.overlay.opaque", b"y"),
    ("trusted.overlay.opaque", b"x"),
    ("user.overlay.opaque", b"x"),
    ("trusted.overlay.opaque", b"yy"),
    ("trusted.overlay.whiteout", b"y"),
    ("user.overlay.whiteout", b""),
    ("trusted.overlay.redirect", b"a"),
    ("trusted.overlay.redirect", b"/b/c"),
    ("trusted.overlay.redirect", b"c"),
    ("trusted.overlay.redirect", b"/a/b"),
    ("trusted.overlay.redirect", b"/c"),
    ("trusted.overlay.redirect", b"/../..//"),
    ("user.overlay.redirect", b"/c"),
    ("trusted.overlay.metacopy", b""),
    ("user.overlay.metacopy", b"\0\x09\0\0"),
    ("trusted.overlay.overlay.opaque", b"y"),
    ("trusted.overlay.origin", b"\0\xfb"),
    ("user.0", b"1"),
    ("security.capability", b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0"),
    ("security.other", b"1"),
    ("trusted.other", b"1"),
];

impl Recipe {
    /// Makes all things of these lower directories, or, where `only` is none, all things, below
    /// `root`. What cannot be made is left out.
    pub fn make(&self, root: &Path, only: Option<usize>, canary: &Path) {
        let root = plain(root);
        let mine = |thing: &&Thing| only.is_none_or(|lower| thing.lower == lower);
        for thing in self.things.iter().filter(mine) {
            let _ = thing.make(&root, canary);
        }
    }

    /// Whether a file may have its data elsewhere. A mount without `metacopy=on` does not look for them,
    /// and what it shows then depends on the kernel.
    pub fn has_metacopies(&self) -> bool {
        let is = |thing: &Thing| matches!(thing.what, What::Xattr(name, _) if name.ends_with(".metacopy"));
        self.things.iter().any(is)
    }

    /// Everything that has one thing less.
    pub fn smaller(&self) -> Vec<Recipe> {
        let mut all = Vec::new();
        for thing in 0..self.things.len() {
            let mut less = self.clone();
            less.things.remove(thing);
            all.push(less);
        }
        for layer in layers::smaller(&self.layer).into_iter().filter(|layer| !layer.0.is_empty()) {
            all.push(Recipe { layer, ..self.clone() });
        }
        if self.lowers > 1 && self.things.iter().all(|thing| thing.lower + 1 < self.lowers) {
            all.push(Recipe { lowers: self.lowers - 1, ..self.clone() });
        }
        if self.threads > 1 {
            all.push(Recipe { threads: 1, ..self.clone() });
        }
        all
    }
}

impl Thing {
    fn make(&self, root: &OwnedFd, canary: &Path) -> std::result::Result<(), Errno> {
        let (parent, name) = self.path.rsplit_once('/').unwrap_or((".", &self.path));
        let parent = directory(root, parent)?;
        let at = parent.as_fd();
        let node = |kind, device| mknodat(at, name, kind, Mode::from_raw_mode(0o644), device);
        let by_path = PathBuf::from(format!("/proc/self/fd/{}/{name}", parent.as_raw_fd()));
        match &self.what {
            What::Dir => mkdirat(at, name, Mode::from_raw_mode(0o755)),
            What::File(text) => {
                let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
                let file = openat(at, name, flags, Mode::from_raw_mode(0o644))?;
                rustix::io::write(&file, text.as_bytes()).map(drop)
            }
            What::Symlink(target) => symlinkat(aimed(target, canary), at, name),
            What::Hardlink(target) => {
                let (above, target) = target.rsplit_once('/').unwrap_or((".", target));
                linkat(directory(root, above)?, target, at, name, AtFlags::empty())
            }
            What::Fifo => node(FileType::Fifo, 0),
            What::Socket => UnixListener::bind(by_path).map(drop).map_err(|_| Errno::INVAL),
            What::Whiteout => node(FileType::CharacterDevice, 0),
            What::Device => node(FileType::CharacterDevice, makedev(1, 3)),
            What::Mode(mode) => {
                // By the descriptor: chmod(2) follows symlinks.
                let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
                let there = openat(at, name, flags, Mode::empty())?;
                rustix::fs::fchmod(there, Mode::from_raw_mode(*mode))
            }
            What::Xattr(name, value) => lsetxattr(&by_path, *name, value, XattrFlags::empty()),
            What::Deep(depth) => {
                let mut path = name.to_owned();
                for _ in 0..*depth {
                    mkdirat(at, &path, Mode::from_raw_mode(0o755))?;
                    path += "/a";
                }
                Ok(())
            }
            What::Chain(length, end) => {
                for number in 0..*length {
                    let next = format!("chain{}", number + 1);
                    let last = number + 1 == *length;
                    let target = if last { aimed(end, canary) } else { PathBuf::from(next) };
                    symlinkat(target, at, format!("chain{number}"))?;
                }
                Ok(())
            }
        }
    }
}

/// The directory of this path, made where it is not there.
fn directory(root: &OwnedFd, path: &str) -> std::result::Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let inside = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    let mut at = openat2(root, ".", flags, Mode::empty(), inside)?;
    for name in path.split('/') {
        match mkdirat(&at, name, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno),
        }
        at = openat2(&at, name, flags, Mode::empty(), inside)?;
    }
    Ok(at)
}

fn aimed(target: &str, canary: &Path) -> PathBuf {
    match target.as_bytes().strip_prefix(CANARY) {
        Some(rest) => {
            let whole = [canary.as_os_str().as_bytes(), rest].concat();
            OsStr::from_bytes(&whole).into()
        }
        None => target.into(),
    }
}
