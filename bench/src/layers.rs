// SPDX-License-Identifier: Apache-2.0
//! Real layers to measure with, made once from what is on this machine and kept.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::Serialize;
use tar::{Builder, EntryType, Header};

use crate::Result;

/// What is in a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A minimal Debian, by debootstrap
    Base,
    /// Sources of crates and npm packages, in copies: many small files
    Small,
    /// Shared libraries and programs of toolchains, 100 MB
    Big100,
    /// The same, 1.4 GB
    Big1400,
}

/// How it is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Codec {
    /// gzip -6, as container tools write it
    Gzip,
    /// zstd -3
    Zstd,
    /// Not at all
    None,
}

#[derive(Debug, Clone)]
pub struct Layer {
    pub kind: Kind,
    pub codec: Codec,
    pub blob: PathBuf,
    pub entries: u64,
    /// Uncompressed.
    pub bytes: u64,
}

/// About what a large web application's node_modules has.
const SMALL_ENTRIES: u64 = 40_000;

/// A file below this is no "big" one.
const BIG_FILE: u64 = 1 << 20;

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Kind::Base => "base",
            Kind::Small => "small",
            Kind::Big100 => "big-100",
            Kind::Big1400 => "big-1400",
        }
    }

    /// Makes the archive where the cache has none.
    pub fn layer(self, codec: Codec, cache: &Path) -> Result<Layer> {
        fs::create_dir_all(cache)?;
        let plain = cache.join(format!("{}.tar", self.name()));
        if !plain.exists() {
            eprintln!("making {}", plain.display());
            let part = plain.with_extension("part");
            match self {
                Kind::Base => debian(cache, &part)?,
                Kind::Small => small(&part)?,
                Kind::Big100 => big(&part, 100_000_000)?,
                Kind::Big1400 => big(&part, 1_400_000_000)?,
            }
            fs::rename(&part, &plain)?;
        }
        let blob = codec.compress(&plain)?;
        let bytes = fs::metadata(&plain)?.len();
        let mut archive = tar::Archive::new(File::open(&plain)?);
        let entries = archive.entries_with_seek()?.count() as u64;
        Ok(Layer { kind: self, codec, blob, entries, bytes })
    }
}

impl Codec {
    pub fn name(self) -> &'static str {
        match self {
            Codec::Gzip => "gzip",
            Codec::Zstd => "zstd",
            Codec::None => "none",
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
        let (program, arguments, extension) = match self {
            Codec::Gzip => ("gzip", ["-6", "-n"], "tar.gz"),
            Codec::Zstd => ("zstd", ["-3", "-q"], "tar.zst"),
            Codec::None => return Ok(plain.to_owned()),
        };
        let blob = plain.with_extension(extension);
        if !blob.exists() {
            eprintln!("making {}", blob.display());
            let part = plain.with_extension("part");
            let mut command = Command::new(program);
            command.args(arguments).stdin(File::open(plain)?).stdout(File::create(&part)?);
            run(&mut command)?;
            fs::rename(&part, &blob)?;
        }
        Ok(blob)
    }
}

fn debian(cache: &Path, archive: &Path) -> Result<()> {
    let (root, script) = (cache.join("debian"), "scripts/debian-root");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(script);
    run(Command::new(script).arg(&root))?;
    // Times in whole seconds, as containerd and docker write layers; the tar crate knows no others.
    let times = "--pax-option=delete=atime,delete=ctime,delete=mtime";
    let mut tar = Command::new("tar");
    tar.args(["--xattrs", "--xattrs-include=*", "--numeric-owner", "--format=posix", times]);
    run(tar.arg("-C").arg(&root).arg("-cf").arg(archive).arg("."))?;
    Ok(fs::remove_dir_all(root)?)
}

fn small(archive: &Path) -> Result<()> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.unwrap_or_else(|| PathBuf::from(std::env::var_os("HOME").unwrap_or_default()));
    let sources = [
        home.join("registry/src"),
        home.join(".cargo/registry/src"),
        "/usr/lib/node_modules".into(),
        "/usr/local/lib/node_modules".into(),
    ];
    let sources: Vec<_> = sources.into_iter().filter(|source| source.is_dir()).collect();
    if sources.is_empty() {
        return Err("no sources of crates or npm packages on this machine".into());
    }
    let mut builder = Builder::new(File::create(archive)?);
    builder.follow_symlinks(false);
    let (mut entries, mut copy) = (0, 0);
    while entries < SMALL_ENTRIES {
        directory(&mut builder, &format!("copy-{copy}"))?;
        for (number, source) in sources.iter().enumerate() {
            builder.append_dir_all(format!("copy-{copy}/{number}"), source)?;
            entries += count(source)?;
        }
        copy += 1;
    }
    Ok(builder.finish()?)
}

fn big(archive: &Path, bytes: u64) -> Result<()> {
    let mut files = Vec::new();
    let sysroot = output(Command::new("rustc").args(["--print", "sysroot"]))?;
    find_big(&Path::new(&sysroot).join("lib"), &mut files)?;
    if let Ok(goroot) = output(Command::new("go").args(["env", "GOROOT"])) {
        find_big(Path::new(&goroot), &mut files)?;
    }
    // Those of middling size first, so that the small layer is not one file alone.
    files.sort();
    let mut builder = Builder::new(File::create(archive)?);
    directory(&mut builder, "big")?;
    let mut written = 0;
    for (number, (size, file)) in files.iter().cycle().enumerate() {
        if written >= bytes {
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

fn count(directory: &Path) -> Result<u64> {
    let mut entries = 1;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        entries += if entry.file_type()?.is_dir() { count(&entry.path())? } else { 1 };
    }
    Ok(entries)
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
