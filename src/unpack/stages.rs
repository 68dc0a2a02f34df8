// SPDX-License-Identifier: Apache-2.0
//! Each stage on its own, on one thread and in memory: what `make bench-stages` times.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use crate::apply::{Chain, Job};
use crate::digest::{Algorithm, Digest, Hasher};
use crate::errno::Errno;
use crate::error::{Cause, Error, Result};
use crate::options::{Options, ReadTo};
use crate::pipeline::{Decoder, PipelineError, Source};
use crate::resolve::{Resolver, Step, Walk};
use crate::tar::{Entry, Event, Parser};
use crate::{sys, unpack};

/// Bytes that are decompressed at a time, as in the pipeline.
const BUFFER: usize = 256 << 10;

/// A blob's archive, piece by piece, without any digest. Not of a read callback: nobody here would
/// answer its calls.
///
/// # Errors
///
/// The blob could not be read or decompressed.
pub fn inflate(source: Source<'_>, mut piece: impl FnMut(&[u8])) -> Result<()> {
    let (input, _) = source.open(None, ReadTo::EndOfBlob)?;
    let window = Options::default().limits.zstd_window_log;
    let mut decoder = Decoder::new(input, None, Algorithm::Sha256, window, Arc::default());
    let mut buffer = vec![0; BUFFER];
    loop {
        match decoder.fill(&mut buffer)? {
            0 => return Ok(()),
            filled => piece(&buffer[..filled]),
        }
    }
}

/// The archive's digest.
pub fn hash(archive: &[u8]) -> Digest {
    let mut hasher = Hasher::towards(None);
    archive.chunks(BUFFER).for_each(|piece| hasher.update(piece));
    hasher.finish()
}

/// Calls `each` with every event of a plain archive.
///
/// # Errors
///
/// The archive is malformed or exceeds a limit, or `each` failed.
pub fn parse(archive: &[u8], mut each: impl FnMut(&Entry, Event<'_>) -> Result<()>) -> Result<()> {
    let mut parser = Parser::new(&Options::default().limits);
    for mut rest in archive.chunks(BUFFER) {
        loop {
            let (used, event) = parser.step(rest).map_err(Cause::from)?;
            rest = &rest[used..];
            match event {
                Event::More => break,
                Event::End => return Ok(()),
                event => each(parser.entry(), event)?,
            }
        }
    }
    Ok(())
}

/// The directories that entries of the archive lie in.
///
/// # Errors
///
/// The archive is malformed or exceeds a limit.
pub fn parents(archive: &[u8]) -> Result<BTreeSet<Vec<u8>>> {
    let mut parents = BTreeSet::new();
    parse(archive, |entry, event| {
        if let Event::Entry = event
            && let Some(slash) = entry.name.iter().rposition(|byte| *byte == b'/')
        {
            parents.insert(entry.name[..slash].to_vec());
        }
        Ok(())
    })?;
    Ok(parents)
}

/// Walks to each of the directories in an unpacked layer, and tells how many are there.
///
/// # Errors
///
/// The root or a directory cannot be opened.
pub fn resolve(root: &Path, parents: &BTreeSet<Vec<u8>>) -> Result<usize> {
    let mut resolver = Resolver::new(unpack::open_root(root)?, &Options::default())?;
    resolver.adopt_root().map_err(|errno| Error::from(Cause::Filter(Errno::of(errno))))?;
    let mut found = 0;
    for path in parents {
        if let Step::Arrived(_) = Walk::to(path).step(&mut resolver)? {
            found += 1;
        }
    }
    Ok(found)
}

/// Makes the archive's tree: parsing, resolving and all system calls, without a digest.
///
/// # Errors
///
/// As for an unpack of it.
pub fn create(archive: &[u8], root: &Path) -> Result<()> {
    let options = Options::default();
    let make = || {
        let private_umask = sys::private_umask().is_ok();
        let mut warn = |_| ();
        let root = unpack::open_root(root)?;
        let mut job = Job::new(root, &options, private_umask, None, Chain::Alone, &mut warn)?;
        parse(archive, |entry, event| match event {
            Event::Entry => Ok(job.begin(entry, true)?),
            Event::Data { at, bytes } => Ok(job.data(entry, at, bytes, None)?),
            Event::EntryEnd => Ok(job.end(entry)?),
            Event::More | Event::End | Event::Global => Ok(()),
        })?;
        Ok::<_, Error>(job.finish()?)
    };
    std::thread::scope(|scope| {
        // Its umask is its own.
        let worker = sys::spawn(scope, "ocilayer-stage", make).map_err(Cause::Thread)?;
        worker.join().unwrap_or_else(|panic| Err(PipelineError::panicked(panic).into()))
    })
}
