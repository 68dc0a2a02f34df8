// SPDX-License-Identifier: Apache-2.0
//! What is in plain archives, as a list of what to make, in memory.

use std::collections::HashMap;
use std::ffi::CString;
use std::fs::File;
use std::io::{self, Cursor};
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Gid, Mode, Timespec, Timestamps, Uid, makedev};
use rustix::mm::{MapFlags, ProtFlags, mmap};
use tar::{Entry, EntryType, Header};

use crate::Result;

/// A parent is a number: 0 is the root, and a directory's one more than its place in the list.
#[derive(Default)]
pub struct Wanted {
    pub directories: Vec<Node<()>>,
    pub others: Vec<Node<Other>>,
    /// With the path of what they link to.
    pub links: Vec<Node<CString>>,
    numbers: HashMap<Vec<u8>, usize>,
}

pub struct Node<T> {
    pub parent: usize,
    pub name: CString,
    pub mode: Mode,
    /// None is root, whom new files belong to.
    pub owner: Option<(Uid, Gid)>,
    pub times: Timestamps,
    pub what: T,
}

pub enum Other {
    File(&'static [u8]),
    Symlink(CString),
    Device(FileType, u64),
}

impl Wanted {
    pub fn in_archives(archives: &[PathBuf]) -> Result<Wanted> {
        let mut wanted = Wanted::default();
        for archive in archives {
            let archive = in_memory(archive)?;
            for entry in tar::Archive::new(Cursor::new(archive)).entries_with_seek()? {
                wanted.add(&entry?, archive)?;
            }
        }
        Ok(wanted)
    }

    fn add(&mut self, entry: &Entry<'_, Cursor<&[u8]>>, archive: &'static [u8]) -> Result<()> {
        let path = entry.path_bytes();
        let path = path.strip_prefix(b"./").unwrap_or(&path);
        let path = path.strip_suffix(b"/").unwrap_or(path);
        if path.is_empty() {
            return Ok(());
        }
        let (parent, name) = match path.iter().rposition(|&byte| byte == b'/') {
            Some(slash) => {
                let parent = self.numbers.get(&path[..slash]);
                (*parent.ok_or("a parent without an entry")?, &path[slash + 1..])
            }
            None => (0, path),
        };
        let header = entry.header();
        let node = Node::new(parent, name, header)?;
        match header.entry_type() {
            EntryType::Directory => match self.numbers.get(path) {
                // A later layer has the last word.
                Some(number) => self.directories[number - 1] = node,
                None => {
                    self.directories.push(node);
                    self.numbers.insert(path.to_vec(), self.directories.len());
                }
            },
            EntryType::Link => self.links.push(node.with(target(entry)?)),
            EntryType::Symlink => self.others.push(node.with(Other::Symlink(target(entry)?))),
            EntryType::Char => {
                self.others.push(node.with(device(FileType::CharacterDevice, header)?));
            }
            EntryType::Block => self.others.push(node.with(device(FileType::BlockDevice, header)?)),
            EntryType::Fifo => self.others.push(node.with(device(FileType::Fifo, header)?)),
            _ => {
                let start = usize::try_from(entry.raw_file_position())?;
                let bytes = &archive[start..start + usize::try_from(entry.size())?];
                self.others.push(node.with(Other::File(bytes)));
            }
        }
        Ok(())
    }

    /// All but directories and links, in pieces of so many entries or bytes.
    pub fn shares(&self, (entries, bytes): (usize, usize)) -> Vec<&[Node<Other>]> {
        let (mut shares, mut rest) = (Vec::new(), &self.others[..]);
        while !rest.is_empty() {
            let mut sum = 0;
            let full = rest.iter().take(entries).position(|node| {
                sum += node.what.size();
                sum >= bytes
            });
            let (share, left) =
                rest.split_at(full.map_or(entries.min(rest.len()), |last| last + 1));
            shares.push(share);
            rest = left;
        }
        shares
    }
}

impl Node<()> {
    fn new(parent: usize, name: &[u8], header: &Header) -> Result<Node<()>> {
        let owner = (u32::try_from(header.uid()?)?, u32::try_from(header.gid()?)?);
        let time = Timespec { tv_sec: header.mtime()?.try_into()?, tv_nsec: 0 };
        Ok(Node {
            parent,
            name: CString::new(name)?,
            mode: Mode::from_raw_mode(header.mode()?),
            owner: (owner != (0, 0)).then(|| (Uid::from_raw(owner.0), Gid::from_raw(owner.1))),
            times: Timestamps { last_access: time, last_modification: time },
            what: (),
        })
    }

    fn with<T>(self, what: T) -> Node<T> {
        let Node { parent, name, mode, owner, times, what: () } = self;
        Node { parent, name, mode, owner, times, what }
    }
}

impl Other {
    fn size(&self) -> usize {
        if let Other::File(bytes) = self { bytes.len() } else { 0 }
    }
}

fn target(entry: &Entry<'_, Cursor<&[u8]>>) -> Result<CString> {
    Ok(CString::new(entry.link_name_bytes().ok_or("a link to nothing")?)?)
}

fn device(kind: FileType, header: &Header) -> io::Result<Other> {
    let (major, minor) = (header.device_major()?, header.device_minor()?);
    Ok(Other::Device(kind, makedev(major.unwrap_or(0), minor.unwrap_or(0))))
}

/// Mapped and present, so that no time goes into page faults later; until the process ends.
fn in_memory(archive: &Path) -> Result<&'static [u8]> {
    let file = File::open(archive)?;
    let length = usize::try_from(file.metadata()?.len())?;
    let flags = MapFlags::PRIVATE | MapFlags::POPULATE;
    // SAFETY: a new mapping where the kernel likes, which nobody unmaps; the benchmark's own file,
    // which nobody changes.
    unsafe {
        let start = mmap(std::ptr::null_mut(), length, ProtFlags::READ, flags, &file, 0)?;
        Ok(std::slice::from_raw_parts(start.cast(), length))
    }
}
