// SPDX-License-Identifier: Apache-2.0
//! `ocilayer audit`.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::args;
use crate::findings::Printer;
use crate::unpack::{self, Refusal};
use crate::{Exit, complain, output_failed, signals, values};
use ocilayer::image::{self, ChainLayer, ImageError, LayerStore};
use ocilayer::{
    AuditLayer, AuditObserver, AuditOptions, AuditReport, Damage, DamageKind, Errno, Error, Expect,
    Source, audit, audit_directories, overlay_mounts,
};

pub fn run(arguments: &args::Audit) -> Exit {
    let cancel = match signals::cancel_on_interrupt() {
        Ok(cancel) => cancel,
        Err(error) => {
            complain(Refusal::Signals(error));
            return Exit::Failed;
        }
    };
    let meant = unpack::owners(&arguments.ownership)
        .and_then(|owners| Ok((owners, unpack::limits(&arguments.limits)?)));
    let (owners, limits) = match meant {
        Ok(meant) => meant,
        Err(refusal) => {
            complain(&refusal);
            return refusal.exit();
        }
    };
    let options = AuditOptions::default()
        .owners(owners)
        .devices(unpack::devices(&arguments.ownership))
        .limits(limits)
        .userxattr(arguments.userxattr)
        .repair(arguments.repair)
        .restore(arguments.restore)
        .repair_live(arguments.live)
        .threads(arguments.threads)
        .cancel(cancel);
    let printer = Printer::new(arguments.json);
    let mut audits = Audits { options, printer, damaged: false, suspected: false, failed: false };
    let done = match arguments {
        args::Audit { mounts: true, .. } => audits.mounts(),
        args::Audit { directories: Some(list), .. } => match values::lower_directories(list) {
            Ok(directories) => audits.stack(&list.to_string_lossy(), &directories),
            Err(reason) => {
                complain(format_args!("{}: {reason}", list.display()));
                return Exit::Usage;
            }
        },
        args::Audit { image: Some(image), store: Some(store), .. } => {
            match layers_of(image, store, arguments.restore) {
                Ok(layers) => audits.layers(layers),
                Err(reason) => {
                    complain(format_args!("{}: {reason}", image.display()));
                    return Exit::Failed;
                }
            }
        }
        _ => match pairs(&arguments.layers) {
            Some(layers) => audits.layers(layers),
            None => return Exit::Usage,
        },
    };
    match done.and_then(|()| audits.printer.flush()) {
        Err(error) => output_failed(&error),
        Ok(()) if audits.failed || audits.damaged => Exit::Failed,
        Ok(()) if audits.suspected => Exit::SUSPECTS,
        Ok(()) => Exit::Done,
    }
}

/// Layers as `BLOB=DIRECTORY`.
pub fn pairs(pairs: &[OsString]) -> Option<Vec<AuditLayer<'static>>> {
    let layers: Option<Vec<_>> = pairs.iter().map(|pair| split(pair)).collect();
    if layers.is_none() {
        complain("--layer needs BLOB=DIRECTORY");
    }
    layers
}

fn split(pair: &OsStr) -> Option<AuditLayer<'static>> {
    let bytes = pair.as_bytes();
    let at = bytes.iter().position(|byte| *byte == b'=')?;
    let (blob, directory) = (&bytes[..at], &bytes[at + 1..]);
    let path = |bytes| PathBuf::from(OsStr::from_bytes(bytes));
    let both = !blob.is_empty() && !directory.is_empty();
    both.then(|| AuditLayer::new(Source::path(path(blob)), path(directory)))
}

/// The layers of an image, each with its directory in a store. With what they must be, if that is wanted.
pub fn layers_of(
    image: &OsStr,
    store: &Path,
    digests: bool,
) -> Result<Vec<AuditLayer<'static>>, ImageError> {
    let none = || ImageError::NoLayout(image.display().to_string());
    let (blobs, choice) = crate::image::open(image)?.ok_or_else(none)?;
    let image = image::select(&blobs, &choice)?;
    let layer = |layer: &ChainLayer| {
        let at = LayerStore::path_in(store, &layer.chain_id);
        let expect = Expect::default().diff_id(layer.diff_id.clone());
        let expect = if digests { expect } else { Expect::default() };
        Ok(AuditLayer::new(blobs.source(&layer.blob)?, at).expect(expect))
    };
    image.layers.iter().map(layer).collect()
}

/// All that was asked for, one stack after the other. The errors are those of standard output.
struct Audits<'o> {
    options: AuditOptions,
    printer: Printer<'o>,
    damaged: bool,
    suspected: bool,
    failed: bool,
}

impl Audits<'_> {
    fn layers(&mut self, layers: Vec<AuditLayer<'_>>) -> io::Result<()> {
        let mut telling = Telling { printer: &mut self.printer, failed: None };
        let result = audit(layers, &self.options, &mut telling);
        let failed = telling.failed;
        self.end(None, result, failed)
    }

    fn stack(&mut self, name: &str, directories: &[PathBuf]) -> io::Result<()> {
        let mut telling = Telling { printer: &mut self.printer, failed: None };
        let result = audit_directories(directories, &self.options, &mut telling);
        let failed = telling.failed;
        self.end(Some(name), result, failed)
    }

    fn mounts(&mut self) -> io::Result<()> {
        let mounts = match overlay_mounts() {
            Ok(mounts) => mounts,
            Err(error) => {
                self.failed = true;
                complain(format_args!("mounts of this machine: {error}"));
                return Ok(());
            }
        };
        for mount in mounts {
            self.options.userxattr = mount.userxattr;
            self.stack(&mount.mount_point.to_string_lossy(), &mount.layers())?;
        }
        Ok(())
    }

    fn end(
        &mut self,
        name: Option<&str>,
        result: ocilayer::Result<AuditReport>,
        output: Option<io::Error>,
    ) -> io::Result<()> {
        if let Some(error) = output {
            return Err(error);
        }
        match result {
            Ok(report) => {
                self.damaged |= report.is_damaged();
                self.suspected |= report.count(DamageKind::Suspect) > 0;
                self.printer.end(name, &report)
            }
            Err(error) => {
                self.failed = true;
                complain(in_place(name, &error));
                self.printer.failure(name, &error)
            }
        }
    }
}

fn in_place(name: Option<&str>, error: &Error) -> String {
    match name {
        Some(name) => format!("{}: {error}", name.escape_debug()),
        None => error.to_string(),
    }
}

/// Prints findings as they come.
struct Telling<'t, 'o> {
    printer: &'t mut Printer<'o>,
    failed: Option<io::Error>,
}

impl AuditObserver for Telling<'_, '_> {
    fn damage(&mut self, damage: &Damage) -> Result<(), Errno> {
        self.printer.damage(damage).map_err(|error| {
            self.failed = Some(error);
            Errno::IO
        })
    }
}
