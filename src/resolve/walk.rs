// SPDX-License-Identifier: Apache-2.0
//! Walking a path through the merged view, symlinks included, as a process in a chroot would.

use rustix::io::Errno;

use super::error::ResolveError;
use super::path::Component;
use super::tree::DirId;

/// As many as the kernel follows (path_resolution(7)).
const SYMLINKS_MAX: usize = 40;

/// What a name is in the merged view.
#[derive(Debug)]
pub(crate) enum Seen {
    Nothing,
    /// This layer's own whiteout: nothing, and nothing of that name below either.
    Whiteout,
    Dir(DirId),
    Symlink(Vec<u8>),
    /// A file or the like.
    Other,
}

/// A tree to walk through.
pub(crate) trait View {
    /// What a name is in a directory.
    fn look(&mut self, dir: DirId, name: Component<'_>) -> Result<Seen, ResolveError>;

    /// The directory that this one lies in; the root for the root.
    fn above(&self, dir: DirId) -> DirId;

    /// How many directories lead to this one; 0 for the root.
    fn depth(&self, dir: DirId) -> usize;

    /// Path below the root; empty for the root.
    fn path(&self, dir: DirId) -> Vec<u8>;

    fn failed(
        &self,
        operation: &'static str,
        dir: DirId,
        name: Component<'_>,
        errno: Errno,
    ) -> ResolveError {
        let mut path = self.path(dir);
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name.as_bytes());
        ResolveError::new(operation, path, errno)
    }
}

/// A walk under way. It stops where something is missing or in the way, and goes on from there
/// when the caller has seen to it.
pub(crate) struct Walk {
    at: DirId,
    /// Components still ahead, the next one last.
    ahead: Vec<Box<[u8]>>,
    symlinks: usize,
}

/// Where a walk stands.
pub(crate) enum Step {
    Arrived(DirId),
    /// There is nothing of this name.
    Missing(DirId, Box<[u8]>),
    /// This layer has a whiteout of this name.
    WhitedOut(DirId, Box<[u8]>),
    /// There is something of this name, but neither directory nor symlink.
    Blocked(DirId, Box<[u8]>),
}

impl Walk {
    /// From the root along a cleaned path.
    pub(crate) fn to(path: &[u8]) -> Walk {
        let mut walk = Walk { at: DirId::ROOT, ahead: Vec::new(), symlinks: 0 };
        walk.push(path);
        walk
    }

    /// Whether a symlink was on the way so far.
    pub(crate) fn followed(&self) -> bool {
        self.symlinks > 0
    }

    /// Goes on until it arrives or something is wrong.
    pub(crate) fn step(&mut self, view: &mut impl View) -> Result<Step, ResolveError> {
        while let Some(name) = self.ahead.pop() {
            if &*name == b".." {
                // The root is its own parent.
                self.at = view.above(self.at);
                continue;
            }
            let Some(component) = Component::new(&name) else {
                // Only a symlink's target can bring one: the kernel would not find it either.
                let path = name.into_vec();
                return Err(ResolveError::new("symlink", path, Errno::NAMETOOLONG));
            };
            match view.look(self.at, component)? {
                Seen::Dir(dir) => self.at = dir,
                Seen::Symlink(target) => {
                    self.symlinks += 1;
                    if self.symlinks > SYMLINKS_MAX {
                        return Err(view.failed("symlink", self.at, component, Errno::LOOP));
                    }
                    if target.starts_with(b"/") {
                        self.at = DirId::ROOT;
                    }
                    self.push(&target);
                }
                Seen::Nothing => {
                    self.ahead.push(name.clone());
                    return Ok(Step::Missing(self.at, name));
                }
                Seen::Whiteout => {
                    self.ahead.push(name.clone());
                    return Ok(Step::WhitedOut(self.at, name));
                }
                Seen::Other => {
                    self.ahead.push(name.clone());
                    return Ok(Step::Blocked(self.at, name));
                }
            }
        }
        Ok(Step::Arrived(self.at))
    }

    fn push(&mut self, path: &[u8]) {
        let parts = path.split(|byte| *byte == b'/').filter(|part| !matches!(*part, b"" | b"."));
        self.ahead.extend(parts.rev().map(Box::from));
    }
}
