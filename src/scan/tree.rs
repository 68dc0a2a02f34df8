// SPDX-License-Identifier: Apache-2.0
//! The tree that a layer makes, as far as refusals depend on it: which names are directories, which
//! are symlinks and where those lead. Unpack asks the file system; scan has only this.
//!
//! A name is kept as a hash of itself and its directory's number. The hash is keyed anew for each
//! scan, so no layer can be made to collide. A directory that is replaced loses its number, and
//! with that everything below it.

use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState};

use rustix::io::Errno;

use crate::apply::ApplyError;
use crate::error::Cause;
use crate::layer::{self, IMPLIED_OWNER, LayerError, LinkTarget, LinkedLowers, Parents};
use crate::options::Owners;
use crate::resolve::{
    self, Component, DirId, PathHash, PathHashes, ResolveError, Seen, Step, View, Walk,
};

/// Names and directories that are kept. With [`TEXT_MAX`] this bounds the tree to some 100 MB,
/// whatever the layer; the largest images have a few hundred thousand names in one layer.
const NAMES_MAX: usize = 1 << 20;

/// Bytes of directory names, symlink targets and targets of hardlinks to lower layers.
const TEXT_MAX: usize = 16 << 20;

/// What lies below the layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lower {
    /// Nothing: this is the bottom layer.
    Nothing,
    /// Not known, and unpack would not know either: it refuses what depends on it.
    Unknown,
    /// Not known here, but unpack would see it: what depends on it is left open.
    Unseen,
}

/// Whether a name was new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Made {
    First,
    /// The layer had an entry of this name already.
    Again,
}

pub(super) struct Tree {
    lower: Lower,
    overlay: bool,
    owners: Owners,
    dirs: Vec<Dir>,
    names: HashMap<u64, Node, BuildHasherDefault<Keyed>>,
    keys: RandomState,
    /// Names of directories and targets of symlinks, each behind its length.
    text: Vec<u8>,
    /// Lower files that the layer has hardlinks to. A whiteout of one contradicts the link.
    linked: LinkedLowers,
    hashes: PathHashes,
    /// Memory that unpack's tree takes for these directories.
    bytes: u64,
    depth_limit: usize,
    root_described: bool,
    /// Something was put into a directory that may be elsewhere: it may have replaced what the layer has
    /// under any name.
    strays: bool,
}

#[derive(Debug, Clone, Copy)]
struct Node {
    kind: NodeKind,
    /// An entry of the layer has this name; otherwise one only implies it, or whites it out.
    described: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum NodeKind {
    Dir(DirId),
    /// Its target, in the texts.
    Symlink(u32),
    /// A hardlink to what only a lower layer has.
    Lower,
    Other,
    Whiteout,
}

struct Dir {
    parent: DirId,
    depth: u32,
    path_hash: PathHash,
    /// In the texts.
    name: u32,
    /// Directories in it, newest first, chained by `sibling`; replaced ones too.
    child: Option<DirId>,
    sibling: Option<DirId>,
    /// An entry of the layer is it, or is below it. Whiteouts are not entries in this sense.
    claimed: bool,
    replaced: bool,
    /// Nothing of the lower layers shows through.
    bare: bool,
    /// The layer only implies it, or one that leads to it: then that may be a symlink of a lower layer.
    elsewhere: bool,
}

impl Tree {
    pub(super) fn new(lower: Lower, overlay: bool, owners: Owners, depth_limit: usize) -> Tree {
        let root = Dir {
            parent: DirId::ROOT,
            depth: 0,
            path_hash: PathHash::ROOT,
            name: 0,
            child: None,
            sibling: None,
            claimed: false,
            replaced: false,
            bare: lower == Lower::Nothing,
            elsewhere: false,
        };
        Tree {
            lower,
            overlay,
            owners,
            dirs: vec![root],
            names: HashMap::default(),
            keys: RandomState::new(),
            text: vec![0; size_of::<u32>()],
            linked: LinkedLowers::default(),
            hashes: PathHashes::default(),
            bytes: 0,
            depth_limit,
            root_described: false,
            strays: false,
        }
    }

