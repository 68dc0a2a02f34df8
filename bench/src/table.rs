// SPDX-License-Identifier: Apache-2.0
//! The results for people, in Markdown.

use std::fmt::{self, Display, Formatter};

use crate::goals::Goal;
use crate::least::Least;
use crate::results::Results;
use crate::row::Row;

pub struct Table<'a>(pub &'a Results);

impl Display for Table<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Results { machine, commit, baseline, versions, rows, goals } = self.0;
        writeln!(f, "{machine}, commit {commit}\n")?;
        if !versions.is_empty() {
            writeln!(f, "{}\n", versions.join("; "))?;
        }
        writeln!(
            f,
            "| layer | file system | applier | threads | wall s | user s | system s | peak MiB \
             | syscalls/entry | wall | CPU | wall / limit |"
        )?;
        writeln!(f, "|---|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|")?;
        for workload in rows.chunk_by(|a, b| a.workload() == b.workload()) {
            let least = Least::of(workload);
            workload.iter().try_for_each(|row| write_row(f, row, least))?;
        }
        writeln!(
            f,
            "\nMedians, with the least and the most in brackets. wall and CPU are ratios to \
             {baseline}, of pairs; the limit of n threads is what the three limits take: an nth of \
             their CPU seconds, or decompression or the digest alone, whichever is most."
        )?;
        for row in rows {
            if let Some(differs) = &row.differs {
                let (layer, applier) = (layer(row), &row.applier);
                writeln!(f, "\n{layer}, {applier}: the outcome differs: {differs}")?;
            }
        }
        write_goals(f, goals)
    }
}

fn write_row(f: &mut Formatter<'_>, row: &Row, least: Option<Least>) -> fmt::Result {
    let note = match (row.timed.as_str(), row.digests) {
        ("process", true) => String::new(),
        ("process", false) => " (no digest)".into(),
        (alone, _) => format!(" ({alone} alone)"),
    };
    let threads = row.threads.filter(|_| row.digests);
    let to_limit = least.zip(threads).map(|(least, threads)| row.wall_s / least.wall_s(threads));
    let ratios = match (row.wall_ratio(), row.cpu_ratio) {
        (Some(wall), Some(cpu)) => format!("{wall} | {cpu:.2}"),
        _ => "differs | differs".into(),
    };
    writeln!(
        f,
        "| {} | {} | {}{note} | {} | {:.3} ({:.3}-{:.3}) | {:.3} | {:.3} | {:.1} | {} | {ratios} | {} |",
        layer(row),
        row.filesystem.name(),
        row.applier,
        or_dash(row.threads.map(|n| n.to_string())),
        row.wall_s,
        row.wall_min_s,
        row.wall_max_s,
        row.user_s,
        row.system_s,
        row.peak_rss_bytes as f64 / f64::from(1 << 20),
        or_dash(row.syscalls_per_entry.map(|n| format!("{n:.1}"))),
        or_dash(to_limit.filter(|_| row.differs.is_none()).map(|ratio| format!("{ratio:.2}"))),
    )
}

fn write_goals(f: &mut Formatter<'_>, goals: &[Goal]) -> fmt::Result {
    if goals.is_empty() {
        return Ok(());
    }
    writeln!(f, "\n## Goals\n")?;
    writeln!(f, "| layer | file system | goal | figure | target | |")?;
    writeln!(f, "|---|---|---|---:|---:|---|")?;
    for goal in goals {
        writeln!(
            f,
            "| {} | {} | {} | {} | {} {} | {} |",
            named(goal.layer.name(), &goal.codec, &goal.variant),
            goal.filesystem.name(),
            goal.goal,
            match &goal.spread {
                Some(spread) => spread.to_string(),
                None => format!("{:.2}", goal.figure),
            },
            if goal.strict { "below" } else { "at most" },
            goal.target,
            if goal.met { "met" } else { "**missed**" },
        )?;
    }
    let met = goals.iter().filter(|goal| goal.met).count();
    writeln!(f, "\n{met} of {} goals met.", goals.len())
}

fn layer(row: &Row) -> String {
    named(row.layer.name(), &row.codec, &row.variant)
}

/// `base gzip`, `base gzip (pigz)`.
pub fn named(layer: &str, codec: &str, variant: &str) -> String {
    match variant {
        "" => format!("{layer} {codec}"),
        _ => format!("{layer} {codec} ({variant})"),
    }
}

fn or_dash(text: Option<String>) -> String {
    text.unwrap_or_else(|| "-".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::samples;

    #[test]
    fn no_ratio_is_printed_where_outcomes_differ() {
        let mut rows =
            samples::rows(&[("containerd", None, &[2.0, 2.0]), ("fast", Some(1), &[0.25, 0.5])]);
        let table = |rows: &[Row]| {
            let mut results = Results::new();
            results.replace(rows.to_vec());
            Table(&results).to_string()
        };
        assert!(table(&rows).contains("| 0.19 (0.12-0.25) |"), "{}", table(&rows));
        let fast = &mut rows[1];
        fast.differs = Some("1 difference".into());
        (fast.wall_ratio, fast.cpu_ratio) = (None, None);
        let text = table(&rows);
        assert!(text.contains("| differs | differs |"), "{text}");
        assert!(text.contains("base gzip, fast: the outcome differs: 1 difference"), "{text}");
    }
}
