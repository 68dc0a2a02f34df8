// SPDX-License-Identifier: Apache-2.0
//! What the caller asks for. Every default is the safe choice.

use std::path::PathBuf;

use crate::cancel::Cancel;
use crate::digest::Digest;
use crate::errno::Errno;
use crate::limits::Limits;
use crate::setters::setters;

/// How whiteouts and opaque directories become visible in the root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Mode {
    /// Whiteouts delete from the directory: a plain root file system, or a mount of the parents.
    #[default]
    Directory,
    /// The root is an overlay upper directory: 0:0 devices and `trusted.overlay.opaque`.
    Overlay,
    /// The same with `user.overlay.opaque`, for overlay mounts in a user namespace.
    OverlayUserxattr,
}

/// The directories of the parent layers, in overlay modes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Lowers {
    /// Not known: every whiteout is written, since a parent may have the name.
    #[default]
    Unknown,
    /// Exactly these, topmost first as in overlay's `lowerdir`; empty for a bottom layer.
    Known(Vec<PathBuf>),
    /// [`Observer::lowers`](crate::Observer::lowers) tells them when they are needed: somebody is still making
    /// them. Until then only entries are applied that mean the same whatever the parents have, which are most.
    /// Of unpack only.
    Later,
}

/// Digests that the blob must have, checked before success is reported.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Expect {
    /// Digest of the blob as it is read, compressed or not.
    pub blob: Option<Digest>,
    /// Digest of the uncompressed archive: the layer's diffID.
    pub diff_id: Option<Digest>,
}

/// What becomes of the owners in the archive.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Owners {
    /// As they are in the archive.
    #[default]
    Keep,
    /// Shifted through ranges; an id outside of all ranges fails the unpack.
    Map {
        /// Of users; disjoint.
        uids: Vec<IdRange>,
        /// Of groups; disjoint.
        gids: Vec<IdRange>,
    },
    /// No chown: everything belongs to the calling process.
    Ignore,
}

/// `count` ids from `container` on become those from `host` on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdRange {
    /// The first id in the archive.
    pub container: u32,
    /// What it becomes on disk.
    pub host: u32,
    /// How many ids.
    pub count: u32,
}

/// What becomes of block and character devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Devices {
    /// Made where the kernel allows it; skipped and reported in a user namespace, where mknod(2)
    /// never is.
    #[default]
    Create,
    /// Skipped and reported.
    Skip,
}

/// How far the blob is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum ReadTo {
    /// To its end, so that both digests are of the whole and a cut blob fails.
    #[default]
    EndOfBlob,
    /// To the end of the archive in it and no further: for a caller that reads the rest itself, checks
    /// the digests and knows whether the blob was whole. The report has no digests, and an archive
    /// without an end marker is taken. Digests cannot be expected.
    EndOfArchive,
}

/// What is on disk when unpack returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Sync {
    /// Whatever the kernel has written by then.
    #[default]
    None,
    /// All that this layer made, the root included, and nothing of others: the data of each file are
    /// waited for, then one commit of the journal brings all metadata (ext4, XFS); on other file
    /// systems fsync(2) of each file and each directory.
    Files,
    /// One syncfs(2) of the root's file system.
    Filesystem,
}

/// Everything that [`unpack`](crate::unpack()) can be told. Begin with the default, and set what
/// is to be different:
///
/// ```
/// use ocilayer::{Mode, Options};
///
/// let options = Options::default().mode(Mode::Overlay).threads(2);
/// ```
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Options {
    /// How whiteouts become visible in the root.
    pub mode: Mode,
    /// The directories of the parent layers; overlay modes only.
    pub lowers: Lowers,
    /// The upper directory of the overlay mount that the root is, in directory mode.
    ///
    /// A kernel with the bug that
    /// [`check_overlay_opaque_propagation`](crate::check_overlay_opaque_propagation) looks for
    /// copies the marks of opaque directories up as the layer changes those directories, and all
    /// layers below would be hidden. With this option such marks are removed again;
    /// [`Report::propagated_marks`](crate::Report::propagated_marks) tells how many there were.
    /// Marks on directories that were in the upper directory before, or that this layer makes,
    /// stay. A directory that is not the upper one of this very mount is refused.
    pub upper: Option<PathBuf>,
    /// Digests that the blob and its archive must have.
    pub expect: Expect,
    /// No digest of a compressed blob, unless one is expected: for a caller that checked it when the
    /// blob came in, as content stores do. It is a tenth of the work.
    pub skip_blob_digest: bool,
    /// Worker threads: 0 chooses by the number of CPUs, 1 decompresses and writes on one thread.
    /// With more, one that is not counted may read a compressed file ahead. With 4 or more, on as many
    /// CPUs, up to 8 others decompress a gzip blob of 16 MiB or more from a file or from memory.
    pub threads: usize,
    /// How much the layer may ask for.
    pub limits: Limits,
    /// What becomes of the owners in the archive.
    pub owners: Owners,
    /// What becomes of block and character devices.
    pub devices: Devices,
    /// What is on disk on return.
    pub sync: Sync,
    /// How far the blob is read.
    pub read_to: ReadTo,
    /// Cancelling this from any thread ends the unpack with [`ErrorKind::Cancelled`].
    ///
    /// [`ErrorKind::Cancelled`]: crate::ErrorKind::Cancelled
    pub cancel: Option<Cancel>,
}

