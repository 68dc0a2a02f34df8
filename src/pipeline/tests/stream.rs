// SPDX-License-Identifier: Apache-2.0
//! The front half of the pipeline as the reader of an archive sees it.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::os::fd::OwnedFd;
use std::thread;
use std::time::Duration;

use crossbeam_channel::bounded;
use flate2::Compression as Level;
use flate2::write::GzEncoder;
use rustix::pipe::pipe;

use crate::digest::{Algorithm, Digest, DigestError};
use crate::error::{Cause, Error, ErrorKind, Result};
use crate::limits::LimitExceeded;
use crate::options::Options;
use crate::options::ReadTo;
use crate::pipeline::chunk::CHUNK;
use crate::pipeline::queue::POOL;
use crate::pipeline::source::Source;
use crate::pipeline::*;

/// Text that compresses well, but not to nothing.
fn sample(len: usize) -> Vec<u8> {
    let mut state = 1u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        b"etaoin shrdlu\n\0\0"[(state >> 28) as usize]
    };
    (0..len).map(|_| next()).collect()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Level::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    encoder.include_checksum(true).unwrap();
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A frame that decoders jump over, RFC 8878 section 3.1.2.
fn skippable(payload: &[u8]) -> Vec<u8> {
    let len = u32::try_from(payload.len()).unwrap().to_le_bytes();
    [&0x184D_2A53u32.to_le_bytes(), &len, payload].concat()
}

pub(super) fn digest(algorithm: &str, bytes: &[u8]) -> Digest {
    let zeros = format!("{algorithm}:{}", "0".repeat(if algorithm == "sha512" { 128 } else { 64 }));
    let mut hasher = Hasher::towards(Some(&zeros.parse().unwrap()));
    hasher.update(bytes);
    hasher.finish()
}

pub(super) fn settings(threads: usize) -> Settings {
    Settings::new(&Options::default(), threads)
}

pub(super) fn spooled(blob: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(blob).unwrap();
    file.seek(SeekFrom::Start(0)).unwrap();
    file
}

/// A pipe that another thread fills, some bytes at a time.
fn piped(blob: &[u8]) -> OwnedFd {
    let (read, write) = pipe().unwrap();
    let blob = blob.to_vec();
    thread::spawn(move || {
        let mut write = File::from(write);
        // The reader may have gone, after an error.
        let _ = blob.chunks(1_000).try_for_each(|piece| write.write_all(piece));
    });
    read
}

/// Drains a pipeline as unpack does: a worker reads, this thread serves the read callback.
pub(super) fn drain(source: Source<'_>, settings: &Settings) -> (Vec<u8>, Result<Summary>) {
    let (input, read_callback) = source.open(settings.cancel.as_ref(), ReadTo::EndOfBlob).unwrap();
    thread::scope(|scope| {
        let worker = scope.spawn(move || {
            let mut out = Vec::new();
            let result = read_all(scope, input, settings, &mut out);
            (out, result)
        });
        if let Some(read_callback) = read_callback {
            serve(read_callback);
        }
        worker.join().unwrap()
    })
}

fn serve(mut read_callback: ReadCallback<'_>) {
    while let Ok(buffer) = read_callback.wanted().recv() {
        read_callback.serve(buffer);
    }
}

fn read_all<'scope>(
    scope: &'scope Scope<'scope, '_>,
    input: Input<'scope>,
    settings: &Settings,
    out: &mut Vec<u8>,
) -> Result<Summary> {
    let mut pipeline = Pipeline::<Error>::start(scope, input, settings, Arc::default())?;
    loop {
        match pipeline.next() {
            Ok(Some(chunk)) => {
                assert_eq!(out.len() % CHUNK, 0, "only the last chunk may be short");
                out.extend_from_slice(&chunk);
            }
            Ok(None) => {
                let summary = pipeline.finish()?;
                summary.compare(&settings.expect)?;
                return Ok(summary);
            }
            Err(error) => {
                let amounts = pipeline.abandon();
                assert!(amounts.layer_bytes >= out.len() as u64);
                return Err(error);
            }
        }
    }
}

