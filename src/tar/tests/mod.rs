// SPDX-License-Identifier: Apache-2.0
//! Archives made byte by byte, and what the parser sees in them.

mod extensions;
mod headers;
mod pieces;
mod sparse_files;
mod tools;

use super::header::{BLOCK, Block};
use super::*;

/// An archive in the making.
#[derive(Clone, Default)]
struct Archive(Vec<u8>);

/// Fields to overwrite in a header, before its checksum is made.
type Patch<'p> = (usize, &'p [u8]);

impl Archive {
    fn block(mut self, block: Block) -> Archive {
        self.0.extend_from_slice(&block);
        self
    }

    /// Data up to a whole block.
    fn data(mut self, data: &[u8]) -> Archive {
        self.0.extend_from_slice(data);
        self.0.resize(self.0.len().next_multiple_of(BLOCK), 0);
        self
    }

    fn entry(self, name: &str, typeflag: u8, patches: &[Patch]) -> Archive {
        self.block(header(name, typeflag, 0, patches))
    }

    fn file(self, name: &str, data: &[u8]) -> Archive {
        self.block(header(name, b'0', data.len(), &[])).data(data)
    }

    fn extension(self, typeflag: u8, body: &[u8]) -> Archive {
        self.block(header("extension", typeflag, body.len(), &[])).data(body)
    }

    fn pax(self, records: &[(&str, &[u8])]) -> Archive {
        self.extension(b'x', &body(records))
    }

    fn global(self, records: &[(&str, &[u8])]) -> Archive {
        self.extension(b'g', &body(records))
    }

    fn end(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 2 * BLOCK, 0);
        self.0
    }

    /// What an archive of this and the end marker is.
    fn read(self) -> Result<Vec<Seen>, ParseError> {
        read(&self.end())
    }

    /// The only entry.
    fn one(self) -> Seen {
        let mut seen = self.read().expect("a good archive");
        assert_eq!(seen.len(), 1);
        seen.remove(0)
    }

    #[track_caller]
    fn refused(self) -> TarError {
        match self.read() {
            Err(ParseError::Tar(error)) => error,
            other => panic!("not refused: {other:?}"),
        }
    }
}

/// A POSIX header, or what the patches make of it.
fn header(name: &str, typeflag: u8, size: usize, patches: &[Patch]) -> Block {
    let mut block = [0; BLOCK];
    let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, name.as_bytes());
    put(100, b"0000644\x000001750\x000001751\0");
    put(124, format!("{size:011o}\x0000000001000\0").as_bytes());
    put(156, &[typeflag]);
    put(257, b"ustar\x0000");
    patches.iter().for_each(|(at, bytes)| put(*at, bytes));
    checksummed(block)
}

fn checksummed(mut block: Block) -> Block {
    block[148..156].fill(b' ');
    let sum = block.iter().map(|&b| u32::from(b)).sum::<u32>();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

fn body(records: &[(&str, &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (key, value) in records {
        let rest = key.len() + value.len() + 3;
        let length = (rest..).find(|length| length - rest == length.to_string().len()).unwrap();
        body.extend_from_slice(format!("{length} {key}=").as_bytes());
        body.extend_from_slice(value);
        body.push(b'\n');
    }
    body
}

/// An entry with its data, pieces that continue each other joined.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    entry: Entry,
    data: Vec<(u64, Vec<u8>)>,
}

impl Seen {
    fn name(&self) -> String {
        String::from_utf8_lossy(&self.entry.name).into_owned()
    }

    /// The file as it would be read, holes as zeros.
    fn content(&self) -> Vec<u8> {
        let mut content = vec![0; self.entry.size as usize];
        for (at, bytes) in &self.data {
            content[*at as usize..][..bytes.len()].copy_from_slice(bytes);
        }
        content
    }
}

fn read(archive: &[u8]) -> Result<Vec<Seen>, ParseError> {
    read_pieces([archive], &Limits::default())
}

fn read_pieces<'a>(
    pieces: impl IntoIterator<Item = &'a [u8]>,
    limits: &Limits,
) -> Result<Vec<Seen>, ParseError> {
    let mut parser = Parser::new(limits);
    let mut seen: Vec<Seen> = Vec::new();
    for mut piece in pieces {
        loop {
            let (taken, event) = parser.step(piece)?;
            piece = &piece[taken..];
            match event {
                Event::More => break,
                Event::Entry => {
                    seen.push(Seen { entry: parser.entry().clone(), data: Vec::new() });
                }
                Event::Data { at, bytes } => {
                    assert!(!bytes.is_empty());
                    let data = &mut seen.last_mut().expect("data of an entry").data;
                    match data.last_mut() {
                        Some((start, known)) if *start + known.len() as u64 == at => {
                            known.extend_from_slice(bytes);
                        }
                        _ => data.push((at, bytes.to_vec())),
                    }
                }
                Event::EntryEnd => assert_eq!(&seen.last().unwrap().entry, parser.entry()),
                Event::End | Event::Global => {}
            }
        }
        assert!(piece.is_empty(), "More means that nothing is left");
    }
    parser.finish()?;
    Ok(seen)
}
