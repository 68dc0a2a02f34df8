// SPDX-License-Identifier: Apache-2.0
//! What a layer says of an inode, as unpack would have left it: hardlinks are several names of one.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use rustix::fs::{FileType, Stat, major, minor};
use sha2::{Digest, Sha256};

use super::spool::Extent;
use crate::layer::xattrs::{self, ACCESS_ACL, CAPABILITY, DEFAULT_ACL};
use crate::layer::{self, LayerError};
use crate::options::Owners;
use crate::tar::{Entry, Kind, Time};

/// Names and values.
pub(super) type Xattrs = Vec<(Vec<u8>, Vec<u8>)>;

/// One inode of the layer.
pub(super) struct Inode {
    pub(super) kind: Kind,
    /// What a lower layer has at this path: nothing is known of it but that its names are one, and
    /// where it leads if it is a symlink.
    pub(super) lower: Option<Box<[u8]>>,
    pub(super) mode: u32,
    /// None: whoever unpacked.
    pub(super) owner: Option<(u32, u32)>,
    pub(super) mtime: Time,
    pub(super) size: u64,
    /// Target of a symlink.
    pub(super) link: Box<[u8]>,
    pub(super) device: (u32, u32),
    pub(super) xattrs: Xattrs,
    /// Of a file.
    pub(super) content: RefCell<Content>,
    /// The content, where it was kept for restoring.
    pub(super) kept: RefCell<Option<Box<[Extent]>>>,
    /// Device and inode of its first name that was looked at.
    pub(super) on_disk: Cell<Option<(u64, u64)>>,
}

/// How the content in the layer compares with the file that has the entry's name now. That need not be
/// the inode's own any more: a later entry of the layer may have replaced it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Content {
    /// Not read yet, or no file.
    Unknown,
    /// As in the file at this path.
    At(Box<[u8]>),
    /// Not as in the file at this path, but this is its digest; none of a sparse file.
    NotAt(Box<[u8]>, Option<[u8; 32]>),
}

impl Inode {
    /// As unpack with these owners leaves what the entry describes.
    pub(super) fn of(entry: &Entry, owners: &Owners) -> Result<Rc<Inode>, LayerError> {
        let owner = layer::owner(owners, (entry.uid, entry.gid))?;
        let mut kept = Vec::new();
        for (name, value) in &entry.xattrs {
            if xattrs::refusal(name, entry.kind).is_some() {
                continue;
            }
            let value = xattrs::on_disk(name, value, owners)?.into_owned();
            let value = match &name[..] {
                ACCESS_ACL => access_acl(value, entry.mode),
                // One without entries, or that is none, is not kept.
                DEFAULT_ACL => {
                    (value.len() > 4 && value.starts_with(&ACL_VERSION)).then_some(value)
                }
                CAPABILITY => Some(capability(value)),
                _ => Some(value),
            };
            kept.extend(value.map(|value| (name.clone(), value)));
        }
        Ok(Rc::new(Inode {
            kind: entry.kind,
            lower: None,
            mode: entry.mode,
            owner,
            mtime: entry.mtime,
            size: entry.size,
            link: entry.link.as_slice().into(),
            device: entry.device,
            xattrs: kept,
            content: RefCell::new(Content::Unknown),
            kept: RefCell::default(),
            on_disk: Cell::default(),
        }))
    }

    /// Memory that its xattrs take.
    pub(super) fn xattr_bytes(&self) -> u64 {
        /// Of two vectors, and what an allocator adds to each.
        const PAIR: usize = 80;
        let pairs = self.xattrs.iter();
        pairs.map(|(name, value)| (PAIR + name.len() + value.len()) as u64).sum()
    }

    /// What a lower layer has at `path`, copied up for a hardlink to it; with its target if that is a
    /// symlink.
    pub(super) fn of_lower(path: &[u8], link: Option<Vec<u8>>) -> Rc<Inode> {
        Rc::new(Inode {
            kind: if link.is_some() { Kind::Symlink } else { Kind::File },
            lower: Some(path.into()),
            link: link.unwrap_or_default().into(),
            ..Inode::directory(0, None)
        })
    }
}

