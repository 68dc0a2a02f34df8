// SPDX-License-Identifier: Apache-2.0
//! How a caller watches an unpack, and declines entries.

use crate::escape::{Escaped, debug_with_text};
use std::fmt;
use std::path::PathBuf;

use crate::errno::Errno;
use crate::report::{EntryCounts, SkipReason};
use crate::tar::Entry;

/// Callbacks of one unpack. All of them run on the thread that called it, and only there.
pub trait Observer {
    /// Whether [`filter`](Observer::filter) is to be asked. It costs a turn between two threads
    /// for each entry, so the default is no.
    fn filters(&self) -> bool {
        false
    }

    /// Whether to apply this entry; whiteouts and opaque markers are asked about too.
    ///
    /// # Errors
    ///
    /// What the callback answers ends the unpack, and becomes its errno.
    fn filter(&mut self, _entry: &Entry) -> Result<bool, Errno> {
        Ok(true)
    }

    /// With [`Lowers::Later`](crate::Lowers::Later): the parents' directories, topmost first, once they are
    /// complete; none for a bottom layer. Called once at most. Whoever waits here keeps the other callbacks,
    /// and a source that is a callback, waiting as well.
    ///
    /// # Errors
    ///
    /// What the callback answers ends the unpack, and becomes its errno.
    fn lowers(&mut self) -> Result<Vec<PathBuf>, Errno> {
        Ok(Vec::new())
    }

    /// Called some ten times a second while the unpack goes on, and once at its end.
    fn progress(&mut self, _progress: &Progress) {}

    /// Something was left out; the report has the count of each reason.
    fn warning(&mut self, _warning: &Warning) {}
}

/// Observes nothing.
impl Observer for () {}

/// How far an unpack has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// Bytes of the blob that were read.
    pub blob_bytes: u64,
    /// Size of the blob, where the source tells.
    pub blob_size: Option<u64>,
    /// Bytes that came out of the decompressor.
    pub layer_bytes: u64,
    /// Entries so far, as the report counts them.
    pub entries: EntryCounts,
}

/// One thing that was left out.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Warning {
    /// Why it was left out.
    pub reason: SkipReason,
    /// The entry's number, counted from 0.
    pub entry: u64,
    /// The entry's name as it stands in the archive.
    pub path: Vec<u8>,
    /// The xattr's name, where the reason is about one; at most its first 4,096 bytes.
    pub detail: Vec<u8>,
}

debug_with_text!(Warning { reason, entry; path, detail });

/// `entry 3 "usr/bin/ping": trusted.* xattr dropped "trusted.overlay.opaque"`
impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "entry {} {}: {}", self.entry, Escaped(&self.path), self.reason.describe())?;
        match &self.detail[..] {
            [] => Ok(()),
            detail => write!(f, " {}", Escaped(detail)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_shown_as_text() {
        let reason = SkipReason::TrustedXattr;
        let (path, detail) = (b"a\x1b[2J".to_vec(), b"trusted.x".to_vec());
        let warning = Warning { reason, entry: 3, path, detail };
        let text = r#"entry 3 "a\x1b[2J": trusted.* xattr dropped "trusted.x""#;
        assert_eq!(warning.to_string(), text);
        let debug =
            r#"Warning { reason: TrustedXattr, entry: 3, path: "a\x1b[2J", detail: "trusted.x" }"#;
        assert_eq!(format!("{warning:?}"), debug);
    }
}
