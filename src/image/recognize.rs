// SPDX-License-Identifier: Apache-2.0
//! Whether an archive is an image or a layer.
//!
//! What it has says so, not what it is called: an image layout (OCI image layout specification), or
//! the manifest that `docker save` writes. Other files beside them change nothing, up to a number
//! that no image's archive reaches and nearly every layer does.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{Mode as Permissions, OFlags, open};
use rustix::io::Errno;

use super::error::{ImageError, JSON_MAX, Result};
use crate::digest::Algorithm;
use crate::error::Error;
use crate::limits::Limits;
use crate::options::ReadTo;
use crate::pipeline::{Decoder, Source};
use crate::tar::{Entry, Event, Kind, Parser};

/// The two files that make an image layout.
pub(super) const LAYOUT: [&str; 2] = ["oci-layout", "index.json"];

/// What `docker save` wrote before it wrote an image layout, and others write to this day.
pub(super) const DOCKER: &str = "manifest.json";

/// Names that no image has, before an archive is a layer.
const STRANGE_MAX: u32 = 64;

/// Of an archive, before it is a layer if not one of its names may be an image's.
const LOOKED_AT: u64 = 1 << 20;

/// What the names in an archive say of it.
#[derive(Debug, Default)]
pub(super) struct Names {
    strange: u32,
    /// There was one that few layers have.
    likely: bool,
    layout: [bool; 2],
}

impl Names {
    /// The name of a file that an image may have.
    pub(super) fn see(&mut self, entry: &Entry) -> Option<String> {
        let name = member_name(&entry.name);
        let plain = entry.sparse.is_none() && entry.mode & 0o7000 == 0;
        let member = matches!(entry.kind, Kind::File) && plain;
        // Old archives of docker share a layer by a symlink.
        let known = member || matches!(entry.kind, Kind::Directory | Kind::Symlink);
        let name = name.filter(|_| known);
        match &name {
            Some(name) => {
                let known = may_be_an_images(name);
                self.likely |= known && member;
                self.strange += u32::from(!known);
            }
            None => self.strange += 1,
        }
        for (there, wanted) in self.layout.iter_mut().zip(LAYOUT) {
            *there |= member && name.as_deref() == Some(wanted);
        }
        name
    }

    pub(super) fn is_layer(&self) -> bool {
        self.strange > STRANGE_MAX
    }

    pub(super) fn has_layout(&self) -> bool {
        self.layout == [true; 2]
    }
}

/// Watches an archive go by.
struct Watching {
    parser: Parser,
    names: Names,
    /// Docker's manifest, as far as it has gone by.
    manifest: Option<Vec<u8>>,
    in_manifest: bool,
    seen: u64,
    /// Nothing more can change the answer.
    over: bool,
}

impl Watching {
    fn new() -> Watching {
        Watching {
            parser: parser(),
            names: Names::default(),
            manifest: None,
            in_manifest: false,
            seen: 0,
            over: false,
        }
    }

    fn feed(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while !self.over {
            let Ok((used, event)) = self.parser.step(rest) else {
                self.over = true;
                return;
            };
            rest = &rest[used..];
            match event {
                Event::More => break,
                Event::End => self.over = true,
                Event::Entry => {
                    let name = self.names.see(self.parser.entry());
                    self.in_manifest = name.as_deref() == Some(DOCKER);
                    if self.in_manifest {
                        self.manifest = Some(Vec::new());
                    }
                    self.over |= self.names.is_layer();
                }
                Event::Data { bytes, .. } => {
                    if let (true, Some(manifest)) = (self.in_manifest, &mut self.manifest)
                        && manifest.len() as u64 <= JSON_MAX
                    {
                        manifest.extend_from_slice(bytes);
                    }
                }
                Event::EntryEnd | Event::Global => {}
            }
        }
        self.seen += bytes.len() as u64;
        self.over |= self.seen >= LOOKED_AT && !self.names.likely;
    }

    fn is_image(&self) -> bool {
        let dockers = self.manifest.as_deref().is_some_and(is_dockers);
        !self.names.is_layer() && (self.names.has_layout() || dockers)
    }
}

/// A stream that cannot be read twice, and what it turns out to be. Of a compressed one only the
/// beginning is looked at, up to 1 MiB.
pub struct Stream {
    head: Vec<u8>,
    compressed: Option<bool>,
    watching: Watching,
}

impl Default for Stream {
    fn default() -> Stream {
        Stream { head: Vec::new(), compressed: None, watching: Watching::new() }
    }
}

impl Stream {
    /// The next bytes of the stream.
    pub fn feed(&mut self, bytes: &[u8]) {
        let room = (LOOKED_AT as usize).saturating_sub(self.head.len()).min(bytes.len());
        match self.compressed {
            Some(false) => self.watching.feed(bytes),
            Some(true) => self.head.extend_from_slice(&bytes[..room]),
            None => {
                self.head.extend_from_slice(&bytes[..room]);
                if self.head.len() < MAGIC {
                    return;
                }
                self.compressed = Some(is_compressed(&self.head));
                if self.compressed == Some(false) {
                    let head = std::mem::take(&mut self.head);
                    self.watching.feed(&head);
                    self.watching.feed(&bytes[room..]);
                }
            }
        }
    }

