// SPDX-License-Identifier: Apache-2.0
//! `ocilayer verify`.

use std::io;
use std::path::Path;

use ocilayer::{
    AuditLayer, AuditObserver, AuditOptions, AuditReport, Compare, Damage, Errno, Error, Progress,
    verify,
};

use crate::audit::{layers_of, pairs};
use crate::findings::Printer;
use crate::progress::Display;
use crate::unpack::{self, Refusal};
use crate::{Exit, args, complain, output_failed, signals};

pub fn run(arguments: &args::Verify) -> Exit {
    let options = match options(arguments) {
        Ok(options) => options,
        Err(refusal) => {
            complain(&refusal);
            return refusal.exit();
        }
    };
    let stacks = match (&arguments.store, pairs(&arguments.layers)) {
        (_, None) => return Exit::Usage,
        (None, Some(layers)) => vec![layers],
        (Some(store), _) => match stacks(arguments, store) {
            Ok(stacks) => stacks,
            Err(exit) => return exit,
        },
    };
    let mut printer = Printer::new(arguments.json);
    let display = Display::new(arguments.quiet, false, &[]);
    let mut telling = Telling { printer: &mut printer, display: &display, found: 0, failed: None };
    let result = verify(stacks, &options, &mut telling);
    let output = telling.failed;
    display.finish();
    let printed = match (&result, output) {
        (_, Some(error)) => Err(error),
        (Ok(report), None) => printer.end(None, report),
        (Err(error), None) => {
            complain(error);
            printer.failure(None, error)
        }
    };
    match (result, printed.and_then(|()| printer.flush())) {
        (_, Err(error)) => output_failed(&error),
        (Ok(report), Ok(())) if report.is_clean() && report.failed == 0 => Exit::Done,
        (_, Ok(())) => Exit::Failed,
    }
}

fn options(arguments: &args::Verify) -> Result<AuditOptions, Refusal> {
    let cancel = signals::cancel_on_interrupt().map_err(Refusal::Signals)?;
    let compare = if arguments.content { Compare::Content } else { Compare::Sizes };
    Ok(AuditOptions::default()
        .compare(compare)
        .owners(unpack::owners(&arguments.ownership)?)
        .devices(unpack::devices(&arguments.ownership))
        .limits(unpack::limits(&arguments.limits)?)
        .userxattr(arguments.userxattr)
        .threads(arguments.threads)
        .cancel(cancel))
}

fn stacks(arguments: &args::Verify, store: &Path) -> Result<Vec<Vec<AuditLayer<'static>>>, Exit> {
    let layers = |image| {
        layers_of(image, store, false).map_err(|reason| {
            complain(format_args!("{}: {reason}", Path::new(image).display()));
            Exit::Failed
        })
    };
    arguments.images.iter().map(|image| layers(image)).collect()
}

/// Prints findings as they come, above the bar.
struct Telling<'t, 'o> {
    printer: &'t mut Printer<'o>,
    display: &'t Display<'t>,
    found: u64,
    failed: Option<io::Error>,
}

impl AuditObserver for Telling<'_, '_> {
    fn damage(&mut self, damage: &Damage) -> Result<(), Errno> {
        self.found += 1;
        let print = || self.printer.damage(damage);
        self.display.beside(print).map_err(|error| {
            self.failed = Some(error);
            Errno::IO
        })
    }

    fn progress(&mut self, progress: &Progress) {
        let found = format!("{} findings", self.found);
        self.display.show(progress.blob_bytes, progress.blob_size, found);
    }

    fn layer_done(&mut self, directory: &Path, result: &Result<AuditReport, Error>) {
        let Err(error) = result else { return };
        let name = directory.to_string_lossy();
        let printed = self.display.beside(|| {
            complain(format_args!("{}: {error}", name.escape_debug()));
            self.printer.failure(Some(&name), error)
        });
        if let Err(error) = printed {
            self.failed.get_or_insert(error);
        }
    }
}
