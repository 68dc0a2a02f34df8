// SPDX-License-Identifier: Apache-2.0
//! `ocilayer scan`.

use std::ffi::OsStr;
use std::io::{self, BufWriter, Write, stdout};
use std::path::Path;

use indicatif::HumanCount;
use ocilayer::image::{self, Choice, Contents, ImageError, Store};
use ocilayer::{Digest, Errno, Finding, Lowers, Options, ScanObserver, ScanReport, Source, scan};
use serde_json::{Value, json};

use crate::input::{self, Input};
use crate::summary::{entries, quoted};
use crate::unpack::{self, Refusal};
use crate::{Exit, args, complain, output_failed, signals};

/// A pipe is told what it was when all of it has gone by.
const IMAGE_INPUT: &str =
    "an image and not a layer: put it into a file, or say --layer if it is a layer";

pub fn run(arguments: &args::Scan) -> Exit {
    let options = match meaning(arguments) {
        Ok(options) => options,
        Err(refusal) => {
            return refusal.tell(arguments.json);
        }
    };
    let printer = Printer {
        out: BufWriter::new(stdout().lock()),
        json: arguments.json,
        summary: arguments.summary,
    };
    let mut scans = Scans { options, printer, refused: false, failed: false };
    let done = arguments.layers.iter().try_for_each(|layer| scans.argument(layer, arguments));
    match done.and_then(|()| scans.printer.out.flush()) {
        Err(error) => output_failed(&error),
        Ok(()) if scans.refused || scans.failed => Exit::Failed,
        Ok(()) => Exit::Done,
    }
}

fn meaning(arguments: &args::Scan) -> Result<Options, Refusal> {
    let cancel = signals::cancel_on_interrupt().map_err(Refusal::Signals)?;
    Ok(Options::default()
        .mode(arguments.mode.into())
        .lowers(if arguments.bottom { Lowers::Known(Vec::new()) } else { Lowers::Unknown })
        .threads(arguments.threads)
        .limits(unpack::limits(&arguments.limits)?)
        .cancel(cancel))
}

/// A layer, and where it was found.
struct Name {
    /// The argument.
    file: String,
    /// Of an image's layer: its digest, or where the archive has it.
    blob: Option<String>,
}

impl Name {
    fn of(file: &str) -> Name {
        Name { file: file.to_owned(), blob: None }
    }

    /// As it is called in one piece.
    fn whole(&self) -> String {
        match &self.blob {
            Some(blob) => format!("{} {blob}", self.file),
            None => self.file.clone(),
        }
    }

    /// The fields of a line of JSON, without the brace at the end.
    fn json(&self) -> String {
        let mut fields = json!({ "layer": self.whole(), "file": self.file });
        if let Some(digest) = self.blob.as_ref().filter(|blob| blob.contains(':')) {
            fields["digest"] = json!(digest);
        }
        let mut text = fields.to_string();
        text.pop();
        text
    }
}

/// All that was asked for, one layer after the other.
struct Scans<'o> {
    options: Options,
    printer: Printer<'o>,
    refused: bool,
    failed: bool,
}

impl Scans<'_> {
    /// A layer, or each layer of an image. An error is one of standard output.
    fn argument(&mut self, layer: &OsStr, arguments: &args::Scan) -> io::Result<()> {
        let name = Name::of(&layer.to_string_lossy());
        if !arguments.layer && layer != "-" && !Path::new(layer).exists() {
            match crate::image::open(layer) {
                Ok(Some((store, choice))) => return self.chosen(&name, &store, &choice),
                Err(error) => return self.fail_image(&name, &error),
                Ok(None) => {}
            }
        }
        let file = input::as_file(layer).filter(|_| !arguments.layer);
        match file.as_deref().map_or(Ok(None), image::open) {
            Ok(None) => match Input::open(layer) {
                Ok(input) => self.input(&name, input, arguments),
                Err(refusal) => self.fail(&name, &refusal.to_string(), Value::Null),
            },
            Ok(Some(store)) => match image::read(&store) {
                Ok(contents) => self.image(&name, &store, &contents),
                Err(error) => self.fail_image(&name, &error),
            },
            Err(error) => self.fail_image(&name, &error),
        }
    }

    fn input(&mut self, name: &Name, input: Input, arguments: &args::Scan) -> io::Result<()> {
        let (source, seen) = input.split();
        self.layer(name, source, self.options.clone())?;
        match seen.was_image() && !arguments.layer {
            true => self.fail(name, IMAGE_INPUT, Value::Null),
            false => Ok(()),
        }
    }

    fn image(&mut self, image: &Name, store: &Store, contents: &Contents) -> io::Result<()> {
        for note in &contents.notes {
            self.printer.note(image, note)?;
        }
        for layer in &contents.layers {
            self.layer_of(
                image,
                store,
                (&layer.blob, &layer.digest, &layer.diff_id),
                layer.bottom,
            )?;
        }
        Ok(())
    }

    /// The image of several that the argument names.
    fn chosen(&mut self, name: &Name, store: &Store, choice: &Choice) -> io::Result<()> {
        let image = match image::select(store, choice) {
            Ok(image) => image,
            Err(error) => return self.fail_image(name, &error),
        };
        for (number, layer) in image.layers.into_iter().enumerate() {
            let ids = (&layer.blob, &layer.digest, &Some(layer.diff_id));
            self.layer_of(name, store, ids, number == 0)?;
        }
        Ok(())
    }

    /// One layer of an image: where its blob is, its digest and its diffID.
    fn layer_of(
        &mut self,
        image: &Name,
        store: &Store,
        (blob, digest, diff_id): (&String, &Option<Digest>, &Option<Digest>),
        bottom: bool,
    ) -> io::Result<()> {
        let shown = digest.as_ref().map_or_else(|| blob.clone(), Digest::to_string);
        let name = Name { file: image.file.clone(), blob: Some(shown) };
        let mut options = self.options.clone();
        options.expect.blob.clone_from(digest);
        options.expect.diff_id.clone_from(diff_id);
        if bottom {
            options.lowers = Lowers::Known(Vec::new());
        }
        match store.source(blob) {
            Ok(source) => self.layer(&name, source, options),
            Err(error) => self.fail_image(&name, &error),
        }
    }

    fn layer(&mut self, name: &Name, source: Source<'_>, options: Options) -> io::Result<()> {
        self.printer.begin(name)?;
        let mut telling = Telling { printer: &mut self.printer, name, failed: None };
        let result = scan(source, &options, &mut telling);
        if let Some(error) = telling.failed {
            return Err(error);
        }
        match result {
            Ok(report) if name.file == "-" && report.blob_bytes == 0 => {
                self.fail(name, &Refusal::EmptyInput.to_string(), Value::Null)
            }
            Ok(report) => {
                self.refused |= report.is_refused();
                self.printer.end(name, &report)
            }
            Err(error) => self.fail(name, &error.to_string(), unpack::facts(&error)),
        }
    }

    fn fail_image(&mut self, name: &Name, error: &ImageError) -> io::Result<()> {
        self.fail(name, &error.to_string(), Value::Null)
    }

    fn fail(&mut self, name: &Name, message: &str, error: Value) -> io::Result<()> {
        self.failed = true;
        complain(format_args!("{}: {message}", shown(name)));
        let error = if error.is_null() { json!({ "message": message }) } else { error };
        self.printer.line(|| format!("{},\"error\":{error}}}", name.json()))
    }
}

