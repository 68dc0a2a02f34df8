// SPDX-License-Identifier: Apache-2.0
//! The appliers that are compared.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::Command;

use flate2::read::MultiGzDecoder;
use ocilayer::{Options, Source};
use sha2::{Digest, Sha256};

use crate::Result;
use crate::layers::{Codec, Layer};

/// One way to apply a layer.
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

/// What this program applies itself, in a process of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Builtin {
    Ocilayer,
    /// The loop that one writes first: the `tar` crate over flate2 or zstd, with everything that
    /// production needs, and the digest that an engine checks.
    TarCrate,
    /// Decompression alone, into nothing and without a digest: a limit.
    Decompress,
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
        peers.extend([Peer::OcilayerC, Peer::Go(GoPeer::Ocilayer)]);
        peers.extend([GoPeer::ContainerdIgzip, GoPeer::ContainerdUnpigz].map(Peer::Go));
        peers.extend([GoPeer::ContainersStorage, GoPeer::ContainersStorageArchive].map(Peer::Go));
        peers.extend([Peer::Go(GoPeer::Umoci), Peer::GnuTar, Peer::GnuTarPigz, Peer::BsdTar]);
        peers.extend([Builtin::TarCrate, Builtin::Decompress].map(|own| Peer::Builtin(own, 1)));
        peers
    }

    pub fn name(self) -> &'static str {
        match self {
            Peer::Builtin(Builtin::Ocilayer, _) => "ocilayer",
            Peer::Builtin(Builtin::TarCrate, _) => "tar-crate",
            Peer::Builtin(Builtin::Decompress, _) => "limit-decompress",
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

    /// None where the peer has no say in it, or takes as many as there are CPUs.
    pub fn threads(self) -> Option<usize> {
        match self {
            Peer::Builtin(_, threads) => Some(threads),
            _ => None,
        }
    }

    /// Whether it hashes the uncompressed stream, as an engine must. A peer that does not is
    /// spared that work, which its row says.
    pub fn digests(self) -> bool {
        !matches!(
            self,
            Peer::Builtin(Builtin::Decompress, _) | Peer::GnuTar | Peer::GnuTarPigz | Peer::BsdTar
        )
    }

    /// Whether it leaves a tree behind: a limit does not.
    pub fn makes_tree(self) -> bool {
        !matches!(self, Peer::Builtin(Builtin::Decompress, _))
    }

    /// Whether it says something that no other peer does.
    pub fn differs_for(self, codec: Codec) -> bool {
        match self {
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

    /// Where the tree is after the command.
    pub fn tree(self, root: &Path) -> PathBuf {
        match self {
            Peer::Go(GoPeer::ContainersStorage) => root.join("overlay/layer/diff"),
            _ => root.to_owned(),
        }
    }

    /// The command that applies `layer` to `root`, an empty directory.
    pub fn command(self, layer: &Layer, root: &Path) -> Result<Command> {
        Ok(match self {
            Peer::Builtin(applier, threads) => {
                let mut command = Command::new(std::env::current_exe()?);
                let applier = match applier {
                    Builtin::Ocilayer => "ocilayer",
                    Builtin::TarCrate => "tar-crate",
                    Builtin::Decompress => "decompress",
                };
                command.args(["apply", applier, "--threads", &threads.to_string()]);
                command.arg(&layer.blob).arg(root);
                command
            }
            Peer::Go(peer) => {
                let mut command = Command::new(beside("peers")?);
                command.arg(peer.argument()).arg(&layer.blob).arg(root);
                for (program, variable) in [IGZIP, UNPIGZ] {
                    if peer.decompressor() != Some(program) {
                        command.env(variable, "true");
                    }
                }
                command
            }
            Peer::OcilayerC => {
                let mut command = Command::new(beside("unpack-c")?);
                command.arg(&layer.blob).arg(root);
                command
            }
            Peer::GnuTar | Peer::GnuTarPigz => {
                let mut command = Command::new("tar");
                command.args(["--xattrs", "--xattrs-include=*", "--numeric-owner", "-xp"]);
                command.args(match (self, layer.codec.name()) {
                    (Peer::GnuTarPigz, _) => Some("--use-compress-program=unpigz"),
                    (_, "gzip") => Some("--gzip"),
                    (_, "zstd") => Some("--zstd"),
                    _ => None,
                });
                command.arg("-C").arg(root).arg("-f").arg(&layer.blob);
                command
            }
            Peer::BsdTar => {
                let mut command = Command::new("bsdtar");
                command.args(["--xattrs", "--numeric-owner", "-xp", "-C"]).arg(root);
                command.arg("-f").arg(&layer.blob);
                command
            }
        })
    }
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

impl Builtin {
    /// Returns the diffID.
    pub fn apply(self, layer: &Path, root: &Path, threads: usize) -> Result<String> {
        match self {
            Builtin::Ocilayer => {
                let options = Options { threads, ..Options::default() };
                let report = ocilayer::unpack(Source::path(layer), root, &options)?;
                Ok(report.diff_id.ok_or("no diffID")?.to_string())
            }
            Builtin::TarCrate => tar_crate(layer, root),
            Builtin::Decompress => {
                io::copy(&mut decompressed(layer)?, &mut io::sink())?;
                Ok("-".into())
            }
        }
    }
}

/// Larger reads than this made no difference to inflate.
const READ: usize = 128 << 10;

fn decompressed(layer: &Path) -> Result<Box<dyn Read>> {
    let mut file = BufReader::with_capacity(READ, File::open(layer)?);
    Ok(match Codec::of(file.fill_buf()?) {
        Codec::Zstd => Box::new(zstd::Decoder::with_buffer(file)?),
        Codec::None => Box::new(file),
        _ => Box::new(MultiGzDecoder::new(file)),
    })
}

fn tar_crate(layer: &Path, root: &Path) -> Result<String> {
    let stream = decompressed(layer)?;
    let mut archive = tar::Archive::new(Hashing { stream, hash: Sha256::new() });
    archive.set_preserve_permissions(true);
    archive.set_preserve_ownerships(true);
    archive.set_preserve_mtime(true);
    archive.set_unpack_xattrs(true);
    archive.set_overwrite(true);
    archive.unpack(root)?;
    let mut hashing = archive.into_inner();
    // What follows the end of the archive belongs to the digest.
    io::copy(&mut hashing, &mut io::sink())?;
    let digest = hashing.hash.finalize();
    Ok(digest.iter().fold("sha256:".to_owned(), |text, byte| format!("{text}{byte:02x}")))
}

struct Hashing<R> {
    stream: R,
    hash: Sha256,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.stream.read(buffer)?;
        self.hash.update(&buffer[..count]);
        Ok(count)
    }
}
