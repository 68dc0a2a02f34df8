// SPDX-License-Identifier: Apache-2.0
//! Unpacks inside of `spawn_blocking`, and ends the unpack when the future that waits for it is
//! dropped: `cargo run --example async_unpack -- layer.tar.gz root [SECONDS]`

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use ocilayer::{Cancel, ErrorKind, Options, Report, Source, unpack};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

/// Cancels when dropped.
struct CancelOnDrop(Cancel);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// Like any other future: whoever does not want the result any more drops it.
async fn unpack_async(layer: PathBuf, root: PathBuf) -> Result<Report, Box<dyn Error>> {
    let cancel = Cancel::new()?;
    // The blocking thread goes on by itself when its handle is dropped; the token ends it.
    let _guard = CancelOnDrop(cancel.clone());
    let options = Options::default().cancel(cancel);
    Ok(spawn_blocking(move || unpack(Source::path(layer), root, &options)).await??)
}

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("async_unpack: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let (layer, root, seconds) = match &arguments[..] {
        [layer, root] => (layer, root, 60.0),
        [layer, root, seconds] => (layer, root, seconds.parse()?),
        _ => return Err("usage: async_unpack LAYER ROOT [SECONDS]".into()),
    };
    let waiting = unpack_async(layer.into(), root.into());
    match timeout(Duration::from_secs_f64(seconds), waiting).await {
        Err(_) => println!("not done within {seconds} s: cancelled"),
        Ok(Ok(report)) => println!("{} entries", report.entries.total),
        Ok(Err(error)) => {
            let kind = error.downcast_ref::<ocilayer::Error>().map(ocilayer::Error::kind);
            if kind == Some(ErrorKind::Filesystem) {
                eprintln!("the disk is in the way, not the layer");
            }
            return Err(error);
        }
    }
    Ok(())
}
