// SPDX-License-Identifier: Apache-2.0
//! Real layers to measure with, made once from what is on this machine and kept.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};
use tar::{Builder, EntryType, Header};

use crate::Result;

/// What is in a layer.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum, Serialize, Deserialize,
)]
pub enum Kind {
    /// A minimal Debian, by debootstrap
    #[value(name = "base")]
    #[serde(rename = "base")]
    Base,
    /// What npm installs for some well-known packages: many small files
    #[value(name = "node_modules")]
    #[serde(rename = "node_modules")]
    NodeModules,
    /// numpy, scipy, pandas and scikit-learn, by pip
    #[value(name = "python-ml")]
    #[serde(rename = "python-ml")]
    PythonMl,
    /// Shared libraries and programs of toolchains, over 1 GB
    #[value(name = "bigfile")]
    #[serde(rename = "bigfile")]
    BigFile,
    /// All of the above, one upon the other, as the layers of one image
    #[value(name = "image")]
    #[serde(rename = "image")]
    Image,
}

/// How it is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Codec {
    /// gzip -6, as container tools write it
    Gzip,
    /// gzip -6 in a member for each 4 MiB, as eStargz and others that seek have many
    Members,
    /// pigz -6: one member, in blocks that were compressed on their own
    Pigz,
    /// zstd -3
    Zstd,
    /// Not at all
    None,
}

#[derive(Debug, Clone)]
pub struct Layer {
    pub kind: Kind,
    pub codec: Codec,
    /// One for each layer of an image, the lowest first; one for a layer by itself.
    pub blobs: Vec<PathBuf>,
    /// The same uncompressed.
    pub archives: Vec<PathBuf>,
    /// The digests of these.
    pub diff_ids: Vec<String>,
    pub entries: u64,
    /// Uncompressed.
    pub bytes: u64,
}

/// A file below this is no "big" one.
const BIG_FILE: u64 = 1 << 20;

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Kind::Base => "base",
            Kind::NodeModules => "node_modules",
            Kind::PythonMl => "python-ml",
            Kind::BigFile => "bigfile",
            Kind::Image => "image",
        }
    }

    /// The layers that it consists of, the lowest first.
    fn layers(self) -> &'static [Kind] {
        match self {
            Kind::Base => &[Kind::Base],
            Kind::NodeModules => &[Kind::NodeModules],
            Kind::PythonMl => &[Kind::PythonMl],
            Kind::BigFile => &[Kind::BigFile],
            Kind::Image => &[Kind::Base, Kind::NodeModules, Kind::PythonMl, Kind::BigFile],
        }
    }

    /// Makes the blobs that the cache does not have.
    pub fn layer(self, codec: Codec, cache: &Path) -> Result<Layer> {
        let (blobs, archives, diff_ids) = (Vec::new(), Vec::new(), Vec::new());
        let mut layer =
            Layer { kind: self, codec, blobs, archives, diff_ids, entries: 0, bytes: 0 };
        for kind in self.layers() {
            let archive = kind.archive(cache)?;
            layer.blobs.push(codec.compress(&archive)?);
            layer.bytes += fs::metadata(&archive)?.len();
            let mut entries = tar::Archive::new(File::open(&archive)?);
            layer.entries += entries.entries_with_seek()?.count() as u64;
            layer.diff_ids.push(diff_id(&archive)?);
            layer.archives.push(archive);
        }
        Ok(layer)
    }

    /// Of one layer.
    fn archive(self, cache: &Path) -> Result<PathBuf> {
        fs::create_dir_all(cache)?;
        let plain = cache.join(format!("{}.tar", self.name()));
        if !plain.exists() {
            eprintln!("making {}", plain.display());
            let part = plain.with_extension("part");
            match self {
                Kind::Base => debian(cache, &part)?,
                Kind::NodeModules => node_modules(cache, &part)?,
                Kind::PythonMl => python(cache, &part)?,
                Kind::BigFile => big(&part)?,
                Kind::Image => return Err("an image is several archives".into()),
            }
            fs::rename(&part, &plain)?;
        }
        Ok(plain)
    }
}

impl Codec {
    /// Which format it is.
    pub fn name(self) -> &'static str {
        match self {
            Codec::Gzip | Codec::Members | Codec::Pigz => "gzip",
            Codec::Zstd => "zstd",
            Codec::None => "none",
        }
    }

    /// What made it so, where that is not the usual program.
    pub fn variant(self) -> &'static str {
        match self {
            Codec::Members => "members",
            Codec::Pigz => "pigz",
            Codec::Gzip | Codec::Zstd | Codec::None => "",
        }
    }

    /// By the first bytes of a blob.
    pub fn of(start: &[u8]) -> Codec {
        match start {
            [0x1f, 0x8b, ..] => Codec::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Codec::Zstd,
            _ => Codec::None,
        }
    }

    fn compress(self, plain: &Path) -> Result<PathBuf> {
        let (shell, extension) = match self {
            Codec::Gzip => ("gzip -6 -n", "tar.gz"),
            Codec::Members => ("split -b 4M --filter='gzip -6 -n' -", "members.tar.gz"),
            Codec::Pigz => ("pigz -6 -n", "pigz.tar.gz"),
            Codec::Zstd => ("zstd -3 -q", "tar.zst"),
            Codec::None => return Ok(plain.to_owned()),
        };
        let blob = plain.with_extension(extension);
        if !blob.exists() {
            eprintln!("making {}", blob.display());
            let part = plain.with_extension("part");
            let mut command = Command::new("sh");
            command.args(["-c", shell]).stdin(File::open(plain)?).stdout(File::create(&part)?);
            run(&mut command)?;
            fs::rename(&part, &blob)?;
        }
        Ok(blob)
    }
}