/// Prints findings as they come.
struct Telling<'t, 'o> {
    printer: &'t mut Printer<'o>,
    name: &'t Name,
    failed: Option<io::Error>,
}

impl ScanObserver for Telling<'_, '_> {
    fn finding(&mut self, finding: &Finding) -> Result<(), Errno> {
        self.printer.finding(self.name, finding).map_err(|error| {
            self.failed = Some(error);
            Errno::IO
        })
    }
}

struct Printer<'o> {
    out: BufWriter<io::StdoutLock<'o>>,
    json: bool,
    summary: bool,
}

impl Printer<'_> {
    fn line(&mut self, text: impl FnOnce() -> String) -> io::Result<()> {
        if self.json { writeln!(self.out, "{}", text()) } else { Ok(()) }
    }

    fn begin(&mut self, name: &Name) -> io::Result<()> {
        if self.json { Ok(()) } else { writeln!(self.out, "{}", shown(name)) }
    }

    fn note(&mut self, name: &Name, note: &str) -> io::Result<()> {
        match self.json {
            true => writeln!(self.out, "{},\"note\":{}}}", name.json(), json!(note)),
            false => writeln!(self.out, "{}: {note}", shown(name)),
        }
    }

    fn finding(&mut self, name: &Name, finding: &Finding) -> io::Result<()> {
        if self.summary && finding.refusal.is_none() {
            return Ok(());
        }
        if self.json {
            let object = finding.to_json();
            // Both are objects: the layer's name goes before the finding's own fields.
            return writeln!(self.out, "{},{}", name.json(), &object[1..]);
        }
        let kind = finding.kind.describe();
        match (&finding.place, &finding.refusal) {
            (_, Some(refusal)) => writeln!(self.out, "  {kind:<WIDTH$}  {}", refusal.message),
            (Some(place), None) => {
                let what = quoted(&place.path, &finding.detail);
                writeln!(self.out, "  {kind:<WIDTH$}  entry {} {what}", place.entry)
            }
            (None, None) => writeln!(self.out, "  {kind}"),
        }
    }

    fn end(&mut self, name: &Name, report: &ScanReport) -> io::Result<()> {
        if self.json {
            let object = report.to_json();
            return writeln!(self.out, "{},\"report\":{object}}}", name.json());
        }
        writeln!(self.out, "{}", sum(report))
    }
}

/// Wide enough for every kind but the longest, which is rare.
const WIDTH: usize = 20;

/// The lines below the findings of a layer.
fn sum(report: &ScanReport) -> String {
    let mut text = format!("  entries {}", entries(&report.entries));
    if report.partial {
        text += "; not read to the end";
    }
    let counts = report.findings.iter();
    let counts: Vec<_> =
        counts.map(|(kind, count)| format!("{} {}", kind.describe(), HumanCount(count))).collect();
    if !counts.is_empty() {
        text += &format!("\n  found   {}", counts.join(", "));
    }
    if let Some(entry) = report.names_kept_until {
        text += &format!("\n  from entry {entry} on names are not compared: there are too many");
    }
    text + if report.is_refused() { "\n  unpack would fail" } else { "\n  unpack would take it" }
}

/// A file's or blob's name as it may go to a terminal.
fn shown(name: &Name) -> String {
    name.whole().escape_debug().to_string()
}
