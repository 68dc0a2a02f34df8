// SPDX-License-Identifier: Apache-2.0
//! `ocilayer unpack` of an image, and `ocilayer images`.

use std::ffi::OsStr;
use std::fmt::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use indicatif::{BinaryBytes, HumanCount};
use ocilayer::image::{
    self, Choice, Image, ImageError, ImageObserver, ImageProgress, ImageReport, LayerStore, Store,
    UnpackError,
};
use ocilayer::{Entry, Errno, Mode, Observer, Options, Warning};
use serde_json::json;

use crate::args;
use crate::progress::Display;
use crate::unpack::{self, Refusal};
use crate::{Exit, complain, output_failed, print};

/// The image that an argument stands for, and which of those in it: `PATH`, `PATH@DIGEST` or `PATH:NAME`,
/// unless there is a file of the whole name.
pub fn open(argument: &OsStr) -> Result<Option<(Store, Choice)>, ImageError> {
    let whole = Path::new(argument);
    if whole.exists() {
        let usable = whole.is_file() || whole.is_dir();
        let opened = if usable { image::open(whole)? } else { None };
        return Ok(opened.map(|store| (store, Choice::default())));
    }
    let bytes = argument.as_bytes();
    for (at, _) in bytes.iter().enumerate().filter(|(_, byte)| matches!(byte, b'@' | b':')) {
        let path = Path::new(OsStr::from_bytes(&bytes[..at]));
        let Ok(rest) = std::str::from_utf8(&bytes[at + 1..]) else { continue };
        if rest.is_empty() || !(path.is_file() || path.is_dir()) {
            continue;
        }
        let mut choice = Choice::default();
        match bytes[at] {
            b'@' => match rest.parse() {
                Ok(digest) => choice.digest = Some(digest),
                Err(_) => continue,
            },
            _ => choice.name = Some(rest.to_owned()),
        }
        if let Some(store) = image::open(path)? {
            return Ok(Some((store, choice)));
        }
    }
    Ok(None)
}

/// Unpacks the image that is meant.
pub fn run(
    arguments: &args::Unpack,
    store: &Store,
    mut choice: Choice,
    options: Options,
) -> Result<Exit, Refusal> {
    refuse_options_of_layers(arguments)?;
    choice.platform.clone_from(&arguments.platform);
    let mut display = Display::new(arguments.quiet, arguments.verbose, &arguments.exclude);
    let done = unpack(arguments, store, &choice, options, &mut display);
    display.finish();
    Ok(match done {
        Ok(report) => {
            let text = match (arguments.json, arguments.quiet) {
                (true, _) => report.to_json() + "\n",
                (false, false) => summary(&report),
                (false, true) => String::new(),
            };
            print(&text).map_or_else(|error| output_failed(&error), |()| Exit::Done)
        }
        Err(error) => fail(arguments, &error),
    })
}

fn unpack(
    arguments: &args::Unpack,
    store: &Store,
    choice: &Choice,
    options: Options,
    display: &mut Display<'_>,
) -> Result<ImageReport, UnpackError> {
    let image = image::select(store, choice)?;
    match (&arguments.layers, &arguments.root) {
        (Some(layers), _) => {
            let mode = match options.mode {
                Mode::Directory => Mode::Overlay,
                overlay => overlay,
            };
            let options = options.mode(mode);
            let layers = LayerStore::open(layers, &options)?;
            image::unpack_layers(store, &image, &layers, &options, display)
        }
        (None, root) => {
            let root = root.as_deref().unwrap_or(Path::new(""));
            image::unpack(store, &image, root, &options, display)
        }
    }
}

/// What is about one layer makes no sense for all of them.
fn refuse_options_of_layers(arguments: &args::Unpack) -> Result<(), Refusal> {
    let given = [
        ("--digest", arguments.digest.is_some()),
        ("--diff-id", arguments.diff_id.is_some()),
        ("--lower", !arguments.lower.is_empty()),
        ("--upper", arguments.upper.is_some()),
        ("--exclude", arguments.layers.is_some() && !arguments.exclude.is_empty()),
    ];
    match given.iter().find(|(_, given)| *given) {
        Some((option, _)) => Err(Refusal::OfOneLayer(option)),
        None => Ok(()),
    }
}

