// SPDX-License-Identifier: Apache-2.0
//! One gzip stream that several threads decompress: blobs large enough to be worth it.

use std::io::{Read, Seek, SeekFrom, Write};
use std::sync::OnceLock;

use flate2::Compression as Level;
use flate2::write::GzEncoder;

use super::stream::{digest, drain, error, spooled};
use crate::digest::DigestError;
use crate::error::{Cause, Error, ErrorKind};
use crate::limits::LimitExceeded;
use crate::options::ReadTo;
use crate::pipeline::*;

const THREADS: [usize; 2] = [4, 8];

fn settings(threads: usize) -> Settings {
    // On a machine with few CPUs, too.
    Settings { parallel_decode: true, ..super::stream::settings(threads) }
}

/// Bytes that compress to some two thirds, with matches near and far.
fn archive() -> &'static [u8] {
    static ARCHIVE: OnceLock<Vec<u8>> = OnceLock::new();
    ARCHIVE.get_or_init(|| {
        let mut bytes = Vec::with_capacity(40 << 20);
        let mut state = 1_u64;
        while bytes.len() < 40 << 20 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let random = state >> 24;
            match random % 4 {
                0 if bytes.len() > 40_000 => {
                    let begin = bytes.len() - 1 - (random >> 8) as usize % 32_000;
                    let end = (begin + (random >> 2) as usize % 60).min(bytes.len());
                    bytes.extend_from_within(begin..end);
                }
                _ => bytes.extend_from_slice(&random.to_le_bytes()[..5]),
            }
        }
        bytes
    })
}

/// In two members, of which the first is the larger one.
fn blob() -> &'static [u8] {
    static BLOB: OnceLock<Vec<u8>> = OnceLock::new();
    BLOB.get_or_init(|| {
        let (first, second) = archive().split_at(36 << 20);
        let member = |bytes: &[u8]| {
            let mut encoder = GzEncoder::new(Vec::new(), Level::new(6));
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        };
        [member(first), member(second)].concat()
    })
}

#[test]
fn every_source_that_can_be_read_anywhere_gives_the_same_bytes_and_digests() {
    let padded = [b"before", blob(), b"behind"].concat();
    for threads in THREADS {
        let mut positioned = spooled(&[b"before", blob()].concat());
        positioned.seek(SeekFrom::Start(6)).unwrap();
        let shared = positioned.try_clone().unwrap();
        let sources = [
            Source::memory(blob()),
            Source::file(positioned),
            Source::section(spooled(&padded), 6, blob().len() as u64),
        ];
        for source in sources {
            let (out, summary) = drain(source, &settings(threads));
            let summary = summary.unwrap();
            assert!(out == archive());
            assert_eq!(summary.diff_id, Some(digest("sha256", archive())));
            assert_eq!(summary.blob_digest, Some(digest("sha256", blob())));
            assert_eq!(summary.amounts.blob_bytes, blob().len() as u64);
            assert_eq!(summary.amounts.layer_bytes, archive().len() as u64);
            assert_eq!(summary.amounts.compression, Compression::Gzip);
        }
        let mut rest = Vec::new();
        (&shared).read_to_end(&mut rest).unwrap();
        assert!(rest.is_empty(), "a file is read to its end");
    }
}

#[test]
fn damage_is_refused_wherever_it_is() {
    let len = blob().len();
    for threads in THREADS {
        let refused = |wrong: Vec<u8>| error(Source::memory(&wrong), &settings(threads));
        let cause = |error: &Error| match error.cause() {
            Cause::Decompress(cause) => cause.clone(),
            other => panic!("{other:?}"),
        };
        for at in [len / 3, len - 6, len - 2] {
            let mut wrong = blob().to_vec();
            wrong[at] ^= 0x10;
            let error = refused(wrong);
            assert!(matches!(cause(&error), DecompressError::Gzip { .. }), "{at}: {error}");
        }
        for cut in [len / 2, len - 9, len - 1] {
            let error = refused(blob()[..cut].to_vec());
            assert!(matches!(cause(&error), DecompressError::Truncated { .. }), "{cut}: {error}");
        }
        for behind in [&b"\0x"[..], b"\0\0\0\0\x1f\x8b", b"\x1f\x8b", b"more"] {
            let error = refused([blob(), behind].concat());
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{behind:?}: {error}");
        }
    }
}

#[test]
fn zeros_behind_the_stream_are_padding() {
    for zeros in [1, 2, 3, 9, 10, 17, 512, 3 << 20] {
        for threads in THREADS {
            let padded = [blob(), &vec![0; zeros][..]].concat();
            let (out, summary) = drain(Source::memory(&padded), &settings(threads));
            let summary = summary.unwrap_or_else(|error| panic!("{zeros}: {error}"));
            assert!(out == archive(), "{zeros}");
            assert_eq!(summary.blob_digest, Some(digest("sha256", &padded)));
            assert_eq!(summary.amounts.blob_bytes, padded.len() as u64);
        }
    }
}

#[test]
fn limits_hold_and_digests_are_checked() {
    for threads in THREADS {
        let mut wanted = settings(threads);
        wanted.limits.bytes = 30 << 20;
        let refused = error(Source::memory(blob()), &wanted);
        assert!(matches!(refused.cause(), Cause::Limit(LimitExceeded::Bytes { .. })), "{refused}");

        let mut wanted = settings(threads);
        wanted.expect.blob = Some(digest("sha512", b"other"));
        let refused = error(Source::memory(blob()), &wanted);
        assert!(matches!(refused.cause(), Cause::Digest(DigestError::Blob { .. })), "{refused}");
    }
}

#[test]
fn cancelled_or_abandoned_it_ends() {
    for threads in THREADS {
        let cancel = Cancel::new().unwrap();
        let mut wanted = settings(threads);
        wanted.cancel = Some(cancel.clone());
        let (input, _) = Source::memory(blob()).open(Some(&cancel), ReadTo::EndOfBlob).unwrap();
        std::thread::scope(|scope| {
            let mut pipeline =
                Pipeline::<Error>::start(scope, input, &wanted, Arc::default()).unwrap();
            pipeline.next().unwrap().expect("a first chunk");
            cancel.cancel();
            assert_eq!(pipeline.next().err().unwrap().kind(), ErrorKind::Cancelled);
            pipeline.abandon();
        });
        let (input, _) = Source::memory(blob()).open(None, ReadTo::EndOfBlob).unwrap();
        std::thread::scope(|scope| {
            let mut pipeline =
                Pipeline::<Error>::start(scope, input, &settings(threads), Arc::default()).unwrap();
            pipeline.next().unwrap().expect("a first chunk");
            drop(pipeline);
        });
    }
}

#[test]
fn file_that_shrinks_meanwhile_is_a_truncated_stream() {
    let file = spooled(blob());
    let shrinking = file.try_clone().unwrap();
    let (input, _) = Source::file(file).open(None, ReadTo::EndOfBlob).unwrap();
    shrinking.set_len(blob().len() as u64 / 2).unwrap();
    std::thread::scope(|scope| {
        let mut pipeline =
            Pipeline::<Error>::start(scope, input, &settings(8), Arc::default()).unwrap();
        let failed = loop {
            match pipeline.next() {
                Ok(Some(_)) => {}
                Ok(None) => panic!("half of a stream was accepted"),
                Err(error) => break error,
            }
        };
        assert!(matches!(failed.kind(), ErrorKind::Corrupt | ErrorKind::Source), "{failed}");
        pipeline.abandon();
    });
}
