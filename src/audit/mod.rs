// SPDX-License-Identifier: Apache-2.0
//! Unpacked layers against the layers they were unpacked from: what the overlayfs defect and other
//! accidents did to them.
//!
//! ```text
//! layer -> expected (an index of its names) -> compare (the directory on disk) -> damage -> repair
//! ```

mod compare;
mod damage;
mod expected;
mod inode;
mod mounts;
mod repair;
mod report;
mod sender;
mod stack;
mod suspects;

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::Scope;
use std::time::Instant;

use crate::cancel::Cancel;
use crate::errno::Errno;
use crate::error::{Cause, Result};
use crate::layer::{Names, SkippedNames};
use crate::limits::Limits;
use crate::observer::Progress;
use crate::operation;
use crate::operation::callbacks::{CallbackSender, Handler};
use crate::operation::entries;
use crate::options::{Devices, Mode, Options, Owners, ReadTo};
use crate::pipeline::{Counters, Pipeline, Settings};
use crate::pipeline::{Input, Source};
use crate::setters::setters;

use compare::Comparison;
pub use damage::{Damage, DamageKind};
use expected::{Expected, Reading};
pub use mounts::{OverlayMount, overlay_mounts};
pub use report::AuditReport;
use sender::{DamageSender, Wrong};
use stack::{Level, Stack};

/// A layer and the directory that it was unpacked to.
#[derive(Debug)]
#[non_exhaustive]
pub struct AuditLayer<'s> {
    /// The layer's blob.
    pub source: Source<'s>,
    /// What it was unpacked to.
    pub directory: PathBuf,
}

impl<'s> AuditLayer<'s> {
    /// The layer that `source` gives, and its directory.
    pub fn new(source: Source<'s>, directory: impl Into<PathBuf>) -> AuditLayer<'s> {
        AuditLayer { source, directory: directory.into() }
    }
}

/// How to audit, and what to do about the damage.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct AuditOptions {
    /// Whether the marks are `user.overlay.*`, for mounts with the option userxattr, and not
    /// `trusted.overlay.*`.
    pub userxattr: bool,
    /// Removes the wrong marks after all was looked at, and writes the whiteouts that are missing
    /// below them: what the layer deletes would show again. Nothing else is ever changed.
    pub repair: bool,
    /// Repairs also what an overlay mount of this machine is using. Its view changes when it is
    /// mounted anew.
    pub repair_live: bool,
    /// The owners that the layers were unpacked with. Ignored ones are not compared.
    pub owners: Owners,
    /// [`Devices::Skip`] where the layers were unpacked so, or in a user namespace, or by a plain user.
    pub devices: Devices,
    /// As for an unpack.
    pub threads: usize,
    /// As for an unpack.
    pub limits: Limits,
    /// Cancelling this from any thread ends the audit.
    pub cancel: Option<Cancel>,
}

/// Callbacks of one audit. They run on the thread that called it, and only there.
pub trait AuditObserver {
    /// Called for each finding, layer by layer.
    ///
    /// # Errors
    ///
    /// What the callback answers ends the audit, before anything is repaired, and becomes its
    /// errno.
    fn damage(&mut self, _damage: &Damage) -> Result<(), Errno> {
        Ok(())
    }
}

/// Observes nothing; the report has the counts.
impl AuditObserver for () {}

/// Compares unpacked layers, bottom first, with the layers themselves.
///
/// Tells of each directory that is opaque and should not be, with all that it hides; of those that
/// should be and are not; of whiteouts that are missing or too many; and of entries that are
/// missing, too many, or other ones. A mark that hides nothing is not told of, nor is what overlayfs
/// keeps for itself in a directory. Holes in sparse files are not read.
///
/// Memory holds the names of one layer at a time, up to [`Limits::memory`](field@Limits::memory), no
/// content, and the paths of wrong marks.
///
/// # Errors
///
/// Damage is no error. An [`Error`](crate::Error) says that a layer or directory could not be read, that unpack
/// would refuse the layer, that a callback failed, or that a repair was refused because a mount uses
/// a directory.
pub fn audit(
    layers: Vec<AuditLayer<'_>>,
    options: &AuditOptions,
    observer: &mut dyn AuditObserver,
) -> Result<AuditReport> {
    let begin = Instant::now();
    let paths: Vec<PathBuf> = layers.iter().map(|layer| layer.directory.clone()).collect();
    let mut found = Found::default();
    let mut stack = Stack::open(&paths, options.mode())?;
    refuse_live(&stack, options)?;
    for (level, layer) in layers.into_iter().enumerate() {
        stack = audit_layer(layer.source, stack, level, options, observer, &mut found)?;
        found.report.layers += 1;
    }
    found.finish(&mut stack, options, begin)
}

/// The same without the layers, of which only suspicion can come: marks that repeat one of a lower
/// layer. `directories` are topmost first, as in overlay's lowerdir. A repair removes them all.
///
/// # Errors
///
/// Suspicion is no error. An [`Error`](crate::Error) says that a directory could not be read, that
/// a callback failed, or that a repair was refused because a mount uses a directory.
pub fn audit_directories(
    directories: &[PathBuf],
    options: &AuditOptions,
    observer: &mut dyn AuditObserver,
) -> Result<AuditReport> {
    let begin = Instant::now();
    let paths: Vec<PathBuf> = directories.iter().rev().cloned().collect();
    let mut found = Found::default();
    let mut stack = Stack::open(&paths, options.mode())?;
    refuse_live(&stack, options)?;
    let mut tell = |damage: Damage| observer.damage(&damage).map_err(Cause::Finding);
    let mut damages =
        DamageSender { tell: &mut tell, found: &mut found.report, wrong: &mut found.wrong };
    suspects::run(&mut stack, &mut damages)?;
    found.report.layers = paths.len() as u64;
    found.finish(&mut stack, options, begin)
}

