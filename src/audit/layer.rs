// SPDX-License-Identifier: Apache-2.0
//! One layer: its blob is read, its directory compared, and restored if that was asked for.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::thread::Scope;
use std::time::Instant;

use crossbeam_channel::Sender;

use super::compare::Comparison;
use super::damage::Damage;
use super::expected::{Expected, Reading};
use super::observer::AuditObserver;
use super::options::{AuditLayer, AuditOptions, Compare};
use super::repair;
use super::report::AuditReport;
use super::restore::Restore;
use super::sender::{DamageSender, Wrong};
use super::spool::Spool;
use super::stack::{Level, Stack};
use crate::errno::Errno;
use crate::error::{Cause, Result};
use crate::layer::{Names, SkippedNames};
use crate::observer::Progress;
use crate::operation;
use crate::operation::callbacks::{CallbackSender, Handler};
use crate::operation::entries;
use crate::options::{Expect, Options, ReadTo};
use crate::pipeline::Input;
use crate::pipeline::{Counters, Pipeline, Settings};

/// What is known so far.
#[derive(Default)]
pub(super) struct Found {
    pub(super) report: AuditReport,
    pub(super) wrong: Wrong,
}

impl Found {
    pub(super) fn finish(
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
pub(super) fn audit_layer(
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
            let AuditOptions { restore, compare, .. } = *options;
            // What is restored is known byte by byte.
            let compare = if restore { Compare::Content } else { compare };
            let run = Run { options: &reading, restore, compare, counters, callbacks };
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

    fn progress(&mut self, progress: &Progress) {
        self.observer.progress(progress);
    }
}

/// One layer, on the thread that reads the archive.
struct Run<'r> {
    options: &'r Options,
    restore: bool,
    compare: Compare,
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
        let mut settings = Settings::new(self.options, operation::threads(self.options.threads));
        // Digests that nobody holds against anything are not made.
        settings.digests = self.options.expect != Expect::default();
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
            compare: self.compare,
        };
        // Without an end marker it is taken as it is: of a cut one the rest shows as damage.
        let read = entries::read(&self.options.limits, ReadTo::EndOfBlob, &mut reading);
        let Reading { pipeline, mut expected, spool, .. } = reading;
        expected.finish();
        match read {
            Ok(_) => pipeline.finish()?.compare(&self.options.expect)?,
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
