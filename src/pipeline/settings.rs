// SPDX-License-Identifier: Apache-2.0
//! What a pipeline needs to know.

use std::thread::available_parallelism;

use crate::cancel::Cancel;
use crate::limits::{Limits, RATIO_FLOOR};
use crate::options::{Expect, Options, ReadTo};

/// What a pipeline needs to know of the options.
#[derive(Clone)]
pub(crate) struct Settings {
    /// Not 0: that was resolved before.
    pub(crate) threads: usize,
    pub(crate) limits: Limits,
    pub(crate) expect: Expect,
    /// See [`Options::skip_blob_digest`].
    pub(super) skip_blob_digest: bool,
    /// The stream is read to its end, and hashed.
    pub(crate) digests: bool,
    pub(crate) cancel: Option<Cancel>,
    /// The reader leaves work to others, so that more than two threads are of use.
    pub(crate) workers: bool,
    /// A stream that several threads can decompress is decompressed by as many more.
    pub(super) parallel_decode: bool,
    /// [`RATIO_FLOOR`], but for tests.
    pub(super) ratio_floor: u64,
}

/// With fewer threads or CPUs, to begin in the middle of a stream costs more than it gains.
const PARALLEL_DECODE_FROM: usize = 4;

impl Settings {
    pub(crate) fn new(options: &Options, threads: usize) -> Settings {
        Settings {
            threads,
            limits: options.limits,
            expect: options.expect.clone(),
            skip_blob_digest: options.skip_blob_digest,
            digests: options.read_to == ReadTo::EndOfBlob,
            cancel: options.cancel.clone(),
            workers: false,
            parallel_decode: threads >= PARALLEL_DECODE_FROM
                && available_parallelism().is_ok_and(|cpus| cpus.get() >= PARALLEL_DECODE_FROM),
            ratio_floor: RATIO_FLOOR,
        }
    }
}
