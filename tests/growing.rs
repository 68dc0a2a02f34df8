// SPDX-License-Identifier: Apache-2.0
//! Files that are unpacked while they are being written.

mod common;

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::thread;
use std::time::Duration;

use common::archive::{archive, file, gzip, zstd};
use common::runner::watched;
use ocilayer::image::{self, LayerStore, Layers};
use ocilayer::{Cancel, Digest, Errno, ErrorKind, Growth, Mode, Options, Source, unpack};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

/// Two files that are far larger than what is read or decompressed at a time.
fn layer() -> Vec<u8> {
    // Bytes that do not compress.
    let noise = |seed: u32| {
        let mut state = seed;
        let step = move |_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        (0..3 << 20).map(step).collect::<Vec<u8>>()
    };
    archive(&[file("first").data(noise(1)), file("second").data(noise(2))])
}

/// A blob on its way into a file.
struct Download {
    place: TempDir,
    file: File,
    blob: Vec<u8>,
}

impl Download {
    fn of(blob: Vec<u8>) -> Download {
        let place =
            tempfile::Builder::new().prefix("ocilayer-growing-").tempdir().expect("tempdir");
        fs::create_dir(place.path().join("root")).expect("mkdir");
        let file = File::create_new(place.path().join("blob")).expect("create");
        Download { place, file, blob }
    }

    fn root(&self) -> std::path::PathBuf {
        self.place.path().join("root")
    }

    fn source(&self) -> (Source<'static>, Growth) {
        let reading = OpenOptions::new().read(true).open(self.place.path().join("blob"));
        Source::growing(reading.expect("open")).expect("eventfd")
    }

    fn write(&self, from: usize, to: usize, growth: &Growth) {
        (&self.file).write_all(&self.blob[from..to]).expect("write");
        growth.reached(to as u64);
    }

    /// In pieces of this size, and then complete.
    fn write_all(&self, piece: usize, growth: &Growth) {
        for from in (0..self.blob.len()).step_by(piece) {
            self.write(from, self.blob.len().min(from + piece), growth);
        }
        growth.complete();
    }
}

fn wait_for(path: &Path) {
    while !path.exists() {
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn bytes_are_applied_as_they_arrive() {
    let plain = layer();
    for (what, blob) in [("plain", plain.clone()), ("gzip", gzip(&plain)), ("zstd", zstd(&plain))] {
        for threads in [1, 2, 4] {
            let download = Download::of(blob.clone());
            let (source, growth) = download.source();
            let (root, options) = (download.root(), Options::default().threads(threads));
            watched(what, || {
                thread::scope(|scope| {
                    let unpacking = scope.spawn(|| unpack(source, &root, &options));
                    let most = blob.len() * 2 / 3;
                    download.write(0, most, &growth);
                    // It is there before the rest is.
                    wait_for(&root.join("first"));
                    download.write(most, blob.len(), &growth);
                    growth.complete();
                    let report = unpacking.join().expect("no panic").expect(what);
                    assert_eq!(report.diff_id, Some(digest(&plain)), "{what}");
                    assert_eq!(report.blob_digest, Some(digest(&blob)), "{what}");
                });
            });
        }
    }
}

#[test]
fn pieces_of_any_size_are_the_whole() {
    let blob = gzip(&archive(&[file("a").data("a"), file("b").data(vec![b'b'; 100_000])]));
    for piece in [1, 7, 511, 4_096, blob.len()] {
        let download = Download::of(blob.clone());
        let (source, growth) = download.source();
        thread::scope(|scope| {
            let unpacking = scope.spawn(|| unpack(source, download.root(), &Options::default()));
            download.write_all(piece, &growth);
            let report = unpacking.join().expect("no panic").expect("unpack");
            assert_eq!(report.blob_digest, Some(digest(&blob)), "{piece}");
        });
    }
}

/// What ends it before the file is complete, and what of the file was there.
#[test]
fn a_writer_that_fails_or_goes_fails_the_unpack() {
    type End = fn(Growth);
    let ends: [(&str, End, Errno); 4] = [
        ("fails", |growth| growth.fail(Errno::CONNRESET), Errno::CONNRESET),
        ("asks to try again", |growth| growth.fail(Errno::AGAIN), Errno::IO),
        ("goes", drop, Errno::PIPE),
        (
            "told too much",
            |growth| {
                growth.reached(1 << 40);
                growth.complete();
            },
            Errno::NODATA,
        ),
    ];
    for (what, end, errno) in ends {
        for threads in [1, 2] {
            let download = Download::of(gzip(&layer()));
            let (source, growth) = download.source();
            let half = download.blob.len() / 2;
            download.write(0, half, &growth);
            end(growth);
            let options = Options::default().threads(threads);
            let error = watched(what, || unpack(source, download.root(), &options));
            let error = error.expect_err(what);
            assert_eq!(
                (error.kind(), error.errno()),
                (ErrorKind::Source, errno),
                "{what}: {error}"
            );
            assert!(error.to_string().contains(&half.to_string()), "{what}: {error}");
        }
    }
}

#[test]
fn a_file_that_ends_too_soon_is_a_cut_blob() {
    let download = Download::of(gzip(&layer()));
    let (source, growth) = download.source();
    download.write(0, 1_000, &growth);
    growth.complete();
    let error = unpack(source, download.root(), &Options::default()).expect_err("cut");
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
}

#[test]
fn cancelling_wakes_whoever_waits_for_more() {
    for threads in [1, 2] {
        let download = Download::of(gzip(&layer()));
        let (source, growth) = download.source();
        download.write(0, download.blob.len() * 2 / 3, &growth);
        let cancel = Cancel::new().expect("eventfd");
        let options = Options::default().threads(threads).cancel(cancel.clone());
        let error = watched("cancel", || {
            thread::scope(|scope| {
                let unpacking = scope.spawn(|| unpack(source, download.root(), &options));
                wait_for(&download.root().join("first"));
                cancel.cancel();
                unpacking.join().expect("no panic")
            })
        });
        assert_eq!(error.expect_err("cancelled").kind(), ErrorKind::Cancelled);
    }
}

/// All layers of an image at once, each as it comes, the upper ones first.
#[test]
fn layers_of_an_image_may_all_be_growing() {
    if !common::needs::root() {
        return;
    }
    let archives: Vec<_> =
        (0..4).map(|n| archive(&[file(format!("f{n}")).data(vec![n; 600_000])])).collect();
    let downloads: Vec<_> = archives.iter().map(|archive| Download::of(zstd(archive))).collect();
    let (mut layers, mut growths) = (Layers::new(), Vec::new());
    for (download, archive) in downloads.iter().zip(&archives) {
        let (source, growth) = download.source();
        layers.push(source, Some(digest(&download.blob)), digest(archive));
        growths.push(growth);
    }
    let place = tempfile::tempdir().expect("tempdir");
    let options = Options::default().mode(Mode::Overlay).threads(4);
    let store = LayerStore::open(place.path().join("store"), &options).expect("store");
    let report = watched("image", || {
        thread::scope(|scope| {
            scope.spawn(|| {
                for (download, growth) in downloads.iter().zip(&growths).rev() {
                    download.write_all(100, growth);
                }
            });
            image::unpack_layers(&layers, &layers.image(), &store, &options, &mut ())
        })
    });
    for (n, done) in report.expect("image").layers.iter().enumerate() {
        let path = done.path.as_ref().expect("a layer of a store").join(format!("f{n}"));
        assert_eq!(fs::metadata(path).expect("the layer's file").len(), 600_000);
    }
}

fn digest(bytes: &[u8]) -> Digest {
    let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}").parse().expect("a digest")
}
