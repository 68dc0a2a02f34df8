// SPDX-License-Identifier: Apache-2.0
//! The directories that this unpack has seen: where they are, and what they still need.
//!
//! Only directories are remembered. A file is made and forgotten, so memory grows with the number
//! of directories in a layer and not with its size.

use std::collections::{BTreeMap, HashSet};
use std::rc::Rc;

use rustix::fs::Timestamps;

use super::hash::{PathHash, PathHashes};
use super::lowers::{Lower, Place};

/// Memory that a directory takes here, its place in its parent and in lists of the job included.
const DIR_BYTES: u64 = 512;

/// The same for a name that is remembered in a directory that earlier layers have filled.
const NAME_BYTES: u64 = 64;

/// The same for each place of a directory that a redirect has led to.
const MOVED_BYTES: u64 = 64;

/// Memory that a directory of this name takes.
pub(crate) fn dir_bytes(name: &[u8]) -> u64 {
    DIR_BYTES + 2 * name.len() as u64
}

/// A directory, by its number. Numbers are never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct DirId(u32);

impl DirId {
    pub(crate) const ROOT: DirId = DirId(0);

    /// The directory of this number, in a tree that numbers them itself.
    pub(crate) fn new(number: u32) -> DirId {
        DirId(number)
    }

    pub(crate) fn number(self) -> u32 {
        self.0
    }
}

/// Which of the lower layers have a directory of the same name that shows through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Below {
    /// Nobody has looked yet.
    Unasked,
    /// The parents were not given.
    Unknown,
    /// The parents are still being made.
    Awaited,
    /// Exactly these.
    Layers(Rc<Merged>),
}

/// The parts that lower layers have of one directory.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Merged {
    /// Topmost first, by their position among the lowers.
    pub(crate) layers: Box<[Lower]>,
    /// From which layer on down it is elsewhere, and where: one for each redirect on the way.
    moved: Box<[(Lower, Place)]>,
}

impl Merged {
    /// All layers, each with all of itself: the root.
    pub(crate) fn all(layers: impl Iterator<Item = Lower>) -> Merged {
        Merged { layers: layers.collect(), moved: Box::default() }
    }

    /// A directory of this name, as it was found.
    pub(crate) fn new(name: &[u8], found: Vec<(Lower, Place)>) -> Merged {
        let layers = found.iter().map(|(layer, _)| *layer).collect();
        let mut moved: Vec<(Lower, Place)> = Vec::new();
        for (layer, place) in found {
            let same = match moved.last() {
                Some((_, last)) => place == *last,
                None => matches!(&place, Place::Beside(beside) if **beside == *name),
            };
            if !same {
                moved.push((layer, place));
            }
        }
        Merged { layers, moved: moved.into() }
    }

    /// Where a layer has it, if that is elsewhere.
    fn moved(&self, layer: Lower) -> Option<&Place> {
        let place = self.moved.iter().rev().find(|(from, _)| *from <= layer);
        place.map(|(_, place)| place)
    }

    fn bytes(&self) -> u64 {
        let moved = self.moved.iter().map(|(_, place)| MOVED_BYTES + place.as_bytes().len() as u64);
        2 * self.layers.len() as u64 + moved.sum::<u64>()
    }
}

impl Below {
    pub(crate) fn nothing() -> Below {
        Below::Layers(Rc::default())
    }

    fn bytes(&self) -> u64 {
        match self {
            Below::Layers(merged) => merged.bytes(),
            Below::Unasked | Below::Unknown | Below::Awaited => 0,
        }
    }
}

