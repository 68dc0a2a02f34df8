// SPDX-License-Identifier: Apache-2.0
//! The appliers that are compared.

use std::path::{Path, PathBuf};
use std::process::Command;

use ocilayer::image::{ChainLayer, LayerStore};

use crate::Result;
use crate::builtin::{self, Builtin};
use crate::layers::{Codec, Kind, Layer, output};
use crate::tree::Tree;

/// One way to apply layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// Linked into this program.
    Builtin(Builtin, usize),
    /// Linked into the program of bench/go.
    Go(GoPeer),
    /// ocilayer through its C API.
    OcilayerC,
    /// GNU tar, which runs gzip or zstd.
    GnuTar,
    /// GNU tar with pigz's decompressor.
    GnuTarPigz,
    /// libarchive's.
    BsdTar,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GoPeer {
    /// With its own decompressors.
    Containerd,
    ContainerdIgzip,
    ContainerdUnpigz,
    /// A layer of a store, as podman makes it.
    ContainersStorage,
    /// Its archive package alone.
    ContainersStorageArchive,
    Umoci,
    Ocilayer,
}

/// All ratios are to this one.
pub const BASELINE: Peer = Peer::Go(GoPeer::Containerd);

/// containerd takes these for gzip if they are on the path, unless a variable says no.
const IGZIP: (&str, &str) = ("igzip", "CONTAINERD_DISABLE_IGZIP");
const UNPIGZ: (&str, &str) = ("unpigz", "CONTAINERD_DISABLE_PIGZ");

impl Peer {
    pub fn all(threads: &[usize]) -> Vec<Peer> {
        let mut peers = vec![BASELINE];
        peers.extend(threads.iter().map(|&n| Peer::Builtin(Builtin::Ocilayer, n)));
        let builtin = |(builtin, threads)| Peer::Builtin(builtin, threads);
        peers.push(Peer::Builtin(Builtin::OcilayerBothDigests, 2));
        let whole = [Builtin::OcilayerImage, Builtin::OcilayerFlatten];
        peers.extend(
            whole.iter().flat_map(|&whole| threads.iter().map(move |&n| (whole, n)).map(builtin)),
        );
        peers.extend([Peer::OcilayerC, Peer::Go(GoPeer::Ocilayer)]);
        peers.extend([GoPeer::ContainerdIgzip, GoPeer::ContainerdUnpigz].map(Peer::Go));
        peers.extend([GoPeer::ContainersStorage, GoPeer::ContainersStorageArchive].map(Peer::Go));
        peers.extend([Peer::Go(GoPeer::Umoci), Peer::GnuTar, Peer::GnuTarPigz, Peer::BsdTar]);
        peers.extend([(Builtin::OciImage, 2), (Builtin::TarCrate, 1)].map(builtin));
        let alone = [Builtin::LimitDecompress, Builtin::LimitDigest];
        peers.extend(alone.map(|limit| Peer::Builtin(limit, 1)));
        peers.extend([1, 2].map(|threads| Peer::Builtin(Builtin::LimitCreate, threads)));
        peers
    }

    /// Whether it is the library itself, from whatever language.
    pub fn is_ours(applier: &str) -> bool {
        applier.starts_with("ocilayer")
    }

    /// Whether it does less than an applier must.
    pub fn is_limit(applier: &str) -> bool {
        applier.starts_with("limit-")
    }

    /// Whether it is one of those few that show how file systems differ.
    pub fn shows_the_filesystem(self) -> bool {
        self == BASELINE || self.name() == "ocilayer" || Peer::is_limit(self.name())
    }