pub(super) fn error(source: Source<'_>, settings: &Settings) -> Error {
    drain(source, settings).1.map(|summary| panic!("{summary:?}")).unwrap_err()
}

#[test]
fn every_source_and_compression_gives_the_same_bytes_and_digests() {
    // Not a whole number of chunks, and one that is.
    for len in [0, 1, 511, 100_000, CHUNK * 3, CHUNK * (POOL + 1) + 77] {
        let archive = sample(len);
        let blobs = [
            (Compression::None, archive.clone()),
            (Compression::Gzip, gzip(&archive)),
            (Compression::Zstd, zstd(&archive)),
        ];
        for (compression, blob) in &blobs {
            for threads in [1, 2] {
                let mut rest = &blob[..];
                let sources = [
                    Source::memory(blob),
                    Source::file(spooled(blob)),
                    Source::file(piped(blob)),
                    Source::reader(move |into| {
                        let count = rest.len().min(into.len()).min(70_000);
                        into[..count].copy_from_slice(&rest[..count]);
                        rest = &rest[count..];
                        Ok(count)
                    }),
                ];
                for source in sources {
                    let (out, summary) = drain(source, &settings(threads));
                    let summary = summary.unwrap();
                    assert!(out == archive, "{compression:?} of {len} bytes, {threads} threads");
                    assert_eq!(summary.blob_digest, Some(digest("sha256", blob)));
                    assert_eq!(summary.diff_id, Some(digest("sha256", &archive)));
                    assert_eq!(summary.amounts.blob_bytes, blob.len() as u64);
                    assert_eq!(summary.amounts.layer_bytes, len as u64);
                    assert_eq!(summary.amounts.compression, *compression);
                }
            }
        }
    }
}

#[test]
fn the_digest_of_a_known_stream_is_that_of_sha256sum() {
    let blob = gzip(&vec![b'a'; 1_000_000]);
    for threads in [1, 2] {
        let summary = drain(Source::memory(&blob), &settings(threads)).1.unwrap();
        assert_eq!(
            summary.diff_id.expect("made").to_string(),
            "sha256:cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"
        );
    }
}

#[test]
fn the_reader_and_the_decompressor_hash_for_each_other() {
    let put = |queue: &Arc<Queue<Error>>, byte| {
        let mut buffer = queue.buffer().unwrap();
        buffer.fill(byte);
        queue.put(Chunk::new(queue, buffer, CHUNK));
    };
    let bytes = |count: usize| (0..count).flat_map(|i| vec![i as u8; CHUNK]).collect::<Vec<_>>();

    // Every buffer waits for hashing and the reader has let go of all: the decompressor alone
    // gets a buffer out of that, by hashing.
    let queue = Queue::new(Some(Hasher::towards(None)), false);
    (0..POOL).for_each(|byte| put(&queue, byte as u8));
    (0..POOL).for_each(|_| drop(queue.take().unwrap()));
    assert_eq!(queue.digest_time(), Duration::ZERO);
    put(&queue, POOL as u8);
    assert!(queue.digest_time() > Duration::ZERO);
    assert_eq!(queue.finish().0, Some(digest("sha256", &bytes(POOL + 1))));

    // The reader waits for a chunk that comes only after it has hashed the one before.
    let queue = Queue::new(Some(Hasher::towards(None)), false);
    put(&queue, 0);
    drop(queue.take().unwrap());
    thread::scope(|scope| {
        let reader = scope.spawn(|| queue.take().map(|chunk| chunk.map(|chunk| chunk[0])));
        while queue.digest_time() == Duration::ZERO {
            thread::yield_now();
        }
        put(&queue, 1);
        assert_eq!(reader.join().unwrap().unwrap(), Some(1));
    });
    assert_eq!(queue.finish().0, Some(digest("sha256", &bytes(2))));
}

