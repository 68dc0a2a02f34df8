// SPDX-License-Identifier: Apache-2.0
//! Why an entry could not be applied.

use std::fmt;

use rustix::io::Errno as SysErrno;

use crate::errno::Errno;
use crate::escape::Escaped;
use crate::layer::LayerError;
use crate::limits::LimitExceeded;
use crate::options::OptionsError;
use crate::pipeline::{PipelineError, SourceError};
use crate::resolve::ResolveError;
use crate::tar::Place;

/// A system call that failed while an entry was applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{operation}{detail}: {errno}{}", Hint(.hint))]
pub struct ApplyError {
    operation: &'static str,
    /// What it was asked for, with a space before it.
    detail: String,
    errno: Errno,
    /// What is the matter, where the errno alone does not tell.
    hint: Option<&'static str>,
}

struct Hint<'h>(&'h Option<&'static str>);

impl fmt::Display for Hint<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |hint| write!(f, "; {hint}"))
    }
}

const NOT_ROOT: &str = "only root gives files away: map or ignore the owners";
const NO_SUCH_ID: &str = "this user namespace has no such id: map or ignore the owners";

impl ApplyError {
    /// Whether other [`Owners`](crate::Owners) would help.
    pub fn is_about_owners(&self) -> bool {
        matches!(self.hint, Some(NOT_ROOT | NO_SUCH_ID))
    }

    pub(crate) fn new(operation: &'static str, errno: SysErrno) -> ApplyError {
        ApplyError { operation, detail: String::new(), errno: Errno::of(errno), hint: None }
    }

    pub(crate) fn about(operation: &'static str, what: &str, errno: SysErrno) -> ApplyError {
        ApplyError { operation, detail: format!(" {what}"), errno: Errno::of(errno), hint: None }
    }

    /// The same, about a directory that no entry stands for any more.
    pub(super) fn of_directory(mut self, path: &[u8]) -> ApplyError {
        self.detail += &format!(" of directory {}", Escaped(path));
        self
    }

    /// The same, of a change of owner.
    pub(super) fn of_owner(self) -> ApplyError {
        match self.errno {
            Errno::PERM => self.explained(NOT_ROOT),
            Errno::INVAL => self.explained(NO_SUCH_ID),
            _ => self,
        }
    }

    pub(super) fn explained(mut self, hint: &'static str) -> ApplyError {
        self.hint = Some(hint);
        self
    }

    pub(crate) fn errno(&self) -> Errno {
        self.errno
    }
}

/// Names the system call that an errno came from.
pub(super) trait Failing<T> {
    fn failing(self, operation: &'static str) -> Result<T, ApplyError>;
    fn failing_with(
        self,
        operation: &'static str,
        detail: impl FnOnce() -> String,
    ) -> Result<T, ApplyError>;
}

impl<T> Failing<T> for Result<T, SysErrno> {
    fn failing(self, operation: &'static str) -> Result<T, ApplyError> {
        self.map_err(|errno| ApplyError::new(operation, errno))
    }

    fn failing_with(
        self,
        operation: &'static str,
        detail: impl FnOnce() -> String,
    ) -> Result<T, ApplyError> {
        self.map_err(|errno| ApplyError::about(operation, &detail(), errno))
    }
}

pub(super) type Result<T, E = JobError> = std::result::Result<T, E>;

/// The failure of applying an entry, at whichever stage.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JobCause {
    #[error(transparent)]
    Options(#[from] OptionsError),
    #[error(transparent)]
    Limit(#[from] LimitExceeded),
    #[error(transparent)]
    Layer(#[from] LayerError),
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// Of the threads that files were left to.
    #[error(transparent)]
    Pipeline(#[from] PipelineError),
    /// The caller's callback, which was asked for the parents.
    #[error("lowers callback: {0}")]
    Lowers(Errno),
}

/// The same, with the entry that it is about.
#[derive(Debug)]
pub(crate) struct JobError {
    pub(crate) cause: JobCause,
    pub(crate) place: Option<Place>,
}

impl JobError {
    /// The first place stands: it is the one nearest to the failure.
    pub(super) fn at(mut self, place: impl FnOnce() -> Place) -> JobError {
        self.place.get_or_insert_with(place);
        self
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        use PipelineError::{Cancelled, Source};
        match &self.cause {
            JobCause::Pipeline(error) => {
                matches!(error, Cancelled | Source(SourceError::Cancelled))
            }
            _ => false,
        }
    }
}

impl<C: Into<JobCause>> From<C> for JobError {
    fn from(cause: C) -> JobError {
        JobError { cause: cause.into(), place: None }
    }
}
