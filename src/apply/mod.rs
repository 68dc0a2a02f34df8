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
mod newest_first;
mod node;
mod open_file;
mod parents;
mod plan;
mod planned;
mod privileges;
mod remove;
mod upper;
mod uppers;
mod whiteout;
mod write_out;
mod xattr;

pub(crate) use awaited::{AwaitedLowers, MadeLowers};
pub(crate) use copy::Copy;
pub use error::ApplyError;
pub(crate) use error::{JobCause, JobError};
pub(crate) use job::{Chain, Counts, Job};
pub(crate) use privileges::Privileges;
pub(crate) use remove::{remove, remove_all};
pub(crate) use uppers::Uppers;
pub(crate) use write_out::{NotWritten, WriteOut};
pub(crate) use xattr::remove_stale;