/// Options that contradict each other or the machine.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OptionsError {
    /// [`Options::lowers`](field@Options::lowers) in directory mode.
    #[error("lower directories are for the overlay modes; a directory has its parents inside")]
    LowersInDirectoryMode,
    /// A lower directory cannot be opened.
    #[error("lower directory {}: {errno}", path.display())]
    Lower {
        /// As the caller named it.
        path: PathBuf,
        /// What the kernel answered.
        errno: Errno,
    },
    /// [`Options::upper`](field@Options::upper) in an overlay mode.
    #[error("an upper directory is for directory mode, with the mount of it as the root")]
    UpperInOverlayMode,
    /// The upper directory cannot be opened.
    #[error("upper directory {}: {errno}", path.display())]
    Upper {
        /// As the caller named it.
        path: PathBuf,
        /// What the kernel answered.
        errno: Errno,
    },
    /// The named upper directory is not the root's.
    #[error("upper directory {}: the root is no overlay mount of it", path.display())]
    NotTheUpper {
        /// As the caller named it.
        path: PathBuf,
    },
    /// More than 65,535 lower directories.
    #[error("more lower directories than overlayfs can stack")]
    TooManyLowers,
    /// The root cannot be opened, or is no directory.
    #[error("root {}: {errno}", path.display())]
    Root {
        /// As the caller named it.
        path: PathBuf,
        /// What the kernel answered.
        errno: Errno,
    },
    /// Of a check.
    #[error("directory {}: {errno}", path.display())]
    Directory {
        /// As the caller named it.
        path: PathBuf,
        /// What the kernel answered.
        errno: Errno,
    },
    /// A repair was asked for, and a mount uses the directory.
    #[error("{} is in use by the overlay mount {}", path.display(), mount_point.display())]
    Live {
        /// As the caller named it.
        path: PathBuf,
        /// Of the mount that uses it.
        mount_point: PathBuf,
    },
    /// /proc/self/mountinfo cannot be read.
    #[error("mounts of this machine: {0}")]
    Mounts(String),
    /// [`ReadTo::EndOfArchive`] with digests that are expected, or for a scan, whose findings are of
    /// the whole blob.
    #[error("a blob whose digests are expected, or that is scanned, is read to its end")]
    NotRead,
    /// [`Lowers::Later`] for something other than an unpack.
    #[error("lower directories that are told later are for an unpack")]
    LowersLater,
    /// A restore of directories whose layers were not given.
    #[error("a restore needs the layers")]
    RestoreWithoutLayers,
    /// A repair or restore by a verification.
    #[error("a verification changes nothing")]
    VerifyChanges,
    /// No descriptor for a cancel token of one's own.
    #[error("no descriptor for a cancel token: {0}")]
    Token(Errno),
    /// Digests, lowers, an upper directory or [`ReadTo::EndOfArchive`] for an image.
    #[error(
        "expected digests, lower and upper directories and read_to are for one layer, not for an image"
    )]
    OfOneLayer,
    /// Ranges of ids that overlap, or reach an id that means "none".
    #[error("owner ranges that overlap or pass the last id")]
    Ranges,
    /// [`Limits::zstd_window_log`](field@Limits::zstd_window_log) that zstd does not know.
    #[error("zstd window of 2^{0} bytes: 2^10 to 2^31 are possible")]
    ZstdWindow(u32),
    /// More threads than [`MAX_THREADS`].
    #[error("{0} threads: at most {max}", max = MAX_THREADS)]
    Threads(usize),
}

