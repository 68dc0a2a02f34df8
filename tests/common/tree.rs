// SPDX-License-Identifier: Apache-2.0
//! Snapshots of directory trees, and what differs between two.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::{self, Write};
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, StatxFlags, openat, readlinkat, statx};
use rustix::io::Errno;
use sha2::{Digest, Sha256};

use crate::common::overlay::plain;

/// Contents up to this size are kept, so that a difference can be read.
const SHORT: usize = 64;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    pub kind: Kind,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub mtime: (i64, u32),
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Path of the first name of the same inode; only where an inode has several.
    pub linked: Option<Vec<u8>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    Directory,
    File {
        size: u64,
        sha256: [u8; 32],
        start: Vec<u8>,
    },
    Symlink(Vec<u8>),
    Fifo,
    Socket,
    CharDevice(u32, u32),
    BlockDevice(u32, u32),
    /// Listed by its directory, but not there; or overlay's whiteout device.
    Ghost,
}

/// Paths below a directory, without leading slash; the directory itself has the empty path.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Tree(pub BTreeMap<Vec<u8>, Node>);

/// Which xattrs belong to a snapshot.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Private {
    Show,
    /// Without `trusted.overlay.*` and `user.overlay.*`, as in a mount.
    Hide,
}

impl Tree {
    pub fn of(directory: &Path) -> Tree {
        Tree::of_fd(plain(directory).as_fd(), Private::Show, &[])
    }

    /// Without the named entries of `directory` itself.
    pub fn beside(directory: &Path, without: &[PathBuf]) -> Tree {
        Tree::of_fd(plain(directory).as_fd(), Private::Show, without)
    }

    pub fn of_fd(directory: BorrowedFd<'_>, private: Private, without: &[PathBuf]) -> Tree {
        let mut walk = Walk { private, nodes: BTreeMap::new(), inodes: BTreeMap::new() };
        let root = openat(directory, ".", OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
        let root = root.expect("open root");
        let link = format!("/proc/self/fd/{}/.", root.as_raw_fd());
        let node = walk.node(root.as_fd(), b"", AtFlags::EMPTY_PATH, Path::new(&link), b"");
        walk.nodes.insert(Vec::new(), node.expect("stat root").0);
        walk.descend(&root, b"", without);
        for paths in walk.inodes.into_values().filter(|paths| paths.len() > 1) {
            let first = paths.iter().min().expect("several").clone();
            for path in &paths {
                walk.nodes.get_mut(path).expect("walked").linked = Some(first.clone());
            }
        }
        Tree(walk.nodes)
    }

    pub fn get(&self, path: &str) -> Option<&Node> {
        self.0.get(path.as_bytes())
    }

    #[track_caller]
    pub fn at(&self, path: &str) -> &Node {
        self.get(path).unwrap_or_else(|| panic!("no {path:?} in\n{self}"))
    }

    pub fn linked(&self, one: &str, other: &str) -> bool {
        let (one, other) = (self.at(one), self.at(other));
        one.linked.is_some() && one.linked == other.linked
    }

    pub fn without_ghosts(mut self) -> Tree {
        self.0.retain(|_, node| node.kind != Kind::Ghost);
        self
    }

    /// The tree in the words of [`layer`](crate::common::archive::layer), without the root.
    pub fn list(&self) -> Vec<String> {
        let mut lines: Vec<String> =
            self.0.iter().skip(1).map(|(path, node)| node.kind.word(path)).collect();
        lines.sort();
        lines
    }

    /// One line for each difference; `left` and `right` name the sides.
    pub fn differences(&self, other: &Tree, left: &str, right: &str) -> Vec<String> {
        let mut out = Vec::new();
        let show = |path: &[u8]| path.escape_ascii().to_string();
        for (path, node) in &self.0 {
            match other.0.get(path) {
                None => out.push(format!("{:?} only in {left}: {node}", show(path))),
                Some(peer) if peer != node => {
                    out.push(format!("{:?}\n  {left}: {node}\n  {right}: {peer}", show(path)));
                }
                Some(_) => {}
            }
        }
        for (path, node) in &other.0 {
            if !self.0.contains_key(path) {
                out.push(format!("{:?} only in {right}: {node}", show(path)));
            }
        }
        out
    }
}

struct Walk {
    private: Private,
    nodes: BTreeMap<Vec<u8>, Node>,
    inodes: BTreeMap<(u32, u32, u64), Vec<Vec<u8>>>,
}

impl Walk {
    fn descend(&mut self, directory: &OwnedFd, path: &[u8], without: &[PathBuf]) {
        let names: Vec<Vec<u8>> = Dir::read_from(directory)
            .expect("read directory")
            .map(|entry| entry.expect("read directory").file_name().to_bytes().to_vec())
            .filter(|name| name != b"." && name != b"..")
            .filter(|name| !without.iter().any(|skip| skip.as_os_str().as_bytes() == name))
            .collect();
        for name in names {
            let full = if path.is_empty() { name.clone() } else { [path, b"/", &name].concat() };
            let mut link = PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd()));
            link.push(std::ffi::OsStr::from_bytes(&name));
            let flags = AtFlags::SYMLINK_NOFOLLOW;
            let Some((node, inode)) = self.node(directory.as_fd(), &name, flags, &link, &full)
            else {
                self.nodes.insert(full, Node::ghost());
                continue;
            };
            let is_directory = node.kind == Kind::Directory;
            if !is_directory && node.kind != Kind::Ghost {
                self.inodes.entry(inode).or_default().push(full.clone());
            }
            self.nodes.insert(full.clone(), node);
            if is_directory {
                let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let below = openat(directory, name.as_slice(), flags, Mode::empty());
                self.descend(&below.expect("open directory"), &full, &[]);
            }
        }
    }

    /// None where a listed name is not there.
    fn node(
        &self,
        at: BorrowedFd<'_>,
        name: &[u8],
        flags: AtFlags,
        link: &Path,
        path: &[u8],
    ) -> Option<(Node, (u32, u32, u64))> {
        let stat = match statx(at, name, flags, StatxFlags::BASIC_STATS) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return None,
            Err(errno) => panic!("stat {:?}: {errno}", path.escape_ascii().to_string()),
        };
        let kind = match FileType::from_raw_mode(stat.stx_mode.into()) {
            FileType::Directory => Kind::Directory,
            FileType::RegularFile => content(at, name, stat.stx_size),
            FileType::Symlink => {
                Kind::Symlink(readlinkat(at, name, Vec::new()).expect("readlink").into_bytes())
            }
            FileType::Fifo => Kind::Fifo,
            FileType::CharacterDevice if (stat.stx_rdev_major, stat.stx_rdev_minor) == (0, 0) => {
                Kind::Ghost
            }
            FileType::CharacterDevice => Kind::CharDevice(stat.stx_rdev_major, stat.stx_rdev_minor),
            FileType::BlockDevice => Kind::BlockDevice(stat.stx_rdev_major, stat.stx_rdev_minor),
            _ => Kind::Socket,
        };
        if kind == Kind::Ghost {
            return Some((Node::ghost(), (0, 0, 0)));
        }
        let node = Node {
            kind,
            mode: u32::from(stat.stx_mode) & 0o7777,
            uid: stat.stx_uid,
            gid: stat.stx_gid,
            mtime: (stat.stx_mtime.tv_sec, stat.stx_mtime.tv_nsec),
            xattrs: xattrs(link, self.private),
            linked: None,
        };
        Some((node, (stat.stx_dev_major, stat.stx_dev_minor, stat.stx_ino)))
    }
}

