// SPDX-License-Identifier: Apache-2.0
//! One layer on its way into one root: what becomes of each entry.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{Dir, FileType, ioctl_getflags};
use rustix::io::Errno;

use crate::layer::{self, AUFS_LINKS, Action, LinkedLowers, Names, SkippedNames};
use crate::limits::LimitExceeded;
use crate::observer::Warning;
use crate::options::{Lowers, Options, Sync};
use crate::pipeline::{Chunk, PipelineError, Workers};
use crate::report::{DETAIL_MAX, EntryCounts, SkipReason, Skips};
use crate::resolve::{AboveRoot, CleanPath, Component, DirId, Resolver, SafeParent, View};
use crate::resolve::{is, is_whiteout, stat_child};
use crate::tar::{Entry, Kind, Place};

use super::attributes::Owner;
use super::awaited::AwaitedLowers;
use super::error::{ApplyError, Failing, JobCause, JobError, Result};
use super::open_file::CurrentFile;
use super::plan::Plan;
use super::privileges::Privileges;
use super::uppers::{Above, Judged, Uppers};
use super::write_out::WriteOut;
use super::{remove, xattr};

/// What one unpack has done so far.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) entries: EntryCounts,
    pub(crate) whiteouts: u64,
    pub(crate) opaque_directories: u64,
    pub(crate) implied_directories: u64,
    pub(crate) copied_up: u64,
    pub(crate) propagated_marks: u64,
    pub(crate) hidden: u64,
    pub(crate) file_bytes: u64,
    pub(crate) skipped: Skips,
    /// For the parents.
    pub(crate) waited: Duration,
}

/// Where a layer stands among those that are applied with it.
pub(crate) enum Chain<'c> {
    /// Above what is there already.
    Alone,
    /// Above these, which are still being made.
    Above(AwaitedLowers<'c>),
    /// Below these, which the root has already.
    Below(&'c mut Uppers),
}

/// One layer on its way into one root. Entries come in archive order: `begin`, `data` for a file,
/// `end`, and `pause` after those of a chunk; then `finish_planned` and `finish`.
pub(crate) struct Job<'j> {
    pub(super) options: &'j Options,
    pub(super) resolver: Resolver,
    /// The parents that are still being made, until they are needed.
    pub(super) awaited: Option<AwaitedLowers<'j>>,
    /// The layers above, if these were applied before.
    pub(super) above: Option<Above<'j>>,
    /// Who new files belong to before any chown.
    pub(super) process: Owner,
    /// This thread creates files with exactly the mode it asks for.
    pub(super) private_umask: bool,
    pub(super) file: Option<CurrentFile>,
    /// Files that others make; none where there is nobody else.
    pub(super) plan: Option<Plan>,
    /// Files on their way to the disk, if that was asked for.
    pub(super) write_out: Option<Arc<WriteOut<Place>>>,
    /// An earlier entry's error, which has shown while another one is being applied.
    pub(super) failure: Option<JobError>,
    pub(super) linked_lowers: LinkedLowers,
    /// Names that this layer has and that were left out.
    pub(super) skipped_names: SkippedNames,
    /// Files that only hardlinks lead to were made.
    pub(super) link_sources: bool,
    pub(super) names: Names,
    /// What is mounted below the root; not looked at before something is removed.
    pub(super) mounts: Option<Vec<Vec<u8>>>,
    /// Looked at when the kernel has refused something.
    pub(super) privileges: Option<Privileges>,
    /// xattr namespaces that this file system does not support, each warned of once.
    pub(super) unsupported: BTreeSet<&'static str>,
    /// Logical size of all files of this layer, those that were copied up included.
    logical_bytes: u64,
    pub(super) warn: &'j mut dyn FnMut(Warning),
    pub(crate) counts: Counts,
}

/// What was in the way of a new name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Replaced {
    Nothing,
    Something,
}

