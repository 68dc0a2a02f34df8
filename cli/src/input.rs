// SPDX-License-Identifier: Apache-2.0
//! What an argument LAYER stands for: a file or standard input, and whether that is a layer at all.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{IsTerminal, Read, Seek, stdin};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use ocilayer::Source;
use ocilayer::image::Stream;

use crate::unpack::Refusal;

/// Standard input, if it is a file that may be read from its start.
const INPUT: &str = "/proc/self/fd/0";

pub struct Input {
    pub source: Source<'static>,
    /// Of a pipe, which nobody can look at before.
    stream: Option<Arc<Mutex<Stream>>>,
}

impl Input {
    pub fn open(layer: &OsStr) -> Result<Input, Refusal> {
        if layer != "-" {
            return Ok(Input { source: Source::path(layer), stream: None });
        }
        if stdin().is_terminal() {
            return Err(Refusal::TerminalInput);
        }
        let mut file = File::from(stdin().as_fd().try_clone_to_owned().map_err(Refusal::Input)?);
        if as_file(layer).is_some() {
            return Ok(Input { source: Source::file(file), stream: None });
        }
        let stream = Arc::new(Mutex::new(Stream::default()));
        let seen = stream.clone();
        let source = Source::reader(move |buffer| {
            let read = file.read(buffer)?;
            seen.lock().expect("no one panics with it").feed(&buffer[..read]);
            Ok(read)
        });
        Ok(Input { source, stream: Some(stream) })
    }

    /// Gives the source away, and keeps what tells whether an image was read from it.
    pub fn split(self) -> (Source<'static>, Seen) {
        (self.source, Seen(self.stream))
    }
}

/// What has been read of a pipe.
pub struct Seen(Option<Arc<Mutex<Stream>>>);

impl Seen {
    pub fn was_image(self) -> bool {
        self.0.is_some_and(|stream| {
            let mut stream = stream.lock().expect("no one panics with it");
            std::mem::take(&mut *stream).was_image()
        })
    }
}

/// The file that the argument stands for; none for a pipe.
pub fn as_file(layer: &OsStr) -> Option<PathBuf> {
    if layer != "-" {
        return Some(Path::new(layer).to_owned());
    }
    let mut file = File::from(stdin().as_fd().try_clone_to_owned().ok()?);
    let at_start = file.metadata().ok()?.is_file() && file.stream_position().ok()? == 0;
    (at_start && Path::new(INPUT).exists()).then(|| INPUT.into())
}
