// SPDX-License-Identifier: Apache-2.0
//! The one error type of the public API, made of one enum per stage.

use std::fmt;

use serde::Serialize;

use crate::apply::{ApplyError, JobCause, JobError};
use crate::digest::DigestError;
use crate::errno::{Errno, Plain};
use crate::layer::LayerError;
use crate::limits::LimitExceeded;
use crate::options::OptionsError;
use crate::pipeline::{DecompressError, PipelineError, SourceError};
use crate::report::Report;
use crate::resolve::ResolveError;
use crate::tar::{ParseError, Place, TarError};

/// What this library's functions return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, for a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[repr(u32)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Options, root or source make no sense.
    InvalidArgument = 1,
    /// Reading the layer failed.
    Source = 2,
    /// The compressed stream is damaged or cut short.
    Corrupt = 3,
    /// The tar archive is malformed or cut short.
    Archive = 4,
    /// The archive is well-formed but asks for what no layer may.
    Layer = 5,
    /// The blob or its content is not the expected one.
    Digest = 6,
    /// A limit was exceeded.
    Limit = 7,
    /// The file system refused an operation.
    Filesystem = 8,
    /// The caller cancelled.
    Cancelled = 9,
    /// A callback of the caller failed.
    Callback = 10,
    /// A defect in this library; the process goes on.
    Panic = 11,
    /// This kernel, file system or combination of options cannot do what was asked.
    Unsupported = 12,
}

