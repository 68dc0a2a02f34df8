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

use std::collections::{HashSet, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::mem;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{Timestamps, fsync, futimens};
use rustix::io::{Errno, retry_on_intr};

use super::Job;
use super::error::{ApplyError, Failing, JobCause, JobError, Result};
use super::file::{create, write_all};
use super::metadata::{CREATE_BITS, Owner, set_mode, set_owner, times_of};
use crate::options::Sync;
use crate::pipeline::{ChunkSlice, Workers};
use crate::resolve::{Component, DirId, SafeParent};
use crate::tar::{Entry, Place};

/// Files in a batch at most: a chunk has some tens of small ones.
const BATCH: usize = 64;

/// A file that has yet to be made, with all that it takes.
pub(super) struct Planned {
    parent: SafeParent,
    dir: DirId,
    name: Box<[u8]>,
    create_mode: u32,
    owner: Option<Owner>,
    /// Where creation alone does not give the right one.
    mode: Option<u32>,
    times: Timestamps,
    sync: bool,
    data: Option<ChunkSlice>,
    place: Place,
}

impl Planned {
    fn create(&self, at: &SafeParent) -> Result<OwnedFd, Errno> {
        create(at, &self.name, self.create_mode)
    }

    fn size(&self) -> u64 {
        self.data.as_ref().map_or(0, |data| data.len() as u64)
    }

    fn fill(&self, fd: &OwnedFd) -> Result<(), ApplyError> {
        if let Some(data) = &self.data {
            write_all(fd, data)?;
        }
        if let Some(owner) = self.owner {
            set_owner(fd.as_fd(), owner)?;
        }
        if let Some(mode) = self.mode {
            set_mode(fd.as_fd(), mode)?;
        }
        futimens(fd, &self.times).failing("futimens")?;
        if self.sync {
            retry_on_intr(|| fsync(fd)).failing("fsync")?;
        }
        Ok(())
    }
}

/// What is planned, and with whom.
pub(super) struct Plan {
    workers: Workers<JobError>,
    /// Not handed over yet.
    batch: Vec<Planned>,
    /// Batches with the workers, oldest first: the hashes of their names, and whether all is made.
    with_workers: VecDeque<(Vec<u64>, Arc<AtomicBool>)>,
    /// Hashes of all names that are planned. Two names of one hash only make one of them wait.
    names: HashSet<u64>,
    hashes: RandomState,
    /// What the workers could not make: something is in the way, or there are no descriptors left.
    returned: Arc<Mutex<Vec<Planned>>>,
    unmade: Arc<Unmade>,
    /// An error of what was planned, while another entry is being applied.
    failure: Option<JobError>,
}

/// What was planned and is not made yet.
#[derive(Default)]
struct Unmade {
    files: AtomicU64,
    bytes: AtomicU64,
}

impl Unmade {
    fn add(&self, file: &Planned) {
        self.files.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(file.size(), Ordering::Relaxed);
    }

    fn remove(&self, file: &Planned) {
        self.files.fetch_sub(1, Ordering::Relaxed);
        self.bytes.fetch_sub(file.size(), Ordering::Relaxed);
    }
}

impl Plan {
    pub(super) fn new(workers: Workers<JobError>) -> Plan {
        Plan {
            workers,
            batch: Vec::new(),
            with_workers: VecDeque::new(),
            names: HashSet::new(),
            hashes: RandomState::new(),
            returned: Arc::default(),
            unmade: Arc::default(),
            failure: None,
        }
    }

    fn hash(&self, dir: DirId, name: &[u8]) -> u64 {
        self.hashes.hash_one((dir, name))
    }

    fn has_returned(&self) -> bool {
        !self.returned.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    fn take_returned(&self) -> Vec<Planned> {
        mem::take(&mut *self.returned.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn is_empty(&self) -> bool {
        self.batch.is_empty() && self.with_workers.is_empty()
    }

    fn add(&mut self, file: Planned) {
        self.names.insert(self.hash(file.dir, &file.name));
        self.unmade.add(&file);
        self.batch.push(file);
        if self.batch.len() == BATCH {
            self.hand_over();
        }
    }

    fn hand_over(&mut self) {
        while let Some((names, made)) = self.with_workers.front()
            && made.load(Ordering::Acquire)
        {
            for hash in names {
                self.names.remove(hash);
            }
            self.with_workers.pop_front();
        }
        if self.batch.is_empty() {
            return;
        }
        let batch = mem::take(&mut self.batch);
        let names = batch.iter().map(|file| self.hash(file.dir, &file.name)).collect();
        let made = Arc::new(AtomicBool::new(false));
        self.with_workers.push_back((names, made.clone()));
        let (returned, unmade) = (self.returned.clone(), self.unmade.clone());
        self.workers.submit(Box::new(move || make_all(batch, &made, &returned, &unmade)));
    }
}

/// On whichever thread.
fn make_all(
    batch: Vec<Planned>,
    made: &AtomicBool,
    returned: &Mutex<Vec<Planned>>,
    unmade: &Unmade,
) -> Result<()> {
    let mut all = true;
    for file in batch {
        let done = match retry_on_intr(|| file.create(&file.parent)) {
            Ok(fd) => file.fill(&fd),
            Err(Errno::EXIST | Errno::MFILE | Errno::NFILE) => {
                all = false;
                returned.lock().unwrap_or_else(PoisonError::into_inner).push(file);
                continue;
            }
            Err(errno) => Err(ApplyError::new("openat", errno)),
        };
        done.map_err(|error| JobError::from(error).at(|| file.place.clone()))?;
        unmade.remove(&file);
    }
    made.store(all, Ordering::Release);
    Ok(())
}

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
        plan.with_workers.clear();
        plan.names.clear();
        plan.take_returned().into_iter().try_for_each(|file| self.make_returned(file))
    }

    fn make_returned(&mut self, file: Planned) -> Result<()> {
        let name = Component::new(&file.name).expect("it was one when the file was planned");
        self.replace(file.dir, name, "openat", |at| file.create(at))
            .and_then(|(_, fd, _)| Ok(file.fill(&fd)?))
            .map_err(|cause| JobError::from(cause).at(|| file.place.clone()))?;
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
            sync: self.options.sync == Sync::Files,
            data,
            place: entry.place(),
        };
        self.plan.as_mut().expect("only planned where there is a plan").add(file);
        Ok(())
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
        if let Err(error) = self.finish_planned() {
            self.plan.as_mut().expect("it has failed").failure = Some(error);
            return false;
        }
        self.resolver.spare_descriptors() || planned
    }

    /// What is to be reported of a failed entry: an earlier one's failure comes first.
    pub(super) fn failure(&mut self, error: JobError) -> JobError {
        self.plan.as_mut().and_then(|plan| plan.failure.take()).unwrap_or(error)
    }
}
