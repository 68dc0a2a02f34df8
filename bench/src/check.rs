// SPDX-License-Identifier: Apache-2.0
//! What got worse since the table that is in the documentation.

use crate::Result;
use crate::peers::Peer;
use crate::row::Row;
use crate::spread::Spread;
use crate::table::named;

/// Ratios in the table have two decimals.
const ROUNDED: f64 = 0.005;

/// One row of a table that was written before.
#[derive(Debug, Clone, PartialEq)]
struct Old {
    layer: String,
    filesystem: String,
    applier: String,
    threads: String,
    wall: Spread,
}

impl Old {
    /// None for a row that is none of an applier, or whose outcome differed.
    fn of(line: &str) -> Option<Old> {
        let cells: Vec<&str> = line.strip_prefix('|')?.split('|').map(str::trim).collect();
        let [layer, filesystem, applier, threads, ..] = cells[..] else { return None };
        let wall = spread(cells.get(9)?)?;
        let [layer, filesystem, applier, threads] =
            [layer, filesystem, applier, threads].map(str::to_owned);
        Some(Old { layer, filesystem, applier, threads, wall })
    }

    fn is_of(&self, row: &Row) -> bool {
        let threads = row.threads.map_or("-".to_owned(), |threads| threads.to_string());
        let layer = named(row.layer.name(), &row.codec, &row.variant);
        self.layer == layer
            && self.filesystem == row.filesystem.name()
            && self.applier == row.applier
            && self.threads == threads
    }
}

/// `0.24 (0.23-0.24)`.
fn spread(text: &str) -> Option<Spread> {
    let (median, rest) = text.split_once(" (")?;
    let (min, max) = rest.strip_suffix(')')?.split_once('-')?;
    Some(Spread { median: median.parse().ok()?, min: min.parse().ok()?, max: max.parse().ok()? })
}

/// Compares our own rows, by their ratios to the baseline: one is worse if the best of its pairs is
/// worse than the worst of before. Says of each what it was and is.
///
/// # Errors
///
/// Some are worse, or the table has nothing to compare with.
pub fn against(table: &str, rows: &[Row]) -> Result<()> {
    let old: Vec<Old> = table.lines().filter_map(Old::of).collect();
    let (mut compared, mut worse) = (0, 0);
    for row in rows.iter().filter(|row| Peer::is_ours(&row.applier)) {
        let Some(now) = row.wall_ratio() else { continue };
        let Some(before) = old.iter().find(|old| old.is_of(row)) else { continue };
        compared += 1;
        let is_worse = now.min > before.wall.max + ROUNDED;
        worse += usize::from(is_worse);
        println!(
            "{} {} on {}, {} threads: {} before, {now} now{}",
            before.layer,
            before.applier,
            before.filesystem,
            before.threads,
            before.wall,
            if is_worse { ": worse" } else { "" }
        );
    }
    match (compared, worse) {
        (0, _) => Err("the table has none of these rows".into()),
        (_, 0) => Ok(()),
        (_, worse) => {
            Err(format!("{worse} of {compared} are worse by more than the spread").into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::Results;
    use crate::row::samples;
    use crate::table::Table;

    fn table(ours: &[f64]) -> (String, Vec<Row>) {
        let rows = samples::rows(&[("containerd", None, &[2.0; 3]), ("ocilayer", Some(2), ours)]);
        let mut results = Results::new();
        results.replace(rows.clone());
        (Table(&results).to_string(), rows)
    }

    #[test]
    fn worse_is_what_the_spread_does_not_explain() {
        let (before, rows) = table(&[0.5, 0.52, 0.54]);
        assert!(against(&before, &rows).is_ok(), "the same");
        assert!(against(&before, &table(&[0.53, 0.7, 0.8]).1).is_ok(), "they overlap");
        assert!(against(&before, &table(&[0.1, 0.2, 0.3]).1).is_ok(), "better");
        let error = against(&before, &table(&[0.6, 0.61, 0.62]).1).unwrap_err();
        assert_eq!(error.to_string(), "1 of 1 are worse by more than the spread");
    }

    #[test]
    fn nothing_to_compare_with_is_no_success() {
        let (_, rows) = table(&[0.5; 3]);
        assert!(against("# A page without a table", &rows).is_err());
        let mut others = rows.clone();
        others.iter_mut().for_each(|row| row.codec = "zstd".into());
        assert!(against(&table(&[0.5; 3]).0, &others).is_err());
    }
}
