// SPDX-License-Identifier: Apache-2.0
//! `ocilayer unpack`.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use ocilayer::image::ImageError;
use ocilayer::{
    Cause, Devices, Error, ErrorKind, Expect, IdRange, Limits, Lowers, Mode, Options, OptionsError,
    Owners, Report, SkipReason, Sync,
};
use serde_json::json;

use crate::input::{self, Input};
use crate::progress::Display;
use crate::summary::Summary;
use crate::{Exit, complain, output_failed, plain, print, signals, values};
use crate::{args, image};

/// Why an unpack is not even begun.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    #[error("--lower {}: {reason}", list.display())]
    Lower { list: OsString, reason: String },
    #[error("--lower is for the overlay modes: a directory has its parents inside")]
    LowerInDirectoryMode,
    #[error("--upper is for directory mode, where ROOT is the mount and not the upper directory")]
    UpperInOverlayMode,
    #[error("--map-user {user}: {file} lends no ids to that user")]
    NothingLent { user: String, file: &'static str },
    #[error("--max-xattr-bytes {0}: too large for this machine")]
    XattrBytes(u64),
    #[error("LAYER is standard input, but that is a terminal")]
    TerminalInput,
    #[error(transparent)]
    Image(ImageError),
    #[error("--layers is for images, and LAYER is none")]
    LayersOfALayer,
    #[error("{0} is for one layer, and LAYER is an image")]
    OfOneLayer(&'static str),
    #[error("standard input was an image and not a layer, and {} has its files now: put it into a file, or say --layer if it is one", .0.display())]
    ImageInput(PathBuf),
    #[error("standard input: {}", plain(.0))]
    Input(io::Error),
    #[error(
        "standard input is empty, as after a download that failed: --digest says that it may be"
    )]
    EmptyInput,
    #[error("{file}: {}", plain(error))]
    LentIds { file: &'static str, error: io::Error },
    #[error("signal handlers: {}", plain(.0))]
    Signals(io::Error),
}

pub fn run(arguments: &args::Unpack) -> Exit {
    match begin(arguments) {
        Ok(exit) => exit,
        Err(refusal) => refusal.tell(arguments.json),
    }
}

fn begin(arguments: &args::Unpack) -> Result<Exit, Refusal> {
    let mut options = meaning(arguments)?;
    options.cancel = Some(signals::cancel_on_interrupt().map_err(Refusal::Signals)?);
    if !arguments.as_layer {
        let file = input::as_file(&arguments.layer);
        let argument = file.as_ref().map_or(arguments.layer.as_os_str(), |file| file.as_os_str());
        match image::open(argument) {
            Ok(Some((store, choice))) => return image::run(arguments, &store, choice, options),
            Ok(None) => {}
            // Of a file that is not there the library tells.
            Err(error) if Path::new(argument).exists() => return Err(Refusal::Image(error)),
            Err(_) => {}
        }
    }
    let root = arguments.root.as_deref().ok_or(Refusal::LayersOfALayer)?;
    let (source, seen) = Input::open(&arguments.layer)?.split();
    let mut display = Display::new(arguments.quiet, arguments.verbose, &arguments.exclude);
    let outcome = ocilayer::unpack_with(source, root, &options, &mut display);
    display.finish();
    match outcome {
        Ok(report) if is_nothing(arguments, &report) => Err(Refusal::EmptyInput),
        Ok(_) if !arguments.as_layer && seen.was_image() => {
            Err(Refusal::ImageInput(root.to_owned()))
        }
        Ok(report) => Ok(succeed(arguments, &report)),
        Err(error) => Ok(fail(arguments, root, &error)),
    }
}

/// A stream without one byte, which nobody expected to be one.
fn is_nothing(arguments: &args::Unpack, report: &Report) -> bool {
    let expected = arguments.digest.is_some() || arguments.diff_id.is_some();
    arguments.layer == "-" && report.bytes.blob == 0 && !expected
}