    pub fn name(self) -> &'static str {
        match self {
            Peer::Builtin(builtin, _) => builtin.name(),
            Peer::Go(GoPeer::Containerd) => "containerd",
            Peer::Go(GoPeer::ContainerdIgzip) => "containerd+igzip",
            Peer::Go(GoPeer::ContainerdUnpigz) => "containerd+unpigz",
            Peer::Go(GoPeer::ContainersStorage) => "containers-storage",
            Peer::Go(GoPeer::ContainersStorageArchive) => "containers-storage-archive",
            Peer::Go(GoPeer::Umoci) => "umoci",
            Peer::Go(GoPeer::Ocilayer) => "ocilayer-go",
            Peer::OcilayerC => "ocilayer-c",
            Peer::GnuTar => "gnu-tar",
            Peer::GnuTarPigz => "gnu-tar+unpigz",
            Peer::BsdTar => "bsdtar",
        }
    }

    /// None where the number cannot be chosen, or is that of the CPUs.
    pub fn threads(self) -> Option<usize> {
        match self {
            Peer::Builtin(_, threads) => Some(threads),
            _ => None,
        }
    }

    /// Whether it hashes the uncompressed stream, as an engine must. A peer that does not has less
    /// work, which its row says.
    pub fn digests(self) -> bool {
        match self {
            Peer::Builtin(Builtin::OciImage, _) => false,
            Peer::Builtin(builtin, _) => !Peer::is_limit(builtin.name()),
            Peer::Go(_) | Peer::OcilayerC => true,
            Peer::GnuTar | Peer::GnuTarPigz | Peer::BsdTar => false,
        }
    }

    /// Whether it leaves a tree behind.
    pub fn makes_tree(self) -> bool {
        !matches!(self, Peer::Builtin(Builtin::LimitDecompress | Builtin::LimitDigest, _))
    }

    /// What its times are of, as it prints them itself: a part of what its process does.
    pub fn times_itself(self) -> Option<&'static str> {
        match self {
            Peer::Builtin(Builtin::LimitDigest, _) => Some("digest"),
            Peer::Builtin(Builtin::LimitCreate, _) => Some("creation"),
            _ => None,
        }
    }

    /// The files that it reads.
    pub fn inputs(self, layer: &Layer) -> &[PathBuf] {
        match self {
            Peer::Builtin(Builtin::LimitDigest | Builtin::LimitCreate, _) => &layer.archives,
            _ => &layer.blobs,
        }
    }

    /// Whether its result can differ from those of the other peers.
    pub fn differs_for(self, kind: Kind, codec: Codec) -> bool {
        match self {
            Peer::Builtin(Builtin::OcilayerImage | Builtin::OcilayerFlatten, _) => {
                kind == Kind::Image
            }
            Peer::Go(GoPeer::ContainerdIgzip | GoPeer::ContainerdUnpigz) | Peer::GnuTarPigz => {
                codec.name() == "gzip"
            }
            _ => true,
        }
    }

    /// The program that is missing, if one is.
    pub fn missing(self) -> Option<&'static str> {
        let program = match self {
            Peer::GnuTar => "tar",
            Peer::BsdTar => "bsdtar",
            Peer::Go(GoPeer::ContainerdIgzip) => IGZIP.0,
            Peer::Go(GoPeer::ContainerdUnpigz) | Peer::GnuTarPigz => UNPIGZ.0,
            Peer::Builtin(..) | Peer::Go(_) | Peer::OcilayerC => return None,
        };
        let answer = Command::new(program).arg("--version").output();
        (!answer.is_ok_and(|output| output.status.success())).then_some(program)
    }

    /// What the command has made of `layer` below `root`.
    pub fn tree(self, layer: &Layer, root: &Path) -> Result<Tree> {
        let directories: Vec<PathBuf> = match self {
            Peer::Go(GoPeer::ContainersStorage) => (0..layer.blobs.len())
                .map(|number| root.join(format!("overlay/layer{number}/diff")))
                .collect(),
            Peer::Builtin(Builtin::OcilayerImage, _) => {
                let image = builtin::image(&layer.blobs, &layer.diff_ids)?.image();
                let path = |layer: &ChainLayer| LayerStore::path_in(root, &layer.chain_id);
                image.layers.iter().map(path).collect()
            }
            _ => vec![root.to_owned()],
        };
        let mut tree = Tree::read(&directories[0])?;
        for upper in &directories[1..] {
            tree.lay_over(Tree::read(upper)?);
        }
        Ok(tree)
    }

    /// The command that applies `layer` to `root`, an empty directory.
    pub fn command(self, layer: &Layer, root: &Path) -> Result<Command> {
        let mut command = match self {
            Peer::Builtin(builtin, threads) => {
                let mut command = Command::new(std::env::current_exe()?);
                command.args(["apply", builtin.name(), "--threads", &threads.to_string()]);
                for diff_id in &layer.diff_ids {
                    command.args(["--diff-id", diff_id]);
                }
                command
            }
            Peer::Go(peer) => {
                let mut command = Command::new(beside("peers")?);
                command.arg(peer.argument());
                for (program, variable) in [IGZIP, UNPIGZ] {
                    if peer.decompressor() != Some(program) {
                        command.env(variable, "true");
                    }
                }
                command
            }
            Peer::OcilayerC => Command::new(beside("unpack-c")?),
            Peer::GnuTar | Peer::GnuTarPigz => {
                let decompress = match (self, layer.codec.name()) {
                    (Peer::GnuTarPigz, _) => "--use-compress-program=unpigz",
                    (_, "gzip") => "--gzip",
                    (_, "zstd") => "--zstd",
                    _ => "",
                };
                let tar = "tar --xattrs --xattrs-include=* --numeric-owner -xp";
                for_each_layer(&format!("{tar} {decompress}"))
            }
            Peer::BsdTar => for_each_layer("bsdtar --xattrs --numeric-owner -xp"),
        };
        command.arg(root).args(self.inputs(layer));
        Ok(command)
    }
}

