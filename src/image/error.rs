// SPDX-License-Identifier: Apache-2.0
//! What can be wrong with an image.

use std::io;
use std::path::PathBuf;

use crate::digest::{Digest, ParseDigestError};
use crate::errno::{Errno, Plain};
use crate::error::ErrorKind;
use crate::options::OptionsError;

/// And of all that is read to find an image.
pub(super) const JSON_ALL_MAX: usize = 256 << 20;

/// Indexes, manifests and configs. containerd reads as much of one.
pub(super) const JSON_MAX: u64 = 8 << 20;

/// Indexes inside of indexes. The specification sets no bound; nobody has more than two.
pub(super) const DEPTH_MAX: usize = 8;

/// Manifests of one image, for all platforms and attestations together.
pub(super) const MANIFESTS_MAX: usize = 4096;

/// Why an image could not be read. The first field is the file in question.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// A file of the image could not be read.
    #[error("{}: {}", .0, Plain(.1))]
    Io(String, io::Error),
    /// A directory that is no image layout.
    #[error("{0}: no oci-layout and index.json in this directory")]
    NoLayout(String),
    /// A file that the image names is not there.
    #[error("{0} is missing")]
    Missing(String),
    /// JSON that is too large to be read.
    #[error("{0}: larger than {max} bytes", max = JSON_MAX)]
    TooLarge(String),
    /// Malformed JSON.
    #[error("{0}: {1}")]
    Json(String, String),
    /// JSON without a field that the specification wants.
    #[error("{0}: no {1} there")]
    Field(String, &'static str),
    /// Text where a digest should be.
    #[error("{0}: {1}")]
    Digest(String, ParseDigestError),
    /// A file has another digest than the one it is named by.
    #[error("{expected} has digest {got}")]
    Differs {
        /// The one that it is named by.
        expected: Digest,
        /// The one that it has.
        got: Digest,
    },
    /// A blob has another size than its descriptor says.
    #[error("{blob}: {has} bytes, its descriptor says {says}")]
    Size {
        /// Where it is in the image.
        blob: String,
        /// By the descriptor.
        says: u64,
        /// What is there.
        has: u64,
    },
    /// A layer of a kind that nobody can unpack.
    #[error("{0} is no layer but {1:?}")]
    MediaType(String, String),
    /// The configuration has more or fewer layers than the manifest.
    #[error("{config}: diffIDs of {diff_ids} layers, the manifest has {layers}")]
    Counts {
        /// The configuration.
        config: String,
        /// In the manifest.
        layers: usize,
        /// In the configuration.
        diff_ids: usize,
    },
    /// Text that is no platform.
    #[error("{0:?} is no platform: OS/ARCHITECTURE[/VARIANT]")]
    Platform(String),
    /// There is no image like the one that is wanted.
    #[error("no image {wanted} here, but {has}")]
    NoSuch {
        /// What was asked for.
        wanted: String,
        /// What is there.
        has: String,
    },
    /// More than one image is meant.
    #[error("several images: {0}; a name, digest or platform tells which")]
    Several(String),
    /// The sources of layers serve one unpack.
    #[error("{0} was read already")]
    Used(String),
    /// The directory for an image has something in it.
    #[error("{0} is not empty")]
    NotEmpty(String),
    /// The options make no sense.
    #[error(transparent)]
    Options(#[from] OptionsError),
    /// The options are for another kind of destination.
    #[error("the mode must be {0} here")]
    Mode(&'static str),
    /// The layers of a store were unpacked with other options.
    #[error("{}: its layers were unpacked with {has}, and not with {wanted}", store.display())]
    Settings {
        /// The store.
        store: PathBuf,
        /// As JSON.
        has: String,
        /// As JSON.
        wanted: String,
    },
    /// Indexes inside of indexes.
    #[error("indexes inside of indexes, more than {DEPTH_MAX} deep")]
    TooDeep,
    /// More manifests than any image has.
    #[error("more than {MANIFESTS_MAX} manifests")]
    TooMany,
    /// More JSON than any image has, if all that its indexes and manifests name is read as often as they do.
    #[error("more than {JSON_ALL_MAX} bytes of indexes, manifests and configurations")]
    TooMuch,
}

impl ImageError {
    /// The kind of it, as of a layer's error.
    pub fn kind(&self) -> ErrorKind {
        self.verdict().0
    }

    /// The errno that a C caller gets, positive.
    pub fn errno(&self) -> Errno {
        self.verdict().1
    }

    fn verdict(&self) -> (ErrorKind, Errno) {
        use ErrorKind as K;
        match self {
            ImageError::Io(_, error) => {
                (K::Filesystem, error.raw_os_error().map_or(Errno::IO, Errno::from_raw_os_error))
            }
            ImageError::Missing(_) => (K::Source, Errno::NOENT),
            ImageError::Json(..)
            | ImageError::Field(..)
            | ImageError::Digest(..)
            | ImageError::Counts { .. } => (K::Archive, Errno::BADMSG),
            ImageError::Differs { .. } | ImageError::Size { .. } => (K::Digest, Errno::BADMSG),
            ImageError::MediaType(..) => (K::Unsupported, Errno::OPNOTSUPP),
            ImageError::TooLarge(_)
            | ImageError::TooDeep
            | ImageError::TooMany
            | ImageError::TooMuch => (K::Limit, Errno::FBIG),
            ImageError::NotEmpty(_) => (K::InvalidArgument, Errno::NOTEMPTY),
            ImageError::NoSuch { .. } => (K::InvalidArgument, Errno::NOENT),
            ImageError::NoLayout(_)
            | ImageError::Platform(_)
            | ImageError::Several(_)
            | ImageError::Used(_)
            | ImageError::Options(_)
            | ImageError::Mode(_)
            | ImageError::Settings { .. } => (K::InvalidArgument, Errno::INVAL),
        }
    }
}

pub(super) type Result<T> = std::result::Result<T, ImageError>;