/// One directory of the merged view.
#[derive(Debug)]
pub(crate) struct Dir {
    pub(crate) parent: DirId,
    pub(crate) name: Box<[u8]>,
    /// How many directories lead to it.
    pub(crate) depth: u32,
    /// Stands for its path: two of one path have the same, whatever came between them.
    pub(crate) path_hash: PathHash,
    children: BTreeMap<Box<[u8]>, DirId>,
    pub(crate) below: Below,
    /// It exists in the root, not only in a lower directory.
    pub(crate) in_root: bool,
    /// It was there before, so it may hold directories that nobody has looked at.
    pub(crate) adopted: bool,
    /// Directory mode with a named upper directory: it is not in there yet, so an opaque mark that
    /// it has there after a copy-up came along from a lower layer.
    pub(crate) only_below: bool,
    /// It holds what earlier layers put there, among our own. Only in directory mode.
    pub(crate) found: bool,
    /// In a found directory: the names that this layer made.
    ours: HashSet<Box<[u8]>>,
    /// An entry of this layer is it, or is below it. Whiteouts are not entries in this sense.
    pub(crate) claimed: bool,
    /// An entry of this layer describes it.
    pub(crate) described: bool,
    /// Overlay modes: it is marked opaque.
    pub(crate) opaque: bool,
    /// Its attributes come from a lower layer.
    pub(crate) inherited: bool,
    /// Its group, which new files in it may inherit.
    pub(crate) gid: u32,
    /// New directories in it become setgid.
    pub(crate) setgid: bool,
    /// It has a default ACL, which new files in it do inherit.
    pub(crate) default_acl: bool,
    /// Overlay modes: what could be in the way below it has gone, since nothing shows through it.
    pub(crate) cleared: bool,
    /// There may be whiteouts of this layer in it.
    pub(crate) whiteouts: bool,
    /// The mode that it had before it was made writable for this unpack.
    pub(crate) locked: Option<u32>,
    pub(crate) pending: Pending,
}

/// What is set when nothing more happens in the directory.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    pub(crate) mode: Option<u32>,
    pub(crate) times: Option<Timestamps>,
    /// Value of `system.posix_acl_default`: set any earlier, files of this layer would inherit it.
    pub(crate) default_acl: Option<Box<[u8]>>,
    /// Something was made or removed inside, so `times` no longer hold.
    pub(crate) touched: bool,
}

impl Dir {
    pub(crate) fn new(parent: DirId, name: &[u8], below: Below) -> Dir {
        Dir {
            parent,
            name: name.into(),
            depth: 0,
            path_hash: PathHash::ROOT,
            children: BTreeMap::new(),
            below,
            in_root: false,
            adopted: false,
            only_below: false,
            found: false,
            ours: HashSet::new(),
            claimed: false,
            described: false,
            opaque: false,
            inherited: false,
            gid: 0,
            setgid: false,
            default_acl: false,
            cleared: false,
            whiteouts: false,
            locked: None,
            pending: Pending::default(),
        }
    }
}

/// All directories seen, each below its parent.
#[derive(Debug)]
pub(crate) struct Tree {
    /// Forgotten ones leave a hole: they are few, and numbers stay valid.
    dirs: Vec<Option<Dir>>,
    hashes: PathHashes,
    /// What the directories take, those that were forgotten included: numbers are not reused.
    bytes: u64,
}

impl Tree {
    pub(crate) fn new(root: Dir) -> Tree {
        Tree { dirs: vec![Some(root)], hashes: PathHashes::default(), bytes: 0 }
    }

    pub(crate) fn dir(&self, id: DirId) -> &Dir {
        self.dirs[id.0 as usize].as_ref().expect("a forgotten directory is never asked for")
    }

    pub(crate) fn dir_mut(&mut self, id: DirId) -> &mut Dir {
        self.dirs[id.0 as usize].as_mut().expect("a forgotten directory is never asked for")
    }

    pub(crate) fn child(&self, parent: DirId, name: &[u8]) -> Option<DirId> {
        self.dir(parent).children.get(name).copied()
    }

    pub(crate) fn add(&mut self, mut dir: Dir) -> DirId {
        let parent = self.dir(dir.parent);
        dir.depth = parent.depth + 1;
        dir.path_hash = self.hashes.of(parent.path_hash, &dir.name);
        self.bytes += dir_bytes(&dir.name) + dir.below.bytes();
        let id = DirId(u32::try_from(self.dirs.len()).expect("the entry limit is far below"));
        self.dir_mut(dir.parent).children.insert(dir.name.clone(), id);
        self.dirs.push(Some(dir));
        id
    }