/// Kept beside the archive.
fn diff_id(archive: &Path) -> Result<String> {
    let kept = archive.with_extension("tar.sha256");
    if !kept.exists() {
        let sum = output(Command::new("sha256sum").arg(archive))?;
        let hex = sum.split(' ').next().unwrap_or_default();
        fs::write(&kept, format!("sha256:{hex}"))?;
    }
    Ok(fs::read_to_string(&kept)?)
}

fn debian(cache: &Path, archive: &Path) -> Result<()> {
    let (root, script) = (cache.join("debian"), "scripts/debian-root");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(script);
    run(Command::new(script).arg(&root))?;
    archive_of(&root, archive)
}

/// What many web applications depend on, at versions that stay.
const NPM_PACKAGES: &[&str] = &[
    "@mui/material@5.15.0",
    "@angular/cli@17.0.0",
    "aws-sdk@2.1500.0",
    "date-fns@2.30.0",
    "eslint@8.56.0",
    "jest@29.7.0",
    "next@14.0.4",
    "react-scripts@5.0.1",
    "typescript@5.3.3",
];

fn node_modules(cache: &Path, archive: &Path) -> Result<()> {
    let root = cache.join("npm");
    let mut npm = Command::new("npm");
    npm.args(["install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts"]);
    npm.args(["--legacy-peer-deps", "--prefix"]).arg(&root).args(NPM_PACKAGES);
    run(&mut npm)?;
    archive_of(&root, archive)
}

const PYTHON_PACKAGES: &[&str] = &["numpy", "scipy", "pandas", "scikit-learn", "matplotlib"];

fn python(cache: &Path, archive: &Path) -> Result<()> {
    let root = cache.join("python");
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "install", "--quiet", "--root-user-action=ignore", "--target"]);
    run(pip.arg(root.join("usr/lib/python3/dist-packages")).args(PYTHON_PACKAGES))?;
    archive_of(&root, archive)
}

/// An archive of a directory, which is removed then.
fn archive_of(root: &Path, archive: &Path) -> Result<()> {
    // Times in whole seconds, as containerd and docker write layers; the tar crate knows no others.
    let times = "--pax-option=delete=atime,delete=ctime,delete=mtime";
    let mut tar = Command::new("tar");
    tar.args(["--xattrs", "--xattrs-include=*", "--numeric-owner", "--format=posix", times]);
    run(tar.args(["--sort=name", "-C"]).arg(root).arg("-cf").arg(archive).arg("."))?;
    Ok(fs::remove_dir_all(root)?)
}

/// Bytes of [`Kind::BigFile`], at least.
const BIG: u64 = 1_100_000_000;

fn big(archive: &Path) -> Result<()> {
    let mut files = Vec::new();
    let sysroot = output(Command::new("rustc").args(["--print", "sysroot"]))?;
    find_big(&Path::new(&sysroot).join("lib"), &mut files)?;
    if let Ok(goroot) = output(Command::new("go").args(["env", "GOROOT"])) {
        find_big(Path::new(&goroot), &mut files)?;
    }
    // A few large ones, rather than many.
    files.sort_by(|a, b| b.cmp(a));
    let mut builder = Builder::new(File::create(archive)?);
    directory(&mut builder, "big")?;
    let mut written = 0;
    for (number, (size, file)) in files.iter().cycle().enumerate() {
        if written >= BIG {
            break;
        }
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        builder.append_path_with_name(file, format!("big/{number:04}-{name}"))?;
        written += size;
    }
    Ok(builder.finish()?)
}

fn directory(builder: &mut Builder<File>, name: &str) -> Result<()> {
    let mut header = Header::new_ustar();
    header.set_entry_type(EntryType::Directory);
    header.set_mode(0o755);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(1_700_000_000);
    header.set_size(0);
    Ok(builder.append_data(&mut header, format!("{name}/"), std::io::empty())?)
}

fn find_big(directory: &Path, files: &mut Vec<(u64, PathBuf)>) -> Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let meta = entry.metadata()?;
        if meta.is_dir() {
            find_big(&entry.path(), files)?;
        } else if meta.is_file() && meta.len() >= BIG_FILE {
            files.push((meta.len(), entry.path()));
        }
    }
    Ok(())
}

pub fn run(command: &mut Command) -> Result<()> {
    let status = command.status()?;
    if status.success() { Ok(()) } else { Err(format!("{command:?}: {status}").into()) }
}

pub fn output(command: &mut Command) -> Result<String> {
    let output = command.stderr(Stdio::null()).output()?;
    if !output.status.success() {
        return Err(format!("{command:?}: {}", output.status).into());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
