// SPDX-License-Identifier: Apache-2.0
//! Unpacked layers against the layers they were unpacked from: what the overlayfs defect and other
//! accidents did to them.
//!
//! ```text
//! layer -> expected (an index of its names) -> compare (the directory on disk) -> damage -> repair
//!               |                                                                      or restore
//!               +-> spool (content that the directory does not have) ----------------------^
//! ```

mod compare;
mod damage;
mod expected;
mod inode;
mod mounts;
mod repair;
mod report;
mod restore;
mod sender;
mod spool;
mod stack;
mod suspects;

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::Scope;
use std::time::Instant;

use crossbeam_channel::Sender;

use crate::cancel::Cancel;
use crate::errno::Errno;
use crate::error::{Cause, Error, Result};
use crate::layer::{Names, SkippedNames};
use crate::limits::Limits;
use crate::observer::Progress;
use crate::operation;
use crate::operation::callbacks::{CallbackSender, Handler};
use crate::operation::entries;
use crate::options::{Devices, Expect, Mode, Options, OptionsError, Owners, ReadTo};
use crate::pipeline::{Counters, Pipeline, Settings};
use crate::pipeline::{Input, Source};
use crate::setters::setters;

use compare::Comparison;
pub use damage::{Damage, DamageKind};
use expected::{Expected, Reading};
pub use mounts::{OverlayMount, overlay_mounts};
pub use report::AuditReport;
use restore::Restore;
use sender::{DamageSender, Wrong};
use spool::Spool;
use stack::{Level, Stack};

/// A layer and the directory that it was unpacked to.
#[derive(Debug)]
#[non_exhaustive]
pub struct AuditLayer<'s> {
    /// The layer's blob.
    pub source: Source<'s>,
    /// What it was unpacked to.
    pub directory: PathBuf,
    /// What the blob must be. Without it a restore believes the blob that it is given.
    pub expect: Expect,
}

impl<'s> AuditLayer<'s> {
    /// The layer that `source` gives, and its directory.
    pub fn new(source: Source<'s>, directory: impl Into<PathBuf>) -> AuditLayer<'s> {
        AuditLayer { source, directory: directory.into(), expect: Expect::default() }
    }

    /// Sets [`expect`](field@AuditLayer::expect).
    #[must_use]
    pub fn expect(mut self, expect: Expect) -> AuditLayer<'s> {
        self.expect = expect;
        self
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
    /// Writes again, from the layer, what its directory does not have as the layer has it: content,
    /// attributes, links, whiteouts and marks. Each layer is restored when it was looked at and before
    /// the one above it is, so that this is compared with what will be there. What the layer has no
    /// name for is told of and stays. All of it is on disk when this returns, as with
    /// [`Sync::Files`](crate::Sync::Files).
    ///
    /// A file whose content differs is replaced: whoever has it open keeps the old one. Attributes
    /// change in place. Content that is to be restored takes its size on disk twice for a moment.
    pub restore: bool,
    /// Repairs and restores also what an overlay mount of this machine is using. Its view changes when
    /// it is mounted anew.
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
    /// What the callback answers ends the audit, before anything is repaired and before anything of
    /// this layer is restored, and becomes its errno.
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
/// a directory. What was restored until then stays so, and the next restore goes on from there.
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
        stack = audit_layer(layer, stack, level, options, observer, &mut found)?;
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
    if options.restore {
        return Err(OptionsError::RestoreWithoutLayers.into());
    }
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
    match (options.repair || options.restore) && !options.repair_live {
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
        /// Sets [`restore`](field@AuditOptions::restore).
        restore: bool;
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
        if options.repair && !options.restore {
            self.report.repaired = repair::remove_marks(stack, &self.wrong.marks)?;
            self.report.whiteouts = repair::write_whiteouts(stack, &self.wrong.whiteouts)?;
        }
        self.report.seconds = begin.elapsed();
        Ok(self.report)
    }
}

/// One layer; gives the stack back.
fn audit_layer(
    layer: AuditLayer<'_>,
    stack: Stack,
    level: Level,
    options: &AuditOptions,
    observer: &mut dyn AuditObserver,
    found: &mut Found,
) -> Result<Stack> {
    let mut reading = options.for_reading();
    reading.expect = layer.expect;
    reading.check_scan()?;
    let mut caller = Caller { observer, failed: None };
    let (name, cancel) = ("ocilayer-audit", reading.cancel.as_ref());
    let result = operation::run(
        name,
        layer.source,
        cancel,
        ReadTo::EndOfBlob,
        &mut caller,
        |scope, input, counters, callbacks| {
            let restore = options.restore;
            let run = Run { options: &reading, restore, counters, callbacks };
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

/// What the thread that reads has for the one that called.
enum Told {
    Damage(Damage),
    /// Nothing more for now: the answer says that all was heard.
    All(Sender<()>),
}

impl Handler<Told> for Caller<'_> {
    fn call(&mut self, told: Told) -> ControlFlow<()> {
        let damage = match told {
            Told::Damage(damage) => damage,
            Told::All(heard) => {
                let _ = heard.send(());
                return ControlFlow::Continue(());
            }
        };
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
    restore: bool,
    counters: Arc<Counters>,
    callbacks: CallbackSender<Told>,
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
        let spool = self.restore.then(|| Spool::below(stack.root(level))).transpose()?;
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
            spool,
        };
        // Without an end marker it is taken as it is: of a cut one the rest shows as damage.
        let read = entries::read(&self.options.limits, ReadTo::EndOfBlob, &mut reading);
        let Reading { pipeline, mut expected, spool, .. } = reading;
        expected.finish();
        match read {
            Ok(_) => pipeline.finish().map_err(Error::from)?.compare(&self.options.expect)?,
            Err(error) => {
                pipeline.abandon();
                return Err(error);
            }
        }
        let mut tell = |damage| self.callbacks.call(Told::Damage(damage));
        found.wrong.fixes = self.restore.then(Vec::new);
        let mut damages =
            DamageSender { tell: &mut tell, found: &mut found.report, wrong: &mut found.wrong };
        let expected = Comparison::new(&mut stack, level, expected, &mut damages).run()?;
        let fixes = found.wrong.fixes.take().unwrap_or_default();
        if let Some(spool) = spool.filter(|_| !fixes.is_empty()) {
            self.all_heard()?;
            let restore = Restore {
                stack: &mut stack,
                level,
                expected: &expected,
                spool: &spool,
                owners: &self.options.owners,
                cancel: self.options.cancel.as_ref(),
            };
            found.report.restored += restore.run(fixes)?;
        }
        Ok(stack)
    }

    /// Waits until the caller has heard of everything, and did not object.
    fn all_heard(&self) -> Result<(), Cause> {
        self.callbacks.ask(Told::All)
    }
}
