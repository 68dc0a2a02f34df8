// SPDX-License-Identifier: Apache-2.0
//! Which layers are unpacked to which file systems.

use crate::Compare;
use crate::layers::{Codec, Kind};
use crate::target::Filesystem;

/// What is measured at one time, and written before the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    pub kind: Kind,
    pub codec: Codec,
    pub filesystem: Filesystem,
    /// Whether all peers take part, or only what shows how file systems differ.
    pub all_peers: bool,
}

type Codecs = &'static [Codec];

const QUICK: &[(Kind, Codecs)] =
    &[(Kind::Base, &[Codec::Gzip, Codec::Zstd]), (Kind::NodeModules, &[Codec::Gzip])];

const USUAL: Codecs = &[Codec::Gzip, Codec::Zstd, Codec::None];

/// On ext4.
const FULL: &[(Kind, Codecs)] = &[
    (Kind::Base, &[Codec::Gzip, Codec::Members, Codec::Pigz, Codec::Zstd, Codec::None]),
    (Kind::NodeModules, USUAL),
    (Kind::PythonMl, USUAL),
    (Kind::BigFile, USUAL),
    (Kind::Image, USUAL),
];

/// In gzip, in a full run, on the other file systems: those whose files are many.
const ELSEWHERE: [Kind; 2] = [Kind::Base, Kind::NodeModules];

/// In the order of the table, as far as asked for.
pub fn plan(arguments: &Compare) -> Vec<Part> {
    let Compare { quick, layers, codecs, filesystems, .. } = arguments;
    let usual = if *quick { QUICK } else { FULL };
    let mut parts = Vec::new();
    for &(kind, usual) in usual.iter().filter(|(kind, _)| asked(layers, kind)) {
        for &filesystem in or_usual(filesystems, &[Filesystem::Ext4]) {
            let part = |&codec| Part { kind, codec, filesystem, all_peers: true };
            parts.extend(or_usual(codecs, usual).iter().map(part));
        }
        let elsewhere = !quick && filesystems.is_empty() && ELSEWHERE.contains(&kind);
        if elsewhere && asked(codecs, &Codec::Gzip) {
            let part = |filesystem| Part { kind, codec: Codec::Gzip, filesystem, all_peers: false };
            parts.extend([Filesystem::Tmpfs, Filesystem::Xfs, Filesystem::Btrfs].map(part));
        }
    }
    parts
}

fn asked<T: PartialEq>(asked: &[T], one: &T) -> bool {
    asked.is_empty() || asked.contains(one)
}

fn or_usual<'a, T>(asked: &'a [T], usual: &'a [T]) -> &'a [T] {
    if asked.is_empty() { usual } else { asked }
}

#[cfg(test)]
mod tests {
    use clap::{Parser, ValueEnum};

    use super::*;

    #[derive(Parser)]
    struct Arguments {
        #[command(flatten)]
        compare: Compare,
    }

    fn planned(arguments: &[&str]) -> Vec<Part> {
        let arguments = ["ocilayer-bench"].iter().chain(arguments);
        plan(&Arguments::parse_from(arguments).compare)
    }

    #[test]
    fn a_full_run_has_every_layer_in_every_compression() {
        let parts = planned(&[]);
        for &kind in Kind::value_variants() {
            for &codec in USUAL {
                let part = Part { kind, codec, filesystem: Filesystem::Ext4, all_peers: true };
                assert!(parts.contains(&part), "{part:?}");
            }
        }
        for &filesystem in Filesystem::value_variants() {
            assert!(parts.iter().any(|part| part.filesystem == filesystem), "{filesystem:?}");
        }
    }

    #[test]
    fn a_part_is_measured_once() {
        for arguments in [&[][..], &["--quick"], &["--filesystem", "tmpfs,xfs"]] {
            let parts = planned(arguments);
            let twice = |(at, part)| parts[..at].contains(part);
            assert!(!parts.iter().enumerate().any(twice), "{arguments:?}");
        }
    }

    #[test]
    fn a_quick_run_stays_on_ext4() {
        assert!(planned(&["--quick"]).iter().all(|part| part.filesystem == Filesystem::Ext4));
    }

    #[test]
    fn what_is_asked_for_is_all_there_is() {
        let parts = planned(&["--layer", "bigfile", "--codec", "pigz", "--filesystem", "xfs"]);
        let part = Part {
            kind: Kind::BigFile,
            codec: Codec::Pigz,
            filesystem: Filesystem::Xfs,
            all_peers: true,
        };
        assert_eq!(parts, [part]);
        // The other file systems have gzip only.
        let parts = planned(&["--layer", "base", "--codec", "zstd"]);
        assert!(matches!(parts[..], [Part { filesystem: Filesystem::Ext4, .. }]), "{parts:?}");
    }
}
