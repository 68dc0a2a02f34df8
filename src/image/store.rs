// SPDX-License-Identifier: Apache-2.0
//! Where an image's files are: in a directory, or inside of an archive that is read in place.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::error::{ImageError, JSON_MAX, Result};
use super::recognize::{
    DOCKER, LAYOUT, Names, decompressed, is_compressed_image, is_dockers, parser,
};
use crate::digest::{Digest, Hasher};
use crate::pipeline::Source;
use crate::tar::{Entry, Event, Kind, Parser};

/// Of a tar archive.
const BLOCK: usize = 512;

/// Files in an image's archive. Above the largest index with all it leads to; memory is bounded by
/// it.
const MEMBERS_MAX: usize = 100_000;

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
        // Its blobs are read where they are, and for that it must lie there as it is.
        let file = match is_compressed_image(path)? {
            true => decompressed(path)?,
            false => File::open(path).map_err(failed)?,
        };
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

    /// A blob's size in bytes.
    pub(super) fn blob_size(&self, name: &str) -> Result<u64> {
        self.open_member(name).map(|(_, member)| member.size)
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
fn members(file: &File) -> io::Result<Option<HashMap<String, Member>>> {
    let mut parser = parser();
    let (mut names, mut members, mut links) = (Names::default(), HashMap::new(), Vec::new());
    let (length, mut position) = (file.metadata()?.len(), 0);
    'archive: while let Some(block) = block_at(file, position)? {
        position += BLOCK as u64;
        let mut rest = &block[..];
        loop {
            let Ok((used, event)) = parser.step(rest) else { return Ok(None) };
            rest = &rest[used..];
            match event {
                Event::More => break,
                Event::End => break 'archive,
                Event::Data { .. } | Event::EntryEnd | Event::Global => {}
                Event::Entry => {
                    let entry = parser.entry();
                    let name = names.see(entry);
                    if names.is_layer() || members.len() + links.len() == MEMBERS_MAX {
                        return Ok(None);
                    }
                    match (entry.kind, name) {
                        (Kind::File, name) => {
                            // A header ends with its block, so the data starts at the next.
                            let (offset, size) = (position, stored(entry));
                            position = match after(offset, size) {
                                Some(end) if end <= length => end,
                                // Cut, or a size that no file has.
                                _ => return Ok(None),
                            };
                            if let Some(name) = name {
                                members.insert(name, Member { offset, size });
                            }
                            pass_over(&mut parser, size);
                        }
                        (Kind::Symlink, Some(name)) => links.push((name, entry.link.clone())),
                        _ => {}
                    }
                }
            }
        }
    }
    if !names.has_layout() && !has_dockers_manifest(file, members.get(DOCKER))? {
        return Ok(None);
    }
    for (name, target) in links {
        if let Some(member) = linked(&name, &target).and_then(|target| members.get(&target)) {
            members.insert(name, *member);
        }
    }
    Ok(Some(members))
}

fn has_dockers_manifest(file: &File, manifest: Option<&Member>) -> io::Result<bool> {
    let Some(Member { offset, size }) = manifest.filter(|member| member.size <= JSON_MAX) else {
        return Ok(false);
    };
    let mut bytes = vec![0; *size as usize];
    file.read_exact_at(&mut bytes, *offset)?;
    Ok(is_dockers(&bytes))
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

/// How much of a file the archive has.
fn stored(entry: &Entry) -> u64 {
    match &entry.sparse {
        Some(map) => map.iter().map(|segment| segment.length).sum(),
        None => entry.size,
    }
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

/// The digest of `bytes`, by the algorithm of the expected one.
pub(super) fn digest_of(bytes: &[u8], expected: &Digest) -> Digest {
    let mut hasher = Hasher::towards(Some(expected));
    hasher.update(bytes);
    hasher.finish()
}
