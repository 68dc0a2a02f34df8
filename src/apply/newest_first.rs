// SPDX-License-Identifier: Apache-2.0
//! Layers that are applied to one directory the newest first: what an upper layer replaces or hides is
//! never written.
//!
//! The outcome is that of one after the other. Where an entry's place cannot be told before the lower
//! layers are there (a symlink may lead to it, it is a hardlink to one of their files, or to a file
//! that was not written) nothing is guessed: they are uncertain (`Uppers::is_uncertain`), and whoever
//! applies the layers begins again, the lowest first.
//!
//! Only for entries whose parents are directories, by the layer's own entries or, until a lower layer
//! says otherwise, by supposition. So names on disk are the archive's, and what is there and is not
//! this layer's is an upper one's.

use super::error::JobCause;
use super::job::{InRoot, Job};
use super::uppers::{Above, Judged, PathKey, components};
use crate::layer::Action;
use crate::pipeline::PipelineError;
use crate::resolve::{Component, DirId};
use crate::tar::{Entry, Kind};

/// Where a path leads.
enum Way {
    /// To this directory, or to one that will be made, and then nothing is in it.
    Open(Option<DirId>),
    /// To what an upper layer hides.
    Hidden,
}

/// What has an entry's name.
enum There {
    Nothing,
    /// This layer's.
    Own(InRoot),
    Uppers(InRoot),
}

impl<'j> Job<'j> {
    /// Whether an entry shows below the layers above, and what it means for those below.
    pub(super) fn judge(&mut self, entry: &Entry, action: &Action<'_>) -> Result<Judged, JobCause> {
        if self.above.is_none() {
            return Ok(Judged::Visible);
        }
        let judged = self.judge_action(entry, action)?;
        if judged == Judged::Done && matches!(action, Action::Root | Action::Make { .. }) {
            // What is refused of an entry that shows is refused of one that does not.
            self.owner(entry.uid, entry.gid)?;
        }
        Ok(judged)
    }

    fn judge_action(&mut self, entry: &Entry, action: &Action<'_>) -> Result<Judged, JobCause> {
        match *action {
            Action::Root => Ok(self.merge(PathKey::ROOT, DirId::ROOT)),
            Action::Make { parent, name } if entry.kind == Kind::Directory => {
                self.judge_dir(parent, name)
            }
            Action::Make { parent, name } => self.judge_other(entry, parent, name),
            Action::Link { parent, name, target } => {
                // It is left out whatever the layers above have.
                if self.skipped_names.has(target.0, target.1) {
                    return Ok(Judged::Visible);
                }
                let written = self.is_written(target)?;
                if is_within(target.0, parent, name) {
                    // The name makes way for the link, and the target goes with it.
                    return Err(self.uncertain());
                }
                match self.judge_other(entry, parent, name)? {
                    Judged::Visible if !written => Err(self.uncertain()),
                    judged => Ok(judged),
                }
            }
            Action::LinkSource { .. } => Err(self.uncertain()),
            Action::Whiteout { parent, name } => self.judge_whiteout(parent, name),
            Action::Opaque { dir } => self.judge_opaque(dir),
            Action::Skip { .. } => Ok(Judged::Visible),
        }
    }

    /// A directory that a layer above has as well. Its attributes are those of the newest one that
    /// describes it, there of its last entry.
    fn merge(&mut self, path: PathKey, dir: DirId) -> Judged {
        let Above { uppers, own } = self.above();
        if own.describes.has(path) {
            return Judged::Visible;
        }
        if uppers.may_describe(path) {
            own.describes.insert(path);
            return Judged::Visible;
        }
        self.resolver.tree.dir_mut(dir).described = true;
        self.counts.entries.directories += 1;
        Judged::Done
    }

    fn judge_dir(&mut self, parent: &[u8], name: Component<'_>) -> Result<Judged, JobCause> {
        let path = self.key(parent, name);
        let way = self.way_to(parent, true)?;
        self.above().own.lost.remove(path);
        let Way::Open(dir) = way else { return self.lose_dir(path) };
        if self.above().uppers.hide(path) {
            self.parent_of(parent)?;
            return self.lose_dir(path);
        }
        match self.there(dir, name)? {
            There::Nothing => Ok(Judged::Visible),
            There::Own(InRoot::Dir) | There::Uppers(InRoot::Dir) => {
                let child = self.known_dir(dir, name)?;
                if !self.resolver.tree.dir(child).found {
                    self.above().uppers.may_describe(path);
                    return Ok(Judged::Visible);
                }
                let judged = self.merge(path, child);
                self.resolver.tree.claim(dir.expect("something is in it"), name.as_bytes());
                Ok(judged)
            }
            There::Own(_) => {
                // What it was before has hidden what lower layers have in it.
                self.above().own.hidden.insert(path);
                Ok(Judged::Visible)
            }
            There::Uppers(_) => self.lose_dir(path),
        }
    }

