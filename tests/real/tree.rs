// SPDX-License-Identifier: Apache-2.0
//! What a directory tree is, down to the nanosecond, and how two of them differ.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use rustix::io::Errno;
use sha2::{Digest, Sha256};
use xattr::XAttrs;

/// Everything below a root, by its path relative to it; the root itself is the empty path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree(BTreeMap<Vec<u8>, Node>);

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    pub kind: Kind,
    pub mode: u32,
    pub owner: (u32, u32),
    /// Seconds and nanoseconds.
    pub mtime: (i64, i64),
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// The first name, in byte order, of the inode that this name links to.
    pub inode: Vec<u8>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    File { size: u64, sha256: [u8; 32] },
    Directory,
    Symlink(Vec<u8>),
    Fifo,
    Socket,
    Character { major: u32, minor: u32 },
    Block { major: u32, minor: u32 },
}

impl Tree {
    /// Reads the tree below `root` without following symlinks.
    pub fn read(root: &Path) -> io::Result<Tree> {
        let mut walk = Walk { nodes: BTreeMap::new(), inodes: BTreeMap::new() };
        walk.visit(root, Vec::new())?;
        Ok(Tree(walk.nodes))
    }

    // Each user of this file needs some of these only.
    #[allow(dead_code)]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    #[allow(dead_code)]
    pub fn get(&self, path: &str) -> Option<&Node> {
        self.0.get(path.as_bytes())
    }

    #[allow(dead_code)]
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.0.values()
    }

    /// Leaves only what is below the root.
    #[allow(dead_code)]
    pub fn forget_root(&mut self) {
        self.0.remove(&b""[..]);
    }

    /// As an overlay of this tree's directory and of `upper`'s looks, where the upper one has no
    /// whiteouts and no file in place of a directory.
    #[allow(dead_code)]
    pub fn lay_over(&mut self, upper: Tree) {
        self.0.extend(upper.0);
    }

    /// One line for each difference, in the order of the paths.
    pub fn differences(&self, other: &Tree) -> Vec<Difference> {
        let mut found = Vec::new();
        for (path, mine) in &self.0 {
            match other.0.get(path) {
                Some(theirs) => mine.differences(theirs, path, &mut found),
                None => found.push(Difference::new(path, "only in the first", mine.kind.name())),
            }
        }
        for (path, theirs) in other.0.iter().filter(|(path, _)| !self.0.contains_key(*path)) {
            found.push(Difference::new(path, "only in the second", theirs.kind.name()));
        }
        found.sort_by(|a, b| a.path.cmp(&b.path));
        found
    }
}

/// One property of one name in which two trees differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    pub path: Vec<u8>,
    pub what: String,
    detail: String,
}

impl Difference {
    fn new(path: &[u8], what: impl Into<String>, detail: impl Into<String>) -> Difference {
        Difference { path: path.to_vec(), what: what.into(), detail: detail.into() }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\": {}: {}", self.path.escape_ascii(), self.what, self.detail)
    }
}

impl Node {
    fn differences(&self, other: &Node, path: &[u8], found: &mut Vec<Difference>) {
        let mut note = |what: &str, mine: String, theirs: String| {
            if mine != theirs {
                found.push(Difference::new(path, what, format!("{mine} and {theirs}")));
            }
        };
        note("kind", self.kind.to_string(), other.kind.to_string());
        note("mode", format!("{:o}", self.mode), format!("{:o}", other.mode));
        note("owner", format!("{:?}", self.owner), format!("{:?}", other.owner));
        note("mtime", format!("{:?}", self.mtime), format!("{:?}", other.mtime));
        note("inode", escape(&self.inode), escape(&other.inode));
        for name in self.xattrs.keys().chain(other.xattrs.keys()) {
            let value = |node: &Node| node.xattrs.get(name).map_or("none".into(), |v| escape(v));
            let what = format!("xattr {}", name.escape_ascii());
            if self.xattrs.get(name) != other.xattrs.get(name)
                && !found.iter().any(|d| d.path == path && d.what == what)
            {
                let detail = format!("{} and {}", value(self), value(other));
                found.push(Difference::new(path, what, detail));
            }
        }
    }
}

