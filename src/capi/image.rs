// SPDX-License-Identifier: Apache-2.0
//! `ocilayer_image`: the layers of an image, and `ocilayer_unpack_image`.

use std::ffi::{c_char, c_int};
use std::path::Path;
use std::ptr::null;

use super::argument::{self, ArgumentError, Out, exclusive, free, text};
use super::error::ocilayer_error;
use super::failure::Failure;
use super::guard::{guarded, infallible};
use super::image_report::ocilayer_image_report;
use super::options::{self, ocilayer_options};
use super::source::ocilayer_source;
use super::text::Text;
use crate::error::Error;
use crate::image::{self, Blobs, Choice, Image, ImageError, LayerStore, Layers, Store};
use crate::options::{Mode, Options};

/// The layers of one image, bottom first, and where their blobs come from: an image layout, an archive,
/// or sources of the caller.
///
/// One thread at a time may use it.
pub struct ocilayer_image {
    origin: Origin,
    /// Of the image as it is now: what the accessors return.
    texts: Vec<LayerTexts>,
    json: Text,
}

enum Origin {
    Store(Box<Stored>),
    Caller(Vec<Own>),
}

/// An image of a layout or an archive.
struct Stored {
    store: Store,
    image: Image,
}

/// A layer of the caller.
struct Own {
    source: ocilayer_source,
    digest: Option<crate::digest::Digest>,
    diff_id: crate::digest::Digest,
}

struct LayerTexts {
    digest: Option<Text>,
    diff_id: Text,
    chain_id: Text,
}

impl ocilayer_image {
    fn new(origin: Origin) -> ocilayer_image {
        let mut image = ocilayer_image { origin, texts: Vec::new(), json: Text::new("") };
        image.tell();
        image
    }

    /// What it is without its sources.
    fn image(&self) -> Image {
        match &self.origin {
            Origin::Store(stored) => stored.image.clone(),
            Origin::Caller(layers) => {
                let mut all = Layers::new();
                for own in layers {
                    let nothing = crate::pipeline::Source::memory(&[]);
                    all.push(nothing, own.digest.clone(), own.diff_id.clone());
                }
                all.image()
            }
        }
    }

    fn tell(&mut self) {
        let image = self.image();
        let texts = |layer: &image::ChainLayer| LayerTexts {
            digest: layer.digest.as_ref().map(|digest| Text::new(digest.to_string())),
            diff_id: Text::new(layer.diff_id.to_string()),
            chain_id: Text::new(layer.chain_id.to_string()),
        };
        self.texts = image.layers.iter().map(texts).collect();
        self.json = Text::new(image.to_json());
    }
}

/// # Safety
/// `pointer` is NULL or a string.
unsafe fn choice(
    name: *const c_char,
    wanted: *const c_char,
    platform: *const c_char,
) -> Result<Choice, Failure> {
    // SAFETY: the caller's promise, for all of these.
    let read = |pointer: *const c_char, what| match pointer.is_null() {
        true => Ok(None),
        false => unsafe { text(pointer, what) }.map(|text| Some(text.to_string_lossy())),
    };
    let name = read(name, "name")?.map(Into::into);
    // SAFETY: the same.
    let digest = unsafe { options::digest(wanted, "digest")? };
    let platform = read(platform, "platform")?.map(|text| text.parse()).transpose();
    Ok(Choice { name, digest, platform: platform.map_err(Failure::from)? })
}

/// Open the image @path: a directory with an OCI image layout, an archive of one, or one by `docker save`,
/// gzip'd or zstd'd as well: that is decompressed into a file without a name in $TMPDIR.
///
/// @name chooses by what the layout or archive calls it or by its tag, @digest by the digest of its
/// manifest or of an index that leads to it, @platform by `os/architecture[/variant]`. Each may be NULL;
/// where that leaves several images, the one for this machine is meant.
///
/// Returns 0, or a negative errno with *error set: -ENOENT if there is no such image, -EINVAL if there
/// are several or @path is none, -EBADMSG if it is not what its digests say, -EFBIG if it is larger than
/// any image.
///
/// *image belongs to the caller, who frees it with ocilayer_image_free.
///
/// Any thread may call this.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ocilayer_image_open(
    path: *const c_char,
    name: *const c_char,
    digest: *const c_char,
    platform: *const c_char,
    image: *mut *mut ocilayer_image,
    error: *mut *mut ocilayer_error,
) -> c_int {
    let work = || {
        // SAFETY: all pointers are NULL or what the header asks for, until this returns.
        let (out, at, choice) = unsafe {
            let out = Out::required(image, "image")?;
            (out, argument::path(path, "path")?, choice(name, digest, platform)?)
        };
        let none = || ImageError::NoLayout(at.display().to_string());
        let store = image::open(at)?.ok_or_else(none)?;
        let image = image::select(&store, &choice)?;
        out.give(ocilayer_image::new(Origin::Store(Box::new(Stored { store, image }))));
        Ok(())
    };
    // SAFETY: `error` is NULL or writable, as the header asks.
    unsafe { guarded(error, work) }
}

