// SPDX-License-Identifier: Apache-2.0
//! Bytes through the decompressors: no panic, no more output than allowed, the same outcome with
//! any number of threads and from any kind of source, and that of another decoder.
//!
//! The last two bytes of the input are settings, so that a seed is a file and two bytes.
#![no_main]

use std::io::Read;

use libfuzzer_sys::fuzz_target;
use ocilayer::{Compression, Digest, Errno, Finding, Limits, Options, ScanObserver, Source, scan};
use ocilayer_fuzz::guard;
use rustix::fs::{MemfdFlags, memfd_create};
use sha2::{Digest as _, Sha256};

/// What a pipeline may hold that the limit on bytes was not looked at for yet.
const AHEAD: u64 = 4 << 20;

fuzz_target!(init: guard::keep_panics(), |input: &[u8]| {
    let Some((blob, &[bytes, window])) = input.split_last_chunk() else { return };
    if let Err(reason) = guard::guarded(|| check(blob, bytes, window)) {
        guard::fail(&reason, &format!("{} bytes", blob.len()));
    }
});

/// Of one scan, without times.
#[derive(Debug, PartialEq)]
struct Seen {
    /// Kind and text of each finding.
    findings: Vec<String>,
    partial: bool,
    entries: u64,
    /// None where it is not whole: how far the threads came is theirs to decide.
    amounts: Option<(u64, u64)>,
    compression: Option<Compression>,
    digests: (Option<Digest>, Option<Digest>),
}

fn check(blob: &[u8], bytes: u8, window: u8) -> Result<(), String> {
    let limits = Limits::default()
        .bytes(1 << (12 + bytes % 12))
        .entries(64)
        .zstd_window_log(10 + u32::from(window % 12));
    let first = seen(Source::memory(blob), limits, 1)?;
    for threads in [2, 3, 4] {
        same(&first, &seen(Source::memory(blob), limits, threads)?, threads, "memory")?;
    }
    let mut rest = blob;
    let piece = 1 + usize::from(window);
    let reader = Source::reader(|buffer| {
        let count = piece.min(buffer.len()).min(rest.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        rest = &rest[count..];
        Ok(count)
    });
    same(&first, &seen(reader, limits, 2)?, 2, "reader")?;
    let file = memfd_create("blob", MemfdFlags::CLOEXEC).expect("memfd");
    rustix::io::pwrite(&file, blob, 0).expect("write");
    same(&first, &seen(Source::file(file), limits, 3)?, 3, "file")?;
    other_decoder(blob, &first)
}

fn seen(source: Source<'_>, limits: Limits, threads: usize) -> Result<Seen, String> {
    let mut found = Found(Vec::new());
    let options = Options::default().threads(threads).limits(limits);
    let report = scan(source, &options, &mut found).map_err(|error| format!("scan: {error}"))?;
    if report.layer_bytes > limits.bytes + AHEAD {
        return Err(format!("{} bytes, and {} are allowed", report.layer_bytes, limits.bytes));
    }
    if let Some(panic) = found.0.iter().find(|finding| finding.contains("internal error")) {
        return Err(panic.clone());
    }
    let whole = !report.partial;
    Ok(Seen {
        findings: found.0,
        partial: report.partial,
        entries: report.entries.total,
        amounts: whole.then_some((report.blob_bytes, report.layer_bytes)),
        compression: whole.then_some(report.compression),
        digests: (report.blob_digest, report.diff_id),
    })
}

fn same(first: &Seen, other: &Seen, threads: usize, source: &str) -> Result<(), String> {
    match first == other {
        true => Ok(()),
        false => Err(format!("one thread: {first:#?}\n{source}, {threads}: {other:#?}")),
    }
}

struct Found(Vec<String>);

impl ScanObserver for Found {
    fn finding(&mut self, finding: &Finding) -> Result<(), Errno> {
        self.0.push(finding.to_json());
        Ok(())
    }
}

/// What we take whole is the same to the decoders that are made from other code.
fn other_decoder(blob: &[u8], seen: &Seen) -> Result<(), String> {
    let Some(diff_id) = seen.digests.1.as_ref().filter(|_| !seen.partial) else { return Ok(()) };
    let mut plain = Vec::new();
    let decoded = match seen.compression {
        Some(Compression::Gzip) => {
            // Zeros behind the last member are padding, and to that decoder a damaged member.
            flate2::read::MultiGzDecoder::new(blob).read_to_end(&mut plain).map(drop).or_else(
                |error| match blob.last() {
                    Some(0) => Ok(()),
                    _ => Err(error),
                },
            )
        }
        Some(Compression::Zstd) => zstd::stream::copy_decode(blob, &mut plain),
        _ => {
            plain.extend_from_slice(blob);
            Ok(())
        }
    };
    decoded.map_err(|error| format!("only we take it: {error}"))?;
    let digest = format!("sha256:{}", hex(&Sha256::digest(&plain)));
    match diff_id.to_string() == digest {
        true => Ok(()),
        false => Err(format!("{diff_id} is to another decoder {digest}")),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
