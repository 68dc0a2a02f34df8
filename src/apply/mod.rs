// SPDX-License-Identifier: Apache-2.0
//! Actions to system calls, relative to a directory descriptor only.

mod attributes;
mod await_lowers;
mod awaited;
mod copy;
mod copy_up;
mod dir;
mod error;
mod file;
mod finish;
mod job;
mod link;
mod metadata;
mod mounts;
mod node;
mod open_file;
mod parents;
mod plan;
mod planned;
mod privileges;
mod remove;
mod upper;
mod whiteout;
mod write_out;
mod xattr;

pub(crate) use awaited::{AwaitedLowers, MadeLowers};
pub(crate) use copy::Copy;
pub use error::ApplyError;
pub(crate) use error::{JobCause, JobError};
pub(crate) use job::{Counts, Job};
pub(crate) use privileges::Privileges;
pub(crate) use remove::remove;
pub(crate) use write_out::{NotWritten, WriteOut};
pub(crate) use xattr::remove_stale;