impl Options {
    setters! {
        /// Sets [`mode`](field@Options::mode).
        mode: Mode;
        /// Sets [`lowers`](field@Options::lowers).
        lowers: Lowers;
        /// Sets [`expect`](field@Options::expect).
        expect: Expect;
        /// Sets [`skip_blob_digest`](field@Options::skip_blob_digest).
        skip_blob_digest: bool;
        /// Sets [`threads`](field@Options::threads).
        threads: usize;
        /// Sets [`limits`](field@Options::limits).
        limits: Limits;
        /// Sets [`owners`](field@Options::owners).
        owners: Owners;
        /// Sets [`devices`](field@Options::devices).
        devices: Devices;
        /// Sets [`sync`](field@Options::sync).
        sync: Sync;
        /// Sets [`read_to`](field@Options::read_to).
        read_to: ReadTo;
    }

    /// Sets [`upper`](field@Options::upper).
    #[must_use]
    pub fn upper(mut self, upper: impl Into<Option<PathBuf>>) -> Self {
        self.upper = upper.into();
        self
    }

    /// Sets [`cancel`](field@Options::cancel).
    #[must_use]
    pub fn cancel(mut self, cancel: impl Into<Option<Cancel>>) -> Self {
        self.cancel = cancel.into();
        self
    }
}

impl Expect {
    /// Sets [`blob`](field@Expect::blob).
    #[must_use]
    pub fn blob(mut self, digest: Digest) -> Self {
        self.blob = Some(digest);
        self
    }

    /// Sets [`diff_id`](field@Expect::diff_id).
    #[must_use]
    pub fn diff_id(mut self, digest: Digest) -> Self {
        self.diff_id = Some(digest);
        self
    }
}

/// More would only wait for each other.
pub const MAX_THREADS: usize = 1024;

impl Options {
    /// Refuses what cannot be meant, before anything is opened.
    pub(crate) fn check(&self) -> Result<(), OptionsError> {
        if self.mode == Mode::Directory && self.lowers != Lowers::Unknown {
            return Err(OptionsError::LowersInDirectoryMode);
        }
        if self.mode != Mode::Directory && self.upper.is_some() {
            return Err(OptionsError::UpperInOverlayMode);
        }
        if self.read_to == ReadTo::EndOfArchive && self.expect != Expect::default() {
            return Err(OptionsError::NotRead);
        }
        self.check_others()
    }

    /// The same for an image, which says itself what its layers are and lie on.
    pub(crate) fn check_image(&self) -> Result<(), OptionsError> {
        let own = self.expect != Expect::default()
            || self.lowers != Lowers::Unknown
            || self.upper.is_some()
            || self.read_to == ReadTo::EndOfArchive;
        match own {
            true => Err(OptionsError::OfOneLayer),
            false => self.check_others(),
        }
    }

    /// The same for a scan, which may be told in directory mode, too, that nothing lies below.
    pub(crate) fn check_scan(&self) -> Result<(), OptionsError> {
        let below = matches!(&self.lowers, Lowers::Known(lowers) if !lowers.is_empty());
        if self.mode == Mode::Directory && below {
            return Err(OptionsError::LowersInDirectoryMode);
        }
        if self.lowers == Lowers::Later {
            return Err(OptionsError::LowersLater);
        }
        if self.read_to == ReadTo::EndOfArchive {
            return Err(OptionsError::NotRead);
        }
        self.check_others()
    }

    fn check_others(&self) -> Result<(), OptionsError> {
        if let Owners::Map { uids, gids } = &self.owners
            && (!IdRange::disjoint(uids) || !IdRange::disjoint(gids))
        {
            return Err(OptionsError::Ranges);
        }
        if !(10..=31).contains(&self.limits.zstd_window_log) {
            return Err(OptionsError::ZstdWindow(self.limits.zstd_window_log));
        }
        if self.threads > MAX_THREADS {
            return Err(OptionsError::Threads(self.threads));
        }
        Ok(())
    }
}

impl IdRange {
    /// The host's id for `id`, if it lies in one of the ranges.
    pub(crate) fn map(ranges: &[IdRange], id: u32) -> Option<u32> {
        let range = ranges.iter().find(|r| id >= r.container && id - r.container < r.count)?;
        Some(range.host + (id - range.container))
    }

    /// No id is in two ranges, on either side, and none reaches (uid_t)-1, which means "no id".
    fn disjoint(ranges: &[IdRange]) -> bool {
        let spans = |start: fn(&IdRange) -> u32| {
            let mut spans: Vec<(u64, u64)> =
                ranges.iter().map(|r| (start(r).into(), u64::from(r.count))).collect();
            spans.sort_unstable();
            spans.iter().all(|(start, count)| start + count <= u64::from(u32::MAX))
                && spans.windows(2).all(|w| w[0].0 + w[0].1 <= w[1].0)
        };
        spans(|r| r.container) && spans(|r| r.host)
    }
}