    /// Nothing more may be added. What the tree says from then on would be guessed.
    pub(super) fn is_full(&self) -> bool {
        self.names.len().max(self.dirs.len()) >= NAMES_MAX
            || self.text.len() + self.linked.bytes() as usize >= TEXT_MAX
    }

    pub(super) fn make_dir(&mut self, parent: &[u8], name: Component<'_>) -> Result<Made, Cause> {
        let dir = self.reach(parent)?.dir;
        let made = self.note(dir, name);
        let child = match self.node(dir, name).map(|node| node.kind) {
            Some(NodeKind::Dir(child)) => {
                self.put(dir, name, NodeKind::Dir(child), true);
                child
            }
            _ => self.new_dir(dir, name, true),
        };
        self.dir_mut(child).claimed = true;
        self.claim(dir);
        Ok(made)
    }

    /// Anything but a directory or a hardlink; of a symlink, the target.
    pub(super) fn make_other(
        &mut self,
        parent: &[u8],
        name: Component<'_>,
        target: Option<&[u8]>,
    ) -> Result<Made, Cause> {
        let dir = self.reach(parent)?.dir;
        let made = self.note(dir, name);
        let kind = match target {
            Some(target) => NodeKind::Symlink(self.keep(target)),
            None => NodeKind::Other,
        };
        self.replace(dir, name);
        self.put(dir, name, kind, true);
        self.claim(dir);
        Ok(made)
    }

    /// What was refused or skipped after its parents had been made.
    pub(super) fn make_parents(&mut self, parent: &[u8]) -> Result<(), Cause> {
        self.reach(parent).map(drop)
    }

