// SPDX-License-Identifier: Apache-2.0
//! FIFOs and devices.

use rustix::fs::{Dev, FileType, makedev, mknodat};

use super::attributes::create_mode;
use super::error::JobCause;
use super::job::Job;
use super::privileges::CAP_MKNOD;
use crate::errno::Errno;
use crate::options::Devices;
use crate::report::SkipReason;
use crate::resolve::{Component, DirId};
use crate::tar::{Entry, Kind};

impl Job<'_> {
    /// Makes a FIFO or device; false if it was skipped.
    pub(super) fn make_node(
        &mut self,
        entry: &Entry,
        dir: DirId,
        name: Component<'_>,
    ) -> Result<bool, JobCause> {
        let (kind, device): (FileType, Dev) = match entry.kind {
            Kind::Fifo => (FileType::Fifo, 0),
            Kind::BlockDevice => (FileType::BlockDevice, makedev(entry.device.0, entry.device.1)),
            _ => (FileType::CharacterDevice, makedev(entry.device.0, entry.device.1)),
        };
        let is_device = entry.kind != Kind::Fifo;
        if is_device && self.options.devices == Devices::Skip {
            self.skip(entry, SkipReason::Device, b"");
            return Ok(false);
        }
        let mode = create_mode(entry.mode);
        let made = self
            .replace(dir, name, "mknodat", |at| mknodat(at, name.as_bytes(), kind, mode, device));
        let at = match made {
            Ok((at, ..)) => at,
            Err(JobCause::Apply(error))
                if is_device
                    && error.errno() == Errno::PERM
                    && self.privileges().lacks(CAP_MKNOD) =>
            {
                self.skip(entry, SkipReason::Device, b"");
                return Ok(false);
            }
            Err(cause) => return Err(cause),
        };
        self.set_special_attributes(entry, dir, &at, name)?;
        match is_device {
            true => self.counts.entries.devices += 1,
            false => self.counts.entries.fifos += 1,
        }
        Ok(true)
    }
}