/// Make an image without layers, for those of the caller: see ocilayer_image_add.
///
/// Returns 0, or a negative errno with *error set.
///
/// *image belongs to the caller, who frees it with ocilayer_image_free.
///
/// Any thread may call this.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ocilayer_image_new(
    image: *mut *mut ocilayer_image,
    error: *mut *mut ocilayer_error,
) -> c_int {
    let work = || {
        // SAFETY: NULL or writable, as the header asks.
        let out = unsafe { Out::required(image, "image")? };
        out.give(ocilayer_image::new(Origin::Caller(Vec::new())));
        Ok(())
    };
    // SAFETY: `error` is NULL or writable, as the header asks.
    unsafe { guarded(error, work) }
}

/// Put a layer upon those that @image has, which must be one of ocilayer_image_new.
///
/// @diff_id is the digest that its archive must have, @digest that of its blob, or NULL. @source is not
/// one with a read function: those are read on the thread that calls, and layers are not. A pipe does
/// what such a function does, also while the blob is still being downloaded; the layers of one image are
/// begun bottom first, and not all of them at once.
///
/// Returns 0, or a negative errno with *error set.
///
/// @source belongs to the image from now on: its caller may free it, and nothing else. Memory that it
/// names must stay as it is until the image is freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ocilayer_image_add(
    image: *mut ocilayer_image,
    source: *mut ocilayer_source,
    digest: *const c_char,
    diff_id: *const c_char,
    error: *mut *mut ocilayer_error,
) -> c_int {
    let work = || {
        // SAFETY: all pointers are NULL or what the header asks for.
        let (image, source, blob, diff_id) = unsafe {
            let image = exclusive(image, "image")?;
            let source = exclusive(source, "source")?;
            let blob = options::digest(digest, "digest")?;
            (image, source, blob, options::digest(diff_id, "diff_id")?)
        };
        let diff_id = diff_id.ok_or(ArgumentError::Null("diff_id"))?;
        let Origin::Caller(layers) = &mut image.origin else {
            return Err(ArgumentError::NotOwn.into());
        };
        let source = source.take_whole()?;
        layers.push(Own { source, digest: blob, diff_id });
        image.tell();
        Ok(())
    };
    // SAFETY: `error` is NULL or writable, as the header asks.
    unsafe { guarded(error, work) }
}

/// Unpack all layers of @image, several at once. In OCILAYER_MODE_DIRECTORY they become one tree in
/// @directory, which must be empty. In the overlay modes @directory is a store: it gets a directory for
/// each layer that it lacks, by its chain ID, and is made if it is not there. A layer is put into its
/// place when all of it was verified and is on disk as options.sync says; what a killed process has left
/// is removed. Any number of processes may use one store.
///
/// Each blob's digest and each diffID are held against what the image says: options.expected_blob_digest,
/// expected_diff_id, lowers, upper and read_to must not be set. options.threads is for all layers together;
/// each takes memory as an unpack of its own, at most eight at a time. The callbacks are told of all
/// layers: see the field layer of what they are shown. What a filter declines is missing in the layer for
/// all who use the store.
///
/// Returns 0, or a negative errno with *error set, whose message names the layer. The layers of a store
/// below that one are complete then, and those above are not there; a directory holds a part of the
/// image.
///
/// Everything is borrowed until return. The sources of an image of ocilayer_image_new are used up.
/// *report (may be NULL) belongs to the caller, who frees it with ocilayer_image_report_free; on failure
/// it is NULL.
///
/// Callbacks run on the calling thread. Worker threads end before this returns and take no signals.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ocilayer_unpack_image(
    image: *mut ocilayer_image,
    directory: *const c_char,
    options: *const ocilayer_options,
    report: *mut *mut ocilayer_image_report,
    error: *mut *mut ocilayer_error,
) -> c_int {
    let work = || {
        // SAFETY: all pointers are NULL or what the header asks for, until this returns.
        let (out, image, directory, asked) = unsafe {
            let out = Out::optional(report);
            let image = exclusive(image, "image")?;
            (out, image, argument::path(directory, "directory")?, ocilayer_options::read(options)?)
        };
        // SAFETY: as above, for what the options point to.
        let (options, mut callbacks) = unsafe { (asked.parse()?, asked.callbacks()) };
        // Before the sources are used up: a caller may mend the options and try again.
        options.check_image().map_err(Error::from)?;
        let done = match &mut image.origin {
            Origin::Store(stored) => {
                unpack(&stored.store, &stored.image, directory, &options, &mut callbacks)?
            }
            Origin::Caller(layers) => {
                let mut all = Layers::new();
                for own in layers {
                    // SAFETY: the header asks for memory to stay until the image is freed.
                    let source = unsafe { own.source.take()? };
                    all.push(source, own.digest.clone(), own.diff_id.clone());
                }
                unpack(&all, &all.image(), directory, &options, &mut callbacks)?
            }
        };
        if let Some(out) = out {
            out.give(ocilayer_image_report::new(done));
        }
        Ok(())
    };
    // SAFETY: `error` is NULL or writable, as the header asks.
    unsafe { guarded(error, work) }
}