    pub(super) fn link(
        &mut self,
        parent: &[u8],
        name: Component<'_>,
        (target_parent, target): (&[u8], Component<'_>),
    ) -> Result<Made, Cause> {
        let source = self.link_source(target_parent, target)?;
        let dir = self.reach(parent)?.dir;
        let made = self.note(dir, name);
        let kind = match source {
            Some((at, kind)) => {
                // The directory has to go to make way for the link, and the target with it: unless it
                // is a symlink of a lower layer, and the target is elsewhere.
                if let Some(NodeKind::Dir(doomed)) = self.node(dir, name).map(|node| node.kind)
                    && self.is_within(at, doomed)
                    && !(self.strays || self.dir(doomed).elsewhere)
                {
                    return Err(ApplyError::new("linkat", Errno::NOENT).into());
                }
                kind
            }
            None => NodeKind::Lower,
        };
        self.replace(dir, name);
        self.put(dir, name, kind, true);
        self.claim(dir);
        Ok(made)
    }

    /// The target's directory and what it is; none for one in a lower layer.
    fn link_source(
        &mut self,
        parent: &[u8],
        name: Component<'_>,
    ) -> Result<Option<(DirId, NodeKind)>, Cause> {
        let path = || layer::joined(parent, name.as_bytes());
        let absent = match Walk::to(parent).step(self)? {
            Step::Arrived(dir) => {
                self.check_depth(dir)?;
                match self.node(dir, name).map(|node| node.kind) {
                    // It may be a symlink of a lower layer, which can be linked to, or replaced.
                    Some(NodeKind::Dir(child)) if self.strays || self.dir(child).elsewhere => {
                        return Ok(self.link_to_lower(dir, &[name.as_bytes()]));
                    }
                    Some(NodeKind::Dir(_)) => {
                        return Err(LinkTarget::Directory.refusal(path()).into());
                    }
                    Some(NodeKind::Whiteout) => LinkTarget::Nothing,
                    Some(NodeKind::Lower) => return Ok(None),
                    Some(kind) => return Ok(Some((dir, kind))),
                    None if self.dir(dir).bare => LinkTarget::Nothing,
                    None if self.lower == Lower::Unseen => {
                        return Ok(self.link_to_lower(dir, &[name.as_bytes()]));
                    }
                    None => LinkTarget::Unknown,
                }
            }
            Step::Missing(dir, _) if self.lower == Lower::Unseen && !self.dir(dir).bare => {
                return Ok(self.link_to_lower_path(&path()));
            }
            Step::Missing(..) | Step::WhitedOut(..) | Step::Blocked(..) => {
                LinkTarget::absent(self.knows_parents(DirId::ROOT)?)
            }
        };
        if self.strays {
            return Ok(self.link_to_lower_path(&path()));
        }
        Err(absent.refusal(path()).into())
    }

    fn link_to_lower_path<T>(&mut self, path: &[u8]) -> Option<T> {
        let names: Vec<&[u8]> = path.split(|byte| *byte == b'/').collect();
        self.link_to_lower(DirId::ROOT, &names)
    }

    /// To what `names` lead to from a directory of the tree.
    fn link_to_lower<T>(&mut self, dir: DirId, names: &[&[u8]]) -> Option<T> {
        let mut above = vec![self.dir(dir).path_hash];
        let mut at = dir;
        while at != DirId::ROOT {
            at = self.dir(at).parent;
            above.push(self.dir(at).path_hash);
        }
        above.reverse();
        for name in names {
            above.push(self.hashes.of(*above.last().expect("begins with the root"), name));
        }
        let path = above.pop().expect("there is a name");
        self.linked.note(path, above.into_iter().rev());
        None
    }

    pub(super) fn whiteout(&mut self, parent: &[u8], name: Component<'_>) -> Result<(), Cause> {
        let Some(dir) = self.find_dir_to_hide_in(parent)? else { return Ok(()) };
        let hash = self.hash(dir, name);
        // What is linked through a symlink of a lower layer is elsewhere, and stays without that.
        let is_dir = match self.node(dir, name).map(|node| node.kind) {
            Some(NodeKind::Dir(child)) => !(self.strays || self.dir(child).elsewhere),
            _ => self.lower != Lower::Unseen,
        };
        if is_dir || self.linked.is_target(hash) {
            self.refuse_whiteout_of_link_target(hash, || self.path_of(dir, name))?;
        }
        match self.node(dir, name).map(|node| node.kind) {
            Some(NodeKind::Dir(child)) if self.dir(child).claimed => {
                self.nothing_below(child);
                return Ok(());
            }
            // Only a whiteout had implied it.
            Some(NodeKind::Dir(_)) => self.replace(dir, name),
            Some(_) => return Ok(()),
            None => {}
        }
        if !self.dir(dir).bare {
            self.put(dir, name, NodeKind::Whiteout, false);
        }
        Ok(())
    }

    pub(super) fn opaque(&mut self, path: &[u8]) -> Result<(), Cause> {
        let dir = self.reach(path)?.dir;
        let Dir { path_hash, elsewhere, .. } = *self.dir(dir);
        // If the target was linked by this name, it is a symlink that leads to another directory.
        let by_symlink = (elsewhere || self.strays) && !self.linked.contradict_below(path_hash);
        if !by_symlink {
            self.refuse_whiteout_of_link_target(path_hash, || self.path(dir))?;
        }
        self.claim(dir);
        if dir == DirId::ROOT && self.overlay && self.lower == Lower::Unknown {
            return Err(LayerError::OpaqueRootWithoutParents.into());
        }
        self.nothing_below(dir);
        Ok(())
    }

    /// An entry for the root itself.
    pub(super) fn root(&mut self) -> Made {
        self.claim(DirId::ROOT);
        match std::mem::replace(&mut self.root_described, true) {
            true => Made::Again,
            false => Made::First,
        }
    }

    /// A whiteout of a name, or the opaque marker of a directory: no names on disk, so that whether
    /// there was such an entry already is kept by their own names.
    pub(super) fn mark(&mut self, dir: &[u8], hidden: Option<Component<'_>>) -> Made {
        let key = self.keys.hash_one((u32::MAX, dir, hidden.map(Component::as_bytes)));
        let node = Node { kind: NodeKind::Whiteout, described: true };
        if self.names.insert(key, node).is_some() { Made::Again } else { Made::First }
    }

    fn refuse_whiteout_of_link_target(
        &self,
        path: PathHash,
        name: impl FnOnce() -> Vec<u8>,
    ) -> Result<(), LayerError> {
        match self.linked.contradict(path) {
            true => Err(LayerError::LinkTargetWhitedOut(name())),
            false => Ok(()),
        }
    }

    fn hash(&self, dir: DirId, name: Component<'_>) -> PathHash {
        self.hashes.of(self.dir(dir).path_hash, name.as_bytes())
    }

    /// As [`Limits::memory`](crate::Limits::memory) counts them.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes + self.linked.bytes()
    }

