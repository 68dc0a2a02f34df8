// SPDX-License-Identifier: Apache-2.0
//! `ocilayer_image_report`.

use std::ffi::c_char;
use std::os::unix::ffi::OsStrExt;
use std::ptr::null;

use super::argument::free;
use super::guard::infallible;
use super::report::ocilayer_report;
use super::text::Text;
use crate::image::ImageReport;

/// What became of an image and each of its layers. All accessors take NULL for "nothing was done".
/// Threads may share one. What they return belongs to the report and lives as long.
pub struct ocilayer_image_report {
    layers: Vec<Layer>,
    lowerdir: Option<Text>,
    json: Text,
}

struct Layer {
    path: Option<Text>,
    report: Option<ocilayer_report>,
}

impl ocilayer_image_report {
    pub(super) fn new(done: ImageReport) -> ocilayer_image_report {
        let (lowerdir, json) = (done.lowerdir().map(Text::new), Text::new(done.to_json()));
        let layer = |done: crate::image::LayerDone| Layer {
            path: done.path.map(|path| Text::new(path.as_os_str().as_bytes())),
            report: done.report.map(ocilayer_report::new),
        };
        let layers = done.layers.into_iter().map(layer).collect();
        ocilayer_image_report { layers, lowerdir, json }
    }
}

/// # Safety
/// `report` is NULL or a report that was not freed.
unsafe fn read<T: Copy>(
    report: *const ocilayer_image_report,
    nothing: T,
    field: impl FnOnce(&ocilayer_image_report) -> Option<T>,
) -> T {
    // SAFETY: the caller's promise.
    infallible(nothing, || unsafe { report.as_ref() }.and_then(field).unwrap_or(nothing))
}

/// How many layers the image has.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ocilayer_image_report_layers(
    report: *const ocilayer_image_report,
) -> usize {
    // SAFETY: NULL or not freed, as the header asks.
    unsafe { read(report, 0, |report| Some(report.layers.len())) }
}

/// What was done for a layer, counted from 0, bottom first; NULL past the last, and for one that the
/// store had already.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ocilayer_image_report_layer(
    report: *const ocilayer_image_report,
    layer: usize,
) -> *const ocilayer_report {
    let own = |report: &ocilayer_image_report| {
        report.layers.get(layer)?.report.as_ref().map(std::ptr::from_ref)
    };
    // SAFETY: NULL or not freed, as the header asks.
    unsafe { read(report, null(), own) }
}

/// The directory of a layer in the store; NULL past the last, and where all layers went to one directory.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ocilayer_image_report_path(
    report: *const ocilayer_image_report,
    layer: usize,
) -> *const c_char {
    let own =
        |report: &ocilayer_image_report| report.layers.get(layer)?.path.as_ref().map(Text::as_ptr);
    // SAFETY: NULL or not freed, as the header asks.
    unsafe { read(report, null(), own) }
}

/// The layers for overlay's option lowerdir, topmost first, with `:` and `\` in names escaped; NULL where
/// all layers went to one directory.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ocilayer_image_report_lowerdir(
    report: *const ocilayer_image_report,
) -> *const c_char {
    // SAFETY: NULL or not freed, as the header asks.
    unsafe { read(report, null(), |report| report.lowerdir.as_ref().map(Text::as_ptr)) }
}

/// All of it as one JSON object, in UTF-8; names that are not UTF-8 appear with replacement characters.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ocilayer_image_report_json(
    report: *const ocilayer_image_report,
) -> *const c_char {
    // SAFETY: NULL or not freed, as the header asks.
    unsafe { read(report, null(), |report| Some(report.json.as_ptr())) }
}

/// Free a report and all that was got from it; NULL does nothing.
///
/// Not while another thread is in a call with it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ocilayer_image_report_free(report: *mut ocilayer_image_report) {
    // SAFETY: NULL or from ocilayer_unpack_image and not freed before, as the header asks.
    infallible((), || unsafe { free(report) })
}
