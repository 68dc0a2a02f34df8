// SPDX-License-Identifier: Apache-2.0
//! What this program applies itself, each in a process of its own.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use flate2::read::MultiGzDecoder;
use oci_image::UnpackOptions;
use ocilayer::image::{self, LayerStore, Layers};
use ocilayer::{Mode, Options, Source};
use sha2::{Digest, Sha256};

use crate::layers::Codec;
use crate::{Result, limit};

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Builtin {
    /// Without the blob's digest, which containerd's applier does not make either: its content store
    /// has checked the blob.
    Ocilayer,
    /// As it is without options: with both digests.
    OcilayerBothDigests,
    /// A whole image: its layers at once, each into a directory of a store.
    OcilayerImage,
    /// A whole image into one directory.
    OcilayerFlatten,
    /// The crate of that name, to one directory.
    OciImage,
    /// The loop that one writes first: the `tar` crate over flate2 or zstd, with everything that
    /// production needs, and the digest that an engine checks.
    TarCrate,
    LimitDecompress,
    LimitDigest,
    LimitCreate,
}

impl Builtin {
    /// As the table and this program's command line name it.
    pub fn name(self) -> &'static str {
        match self {
            Builtin::Ocilayer => "ocilayer",
            Builtin::OcilayerBothDigests => "ocilayer-both-digests",
            Builtin::OcilayerImage => "ocilayer-image",
            Builtin::OcilayerFlatten => "ocilayer-flatten",
            Builtin::OciImage => "oci-image",
            Builtin::TarCrate => "tar-crate",
            Builtin::LimitDecompress => "limit-decompress",
            Builtin::LimitDigest => "limit-digest",
            Builtin::LimitCreate => "limit-create",
        }
    }

    /// Applies layers, the lowest first, and prints a diffID for each; what a limit prints,
    /// `limit` says.
    pub fn apply(
        self,
        root: &Path,
        layers: &[PathBuf],
        diff_ids: &[String],
        threads: usize,
    ) -> Result<()> {
        match self {
            Builtin::OcilayerImage | Builtin::OcilayerFlatten => {
                let options = Options::default().threads(threads).skip_blob_digest(true);
                let layers = image(layers, diff_ids)?;
                if self == Builtin::OcilayerImage {
                    let options = options.mode(Mode::Overlay);
                    let store = LayerStore::open(root, &options)?;
                    image::unpack_layers(&layers, &layers.image(), &store, &options, &mut ())?;
                } else {
                    image::unpack(&layers, &layers.image(), root, &options, &mut ())?;
                }
                diff_ids.iter().for_each(|diff_id| println!("{diff_id}"));
            }
            Builtin::OciImage => {
                let options = UnpackOptions { threads, ..UnpackOptions::default() };
                for layer in layers {
                    oci_image::apply_layer_file(layer, root, &options)?;
                }
            }
            Builtin::Ocilayer | Builtin::OcilayerBothDigests => {
                let skip_blob_digest = self == Builtin::Ocilayer;
                for layer in layers {
                    let options =
                        Options::default().threads(threads).skip_blob_digest(skip_blob_digest);
                    let report = ocilayer::unpack(Source::path(layer), root, &options)?;
                    println!("{}", report.diff_id.ok_or("no diffID")?);
                }
            }
            Builtin::TarCrate => {
                for layer in layers {
                    println!("{}", tar_crate(layer, root)?);
                }
            }
            Builtin::LimitDecompress => limit::decompress(layers)?,
            Builtin::LimitDigest => {
                let times = limit::digest(layers)?;
                println!("{}", serde_json::to_string(&times)?);
            }
            Builtin::LimitCreate => {
                let times = limit::create(root, layers, threads)?;
                println!("{}", serde_json::to_string(&times)?);
            }
        }
        Ok(())
    }
}

/// Of layers that an engine has, and whose diffIDs it knows.
pub fn image<'s>(layers: &[PathBuf], diff_ids: &[String]) -> Result<Layers<'s>> {
    let mut image = Layers::new();
    for (layer, diff_id) in layers.iter().zip(diff_ids) {
        image.push(Source::path(layer), None, diff_id.parse()?);
    }
    Ok(image)
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
