// SPDX-License-Identifier: Apache-2.0
//! What several runs say together.

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    pub median: f64,
    pub min: f64,
    pub max: f64,
}

impl Spread {
    /// None of nothing.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Spread> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let upper = values.len() / 2;
        let median = match values.len() % 2 {
            0 => (values[upper - 1] + values[upper]) / 2.0,
            _ => values[upper],
        };
        Some(Spread { median, min, max })
    }

    /// Of the ratios round by round: what slows the machine for a while slows both.
    pub fn of_ratios(ours: &[f64], theirs: &[f64]) -> Option<Spread> {
        Spread::of(ours.iter().zip(theirs).map(|(ours, theirs)| ours / theirs))
    }
}

/// `0.21 (0.20-0.22)`.
impl std::fmt::Display for Spread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.2} ({:.2}-{:.2})", self.median, self.min, self.max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_number_lies_between_two() {
        let spread = |values: &[f64]| Spread::of(values.iter().copied());
        assert_eq!(spread(&[3.0, 1.0, 2.0]), Some(Spread { median: 2.0, min: 1.0, max: 3.0 }));
        assert_eq!(spread(&[4.0, 1.0, 2.0, 3.0]), Some(Spread { median: 2.5, min: 1.0, max: 4.0 }));
        assert_eq!(spread(&[7.0]), Some(Spread { median: 7.0, min: 7.0, max: 7.0 }));
        assert_eq!(spread(&[]), None);
    }

    #[test]
    fn ratios_are_of_pairs_and_not_of_medians() {
        // The machine was ten times slower in the second round.
        let spread = Spread::of_ratios(&[1.0, 10.0, 1.0], &[2.0, 20.0, 4.0]).unwrap();
        assert_eq!(spread, Spread { median: 0.5, min: 0.25, max: 0.5 });
    }

    #[test]
    fn a_spread_reads_as_the_table_shows_it() {
        let spread = Spread { median: 0.214, min: 0.2, max: 0.219 };
        assert_eq!(spread.to_string(), "0.21 (0.20-0.22)");
    }
}
