// SPDX-License-Identifier: Apache-2.0
//! The appliers that are compared.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
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
    /// GNU tar, which runs gzip or zstd.
    GnuTar,
    /// libarchive's.
    BsdTar,
}

/// What this program applies itself, in a process of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Builtin {
    Ocilayer,
    /// The loop that one writes first: the `tar` crate over flate2 or zstd, with everything that
    /// production needs, and the digest that an engine checks.
    Naive,
}

/// All ratios are to this one.
pub const BASELINE: Peer = Peer::Builtin(Builtin::Naive, 1);

impl Peer {
    pub fn all(threads: &[usize]) -> Vec<Peer> {
        let mut peers = vec![BASELINE];
        peers.extend(threads.iter().map(|&n| Peer::Builtin(Builtin::Ocilayer, n)));
        peers.extend([Peer::GnuTar, Peer::BsdTar]);
        peers
    }

    pub fn name(self) -> &'static str {
        match self {
            Peer::Builtin(Builtin::Ocilayer, _) => "ocilayer",
            Peer::Builtin(Builtin::Naive, _) => "naive",
            Peer::GnuTar => "gnu-tar",
            Peer::BsdTar => "bsdtar",
        }
    }

    /// None where the peer has no say in it.
    pub fn threads(self) -> Option<usize> {
        match self {
            Peer::Builtin(_, threads) => Some(threads),
            Peer::GnuTar | Peer::BsdTar => None,
        }
    }

    /// Whether it hashes the uncompressed stream, as an engine must. A peer that does not is
    /// spared that work, which its row says.
    pub fn digests(self) -> bool {
        matches!(self, Peer::Builtin(..))
    }

    pub fn present(self) -> bool {
        let program = match self {
            Peer::Builtin(..) => return true,
            Peer::GnuTar => "tar",
            Peer::BsdTar => "bsdtar",
        };
        Command::new(program).arg("--version").output().is_ok_and(|o| o.status.success())
    }

    /// The command that applies `layer` to `root`, an empty directory.
    pub fn command(self, layer: &Layer, root: &Path) -> Result<Command> {
        Ok(match self {
            Peer::Builtin(applier, threads) => {
                let mut command = Command::new(std::env::current_exe()?);
                let applier = match applier {
                    Builtin::Ocilayer => "ocilayer",
                    Builtin::Naive => "naive",
                };
                command.args(["apply", applier, "--threads", &threads.to_string()]);
                command.arg(&layer.blob).arg(root);
                command
            }
            Peer::GnuTar => {
                let mut command = Command::new("tar");
                command.args(["--xattrs", "--xattrs-include=*", "--numeric-owner", "-xp"]);
                command.args(match layer.codec {
                    Codec::Gzip => Some("--gzip"),
                    Codec::Zstd => Some("--zstd"),
                    Codec::None => None,
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

impl Builtin {
    /// Returns the diffID.
    pub fn apply(self, layer: &Path, root: &Path, threads: usize) -> Result<String> {
        match self {
            Builtin::Ocilayer => {
                let options = Options { threads, ..Options::default() };
                let report = ocilayer::unpack(Source::path(layer), root, &options)?;
                Ok(report.diff_id.ok_or("no diffID")?.to_string())
            }
            Builtin::Naive => naive(layer, root),
        }
    }
}

/// Larger reads than this made no difference to inflate.
const READ: usize = 128 << 10;

fn naive(layer: &Path, root: &Path) -> Result<String> {
    let mut file = BufReader::with_capacity(READ, File::open(layer)?);
    let stream: Box<dyn Read> = match Codec::of(file.fill_buf()?) {
        Codec::Gzip => Box::new(MultiGzDecoder::new(file)),
        Codec::Zstd => Box::new(zstd::Decoder::with_buffer(file)?),
        Codec::None => Box::new(file),
    };
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