impl<'j> Job<'j> {
    pub(crate) fn new(
        root: OwnedFd,
        options: &'j Options,
        private_umask: bool,
        workers: Option<Workers<JobError>>,
        chain: Chain<'j>,
        warn: &'j mut dyn FnMut(Warning),
    ) -> Result<Job<'j>> {
        let folds_case = folds_case(&root);
        let workers = workers.filter(|_| !folds_case);
        let (awaited, above) = match chain {
            Chain::Alone => (None, None),
            Chain::Above(awaited) => (Some(awaited), None),
            Chain::Below(uppers) => (None, Some(Above::new(uppers))),
        };
        let write_out = (options.sync == Sync::Files).then(|| Arc::new(WriteOut::below(&root)));
        let mut job = Job {
            options,
            resolver: Resolver::new(root, options)?,
            awaited,
            above,
            process: Owner::of_process(),
            private_umask,
            file: None,
            plan: workers.map(Plan::new),
            write_out,
            failure: None,
            linked_lowers: LinkedLowers::default(),
            skipped_names: SkippedNames::default(),
            link_sources: false,
            names: Names::default(),
            mounts: None,
            privileges: None,
            unsupported: BTreeSet::new(),
            logical_bytes: 0,
            warn,
            counts: Counts::default(),
        };
        job.look_at_root()?;
        // Names that differ in case only would be one on disk, and two to the layers above.
        if job.above.is_some() && folds_case {
            return Err(job.uncertain().into());
        }
        Ok(job)
    }

    fn look_at_root(&mut self) -> Result<(), JobCause> {
        self.resolver.adopt_root().failing("fstat of the root")?;
        self.check_upper()?;
        let root = self.resolver.parent(DirId::ROOT)?;
        // What an empty root will hold is this layer's alone: no need to keep track of names.
        if is_empty(&root).failing("getdents64")? {
            self.resolver.tree.all_ours(DirId::ROOT);
            self.resolver.tree.dir_mut(DirId::ROOT).adopted = false;
        }
        // An overlay mount shows the attributes of its upper root, so these are the parents'
        // unless the layer has an entry for the root.
        if self.awaited.is_some() {
            self.resolver.await_lowers();
        } else if matches!(&self.options.lowers, Lowers::Known(lowers) if !lowers.is_empty()) {
            self.inherit(DirId::ROOT, 1)?;
        }
        Ok(())
    }

    /// Applies an entry up to its data.
    pub(crate) fn begin(&mut self, entry: &Entry, wanted: bool) -> Result<()> {
        self.counts.entries.total += 1;
        let result = match wanted {
            true => self.apply(entry),
            false => {
                self.note_filtered(entry);
                self.skip(entry, SkipReason::Filtered, b"");
                self.check_memory().map_err(JobError::from)
            }
        };
        result.map_err(|error| self.failure(error.at(|| entry.place())))
    }

    fn apply(&mut self, entry: &Entry) -> Result<()> {
        let mut names = std::mem::take(&mut self.names);
        let result = layer::interpret(entry, self.options.mode, &mut names)
            .map_err(JobError::from)
            .and_then(|action| self.act(entry, action));
        self.names = names;
        result
    }

    fn note_filtered(&mut self, entry: &Entry) {
        let mut path = CleanPath::default();
        if path.set(&entry.name, AboveRoot::Refuse).is_ok()
            && let Some((parent, name)) = path.parent_and_name()
        {
            self.skipped_names.note(parent, name);
        }
    }

    fn act(&mut self, entry: &Entry, action: Action<'_>) -> Result<()> {
        match action {
            Action::Make { parent, name } => self.wait_if_planned(parent, name)?,
            Action::LinkSource { name } => self.wait_if_planned(AUFS_LINKS, name)?,
            _ => self.finish_planned()?,
        }
        if self.awaited.is_some() && !self.can_do_without_lowers(entry, &action)? {
            self.await_lowers()?;
        }
        self.count_logical(entry.size)?;
        if self.judge(entry, &action)? == Judged::Done {
            return Ok(self.check_memory()?);
        }
        let acted: Result<(), JobCause> = match action {
            Action::Root => self.describe_root(entry),
            Action::Make { parent, name } => self.make(entry, parent, name),
            Action::LinkSource { name } => self.make_link_source(entry, name),
            Action::Link { parent, name, target } => self.link(entry, parent, name, target),
            Action::Whiteout { parent, name } => self.whiteout(entry, parent, name),
            Action::Opaque { dir } => self.opaque(dir),
            Action::Skip { parent, name, reason } => {
                self.skipped_names.note(parent, name);
                self.skip(entry, reason, b"");
                Ok(())
            }
        };
        acted?;
        entry.ignored.iter().for_each(|key| self.skip(entry, SkipReason::IgnoredRecord, key));
        self.check_memory()?;
        Ok(())
    }

    /// A file of this size is about to be made.
    pub(super) fn count_logical(&mut self, size: u64) -> Result<(), LimitExceeded> {
        self.logical_bytes = self.logical_bytes.saturating_add(size);
        let (got, limit) = (self.logical_bytes, self.options.limits.bytes);
        match got > limit {
            true => Err(LimitExceeded::Bytes { got, limit }),
            false => Ok(()),
        }
    }

    /// What is remembered of the layer grows with its entries: not past the limit.
    fn check_memory(&mut self) -> Result<(), JobCause> {
        let limit = self.options.limits.memory;
        let got =
            self.resolver.tree.bytes() + self.linked_lowers.bytes() + self.skipped_names.bytes();
        if got > limit {
            return Err(LimitExceeded::Memory { got, limit }.into());
        }
        match self.above.as_ref().is_some_and(|above| got + above.bytes() > limit) {
            // It can be done with less.
            true => Err(self.uncertain()),
            false => Ok(()),
        }
    }

    pub(super) fn make(
        &mut self,
        entry: &Entry,
        parent: &[u8],
        name: Component<'_>,
    ) -> Result<(), JobCause> {
        let dir = self.parent_of(parent)?;
        match entry.kind {
            Kind::File => self.make_file(entry, dir, name)?,
            Kind::Directory => self.make_dir(entry, dir, name)?,
            Kind::Symlink => self.make_symlink(entry, dir, name)?,
            Kind::Fifo | Kind::CharDevice | Kind::BlockDevice => {
                if !self.make_node(entry, dir, name)? {
                    self.skipped_names.note(parent, name);
                    return Ok(());
                }
            }
            Kind::Hardlink => unreachable!("interpreted as Action::Link"),
        }
        self.resolver.tree.claim(dir, name.as_bytes());
        self.skipped_names.forget(parent, name);
        Ok(())
    }

    /// Writes a piece of the current entry's data, if it has a place to go. `chunk` is what the
    /// data may lie in.
    pub(crate) fn data(
        &mut self,
        entry: &Entry,
        at: u64,
        bytes: &[u8],
        chunk: Option<&Chunk>,
    ) -> Result<()> {
        let result = self.write_file(entry, at, bytes, chunk);
        result.map_err(|cause| self.failure(JobError::from(cause).at(|| entry.place())))
    }

    /// The current entry has no more data.
    pub(crate) fn end(&mut self, entry: &Entry) -> Result<()> {
        let result = self.finish_file(entry);
        result.map_err(|cause| self.failure(JobError::from(cause).at(|| entry.place())))
    }

    /// Runs `make` in the directory, with whatever had the name before cleared away.
    pub(super) fn replace<T>(
        &mut self,
        dir: DirId,
        name: Component<'_>,
        operation: &'static str,
        make: impl Fn(&SafeParent) -> Result<T, Errno>,
    ) -> Result<(SafeParent, T, Replaced), JobCause> {
        let parent = self.resolver.parent(dir)?;
        let mut replaced = Replaced::Nothing;
        loop {
            match make(&parent) {
                Ok(made) => {
                    // Known from a lower layer only, and hidden by what was made just now.
                    if self.resolver.tree.child(dir, name.as_bytes()).is_some() {
                        self.resolver.forget(dir, name);
                    }
                    return Ok((parent, made, replaced));
                }
                Err(Errno::EXIST) if replaced == Replaced::Nothing => {
                    self.clear(dir, name)?;
                    replaced = Replaced::Something;
                }
                Err(Errno::INTR) => {}
                Err(Errno::MFILE | Errno::NFILE) if self.spare_descriptors() => {}
                Err(errno) => return Err(ApplyError::new(operation, errno).into()),
            }
        }
    }

    /// Removes a name and all below it, on disk and in memory.
    pub(super) fn clear(&mut self, dir: DirId, name: Component<'_>) -> Result<(), JobCause> {
        self.bring_into_upper(dir)?;
        self.refuse_mounts(&self.path(dir, name))?;
        let parent = self.resolver.parent(dir)?;
        self.linked_lowers.replace(self.resolver.tree.hash(dir, name.as_bytes()));
        self.resolver.forget(dir, name);
        let node = self.resolver.tree.dir_mut(dir);
        node.pending.touched = true;
        self.resolver.tree.disclaim(dir, name.as_bytes());
        self.remove(&parent, name)
    }

    /// Removes a name on disk, if it is there.
    pub(super) fn remove(&self, at: &SafeParent, name: Component<'_>) -> Result<(), JobCause> {
        match remove::remove(at, name, self.options.cancel.as_ref()) {
            Ok(()) => Ok(()),
            Err(Errno::CANCELED) => Err(PipelineError::Cancelled.into()),
            // Unless it says so of something else.
            Err(Errno::NOENT) if remove::is_absent(at, name) => Ok(()),
            Err(errno) => Err(ApplyError::new("unlinkat", errno).into()),
        }
    }

    /// What the root itself has under this name.
    pub(super) fn in_root(&mut self, dir: DirId, name: Component<'_>) -> Result<InRoot, JobCause> {
        if !self.resolver.tree.dir(dir).in_root {
            return Ok(InRoot::Nothing);
        }
        let parent = self.resolver.parent(dir)?;
        match stat_child(parent.as_fd(), name) {
            Ok(stat) if is(&stat, FileType::Directory) => Ok(InRoot::Dir),
            Ok(stat) if self.resolver.overlay() && is_whiteout(&stat) => Ok(InRoot::Whiteout),
            Ok(_) => Ok(InRoot::Other),
            Err(Errno::NOENT) => Ok(InRoot::Nothing),
            Err(errno) => Err(self.resolver.failed("fstatat", dir, name, errno).into()),
        }
    }

    pub(super) fn skip(&mut self, entry: &Entry, reason: SkipReason, detail: &[u8]) {
        self.skipped(reason, entry.index, &entry.name, detail);
    }

    /// Records of a global PAX header in front of this entry, by their keys.
    pub(crate) fn note_global(&mut self, entry: u64, keys: &[Vec<u8>]) {
        keys.iter().for_each(|key| self.skipped(SkipReason::GlobalRecord, entry, b"", key));
    }

    /// Something about the archive's end.
    pub(crate) fn note_end(&mut self, reason: SkipReason) {
        self.skipped(reason, self.counts.entries.total, b"", b"");
    }

    /// The same for something that was taken from a lower layer; the path is below the root.
    pub(super) fn skip_inherited(&mut self, path: &[u8], xattr: &[u8]) {
        // The entry that is being applied now.
        let entry = self.counts.entries.total.saturating_sub(1);
        self.skipped(SkipReason::XattrUnsupported, entry, path, xattr);
    }

    pub(super) fn skipped(&mut self, reason: SkipReason, entry: u64, path: &[u8], detail: &[u8]) {
        let detail = &detail[..detail.len().min(DETAIL_MAX)];
        self.counts.skipped.add(reason, path, detail);
        if reason == SkipReason::XattrUnsupported
            && !self.unsupported.insert(xattr::namespace(detail))
        {
            return;
        }
        let (path, detail) = (path.to_vec(), detail.to_vec());
        (self.warn)(Warning { reason, entry, path, detail });
    }

    /// The path of a name below the root, for messages and for comparing.
    pub(super) fn path(&self, dir: DirId, name: Component<'_>) -> Vec<u8> {
        layer::joined(&self.resolver.tree.path(dir), name.as_bytes())
    }
}

/// What the root itself has under a name; in directory mode there is nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum InRoot {
    Nothing,
    Whiteout,
    Dir,
    Other,
}

/// Whether two names that differ in case may be one file: then names alone do not tell which files
/// are apart.
fn folds_case(root: &OwnedFd) -> bool {
    /// `FS_CASEFOLD_FL` of linux/fs.h.
    const CASEFOLD: u32 = 0x4000_0000;
    ioctl_getflags(root).is_ok_and(|flags| flags.bits() & CASEFOLD != 0)
}

fn is_empty(dir: &SafeParent) -> Result<bool, Errno> {
    for entry in Dir::read_from(dir)? {
        if !matches!(entry?.file_name().to_bytes(), b"." | b"..") {
            return Ok(false);
        }
    }
    Ok(true)
}