    fn lose_dir(&mut self, path: PathKey) -> Result<Judged, JobCause> {
        self.above().own.lost_dirs.insert(path);
        self.counts.hidden += 1;
        Ok(Judged::Done)
    }

    /// Everything but a directory.
    fn judge_other(
        &mut self,
        entry: &Entry,
        parent: &[u8],
        name: Component<'_>,
    ) -> Result<Judged, JobCause> {
        let path = self.key(parent, name);
        if self.above().uppers.suppose(path) {
            return Err(self.uncertain());
        }
        let Way::Open(dir) = self.way_to(parent, true)? else { return self.lose(path) };
        if self.above().uppers.hide(path) {
            self.parent_of(parent)?;
            return self.lose(path);
        }
        // Nothing of the layers above is in what this one has made.
        if dir.is_none_or(|dir| !self.resolver.tree.dir(dir).adopted) {
            return Ok(Judged::Visible);
        }
        match self.there(dir, name)? {
            There::Nothing => Ok(Judged::Visible),
            // Content of the layers above must not go with a directory of both.
            There::Own(InRoot::Dir) => {
                let child = self.known_dir(dir, name)?;
                match self.resolver.tree.dir(child).found {
                    true => Err(self.uncertain()),
                    false => Ok(Judged::Visible),
                }
            }
            There::Own(_) => Ok(Judged::Visible),
            There::Uppers(InRoot::Dir) => {
                // A device may be left out, and hides nothing then.
                if matches!(entry.kind, Kind::CharDevice | Kind::BlockDevice) {
                    return Err(self.uncertain());
                }
                self.above().own.hidden.insert(path);
                self.lose(path)
            }
            There::Uppers(_) => self.lose(path),
        }
    }

    fn lose(&mut self, path: PathKey) -> Result<Judged, JobCause> {
        let own = &self.above().own;
        if own.lost_dirs.has(path) || own.supposed.has(path) {
            // What this layer had in the directory that it was is gone, and no hardlink leads there.
            return Err(self.uncertain());
        }
        self.above().own.lost.insert(path);
        self.counts.hidden += 1;
        Ok(Judged::Done)
    }