/// The failure of one stage.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Cause {
    /// The options, the root, or a directory that the caller named.
    #[error(transparent)]
    Options(#[from] OptionsError),
    /// The blob could not be read, or the caller cancelled while it was.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The compressed stream is damaged, cut short, or of a compression that is not supported.
    #[error(transparent)]
    Decompress(#[from] DecompressError),
    /// The blob, or the archive in it, is not the expected one.
    #[error(transparent)]
    Digest(#[from] DigestError),
    /// The archive is malformed or cut short.
    #[error(transparent)]
    Tar(#[from] TarError),
    /// The archive asks for what no layer may, or for what cannot be done without the parents.
    #[error(transparent)]
    Layer(#[from] LayerError),
    /// One of the [`Limits`](crate::Limits) was exceeded.
    #[error(transparent)]
    Limit(#[from] LimitExceeded),
    /// A system call failed on the way to a directory; in an audit, any.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// A system call failed while an entry was applied.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// The caller's filter callback failed.
    #[error("filter callback: {0}")]
    Filter(Errno),
    /// The caller's callback for the lower directories failed.
    #[error("lowers callback: {0}")]
    Lowers(Errno),
    /// The caller's finding callback failed.
    #[error("finding callback: {0}")]
    Finding(Errno),
    /// A thread could not be started (pthread_create(3)).
    #[error("start of a thread: {}", Plain(.0))]
    Thread(std::io::Error),
    /// The caller cancelled.
    #[error("cancelled")]
    Cancelled,
    /// A defect in this library: one of its threads panicked, with this message.
    #[error("internal error: {0}")]
    Panic(String),
}

/// Why an operation failed, with the entry and the offset where there is one.
///
/// `entry 412 "usr/bin/su" at 1536000: fchmodat 04755: Operation not permitted`
#[derive(Debug)]
pub struct Error(Box<Inner>);

#[derive(Debug)]
struct Inner {
    cause: Cause,
    place: Option<Place>,
    report: Option<Report>,
}

impl Error {
    /// What went wrong, for a program.
    pub fn kind(&self) -> ErrorKind {
        self.0.cause.verdict().0
    }

    /// The errno that a C caller gets, positive.
    pub fn errno(&self) -> Errno {
        self.0.cause.verdict().1
    }

    /// What went wrong, in full.
    pub fn cause(&self) -> &Cause {
        &self.0.cause
    }

    /// The entry at which it went wrong; none if that was at none, as with an unexpected digest.
    pub fn place(&self) -> Option<&Place> {
        self.0.place.as_ref()
    }

    /// What had been done when it failed, counting what was under way; always
    /// [`partial`](Report::partial).
    pub fn report(&self) -> Option<&Report> {
        self.0.report.as_ref()
    }

    /// The first place stands: it is the one nearest to the failure.
    pub(crate) fn at(mut self, place: impl FnOnce() -> Place) -> Error {
        if self.0.place.is_none() {
            self.0.place = Some(place());
        }
        self
    }

    pub(crate) fn with_report(mut self, report: Report) -> Error {
        self.0.report = Some(report);
        self
    }
}

impl<C: Into<Cause>> From<C> for Error {
    fn from(cause: C) -> Error {
        Error(Box::new(Inner { cause: cause.into(), place: None, report: None }))
    }
}

impl From<JobError> for Error {
    fn from(error: JobError) -> Error {
        let JobError { cause, place } = error;
        Error(Box::new(Inner { cause: cause.into(), place, report: None }))
    }
}

impl From<JobCause> for Cause {
    fn from(cause: JobCause) -> Cause {
        match cause {
            JobCause::Options(error) => error.into(),
            JobCause::Limit(error) => error.into(),
            JobCause::Layer(error) => error.into(),
            JobCause::Resolve(error) => error.into(),
            JobCause::Apply(error) => error.into(),
            JobCause::Pipeline(error) => error.into(),
            JobCause::Lowers(errno) => Cause::Lowers(errno),
        }
    }
}

impl From<PipelineError> for Cause {
    fn from(error: PipelineError) -> Cause {
        match error {
            PipelineError::Source(error) => error.into(),
            PipelineError::Decompress(error) => error.into(),
            PipelineError::Limit(error) => error.into(),
            PipelineError::Thread(error) => Cause::Thread(error),
            PipelineError::Cancelled => Cause::Cancelled,
            PipelineError::Panic(message) => Cause::Panic(message),
        }
    }
}

impl From<ParseError> for Cause {
    fn from(error: ParseError) -> Cause {
        match error {
            ParseError::Tar(error) => Cause::Tar(error),
            ParseError::Limit(limit) => Cause::Limit(limit),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.0.place {
            write!(f, "{place}: ")?;
        }
        self.0.cause.fmt(f)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        std::error::Error::source(&self.0.cause)
    }
}

impl Cause {
    /// The table from failure to kind and errno.
    fn verdict(&self) -> (ErrorKind, Errno) {
        use ErrorKind as K;
        match self {
            Cause::Options(
                OptionsError::Root { errno, .. }
                | OptionsError::Lower { errno, .. }
                | OptionsError::Upper { errno, .. }
                | OptionsError::Directory { errno, .. },
            ) => (K::InvalidArgument, *errno),
            Cause::Options(OptionsError::Live { .. }) => (K::InvalidArgument, Errno::BUSY),
            Cause::Options(_) => (K::InvalidArgument, Errno::INVAL),
            Cause::Source(SourceError::Callback(errno)) => (K::Callback, *errno),
            Cause::Source(SourceError::Cancelled) | Cause::Cancelled => {
                (K::Cancelled, Errno::CANCELED)
            }
            Cause::Source(error) => (K::Source, error.errno()),
            Cause::Decompress(_) => (K::Corrupt, Errno::BADMSG),
            Cause::Digest(_) => (K::Digest, Errno::BADMSG),
            Cause::Tar(_) => (K::Archive, Errno::BADMSG),
            Cause::Layer(error) => refusal(error),
            Cause::Limit(_) => (K::Limit, Errno::FBIG),
            Cause::Resolve(error) => (K::Filesystem, error.errno()),
            Cause::Apply(error) => (K::Filesystem, error.errno()),
            Cause::Thread(error) => (K::Filesystem, Errno::of_thread(error)),
            Cause::Filter(errno) | Cause::Lowers(errno) | Cause::Finding(errno) => {
                (K::Callback, *errno)
            }
            Cause::Panic(_) => (K::Panic, Errno::NOTRECOVERABLE),
        }
    }
}

/// The same for what no layer may have.
fn refusal(error: &LayerError) -> (ErrorKind, Errno) {
    use LayerError as E;
    match error {
        E::ComponentTooLong(_) => (ErrorKind::Layer, Errno::NAMETOOLONG),
        E::LinkTargetMissing(_) | E::LinkTargetWhitedOut(_) => (ErrorKind::Layer, Errno::NOENT),
        E::LinkToDirectory(_) | E::LinkToRoot => (ErrorKind::Layer, Errno::PERM),
        E::ParentNotDirectory(_) => (ErrorKind::Layer, Errno::NOTDIR),
        E::OpaqueRootWithoutParents | E::LinkTargetUnknown(_) => {
            (ErrorKind::Unsupported, Errno::OPNOTSUPP)
        }
        _ => (ErrorKind::Layer, Errno::INVAL),
    }
}
