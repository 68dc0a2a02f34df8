// SPDX-License-Identifier: Apache-2.0
//! Why an export failed.

use super::argument::ArgumentError;
use crate::error::Error;

/// A caller's mistake, or the library's error.
#[derive(Debug)]
pub(super) enum Failure {
    Argument(ArgumentError),
    Library(Error),
}

impl From<ArgumentError> for Failure {
    fn from(error: ArgumentError) -> Failure {
        Failure::Argument(error)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::Library(error)
    }
}