    /// Drops a directory and all below it; `gone` hears of each.
    pub(crate) fn forget(&mut self, id: DirId, mut gone: impl FnMut(DirId)) {
        let (parent, name) = (self.dir(id).parent, self.dir(id).name.clone());
        self.dir_mut(parent).children.remove(&name);
        let mut doomed = vec![id];
        while let Some(id) = doomed.pop() {
            let dir = self.dirs[id.0 as usize].take().expect("a tree has no loops");
            doomed.extend(dir.children.values());
            gone(id);
        }
    }

    /// Directories below `id`, one level down.
    pub(crate) fn children(&self, id: DirId) -> Vec<DirId> {
        self.dir(id).children.values().copied().collect()
    }

    /// Bytes of memory that all of this takes, or a little less.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Stands for the path of a name in a directory.
    pub(crate) fn hash(&self, dir: DirId, name: &[u8]) -> PathHash {
        self.hashes.of(self.dir(dir).path_hash, name)
    }

    /// The directory itself, and those that lead to it, up to the root.
    pub(crate) fn hashes_above(&self, id: DirId) -> impl Iterator<Item = PathHash> {
        let parent = |id: &DirId| (*id != DirId::ROOT).then(|| self.dir(*id).parent);
        std::iter::successors(Some(id), parent).map(|id| self.dir(id).path_hash)
    }

    /// Notes what lower layers have of a directory.
    pub(crate) fn set_below(&mut self, id: DirId, below: Below) {
        self.bytes += below.bytes();
        self.dir_mut(id).below = below;
    }

    /// Path below the root of a lower layer that has part of the directory.
    pub(crate) fn path_in(&self, id: DirId, layer: Lower) -> Vec<u8> {
        let mut parts: Vec<&[u8]> = Vec::new();
        let mut at = id;
        while at != DirId::ROOT {
            let dir = self.dir(at);
            let moved = match &dir.below {
                Below::Layers(merged) => merged.moved(layer),
                Below::Unasked | Below::Unknown | Below::Awaited => None,
            };
            match moved {
                Some(Place::At(path)) => {
                    parts.push(path);
                    break;
                }
                Some(Place::Beside(name)) => parts.push(name),
                None => parts.push(&dir.name),
            }
            at = dir.parent;
        }
        parts.reverse();
        parts.join(&b'/')
    }

    /// Path below the root, for opening; empty for the root.
    pub(crate) fn path(&self, id: DirId) -> Vec<u8> {
        let mut parts = Vec::new();
        let mut at = id;
        while at != DirId::ROOT {
            parts.push(&*self.dir(at).name);
            at = self.dir(at).parent;
        }
        parts.reverse();
        parts.join(&b'/')
    }

    /// Whether the name in this directory was made by the layer being applied.
    pub(crate) fn is_ours(&self, dir: DirId, name: &[u8]) -> bool {
        let dir = self.dir(dir);
        !dir.found || dir.ours.contains(name)
    }

    /// Notes that an entry of this layer has this name.
    pub(crate) fn claim(&mut self, parent: DirId, name: &[u8]) {
        let mut dir = self.dir_mut(parent);
        dir.pending.touched = true;
        if dir.found && !dir.ours.contains(name) {
            dir.ours.insert(name.into());
            self.bytes += NAME_BYTES + name.len() as u64;
        }
        self.claim_dir(parent);
        // The name may have been a directory that only a whiteout had implied.
        if let Some(child) = self.child(parent, name) {
            dir = self.dir_mut(child);
            dir.claimed = true;
        }
    }

    /// Notes that the directory itself, and so each of its parents, belongs to this layer.
    pub(crate) fn claim_dir(&mut self, id: DirId) {
        let mut at = id;
        while !self.dir(at).claimed {
            self.dir_mut(at).claimed = true;
            let (parent, name) = (self.dir(at).parent, self.dir(at).name.clone());
            let above = self.dir_mut(parent);
            if at != DirId::ROOT && above.found {
                above.ours.insert(name);
            }
            at = parent;
        }
    }

    /// The name is gone from the directory.
    pub(crate) fn disclaim(&mut self, parent: DirId, name: &[u8]) {
        self.dir_mut(parent).ours.remove(name);
    }

    /// From now on everything in the directory is this layer's.
    pub(crate) fn all_ours(&mut self, id: DirId) {
        let dir = self.dir_mut(id);
        dir.found = false;
        dir.ours = HashSet::new();
    }
}