fn fail(arguments: &args::Unpack, error: &UnpackError) -> Exit {
    if arguments.json {
        let facts = match error.layer_error() {
            Some(own) => {
                let mut facts = unpack::facts(own);
                facts["message"] = json!(error.to_string());
                facts
            }
            None => json!({ "message": error.to_string() }),
        };
        if let Err(error) = print(&format!("{}\n", json!({ "error": facts, "report": null }))) {
            return output_failed(&error);
        }
    }
    let raising = error.layer_error().map(unpack::raising).unwrap_or_default();
    let partial = match (&arguments.root, error.layer_error()) {
        (Some(root), Some(_)) if arguments.layers.is_none() => {
            format!("; {} holds a part of the image", root.display())
        }
        _ => String::new(),
    };
    complain(format_args!("{error}{raising}{partial}"));
    Exit::Failed
}

impl ImageObserver for Display<'_> {
    fn filters(&self) -> bool {
        Observer::filters(self)
    }

    fn filter(&mut self, _: usize, entry: &Entry) -> Result<bool, Errno> {
        Observer::filter(self, entry)
    }

    fn progress(&mut self, progress: &ImageProgress) {
        let what = format!("{} of {} layers", progress.complete(), progress.layers.len());
        self.show(progress.blob_bytes(), progress.blob_size(), what);
    }

    fn warning(&mut self, layer: usize, warning: &Warning) {
        self.warn(&format!("layer {}, entry {}", layer + 1, warning.entry), warning);
    }
}

fn summary(report: &ImageReport) -> String {
    let mut text = String::new();
    for layer in &report.layers {
        let id = layer.layer.digest.as_ref().unwrap_or(&layer.layer.diff_id);
        let what = match &layer.report {
            Some(report) => format!(
                "{} entries, {}",
                HumanCount(report.entries.total),
                BinaryBytes(report.bytes.layer)
            ),
            None => "there already".to_owned(),
        };
        let _ = writeln!(text, "layer      {id} {what}");
    }
    let skipped = report.layers.iter().filter_map(|layer| layer.report.as_ref());
    for (reason, count) in unpack::skipped_of_all(skipped) {
        let _ = writeln!(text, "skipped    {} {}", HumanCount(count), reason.describe());
    }
    let _ = writeln!(text, "time       {:.2} s", report.wall.as_secs_f64());
    if let Some(lowerdir) = report.lowerdir() {
        let _ = writeln!(text, "lowerdir   {lowerdir}");
    }
    text
}

/// Lists what images archives and layouts have.
pub fn list(arguments: &args::Images) -> Exit {
    let mut failed = false;
    for path in &arguments.images {
        let listed = match image::open(path) {
            Ok(Some(store)) => image::list(&store),
            Ok(None) => Err(ImageError::NoLayout(path.display().to_string())),
            Err(error) => Err(error),
        };
        let text = match &listed {
            Ok(images) if arguments.json => images
                .iter()
                .map(|image| format!("{}\n", json!({ "file": path, "image": image })))
                .collect(),
            Ok(images) => images.iter().map(|image| line(path, image)).collect::<String>(),
            Err(error) => {
                failed = true;
                complain(error);
                match arguments.json {
                    true => format!(
                        "{}\n",
                        json!({ "file": path, "error": { "message": error.to_string() } })
                    ),
                    false => String::new(),
                }
            }
        };
        if let Err(error) = print(&text) {
            return output_failed(&error);
        }
    }
    if failed { Exit::Failed } else { Exit::Done }
}

fn line(path: &Path, image: &Image) -> String {
    let mut text = path.display().to_string().escape_debug().to_string();
    if let Some(digest) = &image.digest {
        let _ = write!(text, "@{digest}");
    }
    if let Some(platform) = &image.platform {
        let _ = write!(text, "  {}", platform.to_string().escape_debug());
    }
    let _ = write!(text, "  {} layers", image.layers.len());
    let sizes: Option<u64> = image.layers.iter().map(|layer| layer.size).sum();
    if let Some(bytes) = sizes {
        let _ = write!(text, ", {}", BinaryBytes(bytes));
    }
    for name in &image.names {
        let _ = write!(text, "  {}", name.escape_debug());
    }
    text + "\n"
}