/// Runs a tar for each of the layers that follow the root on the command line.
fn for_each_layer(tar: &str) -> Command {
    let mut command = Command::new("sh");
    // No globs: --xattrs-include has one. $0 is the root.
    let script = format!("set -f; for layer; do {tar} -C \"$0\" -f \"$layer\" || exit; done");
    command.args(["-c", &script]);
    command
}

/// Which appliers these are: the programs that are here, and what is linked in.
pub fn versions() -> Vec<String> {
    let mut versions = Vec::new();
    if let Ok(peers) = beside("peers")
        && let Ok(modules) = output(Command::new(peers).arg("versions"))
    {
        versions.extend(modules.lines().map(str::to_owned));
    }
    for crate_name in ["oci-image", "tar"] {
        versions.extend(locked(crate_name).map(|version| format!("crate {crate_name} {version}")));
    }
    for program in ["tar", "bsdtar", IGZIP.0, UNPIGZ.0] {
        let text = output(Command::new(program).arg("--version")).unwrap_or_default();
        versions.extend(text.lines().next().map(str::to_owned));
    }
    versions
}

/// The version of a crate that this program was built with.
fn locked(name: &str) -> Option<&'static str> {
    let lock = include_str!("../../Cargo.lock");
    let at = lock.split_once(&format!("name = \"{name}\"\nversion = \""))?.1;
    at.split_once('"').map(|(version, _)| version)
}

impl GoPeer {
    /// What bench/go calls it.
    fn argument(self) -> &'static str {
        match self {
            GoPeer::Containerd | GoPeer::ContainerdIgzip | GoPeer::ContainerdUnpigz => "containerd",
            GoPeer::ContainersStorage => "containers-storage",
            GoPeer::ContainersStorageArchive => "containers-storage-archive",
            GoPeer::Umoci => "umoci",
            GoPeer::Ocilayer => "ocilayer",
        }
    }

    fn decompressor(self) -> Option<&'static str> {
        match self {
            GoPeer::ContainerdIgzip => Some(IGZIP.0),
            GoPeer::ContainerdUnpigz => Some(UNPIGZ.0),
            _ => None,
        }
    }
}

/// A program that scripts/bench-peers built: in target/bench, with this one in target/release.
fn beside(program: &str) -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    let target = own.parent().and_then(Path::parent).ok_or("this program lies nowhere")?;
    let path = target.join("bench").join(program);
    match path.exists() {
        true => Ok(path),
        false => {
            Err(format!("{} is missing: scripts/bench-peers builds it", path.display()).into())
        }
    }
}
