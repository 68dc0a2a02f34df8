// SPDX-License-Identifier: Apache-2.0
//! Where an image's files are: in a directory, or inside of an archive that is read in place.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::{ImageError, JSON_MAX, Result};
use crate::digest::{Algorithm, Digest, Hasher};
use crate::limits::Limits;
use crate::options::ReadTo;
use crate::pipeline::{Decoder, Source};
use crate::tar::{Event, Kind, Parser};

/// Of a tar archive.
const BLOCK: usize = 512;

/// Files in an image's archive. Above the largest index with all it leads to; memory is bounded by
/// it.
const MEMBERS_MAX: usize = 100_000;

/// The two files that make an image layout.
const LAYOUT: [&str; 2] = ["oci-layout", "index.json"];

/// What `docker save` wrote before it wrote an image layout, and others write to this day.
const DOCKER: &str = "manifest.json";

/// The files of one image.
#[derive(Debug)]
pub struct Store(Place);

#[derive(Debug)]
enum Place {
    Directory(PathBuf),
    Archive { path: PathBuf, file: File, members: HashMap<String, Member> },
}

/// Where a file of an archive is.
#[derive(Debug, Clone, Copy)]
struct Member {
    offset: u64,
    size: u64,
}

impl Store {
    pub(super) fn open(path: &Path) -> Result<Option<Store>> {
        let failed = |error| ImageError::Io(path.display().to_string(), error);
        let metadata = path.metadata().map_err(failed)?;
        if metadata.is_dir() {
            let store = Store(Place::Directory(path.to_owned()));
            return match LAYOUT.iter().all(|name| store.has(name)) {
                true => Ok(Some(store)),
                false => Err(ImageError::NoLayout(path.display().to_string())),
            };
        }
        // A pipe cannot be read twice.
        if !metadata.is_file() {
            return Ok(None);
        }
        let file = File::open(path).map_err(failed)?;
        let members = members(&file).map_err(failed)?;
        Ok(members.map(|members| Store(Place::Archive { path: path.to_owned(), file, members })))
    }

    pub(super) fn has(&self, name: &str) -> bool {
        match &self.0 {
            Place::Directory(directory) => directory.join(name).is_file(),
            Place::Archive { members, .. } => members.contains_key(name),
        }
    }

    /// The whole of a small file.
    pub(super) fn read(&self, name: &str) -> Result<Vec<u8>> {
        let failed = |error| ImageError::Io(self.shown(name), error);
        let (file, member) = self.open_member(name)?;
        if member.size > JSON_MAX {
            return Err(ImageError::TooLarge(self.shown(name)));
        }
        let mut bytes = vec![0; member.size as usize];
        file.read_exact_at(&mut bytes, member.offset).map_err(failed)?;
        Ok(bytes)
    }

    /// A blob, read where it is.
    ///
    /// # Errors
    ///
    /// It is missing or cannot be opened.
    pub fn source(&self, name: &str) -> Result<Source<'static>> {
        let (file, member) = self.open_member(name)?;
        Ok(Source::section(file, member.offset, member.size))
    }

    fn open_member(&self, name: &str) -> Result<(File, Member)> {
        let failed = |error| ImageError::Io(self.shown(name), error);
        match &self.0 {
            Place::Directory(directory) => {
                if !self.has(name) {
                    return Err(ImageError::Missing(self.shown(name)));
                }
                let file = File::open(directory.join(name)).map_err(failed)?;
                let size = file.metadata().map_err(failed)?.len();
                Ok((file, Member { offset: 0, size }))
            }
            Place::Archive { file, members, .. } => {
                let member = members.get(name).copied();
                let member = member.ok_or_else(|| ImageError::Missing(self.shown(name)))?;
                Ok((file.try_clone().map_err(failed)?, member))
            }
        }
    }

    fn shown(&self, name: &str) -> String {
        match &self.0 {
            Place::Directory(path) => path.join(name).display().to_string(),
            Place::Archive { path, .. } => format!("{}: {name:?}", path.display()),
        }
    }
}

/// The files of an image's archive by name; none if this is no such archive, but a layer.
///
/// An image's archive has an image layout, or docker's manifest, among plain files that lie not deep.
/// So a layer is known by its first entries, as a rule.
fn members(file: &File) -> io::Result<Option<HashMap<String, Member>>> {
    let mut parser = Parser::new(&Limits { bytes: u64::MAX, ..Limits::default() });
    let (mut members, mut links) = (HashMap::new(), Vec::new());
    let (length, mut position) = (file.metadata()?.len(), 0);
    while let Some(block) = block_at(file, position)? {
        position += BLOCK as u64;
        let (mut rest, mut over) = (&block[..], false);
        loop {
            let Ok((used, event)) = parser.step(rest) else { return Ok(None) };
            rest = &rest[used..];
            match event {
                Event::More => break,
                Event::Data { .. } | Event::EntryEnd | Event::Global => {}
                Event::End => {
                    over = true;
                    break;
                }
                Event::Entry => {
                    let entry = parser.entry();
                    let plain = entry.sparse.is_none() && entry.mode & 0o7000 == 0;
                    let Some(name) = member_name(&entry.name) else { return Ok(None) };
                    match entry.kind {
                        Kind::File if plain && members.len() < MEMBERS_MAX => {
                            // A header ends with its block, so the data starts at the next.
                            let (offset, size) = (position, entry.size);
                            position = match after(offset, size) {
                                Some(end) if end <= length => end,
                                // Cut, or a size that no file has.
                                _ => return Ok(None),
                            };
                            members.insert(name, Member { offset, size });
                            pass_over(&mut parser, size);
                        }
                        Kind::Directory => {}
                        // Old archives of docker share a layer by a symlink.
                        Kind::Symlink if links.len() < MEMBERS_MAX => {
                            links.push((name, entry.link.clone()));
                        }
                        _ => return Ok(None),
                    }
                }
            }
        }
        if over {
            break;
        }
    }
    let layout = LAYOUT.iter().all(|name| members.contains_key(*name));
    if !layout && !is_dockers(file, members.get(DOCKER))? {
        return Ok(None);
    }
    for (name, target) in links {
        if let Some(member) = linked(&name, &target).and_then(|target| members.get(&target)) {
            members.insert(name, *member);
        }
    }
    Ok(Some(members))
}

