// SPDX-License-Identifier: Apache-2.0
//! A report for people.

use std::borrow::Cow;
use std::fmt::{self, Display, Formatter, Write};
use std::time::Duration;

use indicatif::{BinaryBytes, HumanCount};
use ocilayer::{Compression, Digest, EntryCounts, Report, SkipReason, Skipped};

/// Less than this is the way to the system call and back.
const NOTABLE_SYNC: Duration = Duration::from_millis(10);

/// The lines printed after an unpack.
pub struct Summary<'a>(pub &'a Report);

impl Display for Summary<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let report = self.0;
        writeln!(f, "entries    {}", entries(&report.entries))?;
        writeln!(f, "whiteouts  {}", whiteouts(report))?;
        writeln!(f, "bytes      {}", bytes(report))?;
        writeln!(f, "digest     {}", digest(&report.blob_digest))?;
        writeln!(f, "diffID     {}", digest(&report.diff_id))?;
        writeln!(f, "time       {}", time(report))?;
        for (reason, skipped) in report.skipped.iter() {
            let label = if reason == SkipReason::PropagatedMark { "repaired" } else { "skipped" };
            writeln!(f, "{label:<10} {} {}", HumanCount(skipped.count), reason.describe())?;
            examples(f, skipped)?;
        }
        Ok(())
    }
}

pub fn entries(counts: &EntryCounts) -> String {
    let kinds = [
        (counts.files, "file", "files"),
        (counts.directories, "directory", "directories"),
        (counts.symlinks, "symlink", "symlinks"),
        (counts.hardlinks, "hardlink", "hardlinks"),
        (counts.fifos, "FIFO", "FIFOs"),
        (counts.devices, "device", "devices"),
    ];
    let present = kinds.iter().filter(|(count, ..)| *count > 0);
    let kinds: Vec<_> = present.map(|(count, one, many)| counted(*count, one, many)).collect();
    let total = HumanCount(counts.total);
    if kinds.is_empty() { total.to_string() } else { format!("{total}: {}", kinds.join(", ")) }
}

fn whiteouts(report: &Report) -> String {
    let mut line = HumanCount(report.whiteouts).to_string();
    let others = [
        (report.opaque_directories, "opaque directory", "opaque directories"),
        (report.implied_directories, "implied directory", "implied directories"),
        (report.copied_up, "file copied up", "files copied up"),
        (report.hidden, "entry that does not show", "entries that do not show"),
    ];
    for (count, one, many) in others {
        if count > 0 {
            let _ = write!(line, ", {}", counted(count, one, many));
        }
    }
    line
}

fn bytes(report: &Report) -> String {
    let [blob, layer, files] =
        [report.bytes.blob, report.bytes.layer, report.bytes.files].map(BinaryBytes);
    let compression = match report.compression {
        Compression::None => "not compressed",
        Compression::Gzip => "gzip",
        Compression::Zstd => "zstd",
        _ => "compressed",
    };
    format!("{blob} read ({compression}), {layer} uncompressed, {files} in files")
}

fn digest(digest: &Option<Digest>) -> Cow<'static, str> {
    digest.as_ref().map_or("not known".into(), |digest| digest.to_string().into())
}

fn time(report: &Report) -> String {
    let times = &report.seconds;
    let seconds = times.wall.as_secs_f64();
    let mut line = format!("{seconds:.2} s");
    // A rate of a few milliseconds says nothing.
    if seconds >= 0.1 {
        let rate = report.bytes.layer as f64 / seconds;
        let _ = write!(line, ", {}/s uncompressed", BinaryBytes(rate as u64));
    }
    if times.sync >= NOTABLE_SYNC {
        let _ = write!(line, ", {:.2} s of it for sync", times.sync.as_secs_f64());
    }
    line
}

fn examples(f: &mut Formatter<'_>, skipped: &Skipped) -> fmt::Result {
    for example in &skipped.examples {
        writeln!(f, "             {}", quoted(&example.path, &example.detail))?;
    }
    let more = skipped.count.saturating_sub(skipped.examples.len() as u64);
    if more > 0 {
        writeln!(f, "             and {} more", HumanCount(more))?;
    }
    Ok(())
}

fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{} {}", HumanCount(count), if count == 1 { one } else { many })
}

/// A name from the archive, and that of an xattr. Escaped: a hostile layer's names must not reach
/// the terminal as control sequences, nor turn the text around.
pub fn quoted(path: &[u8], detail: &[u8]) -> String {
    let mut text = format!("{:?}", String::from_utf8_lossy(path));
    if !detail.is_empty() {
        let _ = write!(text, " {:?}", String::from_utf8_lossy(detail));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_control_the_terminal() {
        let table: [(&[u8], &str); 5] = [
            (b"usr/bin/su", r#""usr/bin/su""#),
            ("straße".as_bytes(), r#""straße""#),
            (b"a\x1b[2J\r\nb", r#""a\u{1b}[2J\r\nb""#),
            ("a\u{202e}b\u{9b}".as_bytes(), r#""a\u{202e}b\u{9b}""#),
            (b"\xff", "\"\u{fffd}\""),
        ];
        for (name, expected) in table {
            assert_eq!(quoted(name, b""), expected);
        }
        assert_eq!(quoted(b"a", b"trusted.x"), r#""a" "trusted.x""#);
    }

    #[test]
    fn kinds_that_are_missing_are_not_listed() {
        let mut counts = EntryCounts::default();
        (counts.total, counts.files, counts.devices) = (1_204, 1_202, 1);
        assert_eq!(entries(&counts), "1,204: 1,202 files, 1 device");
        assert_eq!(entries(&EntryCounts::default()), "0");
    }
}