fn meaning(arguments: &args::Unpack) -> Result<Options, Refusal> {
    let mut expect = Expect::default();
    expect.blob = arguments.digest.clone();
    expect.diff_id = arguments.diff_id.clone();
    Ok(Options::default()
        .mode(arguments.mode.into())
        .lowers(lowers(arguments)?)
        .upper(upper(arguments)?)
        .expect(expect)
        .skip_blob_digest(arguments.no_blob_digest)
        .threads(arguments.threads)
        .limits(limits(&arguments.limits)?)
        .owners(owners(&arguments.ownership)?)
        .devices(devices(&arguments.ownership))
        .sync(match arguments.sync {
            args::Sync::None => Sync::None,
            args::Sync::Files => Sync::Files,
            args::Sync::Filesystem => Sync::Filesystem,
        }))
}

impl From<args::Mode> for Mode {
    fn from(mode: args::Mode) -> Mode {
        match mode {
            args::Mode::Directory => Mode::Directory,
            args::Mode::Overlay => Mode::Overlay,
            args::Mode::OverlayUserxattr => Mode::OverlayUserxattr,
        }
    }
}

fn lowers(arguments: &args::Unpack) -> Result<Lowers, Refusal> {
    if arguments.lower.is_empty() {
        return Ok(Lowers::Unknown);
    }
    if arguments.mode == args::Mode::Directory {
        return Err(Refusal::LowerInDirectoryMode);
    }
    let mut directories: Vec<PathBuf> = Vec::new();
    for list in &arguments.lower {
        match values::lower_directories(list) {
            Ok(more) => directories.extend(more),
            Err(reason) => return Err(Refusal::Lower { list: list.clone(), reason }),
        }
    }
    Ok(Lowers::Known(directories))
}

fn upper(arguments: &args::Unpack) -> Result<Option<PathBuf>, Refusal> {
    if arguments.mode != args::Mode::Directory && arguments.upper.is_some() {
        return Err(Refusal::UpperInOverlayMode);
    }
    Ok(arguments.upper.clone())
}

pub fn devices(arguments: &args::Ownership) -> Devices {
    match arguments.devices {
        args::Devices::Create => Devices::Create,
        args::Devices::Skip => Devices::Skip,
    }
}

pub fn owners(arguments: &args::Ownership) -> Result<Owners, Refusal> {
    if let Some(user) = &arguments.map_user {
        let uids = lent_ids("/etc/subuid", user)?;
        return Ok(Owners::Map { uids, gids: lent_ids("/etc/subgid", user)? });
    }
    if !arguments.map_uid.is_empty() {
        let (uids, gids) = (arguments.map_uid.clone(), arguments.map_gid.clone());
        return Ok(Owners::Map { uids, gids });
    }
    Ok(match arguments.owners {
        args::Owners::Keep => Owners::Keep,
        args::Owners::Ignore => Owners::Ignore,
    })
}

fn lent_ids(file: &'static str, user: &str) -> Result<Vec<IdRange>, Refusal> {
    let text = std::fs::read_to_string(file);
    let text = text.map_err(|error| Refusal::LentIds { file, error })?;
    let ranges = values::lent_ids(&text, user);
    if ranges.is_empty() {
        return Err(Refusal::NothingLent { user: user.into(), file });
    }
    Ok(ranges)
}

pub fn limits(wanted: &args::Limits) -> Result<Limits, Refusal> {
    let default = Limits::default();
    let xattr_bytes = match wanted.max_xattr_bytes {
        Some(size) => usize::try_from(size).map_err(|_| Refusal::XattrBytes(size))?,
        None => default.xattr_bytes,
    };
    Ok(Limits::default()
        .entries(wanted.max_entries.unwrap_or(default.entries))
        .bytes(wanted.max_bytes.unwrap_or(default.bytes))
        .ratio(wanted.max_ratio.unwrap_or(default.ratio))
        .path_bytes(wanted.max_path_bytes.unwrap_or(default.path_bytes))
        .path_depth(wanted.max_path_depth.unwrap_or(default.path_depth))
        .xattr_bytes(xattr_bytes)
        .memory(wanted.max_memory.unwrap_or(default.memory))
        .zstd_window_log(wanted.max_zstd_window.unwrap_or(default.zstd_window_log)))
}