#[test]
fn a_slow_reader_that_holds_chunks_gets_the_whole_stream() {
    let archive = sample(CHUNK * POOL * 2);
    let blob = gzip(&archive);
    let (input, _) = Source::memory(&blob).open(None, ReadTo::EndOfBlob).unwrap();
    thread::scope(|scope| {
        let mut pipeline =
            Pipeline::<Error>::start(scope, input, &settings(2), Arc::default()).unwrap();
        let mut held = std::collections::VecDeque::new();
        let mut out = Vec::new();
        while let Some(chunk) = pipeline.next().unwrap() {
            held.push_back(chunk.clone());
            if held.len() == POOL - 1 {
                out.extend_from_slice(&held.pop_front().unwrap());
            }
        }
        held.iter().for_each(|chunk| out.extend_from_slice(chunk));
        assert!(out == archive);
        // Chunks may outlive their pipeline.
        assert_eq!(pipeline.finish().unwrap().diff_id, Some(digest("sha256", &archive)));
        assert!(archive.ends_with(&held.back().unwrap()[..]));
    });
}

#[test]
fn expected_digests_choose_the_algorithm_and_are_checked() {
    let archive = sample(300_000);
    for blob in [archive.clone(), gzip(&archive)] {
        for threads in [1, 2] {
            for (first, second) in
                [("sha256", "sha512"), ("sha512", "sha256"), ("sha512", "sha512")]
            {
                let mut wanted = settings(threads);
                wanted.expect.blob = Some(digest(first, &blob));
                wanted.expect.diff_id = Some(digest(second, &archive));
                let summary = drain(Source::memory(&blob), &wanted).1.unwrap();
                assert_eq!(summary.blob_digest, wanted.expect.blob);
                assert_eq!(summary.diff_id, wanted.expect.diff_id);

                let other = digest(first, b"something else");
                let right = wanted.expect.blob.replace(other);
                let refused = error(Source::memory(&blob), &wanted);
                assert!(matches!(refused.cause(), Cause::Digest(DigestError::Blob { .. })));

                wanted.expect.blob = right;
                wanted.expect.diff_id = Some(digest(second, b"something else"));
                let refused = error(Source::memory(&blob), &wanted);
                assert!(matches!(refused.cause(), Cause::Digest(DigestError::DiffId { .. })));
            }
        }
    }
    assert_eq!(Hasher::towards(None).algorithm(), Algorithm::Sha256);
}

#[test]
fn blob_digest_is_skipped_only_where_nobody_needs_it() {
    let archive = sample(300_000);
    let digest_of = |blob: &[u8], threads, expect: Option<Digest>| {
        let options = Options::default().skip_blob_digest(true);
        let mut wanted = Settings::new(&options, threads);
        wanted.expect.blob = expect;
        drain(Source::memory(blob), &wanted).1.map(|summary| summary.blob_digest)
    };
    let blob = gzip(&archive);
    for threads in [1, 2] {
        assert_eq!(digest_of(&blob, threads, None).unwrap(), None);
        let expected = Some(digest("sha512", &blob));
        assert_eq!(digest_of(&blob, threads, expected.clone()).unwrap(), expected);
        assert!(digest_of(&blob, threads, Some(digest("sha256", b"other"))).is_err());
        // It costs nothing: the archive's is the same.
        let plain = digest_of(&archive, threads, None).unwrap();
        assert_eq!(plain, Some(digest("sha256", &archive)));
    }
}

#[test]
fn bytes_behind_what_was_read_count_in_both_digests() {
    let archive = sample(CHUNK * 30);
    for blob in [archive.clone(), gzip(&archive), zstd(&archive)] {
        for threads in [1, 2] {
            let (input, _) = Source::memory(&blob).open(None, ReadTo::EndOfBlob).unwrap();
            let summary = thread::scope(|scope| {
                let mut pipeline =
                    Pipeline::<Error>::start(scope, input, &settings(threads), Arc::default())?;
                pipeline.next()?;
                pipeline.finish()
            });
            let summary = summary.unwrap();
            assert_eq!(summary.blob_digest, Some(digest("sha256", &blob)));
            assert_eq!(summary.diff_id, Some(digest("sha256", &archive)));
        }
    }
}

