// SPDX-License-Identifier: Apache-2.0
//! Files that are planned, and what others make of them.

use std::collections::{HashSet, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::mem;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{Timestamps, futimens};
use rustix::io::{Errno, retry_on_intr};

use super::attributes::{Owner, set_mode, set_owner};
use super::error::{ApplyError, Failing, JobError, Result};
use super::open_file::{create, write_all};
use super::write_out::WriteOut;
use crate::pipeline::{ChunkSlice, Workers};
use crate::resolve::{DirId, SafeParent};
use crate::tar::Place;

/// Files in a batch at most: a chunk has some tens of small ones.
const BATCH: usize = 64;

/// Directories of the files in one batch. Each stays open until its files are made.
const BATCH_DIRS: usize = 8;

/// All planned files together may keep a batch's directories open for each thread, and for as many
/// threads at the least.
const THREADS_MIN: usize = 4;

/// A file that has yet to be made, with all that it takes.
pub(super) struct Planned {
    pub(super) parent: SafeParent,
    pub(super) dir: DirId,
    pub(super) name: Box<[u8]>,
    pub(super) create_mode: u32,
    pub(super) owner: Option<Owner>,
    /// Where creation alone does not give the right one.
    pub(super) mode: Option<u32>,
    pub(super) times: Timestamps,
    pub(super) write_out: Option<Arc<WriteOut<Place>>>,
    pub(super) data: Option<ChunkSlice>,
    pub(super) place: Place,
}

impl Planned {
    pub(super) fn create(&self, at: &SafeParent) -> Result<OwnedFd, Errno> {
        create(at, &self.name, self.create_mode)
    }

    fn size(&self) -> u64 {
        self.data.as_ref().map_or(0, |data| data.len() as u64)
    }

    pub(super) fn fill(&self, fd: OwnedFd) -> Result<()> {
        if let Some(data) = &self.data {
            write_all(&fd, data)?;
        }
        if let Some(owner) = self.owner {
            set_owner(fd.as_fd(), owner)?;
        }
        if let Some(mode) = self.mode {
            set_mode(fd.as_fd(), mode)?;
        }
        futimens(&fd, &self.times).failing("futimens")?;
        match &self.write_out {
            Some(write_out) => Ok(write_out.add(fd, self.place.clone())?),
            None => Ok(()),
        }
    }
}

/// What is planned, and with whom.
pub(super) struct Plan {
    pub(super) workers: Workers<JobError>,
    /// Not handed over yet.
    pub(super) batch: Vec<Planned>,
    /// Directories that the batch keeps open.
    batch_dirs: usize,
    /// Directories that batches with the workers keep open.
    open_dirs: Arc<AtomicUsize>,
    /// Batches with the workers, oldest first: the hashes of their names, and whether all is made.
    pub(super) with_workers: VecDeque<(Vec<u64>, Arc<AtomicBool>)>,
    /// Hashes of all names that are planned. Two names of one hash only make one of them wait.
    pub(super) names: HashSet<u64>,
    hashes: RandomState,
    /// What the workers could not make: something is in the way, or there are no descriptors left.
    pub(super) returned: Arc<Mutex<Vec<Planned>>>,
    pub(super) unmade: Arc<Unmade>,
}

/// What was planned and is not made yet.
#[derive(Default)]
pub(super) struct Unmade {
    pub(super) files: AtomicU64,
    pub(super) bytes: AtomicU64,
}

impl Unmade {
    pub(super) fn add(&self, file: &Planned) {
        self.files.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(file.size(), Ordering::Relaxed);
    }

    pub(super) fn remove(&self, file: &Planned) {
        self.files.fetch_sub(1, Ordering::Relaxed);
        self.bytes.fetch_sub(file.size(), Ordering::Relaxed);
    }
}

impl Plan {
    pub(super) fn new(workers: Workers<JobError>) -> Plan {
        Plan {
            workers,
            batch: Vec::new(),
            batch_dirs: 0,
            open_dirs: Arc::default(),
            with_workers: VecDeque::new(),
            names: HashSet::new(),
            hashes: RandomState::new(),
            returned: Arc::default(),
            unmade: Arc::default(),
        }
    }

    pub(super) fn hash(&self, dir: DirId, name: &[u8]) -> u64 {
        self.hashes.hash_one((dir, name))
    }

    pub(super) fn has_returned(&self) -> bool {
        !self.returned.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    pub(super) fn take_returned(&self) -> Vec<Planned> {
        mem::take(&mut *self.returned.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits while planned files keep too many directories open, so that descriptors are bounded
    /// whatever the layer. False: what was returned keeps them, and has to be made first.
    pub(super) fn wait_for_descriptors(&self) -> Result<bool> {
        self.workers.wait_until(|| !self.keeps_too_many() || self.has_returned())?;
        Ok(!self.keeps_too_many())
    }

    pub(super) fn keeps_too_many(&self) -> bool {
        let most = BATCH_DIRS * self.workers.threads().max(THREADS_MIN);
        self.open_dirs.load(Ordering::Relaxed) >= most
    }

    /// All is made.
    pub(super) fn clear(&mut self) -> Vec<Planned> {
        self.with_workers.clear();
        self.names.clear();
        self.open_dirs.store(0, Ordering::Relaxed);
        self.take_returned()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.batch.is_empty() && self.with_workers.is_empty()
    }

    pub(super) fn add(&mut self, file: Planned) {
        if self.batch.last().is_none_or(|last| last.dir != file.dir) {
            if self.batch_dirs == BATCH_DIRS {
                self.hand_over();
            }
            self.batch_dirs += 1;
        }
        self.names.insert(self.hash(file.dir, &file.name));
        self.unmade.add(&file);
        self.batch.push(file);
        if self.batch.len() == BATCH {
            self.hand_over();
        }
    }

    pub(super) fn hand_over(&mut self) {
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
        let (batch, dirs) = (mem::take(&mut self.batch), mem::take(&mut self.batch_dirs));
        let names = batch.iter().map(|file| self.hash(file.dir, &file.name)).collect();
        let made = Arc::new(AtomicBool::new(false));
        self.with_workers.push_back((names, made.clone()));
        let (returned, unmade) = (self.returned.clone(), self.unmade.clone());
        self.open_dirs.fetch_add(dirs, Ordering::Relaxed);
        let open_dirs = self.open_dirs.clone();
        self.workers.submit(Box::new(move || {
            make_all(batch, &made, &returned, &unmade)?;
            // What was returned keeps its directory open.
            if made.load(Ordering::Relaxed) {
                open_dirs.fetch_sub(dirs, Ordering::Relaxed);
            }
            Ok(())
        }));
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
            Ok(fd) => file.fill(fd),
            Err(Errno::EXIST | Errno::MFILE | Errno::NFILE) => {
                all = false;
                returned.lock().unwrap_or_else(PoisonError::into_inner).push(file);
                continue;
            }
            Err(errno) => Err(ApplyError::new("openat", errno).into()),
        };
        done.map_err(|error| error.at(|| file.place.clone()))?;
        unmade.remove(&file);
    }
    made.store(all, Ordering::Release);
    Ok(())
}
