// SPDX-License-Identifier: Apache-2.0
//! Regular files that whoever is idle makes: planned in the archive's order, made in any.
//!
//! Only where nothing can tell the difference. The file's directory was made by this unpack, so
//! that all names in it are this layer's; no directory that is known has the file's name; and its
//! content lies in one chunk. What comes then decides whether it may come before the file exists:
//!
//! - a directory, file, symlink or node of another name in a directory that is known can;
//! - everything else waits until all that is planned has been made: hardlinks, whiteouts, opaque
//!   markers, parents that are not known, a name that is planned already, a name that is a known
//!   directory's.
//!
//! So what is in a planned file's way is always from an earlier entry. Such a file goes back to
//! the thread that reads the archive, to replace it in the usual manner.

use std::sync::atomic::Ordering;

use super::attributes::{CREATE_BITS, times_of};
use super::error::{JobCause, JobError, Result};
use super::job::Job;
use super::plan::Planned;
use crate::pipeline::{ChunkSlice, PipelineError};
use crate::resolve::{Component, DirId};
use crate::tar::Entry;

impl Job<'_> {
    /// Before anything is made at `name` in the directory `parent`: waits for what is planned,
    /// unless the two cannot meet.
    pub(super) fn wait_if_planned(&mut self, parent: &[u8], name: Component<'_>) -> Result<()> {
        let Some(plan) = &self.plan else { return Ok(()) };
        let apart = plan.is_empty()
            || self.resolver.known(parent).is_some_and(|dir| {
                self.resolver.tree.child(dir, name.as_bytes()).is_none()
                    && !plan.names.contains(&plan.hash(dir, name.as_bytes()))
            });
        if apart { Ok(()) } else { self.finish_planned() }
    }

    /// Takes back from the counts what was planned and not made. Only when nobody works any more.
    pub(crate) fn discount_unmade(&mut self) {
        let Some(plan) = &self.plan else { return };
        self.counts.entries.files -= plan.unmade.files.load(Ordering::Relaxed);
        self.counts.file_bytes -= plan.unmade.bytes.load(Ordering::Relaxed);
    }

    /// Makes all that is planned.
    pub(crate) fn finish_planned(&mut self) -> Result<()> {
        let Some(plan) = self.plan.as_mut().filter(|plan| !plan.is_empty()) else { return Ok(()) };
        plan.hand_over();
        plan.workers.wait()?;
        plan.clear().into_iter().try_for_each(|file| self.make_returned(file))
    }

    fn make_returned(&mut self, file: Planned) -> Result<()> {
        let name = Component::new(&file.name).expect("it was one when the file was planned");
        self.replace(file.dir, name, "openat", |at| file.create(at))
            .map_err(JobError::from)
            .and_then(|(_, fd, _)| file.fill(fd))
            .map_err(|error| error.at(|| file.place.clone()))?;
        self.plan.as_ref().expect("what is returned was planned").unmade.remove(&file);
        Ok(())
    }

    /// Whether a regular file may be planned.
    pub(super) fn can_plan(&self, entry: &Entry, dir: DirId, name: Component<'_>) -> bool {
        let tree = &self.resolver.tree;
        let node = tree.dir(dir);
        self.plan.is_some()
            && entry.xattrs.is_empty()
            && !node.adopted
            && !node.default_acl
            && tree.child(dir, name.as_bytes()).is_none()
    }

    /// Plans a file, whose content is `data`.
    pub(super) fn plan_file(
        &mut self,
        entry: &Entry,
        (dir, name): (DirId, Box<[u8]>),
        data: Option<ChunkSlice>,
    ) -> Result<(), JobCause> {
        let owner = self.owner(entry.uid, entry.gid)?.filter(|owner| self.must_chown(dir, *owner));
        let exact = self.private_umask && entry.mode & !CREATE_BITS == 0;
        let file = Planned {
            parent: self.resolver.parent(dir)?,
            dir,
            name,
            create_mode: entry.mode,
            owner,
            mode: (!exact).then_some(entry.mode),
            times: times_of(entry),
            write_out: self.write_out.clone(),
            data,
            place: entry.place(),
        };
        let plan = self.plan.as_mut().expect("only planned where there is a plan");
        plan.add(file);
        match plan.keeps_too_many() {
            true => self.wait_for_descriptors(),
            false => Ok(()),
        }
    }

    fn wait_for_descriptors(&mut self) -> Result<(), JobCause> {
        let plan = self.plan.as_mut().expect("it keeps too many");
        let waited = plan.wait_for_descriptors().and_then(|enough| match enough {
            true => Ok(()),
            false => self.finish_planned(),
        });
        waited.map_err(|error| self.fails_with(error))
    }

    /// The end of a chunk: its files go to the workers, and what came back is made.
    pub(crate) fn pause(&mut self) -> Result<()> {
        let Some(plan) = &mut self.plan else { return Ok(()) };
        plan.hand_over();
        match plan.has_returned() {
            true => self.finish_planned(),
            false => Ok(()),
        }
    }

    /// When the process has run out of descriptors: lets go of those that it can; false if there
    /// is none.
    pub(super) fn spare_descriptors(&mut self) -> bool {
        let planned = self.plan.as_ref().is_some_and(|plan| !plan.is_empty());
        let spared = self.finish_planned().and_then(|()| match &self.write_out {
            Some(write_out) => Ok(write_out.wait_for_all()?),
            None => Ok(false),
        });
        match spared {
            Ok(written_out) => self.resolver.spare_descriptors() || planned || written_out,
            Err(error) => {
                self.failure = Some(error);
                false
            }
        }
    }

    /// Another entry's error, which comes out in the place of this one's.
    pub(super) fn fails_with(&mut self, error: JobError) -> JobCause {
        self.failure = Some(error);
        PipelineError::Cancelled.into()
    }

    /// What is to be reported of a failed entry: an earlier one's failure comes first.
    pub(super) fn failure(&mut self, error: JobError) -> JobError {
        self.failure.take().unwrap_or(error)
    }
}