#[test]
fn members_frames_and_skippable_frames_follow_each_other() {
    let (a, b) = (sample(70_000), sample(3));
    let both = [&a[..], &b].concat();
    let table: [(&str, Vec<u8>, &[u8]); 7] = [
        ("two members", [gzip(&a), gzip(&b)].concat(), &both),
        ("empty members", [gzip(b""), gzip(&a), gzip(b""), gzip(&b), gzip(b"")].concat(), &both),
        ("two frames", [zstd(&a), zstd(&b)].concat(), &both),
        ("leading skippable", [skippable(b"index"), zstd(&a), zstd(&b)].concat(), &both),
        ("skippable between", [zstd(&a), skippable(b""), zstd(&b)].concat(), &both),
        ("trailing skippable", [zstd(&a), zstd(&b), skippable(&[7; 300_000])].concat(), &both),
        ("only skippable", skippable(b"nothing"), b""),
    ];
    for (name, blob, archive) in &table {
        for threads in [1, 2] {
            for source in [Source::memory(blob), Source::file(piped(blob))] {
                let (out, summary) = drain(source, &settings(threads));
                assert_eq!(
                    summary.expect(name).blob_digest,
                    Some(digest("sha256", blob)),
                    "{name}"
                );
                assert!(out == *archive, "{name}");
            }
        }
    }
}

#[test]
fn anything_behind_the_last_member_or_frame_is_refused() {
    for good in [gzip(&sample(1_000)), zstd(&sample(1_000))] {
        for tail in [&b"\0x"[..], b"x", b"\x1f", b"\x1f\x8b", b"\x28\xb5", b"garbage"] {
            let blob = [&good[..], tail].concat();
            let refused = error(Source::memory(&blob), &settings(1));
            assert_eq!(refused.kind(), ErrorKind::Corrupt, "{tail:?}: {refused}");
            let Cause::Decompress(
                DecompressError::Gzip { offset, .. }
                | DecompressError::Zstd { offset, .. }
                | DecompressError::Truncated { offset },
            ) = refused.cause()
            else {
                panic!("{refused}")
            };
            assert!((good.len()..=blob.len()).contains(&(*offset as usize)), "{refused}");
        }
    }
}

#[test]
fn zeros_behind_the_last_member_or_frame_are_padding() {
    for compress in [gzip, zstd] {
        for (zeros, threads) in [1, 512, 300_000].into_iter().flat_map(|n| [(n, 1), (n, 2)]) {
            let blob = [compress(&sample(1_000)), vec![0; zeros]].concat();
            let (out, summary) = drain(Source::memory(&blob), &settings(threads));
            assert!(out == sample(1_000));
            assert_eq!(summary.unwrap().amounts.blob_bytes, blob.len() as u64);
            for behind in [&compress(b"")[..], b"x"] {
                let blob = [&blob[..], behind].concat();
                let refused = error(Source::memory(&blob), &settings(threads));
                assert_eq!(refused.kind(), ErrorKind::Corrupt, "{zeros}: {refused}");
            }
        }
    }
}

#[test]
fn a_stream_cut_anywhere_is_an_error() {
    let archive = sample(700);
    let blobs = [
        gzip(&archive),
        zstd(&archive),
        [gzip(&archive), gzip(b"")].concat(),
        [zstd(&archive), skippable(b"tail")].concat(),
    ];
    for blob in &blobs {
        // Shorter than its magic it is an archive, and up to the tar parser.
        let magic = if blob[0] == 0x1f { 2 } else { 4 };
        let whole = [gzip(&archive).len(), zstd(&archive).len(), blob.len()];
        for cut in (magic..blob.len()).filter(|cut| !whole.contains(cut)) {
            let refused = error(Source::memory(&blob[..cut]), &settings(1));
            let Cause::Decompress(DecompressError::Truncated { offset }) = refused.cause() else {
                panic!("cut at {cut}: {refused}")
            };
            assert_eq!(*offset as usize, cut);
        }
    }
}

