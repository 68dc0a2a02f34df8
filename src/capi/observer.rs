// SPDX-License-Identifier: Apache-2.0
//! The callbacks of `ocilayer_options`, and what they are shown.

use std::ffi::{c_char, c_int, c_void};
use std::mem::size_of;
use std::path::PathBuf;
use std::ptr::null;

use super::argument::{callback_errno, paths};
use super::skipped::ocilayer_skip_reason;
use super::text::Text;
use crate::errno::Errno;
use crate::image::{ImageObserver, ImageProgress};
use crate::observer::{Observer, Progress, Warning};
use crate::tar::{Entry, Kind};

/// Values of ocilayer_entry.kind.
#[repr(C)]
pub enum ocilayer_entry_kind {
    OCILAYER_ENTRY_FILE = 1,
    OCILAYER_ENTRY_DIRECTORY = 2,
    OCILAYER_ENTRY_SYMLINK = 3,
    OCILAYER_ENTRY_HARDLINK = 4,
    OCILAYER_ENTRY_FIFO = 5,
    OCILAYER_ENTRY_CHAR_DEVICE = 6,
    OCILAYER_ENTRY_BLOCK_DEVICE = 7,
}

impl From<Kind> for ocilayer_entry_kind {
    fn from(kind: Kind) -> Self {
        use ocilayer_entry_kind as C;
        match kind {
            Kind::File => C::OCILAYER_ENTRY_FILE,
            Kind::Directory => C::OCILAYER_ENTRY_DIRECTORY,
            Kind::Symlink => C::OCILAYER_ENTRY_SYMLINK,
            Kind::Hardlink => C::OCILAYER_ENTRY_HARDLINK,
            Kind::Fifo => C::OCILAYER_ENTRY_FIFO,
            Kind::CharDevice => C::OCILAYER_ENTRY_CHAR_DEVICE,
            Kind::BlockDevice => C::OCILAYER_ENTRY_BLOCK_DEVICE,
        }
    }
}

/// One entry of the archive, as a filter callback sees it. Names are bytes as they stand in the
/// archive: not yet safe to use as a path. A NUL follows them.
///
/// Later versions add fields at the end; @size tells which ones this library fills.
#[repr(C)]
pub struct ocilayer_entry {
    pub size: usize,
    /// Counted from 0.
    pub index: u64,
    /// Where the entry starts, in bytes of the uncompressed archive.
    pub offset: u64,
    pub path: *const c_char,
    pub path_length: usize,
    /// Target of a symlink or hardlink, else empty.
    pub link: *const c_char,
    pub link_length: usize,
    /// Size of a file, holes included.
    pub file_size: u64,
    pub mtime_seconds: i64,
    /// 0 to 999,999,999, counted forward from mtime_seconds also where that is negative.
    pub mtime_nanoseconds: u32,
    /// One of OCILAYER_ENTRY_*. More may come.
    pub kind: u32,
    /// Permission bits, setuid, setgid and sticky: 0 to 07777.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// Of a device, else 0.
    pub device_major: u32,
    /// Of a device, else 0.
    pub device_minor: u32,
    /// The layer of an image, counted from 0, bottom first; 0 for a layer by itself.
    pub layer: u32,
}

/// How far an unpack of a layer or image has come.
///
/// Later versions add fields at the end; @size tells which ones this library fills.
#[repr(C)]
pub struct ocilayer_progress {
    pub size: usize,
    /// Bytes of the blob that were read.
    pub blob_bytes: u64,
    /// Size of the blob; 0 where the source does not tell.
    pub blob_size: u64,
    /// Bytes that came out of the decompressor.
    pub layer_bytes: u64,
    /// Entries applied so far: all of them, and by kind.
    pub entries: u64,
    pub files: u64,
    pub directories: u64,
    pub symlinks: u64,
    pub hardlinks: u64,
    pub fifos: u64,
    pub devices: u64,
    /// Layers of an image, of which all else here is the sum; 0 for a layer by itself.
    pub layers: u64,
    /// Those that are complete, or were there before.
    pub layers_complete: u64,
}

/// One thing that was left out. Names are bytes as they stand in the archive; a NUL follows them.
///
/// Later versions add fields at the end; @size tells which ones this library fills.
#[repr(C)]
pub struct ocilayer_warning {
    pub size: usize,
    /// Number of the entry, counted from 0.
    pub entry: u64,
    /// The entry's name.
    pub path: *const c_char,
    pub path_length: usize,
    /// The xattr's name, where the reason is about one, else empty.
    pub detail: *const c_char,
    pub detail_length: usize,
    /// The reason in a few words for people.
    pub text: *const c_char,
    /// One of OCILAYER_SKIP_*. More may come.
    pub reason: u32,
    /// The layer of an image, counted from 0, bottom first; 0 for a layer by itself.
    pub layer: u32,
}

/// Whether to apply an entry; whiteouts and opaque markers are asked about too.
///
/// Returns 1 to apply it, 0 to leave it out, or a negative errno, which becomes the result of the
/// unpack. Anything else is -EINVAL.
///
/// @entry and all it points to are borrowed until return. It runs only on the thread that called
/// unpack_layer. It must return: no longjmp, no C++ exception.
pub type ocilayer_filter_fn =
    Option<unsafe extern "C" fn(userdata: *mut c_void, entry: *const ocilayer_entry) -> c_int>;