impl Inode {
    /// A directory that nothing describes.
    pub(super) fn directory(mode: u32, owner: Option<(u32, u32)>) -> Inode {
        Inode {
            kind: Kind::Directory,
            lower: None,
            mode,
            owner,
            mtime: Time::default(),
            size: 0,
            link: Box::default(),
            device: (0, 0),
            xattrs: Vec::new(),
            content: RefCell::new(Content::Unknown),
            kept: RefCell::default(),
            on_disk: Cell::default(),
        }
    }

    /// As something is on disk.
    pub(super) fn on_disk(stat: &Stat, xattrs: Xattrs, link: Vec<u8>) -> Inode {
        Inode {
            kind: match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory => Kind::Directory,
                FileType::Symlink => Kind::Symlink,
                FileType::Fifo => Kind::Fifo,
                FileType::CharacterDevice => Kind::CharDevice,
                FileType::BlockDevice => Kind::BlockDevice,
                _ => Kind::File,
            },
            mtime: Time { seconds: stat.st_mtime, nanoseconds: stat.st_mtime_nsec as u32 },
            size: stat.st_size as u64,
            link: link.into(),
            device: (major(stat.st_rdev), minor(stat.st_rdev)),
            xattrs,
            ..Inode::directory(stat.st_mode & 0o7777, Some((stat.st_uid, stat.st_gid)))
        }
    }
}

/// linux/posix_acl_xattr.h.
const ACL_VERSION: [u8; 4] = [2, 0, 0, 0];

/// What chmod(2) to `mode` leaves of an ACL (acl(5)): the owner's, the others' and the mask's
/// permissions are the mode's. None where there is then no more in it than in the mode, which the kernel
/// does not keep, or where it was no ACL.
fn access_acl(mut value: Vec<u8>, mode: u32) -> Option<Vec<u8>> {
    const USER_OBJ: u16 = 1;
    const GROUP_OBJ: u16 = 4;
    const MASK: u16 = 16;
    const OTHER: u16 = 32;
    let entries = value.strip_prefix(&ACL_VERSION)?;
    let tags = entries.chunks_exact(8).map(|entry| u16::from_le_bytes([entry[0], entry[1]]));
    let masked = tags.clone().any(|tag| tag == MASK);
    if tags.clone().all(|tag| matches!(tag, USER_OBJ | GROUP_OBJ | OTHER)) {
        return None;
    }
    for entry in value[ACL_VERSION.len()..].chunks_exact_mut(8) {
        let bits = match u16::from_le_bytes([entry[0], entry[1]]) {
            USER_OBJ => mode >> 6,
            GROUP_OBJ if !masked => mode >> 3,
            MASK => mode >> 3,
            OTHER => mode,
            _ => continue,
        };
        entry[2..4].copy_from_slice(&((bits & 7) as u16).to_le_bytes());
    }
    Some(value)
}

/// A root of 0 is how revision 2 says it, and the kernel gives that back (capabilities(7)).
pub(super) fn capability(mut value: Vec<u8>) -> Vec<u8> {
    const REVISION: usize = 3;
    const ROOT: usize = 20;
    if value.len() == ROOT + 4 && value[REVISION] == 3 && value[ROOT..] == [0; 4] {
        value.truncate(ROOT);
        value[REVISION] = 2;
    }
    value
}

/// Content on its way past: compared with a file for as long as that is the same, and hashed from there
/// on.
#[derive(Default)]
pub(super) struct Hashing(Option<Sha256>);

impl Hashing {
    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.0.get_or_insert_default().update(bytes);
    }

    pub(super) fn finish(self) -> [u8; 32] {
        self.0.unwrap_or_default().finalize().into()
    }
}