#[test]
fn a_flipped_bit_is_an_error_or_changes_nothing() {
    let archive = sample(700);
    for blob in [gzip(&archive), zstd(&archive)] {
        let magic = if blob[0] == 0x1f { 2 } else { 4 };
        let mut refused = 0;
        for at in magic..blob.len() {
            for bit in 0..8 {
                let mut bad = blob.clone();
                bad[at] ^= 1 << bit;
                match drain(Source::memory(&bad), &settings(1)) {
                    (out, Ok(_)) => assert!(out == archive, "bit {bit} of byte {at}"),
                    (_, Err(_)) => refused += 1,
                }
            }
        }
        assert!(refused > blob.len() * 7, "only {refused} of {} refused", blob.len() * 8);
    }
}

#[test]
fn good_chunks_come_before_the_error_behind_them() {
    let archive = sample(CHUNK * 8);
    let blob = gzip(&archive);
    for threads in [1, 2] {
        let (out, result) = drain(Source::memory(&blob[..blob.len() - 4]), &settings(threads));
        assert_eq!(result.unwrap_err().kind(), ErrorKind::Corrupt);
        assert!(out.len() >= CHUNK * 7 && archive.starts_with(&out));
    }
}

#[test]
fn other_compressions_are_named() {
    let table: [(&str, &[u8]); 6] = [
        ("xz", b"\xfd7zXZ\0\0\x04"),
        ("bzip2", b"BZh91AY&SYxxxx"),
        ("bzip2", b"BZh9\x17\x72\x45\x38\x50\x90"),
        ("lz4", b"\x04\x22\x4d\x18xxx"),
        ("lzip", b"LZIP\x01"),
        ("compress", b"\x1f\x9d\x90"),
    ];
    for (name, blob) in table {
        let refused = error(Source::file(piped(blob)), &settings(2));
        let expected = DecompressError::Unsupported(name);
        assert!(matches!(refused.cause(), Cause::Decompress(got) if *got == expected), "{refused}");
    }
    for name in [&b"BZh"[..], b"BZh9/readme", b"LZIP-1.0/", b"\xfd7zXZ", b"\x1f", b"(\xb5/"] {
        assert!(drain(Source::memory(name), &settings(1)).0 == name);
    }
}

#[test]
fn limits_on_bytes_and_ratio_hold_for_every_compression() {
    let zeros = vec![0; CHUNK * 8];
    for (blob, bomb) in [(zeros.clone(), false), (gzip(&zeros), true), (zstd(&zeros), true)] {
        for threads in [1, 2] {
            let mut tight = settings(threads);
            tight.limits.bytes = zeros.len() as u64 - 1;
            let refused = error(Source::memory(&blob), &tight);
            assert!(
                matches!(refused.cause(), Cause::Limit(LimitExceeded::Bytes { .. })),
                "{refused}"
            );
            tight.limits.bytes += 1;
            drain(Source::memory(&blob), &tight).1.unwrap();

            tight.limits.ratio = 20;
            drain(Source::memory(&blob), &tight).1.expect("below the floor no ratio is too high");
            tight.ratio_floor = CHUNK as u64 * 2;
            match drain(Source::memory(&blob), &tight).1 {
                Err(refused) if bomb => {
                    let Cause::Limit(LimitExceeded::Ratio { got, limit: 20 }) = refused.cause()
                    else {
                        panic!("{refused}")
                    };
                    assert!(*got >= 20);
                }
                result => assert!(result.is_ok() && !bomb),
            }
        }
    }
}

#[test]
fn a_zstd_window_above_the_limit_is_refused() {
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    encoder.window_log(24).unwrap();
    encoder.write_all(&sample(3_000_000)).unwrap();
    let blob = encoder.finish().unwrap();
    let mut tight = settings(2);
    tight.limits.zstd_window_log = 24;
    drain(Source::memory(&blob), &tight).1.unwrap();
    tight.limits.zstd_window_log = 23;
    let refused = error(Source::memory(&blob), &tight);
    assert!(matches!(refused.cause(), Cause::Limit(LimitExceeded::ZstdWindow(23))), "{refused}");
}