    /// Whether a hardlink's target is this layer's, and on disk.
    fn is_written(&mut self, (parent, name): (&[u8], Component<'_>)) -> Result<bool, JobCause> {
        let path = self.key(parent, name);
        if self.above().own.lost.has(path) {
            return Ok(false);
        }
        match self.way_to(parent, false)? {
            Way::Open(dir) => match self.there(dir, name)? {
                There::Own(InRoot::Other) => Ok(true),
                // Of a lower layer, or refused.
                There::Own(_) | There::Nothing | There::Uppers(_) => Err(self.uncertain()),
            },
            Way::Hidden => Err(self.uncertain()),
        }
    }

    fn judge_whiteout(&mut self, parent: &[u8], name: Component<'_>) -> Result<Judged, JobCause> {
        self.counts.whiteouts += 1;
        match self.way_to(parent, false)? {
            Way::Open(_) => {
                let path = self.key(parent, name);
                self.above().own.hidden.insert(path);
            }
            Way::Hidden => self.counts.hidden += 1,
        }
        Ok(Judged::Done)
    }

    fn judge_opaque(&mut self, path: &[u8]) -> Result<Judged, JobCause> {
        self.counts.opaque_directories += 1;
        match self.way_to(path, true)? {
            Way::Open(_) => {
                let dir = self.parent_of(path)?;
                self.resolver.tree.claim_dir(dir);
                let Above { uppers, own } = self.above();
                own.opaque.insert(uppers.key_of(path));
            }
            Way::Hidden => self.counts.hidden += 1,
        }
        Ok(Judged::Done)
    }

    /// Follows a path that must be one of directories. `making` tells that those which are not there
    /// will be made.
    fn way_to(&mut self, path: &[u8], making: bool) -> Result<Way, JobCause> {
        if let Some(dir) = self.resolver.last_parent(path) {
            return Ok(Way::Open(Some(dir)));
        }
        let Above { uppers, own } = self.above();
        if !own.lost.is_empty() {
            let mut at = PathKey::ROOT;
            for name in components(path) {
                at = uppers.key(at, name);
                if own.lost.has(at) {
                    return Err(self.uncertain());
                }
            }
        }
        // Refused, perhaps.
        if components(path).count() >= self.options.limits.path_depth {
            return Err(self.uncertain());
        }
        let mut hidden = self.above().uppers.hide_in(PathKey::ROOT);
        let (mut at, mut dir) = (PathKey::ROOT, Some(DirId::ROOT));
        let mut length = 0;
        for name in components(path) {
            let parent = &path[..length];
            length += usize::from(length > 0) + name.len();
            at = self.above().uppers.key(at, name);
            if !hidden && self.above().uppers.hide(at) {
                hidden = true;
                // Those that lead there are not.
                if making && dir.is_none() {
                    self.parent_of(parent)?;
                }
            }
            if hidden {
                self.suppose_lost(at);
                continue;
            }
            let name = Component::new(name).expect("a clean path has components");
            match self.there(dir, name)? {
                There::Own(InRoot::Dir) | There::Uppers(InRoot::Dir) => {
                    let child = self.known_dir(dir, name)?;
                    if !self.resolver.tree.dir(child).described {
                        self.above().own.supposed.insert(at);
                    }
                    dir = Some(child);
                    hidden = self.above().uppers.hide_in(at);
                }
                There::Nothing => {
                    let Above { uppers, own } = self.above();
                    own.supposed.insert(at);
                    if making {
                        uppers.made_undescribed(at);
                    }
                    dir = None;
                }
                // It may be a symlink.
                There::Own(_) => return Err(self.uncertain()),
                There::Uppers(_) => {
                    hidden = true;
                    self.suppose_lost(at);
                }
            }
        }
        Ok(if hidden { Way::Hidden } else { Way::Open(dir) })
    }

    /// A directory on the way that is hidden: the layer's own, or so it is supposed.
    fn suppose_lost(&mut self, path: PathKey) {
        let own = &mut self.above().own;
        if !own.lost_dirs.has(path) {
            own.supposed.insert(path);
        }
    }

    fn key(&mut self, parent: &[u8], name: Component<'_>) -> PathKey {
        let uppers = &self.above().uppers;
        uppers.key(uppers.key_of(parent), name.as_bytes())
    }

    /// What has a name in a directory; nothing in one that is not there.
    fn there(&mut self, dir: Option<DirId>, name: Component<'_>) -> Result<There, JobCause> {
        let Some(dir) = dir else { return Ok(There::Nothing) };
        let ours = self.resolver.tree.is_ours(dir, name.as_bytes());
        if self.resolver.tree.child(dir, name.as_bytes()).is_some() {
            return Ok(if ours { There::Own(InRoot::Dir) } else { There::Uppers(InRoot::Dir) });
        }
        Ok(match self.in_root(dir, name)? {
            InRoot::Nothing => There::Nothing,
            there if ours => There::Own(there),
            there => There::Uppers(there),
        })
    }

    /// A directory that is there.
    fn known_dir(&mut self, dir: Option<DirId>, name: Component<'_>) -> Result<DirId, JobCause> {
        let dir = dir.expect("something is in it");
        match self.resolver.tree.child(dir, name.as_bytes()) {
            Some(child) => Ok(child),
            None => Ok(self.resolver.adopt(dir, name)?),
        }
    }

    fn above(&mut self) -> &mut Above<'j> {
        self.above.as_mut().expect("only asked for where there is one")
    }

    /// Ends this layer. Whoever began it looks at [`Uppers::is_uncertain`].
    pub(super) fn uncertain(&mut self) -> JobCause {
        self.above().uppers.set_uncertain();
        PipelineError::Cancelled.into()
    }
}

/// Whether the directory `path` is this name, or below it.
fn is_within(path: &[u8], parent: &[u8], name: Component<'_>) -> bool {
    let rest = match parent {
        b"" => Some(path),
        parent => path.strip_prefix(parent).and_then(|rest| rest.strip_prefix(b"/")),
    };
    let below = rest.and_then(|rest| rest.strip_prefix(name.as_bytes()));
    below.is_some_and(|below| below.is_empty() || below.starts_with(b"/"))
}
