// SPDX-License-Identifier: Apache-2.0
//! Faults that the library has today. The test fails as soon as one is gone: whoever mends it takes
//! it off this list.

use crate::measure::Way::{self, Audit, Directory, Overlay, Scan};
use crate::pairs::THEN;

use Fault::{Kept, Time};

/// What grows faster than the layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// User time at twice the size.
    Time,
    /// Memory at twice the size.
    Memory,
    /// Memory for each name: it doubles as it should, and is too much.
    Kept,
}

impl Fault {
    pub const ALL: [Fault; 3] = [Fault::Time, Fault::Memory, Fault::Kept];
}

/// A shape's name, where `*` may stand for either half of a pair's.
type Known = (&'static str, &'static [Way], Fault);

const MADE: &[Way] = &[Directory, Overlay];

const EXPECTED_TODAY: &[Known] = &[
    // Each namespace that nobody supports is looked for among all before it.
    ("xattrs of namespaces that nobody has", &[Directory], Time),
    ("*, then namespaces that nobody has", MADE, Time),
    ("namespaces that nobody has, then *", MADE, Time),
    // Each hardlink to a lower file is noted, and each name that is replaced or deleted is looked
    // for among all notes: in directory mode each time, in overlay modes once for each lower file.
    ("links to a lower file, then whiteouts", &[Directory], Time),
    ("links to a lower file, then whiteouts of nothing", &[Directory], Time),
    ("links to a lower file, then files over lower files", &[Directory], Time),
    ("links to a lower file, then markers", &[Directory], Time),
    ("links to a lower file, then one name again and again", &[Directory], Time),
    ("links to lower files, then whiteouts", MADE, Time),
    ("links to lower files, then whiteouts of nothing", MADE, Time),
    ("links to lower files, then files over lower files", &[Directory], Time),
    ("links to lower files, then markers", MADE, Time),
    ("links to lower files, then one name again and again", MADE, Time),
    // The note is the whole path, wherever a short symlink leads.
    ("hardlinks to a lower file far away", &[Directory, Audit], Kept),
    // Some 320 bytes for each directory, and its name twice.
    ("directories", MADE, Kept),
    ("implied directories", MADE, Kept),
    ("directories of names alike", MADE, Kept),
    // Each xattr of an entry is looked for among all before it.
    ("xattrs of one file", &[Directory, Scan], Time),
];

pub fn faults(shape: &str, way: Way) -> Vec<Fault> {
    let here = |known: &&Known| known.1.contains(&way) && matches(known.0, shape);
    EXPECTED_TODAY.iter().filter(here).map(|known| known.2).collect()
}

/// Whether it is listed by its own name.
pub fn is_listed(shape: &str, way: Way) -> bool {
    EXPECTED_TODAY.iter().any(|known| known.0 == shape && known.1.contains(&way))
}

fn matches(pattern: &str, name: &str) -> bool {
    match (pattern.split_once(THEN), name.split_once(THEN)) {
        (Some(pattern), Some(name)) => {
            let fits = |pattern, name| pattern == "*" || pattern == name;
            fits(pattern.0, name.0) && fits(pattern.1, name.1)
        }
        _ => pattern == name,
    }
}