#[test]
fn cancel_wakes_a_flow_that_waits_for_a_pipe() {
    for threads in [1, 2] {
        let (read, _write) = pipe().unwrap();
        let cancel = Cancel::new().unwrap();
        let mut waiting = settings(threads);
        waiting.cancel = Some(cancel.clone());
        thread::scope(|scope| {
            scope.spawn(move || cancel.cancel());
            let refused = error(Source::file(read), &waiting);
            assert_eq!(refused.kind(), ErrorKind::Cancelled);
        });
    }
}

#[test]
fn a_flow_dropped_or_abandoned_halfway_does_not_wait() {
    let blob = gzip(&sample(CHUNK * POOL * 3));
    let (silent, _write) = pipe().unwrap();
    let sources = || {
        [
            Source::memory(&blob),
            Source::file(silent.try_clone().unwrap()),
            // Never served: the input waits for its read callback.
            Source::reader(|_| unreachable!()),
        ]
    };
    for threads in [1, 2] {
        for abandon in [true, false] {
            for (index, source) in sources().into_iter().enumerate() {
                let (input, read_callback) = source.open(None, ReadTo::EndOfBlob).unwrap();
                thread::scope(|scope| {
                    let mut pipeline =
                        Pipeline::<Error>::start(scope, input, &settings(threads), Arc::default())
                            .unwrap();
                    if index == 0 {
                        pipeline.next().unwrap();
                    }
                    if abandon {
                        pipeline.abandon();
                    }
                });
                if let Some(read_callback) = read_callback {
                    while read_callback.wanted().recv().is_ok() {}
                }
            }
        }
    }
}

#[test]
fn errors_of_the_source_come_out_as_they_are() {
    for threads in [1, 2] {
        let blob = gzip(&sample(CHUNK * 4));
        let mut rest = &blob[..blob.len() / 2];
        let failing = Source::reader(move |into| match rest.len().min(into.len()) {
            0 => Err(Errno::HOSTUNREACH),
            count => {
                into[..count].copy_from_slice(&rest[..count]);
                rest = &rest[count..];
                Ok(count)
            }
        });
        let (out, result) = drain(failing, &settings(threads));
        let refused = result.unwrap_err();
        assert_eq!((refused.kind(), refused.errno()), (ErrorKind::Callback, Errno::HOSTUNREACH));
        assert!(!out.is_empty(), "what came before the error is good");

        let refused = error(Source::reader(|into| Ok(into.len() + 1)), &settings(threads));
        let Cause::Source(SourceError::Overrun { got, asked }) = refused.cause() else {
            panic!("{refused}")
        };
        assert_eq!(*got, asked + 1);

        let refused = error(Source::file(File::open("/").unwrap()), &settings(threads));
        assert_eq!((refused.kind(), refused.errno()), (ErrorKind::Source, Errno::ISDIR));
    }
    let missing =
        Source::path("/nonexistent/layer").open(None, ReadTo::EndOfBlob).map(drop).unwrap_err();
    assert!(matches!(missing, SourceError::Open { errno: Errno::NOENT, .. }));
}

#[test]
fn a_callback_that_gives_one_byte_at_a_time_is_enough() {
    let archive = sample(200_000);
    for blob in [archive.clone(), gzip(&archive), zstd(&archive)] {
        for threads in [1, 2] {
            let mut bytes = blob.iter();
            let trickle = Source::reader(|into| {
                Ok(bytes.next().map_or(0, |byte| {
                    into[0] = *byte;
                    1
                }))
            });
            let (out, summary) = drain(trickle, &settings(threads));
            assert_eq!(summary.unwrap().blob_digest, Some(digest("sha256", &blob)));
            assert!(out == archive);
        }
    }
}