fn succeed(arguments: &args::Unpack, report: &Report) -> Exit {
    let text = match (arguments.json, arguments.quiet) {
        (true, _) => report.to_json() + "\n",
        (false, false) => Summary(report).to_string(),
        (false, true) => String::new(),
    };
    match print(&text) {
        Ok(()) => Exit::Done,
        Err(error) => output_failed(&error),
    }
}

fn fail(arguments: &args::Unpack, root: &Path, error: &Error) -> Exit {
    if arguments.json
        && let Err(error) = print(&format!("{}\n", failure(error)))
    {
        return output_failed(&error);
    }
    let consequence = consequence(error, root);
    match error.kind() {
        // Which entry it was is chance.
        ErrorKind::Cancelled => complain(format_args!("cancelled{consequence}")),
        _ => complain(format_args!("{error}{}{consequence}", raising(error))),
    }
    if is_usage(error) { Exit::Usage } else { Exit::Failed }
}

/// The facts of an error, and what had been done before it.
pub fn failure(error: &Error) -> serde_json::Value {
    json!({ "error": facts(error), "report": error.report() })
}

/// What a C caller gets from an `ocilayer_error`.
pub fn facts(error: &Error) -> serde_json::Value {
    let place = error.place();
    json!({
        "kind": error.kind(),
        "errno": error.errno().raw_os_error(),
        "message": error.to_string(),
        "entry": place.map(|place| place.entry),
        "path": place.map(|place| String::from_utf8_lossy(&place.path)),
        "offset": place.map(|place| place.offset),
    })
}

/// The option that helps, such as one for a limit that was exceeded.
pub fn raising(error: &Error) -> String {
    let limit = match error.cause() {
        Cause::Limit(limit) => limit,
        Cause::Apply(apply) if apply.is_about_owners() => {
            return " with --map-user or --owners ignore".to_owned();
        }
        _ => return String::new(),
    };
    let option = match limit.name() {
        "zstd_window_log" => "zstd-window".to_owned(),
        name => name.replace('_', "-"),
    };
    format!("; --max-{option} raises it")
}

/// What all of them have left out.
pub fn skipped_of_all<'r>(reports: impl Iterator<Item = &'r Report>) -> Vec<(SkipReason, u64)> {
    let mut all: Vec<(SkipReason, u64)> = Vec::new();
    for (reason, skipped) in reports.flat_map(|report| report.skipped.iter()) {
        match all.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, count)) => *count += skipped.count,
            None => all.push((reason, skipped.count)),
        }
    }
    all
}

/// What the next command should know about the root.
fn consequence(error: &Error, root: &Path) -> String {
    let begun = error.report().is_some_and(|report| {
        let Report { entries, whiteouts, opaque_directories, implied_directories, .. } = report;
        let made = [entries.files, entries.directories, entries.symlinks, entries.hardlinks];
        let others = [entries.fifos, entries.devices, *whiteouts, *opaque_directories];
        made.iter().chain(&others).sum::<u64>() + implied_directories + report.bytes.files > 0
    });
    if begun { format!("; {} holds a part of the layer", root.display()) } else { String::new() }
}

/// Options that contradict each other, as opposed to a directory that turns out to be missing.
fn is_usage(error: &Error) -> bool {
    let missing = matches!(
        error.cause(),
        Cause::Options(
            OptionsError::Root { .. }
                | OptionsError::Lower { .. }
                | OptionsError::Upper { .. }
                | OptionsError::NotTheUpper { .. }
        )
    );
    error.kind() == ErrorKind::InvalidArgument && !missing
}

impl Refusal {
    /// On standard error, and where JSON is wanted as an object, too.
    pub fn tell(&self, json: bool) -> Exit {
        complain(self);
        let object = json!({ "error": { "message": self.to_string() }, "report": null });
        match json.then(|| print(&format!("{object}\n"))) {
            Some(Err(error)) => output_failed(&error),
            _ => self.exit(),
        }
    }

    /// Whether the command line is at fault, or the machine.
    pub fn exit(&self) -> Exit {
        match self {
            Refusal::Input(_)
            | Refusal::EmptyInput
            | Refusal::Image(_)
            | Refusal::ImageInput(_)
            | Refusal::LentIds { .. }
            | Refusal::Signals(_) => Exit::Failed,
            _ => Exit::Usage,
        }
    }
}
