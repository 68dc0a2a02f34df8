// SPDX-License-Identifier: Apache-2.0
//! Why an export failed.

use super::argument::ArgumentError;
use crate::error::Error;
use crate::image::{ImageError, UnpackError};

/// A caller's mistake, or the library's error.
#[derive(Debug)]
pub(super) enum Failure {
    Argument(ArgumentError),
    Library(Error),
    Image(UnpackError),
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

impl From<ImageError> for Failure {
    fn from(error: ImageError) -> Failure {
        Failure::Image(error.into())
    }
}

impl From<UnpackError> for Failure {
    fn from(error: UnpackError) -> Failure {
        Failure::Image(error)
    }
}
