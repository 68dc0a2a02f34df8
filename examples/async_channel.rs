// SPDX-License-Identifier: Apache-2.0
//! Unpacks while the layer is still on its way: one task receives the blob, in pieces, and a blocking
//! thread unpacks what comes through a channel: `cargo run --example async_channel -- layer.tar.gz root`

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

use ocilayer::{Errno, Options, Report, Source, unpack};
use tokio::io::AsyncReadExt;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::spawn_blocking;

/// Pieces that may wait: the memory that a slow disk costs a fast network.
const PIECES: usize = 8;
const PIECE: usize = 256 << 10;

/// What a download sends: bytes, or why there are no more.
type Piece = Result<Vec<u8>, Errno>;

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("async_channel: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let (Some(layer), Some(root)) = (arguments.next(), arguments.next()) else {
        return Err("usage: async_channel LAYER ROOT".into());
    };
    let (send, receive) = channel(PIECES);
    let download = tokio::spawn(download(layer, send));
    let report = spawn_blocking(move || unpack_received(receive, root)).await??;
    download.await?;
    println!("{} entries, {} bytes in files", report.entries.total, report.bytes.files);
    Ok(())
}

/// A file, in the place of a connection. Nobody receives any more once the unpack has failed.
async fn download(layer: PathBuf, send: Sender<Piece>) {
    let mut file = match tokio::fs::File::open(layer).await {
        Ok(file) => file,
        Err(error) => return drop(send.send(Err(error.into())).await),
    };
    loop {
        let mut piece = vec![0; PIECE];
        let piece = match file.read(&mut piece).await {
            Ok(0) => return,
            Ok(got) => {
                piece.truncate(got);
                Ok(piece)
            }
            Err(error) => Err(error.into()),
        };
        if send.send(piece).await.is_err() {
            return;
        }
    }
}

/// Runs on a thread that may block.
fn unpack_received(mut receive: Receiver<Piece>, root: PathBuf) -> ocilayer::Result<Report> {
    let (mut piece, mut used) = (Vec::new(), 0);
    let source = Source::reader(move |buffer| {
        while used == piece.len() {
            match receive.blocking_recv() {
                Some(next) => (piece, used) = (next?, 0),
                None => return Ok(0),
            }
        }
        let count = buffer.len().min(piece.len() - used);
        buffer[..count].copy_from_slice(&piece[used..used + count]);
        used += count;
        Ok(count)
    });
    unpack(source, root, &Options::default())
}