/// With ocilayer_options.lowers_later: the directories of the parent layers, topmost first, once they are
/// complete. Asked once at most, when they are needed.
///
/// Returns 0 with *lowers and *count set, for a bottom layer to NULL and 0, or a negative errno, which
/// becomes the result of the unpack. Anything else is -EINVAL. The paths are borrowed until unpack_layer
/// returns.
///
/// It may wait: for that long all other callbacks wait, and a source that is a read function. It runs only
/// on the thread that called unpack_layer. It must return: no longjmp, no C++ exception.
pub type ocilayer_lowers_fn = Option<
    unsafe extern "C" fn(
        userdata: *mut c_void,
        lowers: *mut *const *const c_char,
        count: *mut usize,
    ) -> c_int,
>;

/// Called some ten times a second, and once at the end.
///
/// @progress is borrowed until return. It runs only on the thread that called unpack_layer. It
/// must return: no longjmp, no C++ exception.
pub type ocilayer_progress_fn =
    Option<unsafe extern "C" fn(userdata: *mut c_void, progress: *const ocilayer_progress)>;

/// Called for each thing that was left out.
///
/// @warning and all it points to are borrowed until return. It runs only on the thread that called
/// unpack_layer. It must return: no longjmp, no C++ exception.
pub type ocilayer_warning_fn =
    Option<unsafe extern "C" fn(userdata: *mut c_void, warning: *const ocilayer_warning)>;

/// The caller's callbacks, behind the library's trait.
///
/// Whoever makes one vouches for the functions: they are what their types say, and may be called
/// with `userdata`.
pub(super) struct Callbacks {
    pub(super) userdata: *mut c_void,
    pub(super) filter: ocilayer_filter_fn,
    pub(super) progress: ocilayer_progress_fn,
    pub(super) warning: ocilayer_warning_fn,
    pub(super) lowers: ocilayer_lowers_fn,
    /// The layer that the next call is about.
    pub(super) layer: u32,
}

impl Callbacks {
    fn tell(&mut self, progress: &Progress, layers: u64, layers_complete: u64) {
        let Some(tell) = self.progress else { return };
        let shown = ocilayer_progress {
            size: size_of::<ocilayer_progress>(),
            blob_bytes: progress.blob_bytes,
            blob_size: progress.blob_size.unwrap_or(0),
            layer_bytes: progress.layer_bytes,
            entries: progress.entries.total,
            files: progress.entries.files,
            directories: progress.entries.directories,
            symlinks: progress.entries.symlinks,
            hardlinks: progress.entries.hardlinks,
            fifos: progress.entries.fifos,
            devices: progress.entries.devices,
            layers,
            layers_complete,
        };
        // SAFETY: what `new` was promised; `shown` lives until it returns.
        unsafe { tell(self.userdata, &shown) }
    }
}

impl ImageObserver for Callbacks {
    fn filters(&self) -> bool {
        self.filter.is_some()
    }

    fn filter(&mut self, layer: usize, entry: &Entry) -> Result<bool, Errno> {
        self.layer = layer as u32;
        Observer::filter(self, entry)
    }

    fn progress(&mut self, progress: &ImageProgress) {
        let layers = progress.layers.len() as u64;
        self.tell(&progress.total(), layers, progress.complete() as u64);
    }

    fn warning(&mut self, layer: usize, warning: &Warning) {
        self.layer = layer as u32;
        Observer::warning(self, warning);
    }
}

impl Observer for Callbacks {
    fn filters(&self) -> bool {
        self.filter.is_some()
    }

    fn filter(&mut self, entry: &Entry) -> Result<bool, Errno> {
        let Some(filter) = self.filter else { return Ok(true) };
        let (path, link) = (Text::new(entry.name.as_slice()), Text::new(entry.link.as_slice()));
        let shown = ocilayer_entry {
            size: size_of::<ocilayer_entry>(),
            index: entry.index,
            offset: entry.offset,
            path: path.as_ptr(),
            path_length: path.len(),
            link: link.as_ptr(),
            link_length: link.len(),
            file_size: entry.size,
            mtime_seconds: entry.mtime.seconds,
            mtime_nanoseconds: entry.mtime.nanoseconds,
            kind: ocilayer_entry_kind::from(entry.kind) as u32,
            mode: entry.mode,
            uid: entry.uid,
            gid: entry.gid,
            device_major: entry.device.0,
            device_minor: entry.device.1,
            layer: self.layer,
        };
        // SAFETY: what `new` was promised; `shown` and its names live until it returns.
        match unsafe { filter(self.userdata, &shown) } {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(callback_errno(other)),
        }
    }

    fn lowers(&mut self) -> Result<Vec<PathBuf>, Errno> {
        let Some(lowers) = self.lowers else { return Ok(Vec::new()) };
        let (mut told, mut count) = (null(), 0);
        // SAFETY: what `new` was promised; both live until it returns.
        match unsafe { lowers(self.userdata, &mut told, &mut count) } {
            // SAFETY: so many paths, by the header's promise.
            0 => unsafe { paths(told, count, "lowers") }.map_err(|_| Errno::INVAL),
            other => Err(callback_errno(other)),
        }
    }

    fn progress(&mut self, progress: &Progress) {
        self.tell(progress, 0, 0);
    }

    fn warning(&mut self, warning: &Warning) {
        let Some(tell) = self.warning else { return };
        let path = Text::new(warning.path.as_slice());
        let detail = Text::new(warning.detail.as_slice());
        let text = Text::new(warning.reason.describe());
        let shown = ocilayer_warning {
            size: size_of::<ocilayer_warning>(),
            entry: warning.entry,
            path: path.as_ptr(),
            path_length: path.len(),
            detail: detail.as_ptr(),
            detail_length: detail.len(),
            text: text.as_ptr(),
            reason: ocilayer_skip_reason::from(warning.reason) as u32,
            layer: self.layer,
        };
        // SAFETY: what `new` was promised; `shown` and its names live until it returns.
        unsafe { tell(self.userdata, &shown) }
    }
}