    /// From now on nothing shows through this directory, and what only whiteouts implied goes.
    fn nothing_below(&mut self, dir: DirId) {
        let mut waiting = vec![dir];
        while let Some(dir) = waiting.pop() {
            // Whatever came since has it from its parent.
            if self.dir(dir).bare {
                continue;
            }
            self.dir_mut(dir).bare = true;
            let mut next = self.dir(dir).child;
            while let Some(child) = next {
                next = self.dir(child).sibling;
                match (self.dir(child).replaced, self.dir(child).claimed) {
                    (true, _) => {}
                    (false, true) => waiting.push(child),
                    (false, false) => self.forget(child),
                }
            }
        }
    }

    fn new_dir(&mut self, dir: DirId, name: Component<'_>, described: bool) -> DirId {
        let before = self.node(dir, name).map(|node| node.kind);
        let replaced = before.is_some_and(|kind| kind != NodeKind::Lower);
        let id = DirId::new(u32::try_from(self.dirs.len()).expect("bounded by NAMES_MAX"));
        // What it takes the place of has hidden the lower layers, and so does it.
        let bare = replaced || self.dir(dir).bare;
        let may_be_symlink = self.lower == Lower::Unseen && !described && !bare;
        let new = Dir {
            parent: dir,
            depth: self.dir(dir).depth + 1,
            path_hash: self.hash(dir, name),
            name: self.keep(name.as_bytes()),
            child: None,
            sibling: self.dir(dir).child,
            claimed: false,
            replaced: false,
            bare,
            elsewhere: may_be_symlink || self.dir(dir).elsewhere,
        };
        self.dirs.push(new);
        self.bytes += resolve::dir_bytes(name.as_bytes());
        self.dir_mut(dir).child = Some(id);
        self.put(dir, name, NodeKind::Dir(id), described);
        id
    }

    /// Whether an entry of this name was there already.
    fn note(&self, dir: DirId, name: Component<'_>) -> Made {
        match self.node(dir, name) {
            Some(Node { described: true, .. }) => Made::Again,
            _ => Made::First,
        }
    }

    /// What had the name is gone, and all below it.
    fn replace(&mut self, dir: DirId, name: Component<'_>) {
        if let Some(Node { kind: NodeKind::Dir(child), .. }) = self.node(dir, name) {
            self.dir_mut(child).replaced = true;
        }
        self.names.remove(&self.key(dir, name.as_bytes()));
    }

    fn forget(&mut self, dir: DirId) {
        self.dir_mut(dir).replaced = true;
        let key = self.key(self.dir(dir).parent, self.text(self.dir(dir).name));
        self.names.remove(&key);
    }

    /// The directory belongs to this layer, and so does each of its parents.
    fn claim(&mut self, dir: DirId) {
        let mut at = dir;
        while !self.dir(at).claimed {
            self.dir_mut(at).claimed = true;
            at = self.dir(at).parent;
        }
    }

    fn is_within(&self, dir: DirId, above: DirId) -> bool {
        let mut at = dir;
        while at != above && at != DirId::ROOT {
            at = self.dir(at).parent;
        }
        at == above
    }

