// SPDX-License-Identifier: Apache-2.0
//! Applies OCI image layers to directories.
//!
//! ```text
//! source -> decompress -> digest -> tar entries -> layer meaning -> safe path -> filesystem -> report
//! ```
//!
//! [`unpack`](unpack()) takes a [`Source`] of a layer, plain or compressed, and an existing
//! directory, and returns a [`Report`]. [`Options`] choose the [`Mode`], in which whiteouts delete
//! or become overlayfs's marks, expected digests, [`Limits`] and more; an [`Observer`] sees
//! entries, progress and warnings. [`check_overlay_opaque_propagation`] tells whether the running
//! kernel copies the mark of an opaque directory to upper layers, which hides files of lower ones.
//!
//! The layer is not trusted: nothing outside of the directory is touched, whatever it asks for.
//!
//! ```no_run
//! use ocilayer::{Lowers, Mode, Options, Source, unpack};
//!
//! // Two layers as overlayfs wants them, bottom first: mount with lowerdir=layers/2:layers/1.
//! let mut parents = Vec::new();
//! for (blob, upper) in [("base.tar.gz", "layers/1"), ("app.tar.zst", "layers/2")] {
//!     std::fs::create_dir_all(upper)?;
//!     let lowers = Lowers::Known(parents.clone());
//!     let options = Options::default().mode(Mode::Overlay).lowers(lowers);
//!     let report = unpack(Source::path(blob), upper, &options)?;
//!     println!("{} entries", report.entries.total);
//!     parents.insert(0, upper.into());
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![deny(unsafe_code, missing_docs)]
// Under shuttle only the queue's own tests are there.
#![cfg_attr(all(test, shuttle), allow(dead_code, unused_imports))]

mod apply;
mod audit;
mod cancel;
mod capi;
mod check;
mod digest;
mod errno;
mod error;
mod escape;
pub mod image;
mod layer;
mod limits;
mod observer;
mod operation;
mod options;
mod pipeline;
mod report;
mod resolve;
mod scan;
mod setters;
mod sys;
mod tar;
mod unpack;
mod version;

pub use apply::ApplyError;
pub use audit::{
    AuditLayer, AuditObserver, AuditOptions, AuditReport, Compare, Damage, DamageKind,
};
pub use audit::{OverlayMount, audit, audit_directories, overlay_mounts, verify};
pub use cancel::Cancel;
pub use check::{CopyUp, MountKind, Obstacle, OpaqueXattr, Outcome, OverlayCheck, Trial};
pub use check::{Verdict, check_overlay_opaque_propagation};
pub use digest::{Algorithm, Digest, DigestError, ParseDigestError};
pub use errno::Errno;
pub use error::{Cause, Error, ErrorKind, Result};
pub use layer::LayerError;
pub use limits::{LimitExceeded, Limits, RATIO_FLOOR};
pub use observer::{Observer, Progress, Warning};
pub use options::{Devices, Expect, IdRange, Lowers, MAX_THREADS, Mode, Options, OptionsError};
pub use options::{Owners, ReadTo, Sync};
pub use pipeline::{DecompressError, Growth, Source, SourceError};
pub use report::{Bytes, Compression, EntryCounts, Report, SkipExample, SkipReason, Skipped};
pub use report::{Skips, StageTimes};
pub use resolve::ResolveError;
pub use scan::{Finding, FindingKind, Findings, Refusal, ScanObserver, ScanReport, scan};
pub use tar::{Entry, Kind as EntryKind, Place, Segment, Time};
pub use tar::{NameFault, NumberFault, PaxFault, Quoted, SparseFault, TarError};
#[cfg(feature = "stages")]
#[doc(hidden)]
pub use unpack::stages;
pub use unpack::{unpack, unpack_with};
pub use version::{GZIP_BACKEND, VERSION};

/// The archive parser by itself, for fuzzing; not kept stable.
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing {
    pub use crate::tar::{ArchiveEnd, Entry, Event, Kind, ParseError, Parser, Segment};
}

/// The program in the README compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