fn unpack(
    blobs: &dyn Blobs,
    image: &Image,
    directory: &Path,
    options: &Options,
    callbacks: &mut super::observer::Callbacks,
) -> Result<image::ImageReport, Failure> {
    if options.mode == Mode::Directory {
        return Ok(image::unpack(blobs, image, directory, options, callbacks)?);
    }
    let store = LayerStore::open(directory, options)?;
    Ok(image::unpack_layers(blobs, image, &store, options, callbacks)?)
}

/// # Safety
/// `image` is NULL or an image that was not freed.
unsafe fn layer_text(
    image: *const ocilayer_image,
    layer: usize,
    field: impl FnOnce(&LayerTexts) -> Option<&Text>,
) -> *const c_char {
    // SAFETY: the caller's promise.
    let layer = || unsafe { image.as_ref() }.and_then(|image| image.texts.get(layer));
    infallible(null(), || layer().and_then(field).map_or(null(), Text::as_ptr))
}

/// How many layers the image has; 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ocilayer_image_layers(image: *const ocilayer_image) -> usize {
    // SAFETY: NULL or not freed, as the header asks.
    infallible(0, || unsafe { image.as_ref() }.map_or(0, |image| image.texts.len()))
}

/// Digest of the blob of a layer, counted from 0, bottom first; NULL if it is not known, or past the last.
///
/// It belongs to the image and lives until that is freed or gets one more layer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ocilayer_image_digest(
    image: *const ocilayer_image,
    layer: usize,
) -> *const c_char {
    // SAFETY: NULL or not freed, as the header asks.
    unsafe { layer_text(image, layer, |texts| texts.digest.as_ref()) }
}

/// The diffID of a layer; NULL past the last. It lives as ocilayer_image_digest.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ocilayer_image_diff_id(
    image: *const ocilayer_image,
    layer: usize,
) -> *const c_char {
    // SAFETY: NULL or not freed, as the header asks.
    unsafe { layer_text(image, layer, |texts| Some(&texts.diff_id)) }
}

/// The chain ID of a layer, which stands for it and all below it (OCI image configuration, "Layer
/// ChainID"); NULL past the last. It lives as ocilayer_image_digest.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ocilayer_image_chain_id(
    image: *const ocilayer_image,
    layer: usize,
) -> *const c_char {
    // SAFETY: NULL or not freed, as the header asks.
    unsafe { layer_text(image, layer, |texts| Some(&texts.chain_id)) }
}

/// All of it as one JSON object: names, manifest digest, platform, layers. NULL for NULL. It lives as
/// ocilayer_image_digest.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ocilayer_image_json(image: *const ocilayer_image) -> *const c_char {
    // SAFETY: NULL or not freed, as the header asks.
    infallible(null(), || unsafe { image.as_ref() }.map_or(null(), |image| image.json.as_ptr()))
}

/// Free an image and all that was got from it; NULL does nothing.
///
/// Not while another thread is in a call with it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ocilayer_image_free(image: *mut ocilayer_image) {
    // SAFETY: NULL or from one of the two above and not freed before, as the header asks.
    infallible((), || unsafe { free(image) })
}