fn content(at: BorrowedFd<'_>, name: &[u8], size: u64) -> Kind {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = std::fs::File::from(openat(at, name, flags, Mode::empty()).expect("open"));
    Kind::file(file, size).expect("read")
}

/// xattrs by the path that never follows: symlinks have xattrs too, and no descriptor reads them.
fn xattrs(link: &Path, private: Private) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let hidden = |name: &[u8]| {
        private == Private::Hide
            && (name.starts_with(b"trusted.overlay.") || name.starts_with(b"user.overlay."))
    };
    let get = |name: OsString| {
        let value = xattr::get(link, &name).expect("lgetxattr").expect("listed");
        (name.into_vec(), value)
    };
    let names = xattr::list(link).expect("llistxattr");
    names.filter(|name| !hidden(name.as_bytes())).map(get).collect()
}

impl Node {
    fn ghost() -> Node {
        Node {
            kind: Kind::Ghost,
            mode: 0,
            uid: 0,
            gid: 0,
            mtime: (0, 0),
            xattrs: BTreeMap::new(),
            linked: None,
        }
    }

    pub fn xattr(&self, name: &str) -> Option<&[u8]> {
        self.xattrs.get(name.as_bytes()).map(Vec::as_slice)
    }
}

impl Kind {
    /// A file with these contents, which are read to their end whatever its size is said to be.
    pub fn file(mut contents: impl Read, size: u64) -> io::Result<Kind> {
        let (mut hash, mut start, mut buffer) = (Sha256::new(), Vec::new(), vec![0; 1 << 16]);
        loop {
            let got = contents.read(&mut buffer)?;
            if got == 0 {
                return Ok(Kind::File { size, sha256: hash.finalize().into(), start });
            }
            hash.update(&buffer[..got]);
            let room = SHORT.saturating_sub(start.len()).min(got);
            start.extend_from_slice(&buffer[..room]);
        }
    }

    fn word(&self, path: &[u8]) -> String {
        let path = path.escape_ascii();
        match self {
            Kind::Directory => format!("{path}/"),
            Kind::File { size: 0, .. } => format!("{path}"),
            Kind::File { size, start, .. } if *size == start.len() as u64 => {
                format!("{path}={}", start.escape_ascii())
            }
            Kind::File { size, .. } => format!("{path}=<{size}>"),
            Kind::Symlink(target) => format!("{path}->{}", target.escape_ascii()),
            Kind::Fifo => format!("{path}|"),
            Kind::Socket => format!("{path}<socket>"),
            Kind::CharDevice(major, minor) => format!("{path}%{major}:{minor}"),
            Kind::BlockDevice(major, minor) => format!("{path}#{major}:{minor}"),
            Kind::Ghost => format!("{path}<ghost>"),
        }
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, nanoseconds) = self.mtime;
        write!(f, "{} {:04o}", self.kind.word(b""), self.mode)?;
        write!(f, " {}:{} {seconds}.{nanoseconds:09}", self.uid, self.gid)?;
        for (name, value) in &self.xattrs {
            write!(f, " {}={:?}", name.escape_ascii(), value.escape_ascii().to_string())?;
        }
        match &self.linked {
            Some(first) => write!(f, " linked with {}", first.escape_ascii()),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (path, node) in &self.0 {
            writeln!(f, "  /{} {node}", path.escape_ascii())?;
        }
        f.write_char('\n')
    }
}