fn escape(bytes: &[u8]) -> String {
    format!("\"{}\"", bytes.escape_ascii())
}

impl Kind {
    fn name(&self) -> &'static str {
        match self {
            Kind::File { .. } => "file",
            Kind::Directory => "directory",
            Kind::Symlink(_) => "symlink",
            Kind::Fifo => "FIFO",
            Kind::Socket => "socket",
            Kind::Character { .. } => "character device",
            Kind::Block { .. } => "block device",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        match self {
            Kind::File { size, sha256 } => {
                write!(f, " of {size} bytes, sha256 ")?;
                sha256.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
            Kind::Symlink(target) => write!(f, " to {}", escape(target)),
            Kind::Character { major, minor } | Kind::Block { major, minor } => {
                write!(f, " {major}:{minor}")
            }
            Kind::Directory | Kind::Fifo | Kind::Socket => Ok(()),
        }
    }
}

struct Walk {
    nodes: BTreeMap<Vec<u8>, Node>,
    /// Device and inode number, to the first name met and its contents.
    inodes: BTreeMap<(u64, u64), (Vec<u8>, Kind)>,
}

impl Walk {
    fn visit(&mut self, at: &Path, name: Vec<u8>) -> io::Result<()> {
        let stat = fs::symlink_metadata(at)?;
        let number = (stat.dev(), stat.ino());
        // A hardlinked gigabyte is hashed once.
        let (inode, kind) = match self.inodes.get(&number) {
            Some(seen) if !stat.is_dir() => seen.clone(),
            _ => (name.clone(), read_kind(at, &stat)?),
        };
        if stat.nlink() > 1 && !stat.is_dir() {
            self.inodes.entry(number).or_insert_with(|| (inode.clone(), kind.clone()));
        }
        let node = Node {
            kind,
            mode: stat.mode() & 0o7777,
            owner: (stat.uid(), stat.gid()),
            mtime: (stat.mtime(), stat.mtime_nsec()),
            xattrs: read_xattrs(at)?,
            inode,
        };
        self.nodes.insert(name.clone(), node);
        if stat.is_dir() {
            let mut children = fs::read_dir(at)?
                .map(|entry| entry.map(|entry| entry.file_name()))
                .collect::<io::Result<Vec<_>>>()?;
            // So that "the first name" of an inode does not depend on the order of a directory.
            children.sort();
            for child in children {
                let mut path = name.clone();
                if !path.is_empty() {
                    path.push(b'/');
                }
                path.extend_from_slice(child.as_bytes());
                self.visit(&at.join(&child), path)?;
            }
        }
        Ok(())
    }
}

fn read_kind(at: &Path, stat: &fs::Metadata) -> io::Result<Kind> {
    let kind = stat.file_type();
    let (major, minor) = (rustix::fs::major(stat.rdev()), rustix::fs::minor(stat.rdev()));
    Ok(if kind.is_dir() {
        Kind::Directory
    } else if kind.is_symlink() {
        Kind::Symlink(fs::read_link(at)?.as_os_str().as_bytes().to_vec())
    } else if kind.is_fifo() {
        Kind::Fifo
    } else if kind.is_socket() {
        Kind::Socket
    } else if kind.is_char_device() {
        Kind::Character { major, minor }
    } else if kind.is_block_device() {
        Kind::Block { major, minor }
    } else {
        let mut hash = Sha256::new();
        let mut file = File::open(at)?;
        let mut buffer = vec![0; 1 << 20];
        loop {
            match io::Read::read(&mut file, &mut buffer)? {
                0 => break,
                n => hash.update(&buffer[..n]),
            }
        }
        Kind::File { size: stat.len(), sha256: hash.finalize().into() }
    })
}

fn read_xattrs(at: &Path) -> io::Result<BTreeMap<Vec<u8>, Vec<u8>>> {
    let names = match xattr::list(at) {
        Err(error) if Errno::from_io_error(&error) == Some(Errno::NOTSUP) => XAttrs::default(),
        names => names?,
    };
    let get = |name: OsString| {
        let value = xattr::get(at, &name)?.ok_or(Errno::NODATA)?;
        Ok((name.into_vec(), value))
    };
    names.map(get).collect()
}
