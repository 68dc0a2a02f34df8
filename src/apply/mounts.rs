// SPDX-License-Identifier: Apache-2.0
//! Mounts below the root, which no layer may empty: what is mounted there is somebody else's.

use std::os::fd::AsFd;
use std::os::unix::ffi::OsStringExt;

use rustix::io::Errno;

use super::error::{ApplyError, JobCause};
use super::job::Job;
use super::xattr::proc_path;
use crate::escape::Escaped;
use crate::resolve::DirId;
use crate::sys::mounts;

/// What a removal fails with; see [`Job::refuse_mounts`].
const MOUNTED: &str = "something is mounted there, and stays";

impl Job<'_> {
    /// Before this path below the root is removed, with all in it: refuses if something is mounted
    /// there. The removal itself would find a mount only when it gets there.
    pub(super) fn refuse_mounts(&mut self, path: &[u8]) -> Result<(), JobCause> {
        if self.mounts.is_none() {
            self.mounts = Some(self.mounts_below_root()?);
        }
        let is_below = |point: &&Vec<u8>| {
            let everything = path.is_empty();
            everything
                || point.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
        };
        match self.mounts.iter().flatten().find(is_below) {
            Some(point) => {
                let point = Escaped(point).unquoted();
                Err(ApplyError::about("unlinkat", &point, Errno::BUSY).explained(MOUNTED).into())
            }
            None => Ok(()),
        }
    }

    /// Their paths below the root. None where the table cannot be read or does not have the root's own
    /// mount: then the removal stops at a mount, but not before it began.
    fn mounts_below_root(&mut self) -> Result<Vec<Vec<u8>>, JobCause> {
        let root = self.resolver.parent(DirId::ROOT)?;
        let (Ok(path), Ok(table)) = (std::fs::read_link(proc_path(root.as_fd())), mounts::table())
        else {
            return Ok(Vec::new());
        };
        if !mounts::has_mount_of(&table, &root).unwrap_or(false) {
            return Ok(Vec::new());
        }
        let mut root = path;
        if root.as_os_str() != "/" {
            root.as_mut_os_string().push("/");
        }
        let root = root.into_os_string().into_vec();
        let below = |point: Vec<u8>| point.strip_prefix(&root[..]).map(<[u8]>::to_vec);
        Ok(mounts::points(&table).filter_map(below).filter(|path| !path.is_empty()).collect())
    }
}