    /// Whether an image went by.
    pub fn was_image(mut self) -> bool {
        if self.compressed == Some(true) {
            watch(Source::memory(&self.head), &mut self.watching);
        }
        self.watching.is_image()
    }
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stream").field("seen", &self.watching.seen).finish_non_exhaustive()
    }
}

/// Whether a compressed file is an image's archive.
pub(super) fn is_compressed_image(path: &Path) -> Result<bool> {
    let failed = |error| ImageError::Io(path.display().to_string(), error);
    let mut magic = [0; MAGIC];
    let read = File::open(path).and_then(|file| file.read_at(&mut magic, 0)).map_err(failed)?;
    if !is_compressed(&magic[..read]) {
        return Ok(false);
    }
    let mut watching = Watching::new();
    watch(Source::path(path), &mut watching);
    Ok(watching.is_image())
}

/// The archive in a file without a name, which goes when it is closed. It is in the directory for temporary
/// files.
pub(super) fn decompressed(path: &Path) -> Result<File> {
    let failed = |error| ImageError::Io(path.display().to_string(), error);
    let directory = std::env::temp_dir();
    let here = |error| ImageError::Io(directory.display().to_string(), error);
    let mut file = nameless(&directory).map_err(here)?;
    let mut written = Ok(());
    let read = decompress(Source::path(path), |bytes| {
        written = file.write_all(bytes);
        written.is_ok()
    });
    written.map_err(here)?;
    read.map_err(|error| failed(io::Error::other(error)))?;
    Ok(file)
}

fn nameless(directory: &Path) -> io::Result<File> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    match open(directory, flags, Permissions::RUSR | Permissions::WUSR) {
        // A kernel before 3.11, or a file system without it.
        Err(Errno::ISDIR | Errno::OPNOTSUPP | Errno::INVAL | Errno::NOENT) => {}
        result => return Ok(result.map(File::from)?),
    }
    let name = directory.join(format!(".ocilayer-{}", std::process::id()));
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::CLOEXEC;
    let file = open(&name, flags, Permissions::RUSR | Permissions::WUSR)?;
    std::fs::remove_file(name)?;
    Ok(file.into())
}

/// Decompresses until all is known, or as far as that goes: what is wrong with it, an unpack tells.
fn watch(source: Source<'_>, watching: &mut Watching) {
    let _ = decompress(source, |bytes| {
        watching.feed(bytes);
        !watching.over
    });
}

/// Gives the archive to `take`, piece by piece, until that has enough.
fn decompress(
    source: Source<'_>,
    mut take: impl FnMut(&[u8]) -> bool,
) -> std::result::Result<(), Error> {
    let (input, _) = source.open(None, ReadTo::EndOfBlob)?;
    let window = Limits::default().zstd_window_log;
    let mut decoder = Decoder::new(input, None, Algorithm::Sha256, window, Arc::default());
    let mut bytes = vec![0; 128 << 10];
    loop {
        let filled = decoder.fill(&mut bytes)?;
        if filled == 0 || !take(&bytes[..filled]) {
            return Ok(());
        }
    }
}

/// Of a gzip or zstd stream.
const MAGIC: usize = 4;

fn is_compressed(magic: &[u8]) -> bool {
    magic.starts_with(&[0x1f, 0x8b]) || magic.starts_with(&[0x28, 0xb5, 0x2f, 0xfd])
}

/// For archives that nothing is unpacked from.
pub(super) fn parser() -> Parser {
    Parser::new(&Limits { bytes: u64::MAX, ..Limits::default() })
}

/// Whether this is what `docker save` calls a manifest: a list of images with their layers. Any file
/// system may have a file of that name.
pub(super) fn is_dockers(json: &[u8]) -> bool {
    let json = serde_json::from_slice::<serde_json::Value>(json);
    let images = json.as_ref().ok().and_then(serde_json::Value::as_array);
    // An empty list is no image: there is nothing in it to look at.
    images.is_some_and(|images| {
        !images.is_empty() && images.iter().all(|image| image["Layers"].is_array())
    })
}

/// A name as it is compared, without `./`; none for one that lies deeper than any in an image, or that
/// is no text.
fn member_name(name: &[u8]) -> Option<String> {
    /// `blobs/sha256/HEX`.
    const DEEPEST: usize = 3;
    let name = std::str::from_utf8(name).ok()?;
    let name = name.trim_start_matches("./").trim_matches('/');
    (name.split('/').count() <= DEEPEST).then(|| name.to_owned())
}

/// Whether the programs that write images use such a name: those of an image layout, `repositories`,
/// a digest with something behind it, and what a manifest of docker's may call a layer.
fn may_be_an_images(name: &str) -> bool {
    let top = name.split('/').next().unwrap_or_default();
    let hash = |text: &str| text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit());
    let endings = [".tar", ".tar.gz", ".tgz", ".tar.zst", ".json"];
    matches!(top, "" | "." | "blobs" | "repositories")
        || LAYOUT.contains(&name)
        || top.split([':', '.']).any(hash)
        || !name.contains('/') && endings.iter().any(|ending| name.ends_with(ending))
}
