// SPDX-License-Identifier: Apache-2.0
//! Applies OCI image layers to directories.
//!
//! ```text
//! source -> decompress -> digest -> tar entries -> layer meaning -> safe path -> filesystem -> report
//! ```

#![deny(unsafe_code)]

mod apply;
mod cancel;
mod capi;
mod decompress;
mod desk;
mod digest;
mod entries;
mod error;
mod flow;
mod layer;
mod limits;
mod observer;
mod options;
mod probe;
mod report;
mod resolve;
mod scan;
mod source;
mod sys;
pub mod tar;
mod unpack;

pub use apply::ApplyError;
pub use cancel::Cancel;
pub use decompress::DecompressError;
pub use digest::{Algorithm, Digest, DigestError, ParseDigestError};
pub use error::{Cause, Error, ErrorKind, Place, Result};
pub use layer::LayerError;
pub use limits::{LimitExceeded, Limits, RATIO_FLOOR};
pub use observer::{Observer, Progress, Warning};
pub use options::{Devices, Expect, IdRange, Lowers, MAX_THREADS, Mode, Options, OptionsError};
pub use options::{Owners, Sync};
pub use probe::{
    CopyUp, MountKind, Obstacle, OpaqueXattr, Outcome, OverlayCheck, ProbeError, Trial,
};
pub use probe::{Verdict, check_overlay_opaque_propagation};
pub use report::{Bytes, Compression, EntryCounts, Report, SkipExample, SkipReason, Skipped};
pub use report::{Skips, StageTimes};
pub use resolve::ResolveError;
pub use scan::{Finding, FindingKind, Findings, Refusal, ScanObserver, ScanReport, scan};
pub use source::{Source, SourceError};
pub use unpack::{unpack, unpack_with};