/// Whether this is what `docker save` calls a manifest: a list of images with their layers. Any file
/// system may have a file of that name.
fn is_dockers(file: &File, manifest: Option<&Member>) -> io::Result<bool> {
    let Some(Member { offset, size }) = manifest.filter(|member| member.size <= JSON_MAX) else {
        return Ok(false);
    };
    let mut bytes = vec![0; *size as usize];
    file.read_exact_at(&mut bytes, *offset)?;
    let json = serde_json::from_slice::<serde_json::Value>(&bytes);
    let images = json.as_ref().ok().and_then(serde_json::Value::as_array);
    // An empty list is no image: there is nothing in it to look at.
    Ok(images.is_some_and(|images| {
        !images.is_empty() && images.iter().all(|image| image["Layers"].is_array())
    }))
}

/// The file that a symlink in the archive leads to, which must be in it: `../OTHER/layer.tar`.
fn linked(name: &str, target: &[u8]) -> Option<String> {
    let target = std::str::from_utf8(target).ok()?;
    let mut path: Vec<&str> = name.split('/').collect();
    path.pop();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(path.pop()?),
            part => path.push(part),
        }
    }
    Some(path.join("/"))
}

/// Whether a compressed file is an image's archive, by what its first entries are called.
pub(super) fn is_compressed_image(path: &Path) -> Result<bool> {
    /// Of the archive.
    const LOOKED_AT: usize = 1 << 20;
    let failed = |error| ImageError::Io(path.display().to_string(), error);
    let mut magic = [0; 4];
    let read = File::open(path).and_then(|file| file.read_at(&mut magic, 0)).map_err(failed)?;
    if !is_compressed(&magic[..read]) {
        return Ok(false);
    }
    let Ok((input, _)) = Source::path(path).open(None, ReadTo::EndOfArchive) else {
        return Ok(false);
    };
    let window = Limits::default().zstd_window_log;
    let mut decoder = Decoder::new(input, None, Algorithm::Sha256, window, Arc::default());
    let mut bytes = vec![0; LOOKED_AT];
    let Ok(filled) = decoder.fill(&mut bytes) else { return Ok(false) };
    let mut parser = Parser::new(&Limits { bytes: u64::MAX, ..Limits::default() });
    let (mut rest, mut strong) = (&bytes[..filled], false);
    while let Ok((used, event)) = parser.step(rest) {
        rest = &rest[used..];
        match event {
            Event::More | Event::End => break,
            Event::Entry => match layout_name(&parser.entry().name) {
                Some(name) => strong |= is_strong(&name),
                None => return Ok(false),
            },
            Event::Data { .. } | Event::EntryEnd | Event::Global => {}
        }
    }
    Ok(strong)
}

fn is_compressed(magic: &[u8]) -> bool {
    magic.starts_with(&[0x1f, 0x8b]) || magic.starts_with(&[0x28, 0xb5, 0x2f, 0xfd])
}

/// A name that only images have.
fn is_strong(name: &str) -> bool {
    let hash = |text: &str| text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit());
    name == LAYOUT[0] || name.split(['/', ':', '.']).any(hash) && !name.starts_with('/')
}

/// Where the next header is.
fn after(offset: u64, size: u64) -> Option<u64> {
    offset.checked_add(size.checked_next_multiple_of(BLOCK as u64)?)
}

/// Tells the parser that a file's data went by; what it was does not matter to it.
fn pass_over(parser: &mut Parser, size: u64) {
    const NOTHING: &[u8] = &[0; 64 << 10];
    let mut left = size.next_multiple_of(BLOCK as u64);
    while left > 0 {
        let most = left.min(NOTHING.len() as u64) as usize;
        match parser.step(&NOTHING[..most]) {
            Ok((used, _)) => left -= used as u64,
            // It says so again when it is asked for the next header.
            Err(_) => return,
        }
    }
}

/// A whole block; none at the end of the file.
fn block_at(file: &File, offset: u64) -> io::Result<Option<[u8; BLOCK]>> {
    let mut block = [0; BLOCK];
    match file.read_exact_at(&mut block, offset) {
        Ok(()) => Ok(Some(block)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
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

/// The same of a name that the programs which write images use; none for any other.
fn layout_name(name: &[u8]) -> Option<String> {
    let name = member_name(name)?;
    let top = name.split('/').next().unwrap_or_default();
    let hash = |text: &str| text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit());
    let known = matches!(top, "" | "." | "blobs" | "repositories" | "config.json" | DOCKER)
        || LAYOUT.contains(&top)
        || top.split([':', '.']).any(hash);
    known.then_some(name)
}

/// The digest of `bytes`, by the algorithm of the expected one.
pub(super) fn digest_of(bytes: &[u8], expected: &Digest) -> Digest {
    let mut hasher = Hasher::towards(Some(expected));
    hasher.update(bytes);
    hasher.finish()
}
