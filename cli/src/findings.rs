// SPDX-License-Identifier: Apache-2.0
//! What `audit` and `verify` print.

use std::io::{self, BufWriter, Write, stdout};

use indicatif::HumanCount;
use ocilayer::{AuditReport, Damage, Error};
use serde_json::json;

use crate::summary::quoted;
use crate::unpack;

pub struct Printer<'o> {
    out: BufWriter<io::StdoutLock<'o>>,
    json: bool,
}

/// Wide enough for every kind.
const WIDTH: usize = 20;

impl Printer<'_> {
    pub fn new(json: bool) -> Self {
        Printer { out: BufWriter::new(stdout().lock()), json }
    }

    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    pub fn damage(&mut self, damage: &Damage) -> io::Result<()> {
        if self.json {
            return writeln!(self.out, "{}", damage.to_json());
        }
        let directory = damage.directory.to_string_lossy();
        let what = quoted(&damage.path, &damage.detail);
        let kind = damage.kind.describe();
        writeln!(self.out, "{kind:<WIDTH$} {} {what}", directory.escape_debug())
    }

    pub fn end(&mut self, name: Option<&str>, report: &AuditReport) -> io::Result<()> {
        if self.json {
            let report: serde_json::Value =
                serde_json::from_str(&report.to_json()).expect("a report is JSON");
            return writeln!(self.out, "{}", json!({ "audited": name, "report": report }));
        }
        let mut counts: Vec<_> = report
            .damage
            .iter()
            .map(|(kind, count)| format!("{} {}", kind.describe(), HumanCount(*count)))
            .collect();
        if report.failed > 0 {
            counts.push(format!("{} could not be read", HumanCount(report.failed)));
        }
        let found = if counts.is_empty() { "clean".into() } else { counts.join(", ") };
        let layers = if report.layers == 1 { "layer" } else { "layers" };
        let name = name.map_or(String::new(), |name| format!("{}: ", name.escape_debug()));
        writeln!(self.out, "{name}{} {layers}: {found}", report.layers)?;
        match report.restored {
            0 => {}
            1 => writeln!(self.out, "restored 1 name")?,
            many => writeln!(self.out, "restored {} names", HumanCount(many))?,
        }
        if report.repaired == 0 {
            return Ok(());
        }
        let marks = if report.repaired == 1 { "mark" } else { "marks" };
        write!(self.out, "removed {} {marks}", report.repaired)?;
        match report.whiteouts {
            0 => {}
            1 => write!(self.out, ", wrote 1 whiteout")?,
            many => write!(self.out, ", wrote {many} whiteouts")?,
        }
        writeln!(self.out, "; mount the layers anew to see it")
    }

    pub fn failure(&mut self, name: Option<&str>, error: &Error) -> io::Result<()> {
        if !self.json {
            return Ok(());
        }
        writeln!(self.out, "{}", json!({ "audited": name, "error": unpack::facts(error) }))
    }
}