fn refuse_live(stack: &Stack, options: &AuditOptions) -> Result<()> {
    match options.repair && !options.repair_live {
        true => repair::refuse_live(stack),
        false => Ok(()),
    }
}

impl AuditOptions {
    setters! {
        /// Sets [`userxattr`](field@AuditOptions::userxattr).
        userxattr: bool;
        /// Sets [`repair`](field@AuditOptions::repair).
        repair: bool;
        /// Sets [`repair_live`](field@AuditOptions::repair_live).
        repair_live: bool;
        /// Sets [`owners`](field@AuditOptions::owners).
        owners: Owners;
        /// Sets [`devices`](field@AuditOptions::devices).
        devices: Devices;
        /// Sets [`threads`](field@AuditOptions::threads).
        threads: usize;
        /// Sets [`limits`](field@AuditOptions::limits).
        limits: Limits;
    }

    /// Sets [`cancel`](field@AuditOptions::cancel).
    #[must_use]
    pub fn cancel(mut self, cancel: impl Into<Option<Cancel>>) -> Self {
        self.cancel = cancel.into();
        self
    }

    fn mode(&self) -> Mode {
        if self.userxattr { Mode::OverlayUserxattr } else { Mode::Overlay }
    }

    fn for_reading(&self) -> Options {
        Options {
            mode: self.mode(),
            owners: self.owners.clone(),
            devices: self.devices,
            threads: self.threads,
            limits: self.limits,
            cancel: self.cancel.clone(),
            ..Options::default()
        }
    }
}

/// What is known so far.
#[derive(Default)]
struct Found {
    report: AuditReport,
    wrong: Wrong,
}

impl Found {
    fn finish(
        mut self,
        stack: &mut Stack,
        options: &AuditOptions,
        begin: Instant,
    ) -> Result<AuditReport> {
        if options.repair {
            self.report.repaired = repair::remove_marks(stack, &self.wrong.marks)?;
            self.report.whiteouts = repair::write_whiteouts(stack, &self.wrong.whiteouts)?;
        }
        self.report.seconds = begin.elapsed();
        Ok(self.report)
    }
}

/// One layer; gives the stack back.
fn audit_layer(
    source: Source<'_>,
    stack: Stack,
    level: Level,
    options: &AuditOptions,
    observer: &mut dyn AuditObserver,
    found: &mut Found,
) -> Result<Stack> {
    let reading = options.for_reading();
    reading.check_scan()?;
    let mut caller = Caller { observer, failed: None };
    let (name, cancel) = ("ocilayer-audit", reading.cancel.as_ref());
    let result = operation::run(
        name,
        source,
        cancel,
        ReadTo::EndOfBlob,
        &mut caller,
        |scope, input, counters, callbacks| {
            let run = Run { options: &reading, counters, callbacks };
            run.layer(scope, input, stack, level, found)
        },
    );
    match caller.failed {
        // The worker was only told that nobody listens any more.
        Some(errno) => Err(Cause::Finding(errno).into()),
        None => result,
    }
}

/// The thread that called.
struct Caller<'o> {
    observer: &'o mut dyn AuditObserver,
    failed: Option<Errno>,
}

impl Handler<Damage> for Caller<'_> {
    fn call(&mut self, damage: Damage) -> ControlFlow<()> {
        match self.observer.damage(&damage) {
            Ok(()) => ControlFlow::Continue(()),
            Err(errno) => {
                self.failed = Some(errno);
                ControlFlow::Break(())
            }
        }
    }

    fn progress(&mut self, _: &Progress) {}
}

/// One layer, on the thread that reads the archive.
struct Run<'r> {
    options: &'r Options,
    counters: Arc<Counters>,
    callbacks: CallbackSender<Damage>,
}

impl<'r> Run<'r> {
    fn layer<'s>(
        self,
        scope: &'s Scope<'s, '_>,
        input: Input<'s>,
        mut stack: Stack,
        level: Level,
        found: &mut Found,
    ) -> Result<Stack> {
        let settings = Settings::new(self.options, operation::threads(self.options.threads));
        let pipeline = Pipeline::start(scope, input, &settings, self.counters.clone())?;
        let mut reading = Reading {
            pipeline,
            stack: &mut stack,
            level,
            mode: self.options.mode,
            limits: self.options.limits,
            expected: Expected::default(),
            names: Names::default(),
            file: None,
            owners: self.options.owners.clone(),
            devices: self.options.devices,
            skipped_names: SkippedNames::default(),
            parent: None,
        };
        // Without an end marker it is taken as it is: of a cut one the rest shows as damage.
        let read = entries::read(&self.options.limits, ReadTo::EndOfBlob, &mut reading);
        let Reading { pipeline, mut expected, .. } = reading;
        expected.finish();
        match read {
            Ok(_) => pipeline.finish().map(drop)?,
            Err(error) => {
                pipeline.abandon();
                return Err(error);
            }
        }
        let mut tell = |damage| self.callbacks.call(damage);
        let mut damages =
            DamageSender { tell: &mut tell, found: &mut found.report, wrong: &mut found.wrong };
        Comparison::new(&mut stack, level, expected, &mut damages).run()?;
        Ok(stack)
    }
}