#[test]
fn a_callback_is_not_asked_again_after_the_end_an_error_or_a_failed_unpack() {
    for answer in [Ok(0), Err(Errno::IO)] {
        let mut asked = 0;
        let source = Source::reader(|_| {
            asked += 1;
            answer
        });
        assert_eq!(drain(source, &settings(2)).1.is_ok(), answer.is_ok());
        assert_eq!(asked, 1);
    }
    // An endless trickle behind a magic that fails: serving must end soon after the pipeline did.
    let (failed, wait) = bounded::<()>(0);
    let mut asked = 0;
    let endless = Source::reader(|into| {
        asked += 1;
        let count = into.len().min(if asked == 1 { 64 << 10 } else { 1 });
        into[..count].copy_from_slice(&b"\xfd7zXZ\0".repeat(11_000)[..count]);
        if asked == 2 {
            let _ = wait.recv();
        }
        Ok(count)
    });
    let (input, read_callback) = endless.open(None, ReadTo::EndOfBlob).unwrap();
    thread::scope(|scope| {
        scope.spawn(move || {
            let mut out = Vec::new();
            assert!(read_all(scope, input, &settings(2), &mut out).is_err());
            drop(failed);
        });
        serve(read_callback.unwrap());
    });
    assert!(asked <= 3, "asked {asked} times");
}

#[test]
fn a_cancelled_callback_reports_the_cancel_whatever_it_returns() {
    let cancel = Cancel::new().unwrap();
    let mut waiting = settings(2);
    waiting.cancel = Some(cancel.clone());
    let gives_up = Source::reader(|_| {
        cancel.cancel();
        Err(Errno::INTR)
    });
    assert_eq!(error(gives_up, &waiting).kind(), ErrorKind::Cancelled);
}

#[test]
fn a_panic_in_the_decompressor_is_an_error_for_the_reader() {
    thread::scope(|scope| {
        let input = Input::panicking();
        let mut pipeline =
            Pipeline::<Error>::start(scope, input, &settings(2), Arc::default()).unwrap();
        let failure = pipeline.next().map(drop).unwrap_err();
        assert_eq!(failure.kind(), ErrorKind::Panic);
        assert_eq!(failure.to_string(), "internal error: a defect, for the tests");
    });
}

#[test]
fn a_regular_file_is_read_from_its_position_and_tells_its_size() {
    let archive = sample(5_000);
    let mut file = spooled(&archive);
    file.seek(SeekFrom::Start(1_000)).unwrap();
    let (input, _) = Source::file(file.try_clone().unwrap()).open(None, ReadTo::EndOfBlob).unwrap();
    assert_eq!(input.size(), Some(4_000));
    assert!(drain(Source::file(file), &settings(1)).0 == archive[1_000..]);
    assert_eq!(
        Source::memory(&archive).open(None, ReadTo::EndOfBlob).unwrap().0.size(),
        Some(5_000)
    );
    assert_eq!(Source::file(piped(b"")).open(None, ReadTo::EndOfBlob).unwrap().0.size(), None);
}

#[test]
fn a_descriptor_that_does_not_block_is_waited_for() {
    let archive = sample(100_000);
    let read = piped(&archive);
    rustix::io::ioctl_fionbio(&read, true).unwrap();
    assert!(drain(Source::file(read), &settings(2)).0 == archive);
}

#[test]
fn a_fifo_without_a_writer_can_be_cancelled_and_one_that_gets_a_writer_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("fifo");
    let fifo = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, &path, fifo, 0o600.into(), 0).unwrap();

    let cancel = Cancel::new().unwrap();
    let mut waiting = settings(1);
    waiting.cancel = Some(cancel.clone());
    thread::scope(|scope| {
        scope.spawn(move || cancel.cancel());
        assert_eq!(error(Source::path(&path), &waiting).kind(), ErrorKind::Cancelled);
    });
    thread::scope(|scope| {
        scope.spawn(|| std::fs::write(&path, b"late").unwrap());
        assert!(drain(Source::path(&path), &settings(2)).0 == b"late");
    });
}
