// SPDX-License-Identifier: Apache-2.0
//! Why an archive's bytes stopped coming.

use std::any::Any;
use std::io;

use super::decompress::error::DecompressError;
use super::source::error::SourceError;
use crate::errno::Plain;
use crate::limits::LimitExceeded;

pub(super) type Result<T, E = PipelineError> = std::result::Result<T, E>;

/// A failure of the source, of a decompressor, or of the threads between them and the reader.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PipelineError {
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error(transparent)]
    Decompress(#[from] DecompressError),
    #[error(transparent)]
    Limit(#[from] LimitExceeded),
    #[error("start of a thread: {}", Plain(.0))]
    Thread(io::Error),
    #[error("cancelled")]
    Cancelled,
    #[error("internal error: {0}")]
    Panic(String),
}

impl PipelineError {
    /// A panic's message, as an error for the thread that waits.
    pub(crate) fn panicked(panic: Box<dyn Any + Send>) -> PipelineError {
        let text = panic
            .downcast_ref::<&str>()
            .map(|text| text.to_string())
            .or_else(|| panic.downcast_ref::<String>().cloned());
        PipelineError::Panic(text.unwrap_or_else(|| "a panic without a message".into()))
    }
}