    fn path_of(&self, dir: DirId, name: Component<'_>) -> Vec<u8> {
        layer::joined(&self.path(dir), name.as_bytes())
    }

    fn dir(&self, dir: DirId) -> &Dir {
        &self.dirs[dir.number() as usize]
    }

    fn dir_mut(&mut self, dir: DirId) -> &mut Dir {
        &mut self.dirs[dir.number() as usize]
    }

    fn node(&self, dir: DirId, name: Component<'_>) -> Option<Node> {
        self.names.get(&self.key(dir, name.as_bytes())).copied()
    }

    fn put(&mut self, dir: DirId, name: Component<'_>, kind: NodeKind, described: bool) {
        // A whiteout hits lower layers only.
        self.strays |= self.dir(dir).elsewhere && kind != NodeKind::Whiteout;
        let key = self.key(dir, name.as_bytes());
        self.names.insert(key, Node { kind, described });
    }

    fn key(&self, dir: DirId, name: &[u8]) -> u64 {
        self.keys.hash_one((dir.number(), name))
    }

    fn keep(&mut self, text: &[u8]) -> u32 {
        let at = u32::try_from(self.text.len()).expect("bounded by TEXT_MAX");
        let length = u32::try_from(text.len()).expect("no name is that long");
        self.text.extend_from_slice(&length.to_ne_bytes());
        self.text.extend_from_slice(text);
        at
    }

    fn text(&self, at: u32) -> &[u8] {
        let (length, rest) =
            self.text[at as usize..].split_first_chunk().expect("a length is before each text");
        &rest[..u32::from_ne_bytes(*length) as usize]
    }
}

impl View for Tree {
    fn look(&mut self, dir: DirId, name: Component<'_>) -> Result<Seen, ResolveError> {
        Ok(match self.node(dir, name).map(|node| node.kind) {
            // It may be a directory's symlink. To know better takes the lower layer.
            None | Some(NodeKind::Lower) => Seen::Nothing,
            Some(NodeKind::Whiteout) => Seen::Whiteout,
            Some(NodeKind::Dir(child)) => Seen::Dir(child),
            Some(NodeKind::Symlink(target)) => Seen::Symlink(self.text(target).to_vec()),
            Some(NodeKind::Other) => Seen::Other,
        })
    }

    fn above(&self, dir: DirId) -> DirId {
        self.dir(dir).parent
    }

    fn depth(&self, dir: DirId) -> usize {
        self.dir(dir).depth as usize
    }

    fn path(&self, dir: DirId) -> Vec<u8> {
        let mut parts = Vec::new();
        let mut at = dir;
        while at != DirId::ROOT {
            parts.push(self.text(self.dir(at).name));
            at = self.dir(at).parent;
        }
        parts.reverse();
        parts.join(&b'/')
    }
}

impl Parents for Tree {
    type View = Tree;
    type Error = Cause;

    fn view(&mut self) -> &mut Tree {
        self
    }

    fn depth_limit(&self) -> usize {
        self.depth_limit
    }

    fn make_implied(&mut self, dir: DirId, name: Component<'_>) -> Result<(), Cause> {
        self.new_dir(dir, name, false);
        layer::owner(&self.owners, IMPLIED_OWNER)?;
        Ok(())
    }

    /// What is in this tree is the layer's own, and gives way to nothing, unless it may lie elsewhere.
    fn make_way(&mut self, dir: DirId, name: Component<'_>) -> Result<(), Cause> {
        if self.strays {
            self.replace(dir, name);
            return self.make_implied(dir, name);
        }
        Err(LayerError::ParentNotDirectory(self.path_of(dir, name)).into())
    }

    fn knows_parents(&mut self, dir: DirId) -> Result<bool, Cause> {
        Ok(self.lower != Lower::Unknown || self.dir(dir).bare)
    }
}

/// The keys are hashes already.
#[derive(Default)]
struct Keyed(u64);

impl Hasher for Keyed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("keys are u64");
    }

    fn write_u64(&mut self, key: u64) {
        self.0 = key;
    }
}
