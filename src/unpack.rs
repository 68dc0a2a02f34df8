// SPDX-License-Identifier: Apache-2.0
//! The pipeline.

use std::path::Path;

use crate::error::Result;
use crate::observer::Observer;
use crate::options::Options;
use crate::report::Report;
use crate::source::Source;

/// Applies one layer below `root`, which must be a directory.
pub fn unpack(source: Source<'_>, root: impl AsRef<Path>, options: &Options) -> Result<Report> {
    unpack_with(source, root, options, &mut ())
}

/// The same, with callbacks.
pub fn unpack_with(
    _source: Source<'_>,
    _root: impl AsRef<Path>,
    _options: &Options,
    _observer: &mut dyn Observer,
) -> Result<Report> {
    todo!()
}
