// SPDX-License-Identifier: Apache-2.0
//! One gzip member at a time, by one of two libraries: ISA-L with the feature `isal`, which is the
//! fastest there is for a stream, or else zlib-rs, which is Rust all through.
//!
//! Both check header, CRC and length.

/// What one step did.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) used: usize,
    pub(super) made: usize,
    /// The member is complete and its checks have passed.
    pub(super) ended: bool,
    /// What is wrong with the stream.
    pub(super) fault: Option<String>,
}

#[cfg(feature = "isal")]
pub(super) use isal::Inflate;
#[cfg(not(feature = "isal"))]
pub(super) use zlib::Inflate;

#[cfg(feature = "isal")]
mod isal {
    use super::Step;
    use crate::sys::isal::{Fault, State};

    pub(in super::super) struct Inflate(State);

    impl Inflate {
        pub(in super::super) fn new() -> Inflate {
            Inflate(State::new())
        }

        /// The next step begins a member.
        pub(in super::super) fn reset(&mut self) {
            self.0.reset();
        }

        /// `out` is not empty; `input` is only at the blob's end.
        pub(in super::super) fn step(&mut self, input: &[u8], out: &mut [u8]) -> Step {
            let step = self.0.inflate(input, out);
            let fault = step.fault.map(|fault| match fault {
                Fault::Block => "invalid block",
                Fault::Symbol => "invalid symbol",
                Fault::Lookback => "invalid distance too far back",
                Fault::Header => "invalid header",
                Fault::Method => "unknown compression method",
                Fault::Checksum => "incorrect data or length check",
                Fault::Other => "invalid data",
            });
            let fault = fault.map(str::to_owned);
            Step { used: step.used, made: step.made, ended: step.ended, fault }
        }
    }
}

#[cfg(any(test, not(feature = "isal")))]
mod zlib {
    use flate2::{Decompress, FlushDecompress, Status};

    use super::Step;

    /// zlib's largest window, which every gzip may use.
    const GZIP_WINDOW_BITS: u8 = 15;

    pub(in super::super) struct Inflate(Decompress);

    impl Inflate {
        pub(in super::super) fn new() -> Inflate {
            Inflate(Decompress::new_gzip(GZIP_WINDOW_BITS))
        }

        /// The next step begins a member.
        #[cfg(not(feature = "isal"))]
        pub(in super::super) fn reset(&mut self) {
            self.0.reset(true);
        }

        /// `out` is not empty; `input` is only at the blob's end.
        pub(in super::super) fn step(&mut self, input: &[u8], out: &mut [u8]) -> Step {
            let (read, made) = (self.0.total_in(), self.0.total_out());
            let status = self.0.decompress(input, out, FlushDecompress::None);
            let used = (self.0.total_in() - read) as usize;
            let made = (self.0.total_out() - made) as usize;
            let (ended, fault) = match &status {
                Ok(Status::StreamEnd) => (true, None),
                Ok(_) if used == 0 && made == 0 && !input.is_empty() => {
                    (false, Some("no progress".to_owned()))
                }
                Ok(_) => (false, None),
                Err(error) => (false, Some(error.message().unwrap_or("invalid data").to_owned())),
            };
            Step { used, made, ended, fault }
        }
    }
}

#[cfg(all(test, feature = "isal"))]
mod tests {
    use std::io::Write;

    use flate2::write::GzEncoder;
    use flate2::{Compression, GzBuilder};
    use proptest::prelude::*;

    use super::{Step, isal, zlib};

    type Stepping<'a> = &'a mut dyn FnMut(&[u8], &mut [u8]) -> Step;

    /// What comes out of the first member, with input and output in pieces; none if it is refused
    /// or cut.
    fn member(mut blob: &[u8], piece: usize, step: Stepping<'_>) -> Option<Vec<u8>> {
        let (mut whole, mut out) = (Vec::new(), vec![0; piece]);
        loop {
            let shown = &blob[..blob.len().min(piece)];
            let step = step(shown, &mut out);
            blob = &blob[step.used..];
            whole.extend_from_slice(&out[..step.made]);
            match step {
                Step { fault: Some(_), .. } => return None,
                Step { ended: true, .. } => return Some(whole),
                Step { made: 0, .. } if shown.is_empty() => return None,
                _ => {}
            }
        }
    }

    fn both(blob: &[u8], piece: usize) -> (Option<Vec<u8>>, Option<Vec<u8>>) {
        let (mut isal, mut zlib) = (isal::Inflate::new(), zlib::Inflate::new());
        (
            member(blob, piece, &mut |input, out| isal.step(input, out)),
            member(blob, piece, &mut |input, out| zlib.step(input, out)),
        )
    }

    /// Text that compresses, with matches near and far.
    fn sample(len: usize) -> Vec<u8> {
        let words = b"layer whiteout opaque upperdir lowerdir snapshot applier diffID";
        (0..len).map(|n| words[(n * n / 7 + n / 11) % words.len()] ^ (n / 4_099) as u8).collect()
    }

    fn with_everything_in_the_header() -> Vec<u8> {
        let header = GzBuilder::new().extra(vec![7; 300]).filename("a name").comment("a comment");
        let mut encoder = header.mtime(1).write(Vec::new(), Compression::default());
        encoder.write_all(&sample(5_000)).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn header_in_pieces_of_any_size_is_read() {
        let blob = with_everything_in_the_header();
        for piece in 1..400 {
            assert_eq!(both(&blob, piece), (Some(sample(5_000)), Some(sample(5_000))), "{piece}");
        }
    }

    #[test]
    fn reserved_flags_and_other_methods_are_refused() {
        let blob = with_everything_in_the_header();
        for (at, bit) in [(2, 1), (3, 0x20), (3, 0x40), (3, 0x80)] {
            let mut wrong = blob.clone();
            wrong[at] ^= bit;
            assert_eq!(both(&wrong, 4_096), (None, None), "byte {at}, bit {bit:#x}");
        }
    }

    /// The next member begins where this one ends, however the input is cut: ISA-L reads ahead.
    #[test]
    fn member_ends_at_its_last_byte() {
        for len in [0, 1, 5, 300, 70_000] {
            for level in [0, 1, 6, 9] {
                let mut encoder = GzEncoder::new(Vec::new(), Compression::new(level));
                encoder.write_all(&sample(len)).unwrap();
                let first = encoder.finish().unwrap();
                let blob = [&first[..], &first[..]].concat();
                let cuts = (1..40).chain(first.len().saturating_sub(20)..first.len() + 20);
                for cut in cuts.filter(|cut| *cut < blob.len()) {
                    for room in [1 << 17, 997] {
                        let (mut inflate, mut out) = (isal::Inflate::new(), vec![0; room]);
                        let (mut at, mut made) = (0, 0);
                        loop {
                            let end = if at < cut { cut } else { blob.len() };
                            let step = inflate.step(&blob[at..end], &mut out);
                            assert_eq!(
                                step.fault, None,
                                "{len} bytes, level {level}, cut at {cut}"
                            );
                            (at, made) = (at + step.used, made + step.made);
                            if step.ended {
                                break;
                            }
                        }
                        assert_eq!((at, made), (first.len(), len), "level {level}, cut at {cut}");
                    }
                }
            }
        }
    }

    /// On damage that makes the stream end early, ISA-L gives back more than it was given last.
    #[test]
    fn damage_that_ends_in_an_earlier_piece_is_refused() {
        let blob = b"\x1f\x8b\x08\x01\0\0\0\0\0\0\x02\x9a\x9a\x30\x9a\x9a\x9a\x30\x9a\x9a\x9a\x9a\x9a\x9a\x9a\x9a";
        for piece in 1..30 {
            assert_eq!(both(blob, piece), (None, None), "{piece}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..Default::default() })]

        /// Whatever one of the two takes, the other one reads in the same way, or not at all.
        #[test]
        fn damaged_streams_never_read_differently(
            len in 0..200_000_usize,
            level in 0..10_u32,
            piece in 1..70_000_usize,
            damage in proptest::collection::vec((any::<prop::sample::Index>(), 1..=255_u8), 0..3),
            cut in proptest::option::of(any::<prop::sample::Index>()),
        ) {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::new(level));
            encoder.write_all(&sample(len)).unwrap();
            let mut blob = encoder.finish().unwrap();
            if let Some(cut) = &cut {
                blob.truncate(cut.index(blob.len()));
            }
            for (at, flip) in damage.iter().take(blob.len()) {
                let at = at.index(blob.len());
                blob[at] ^= flip;
            }
            let (isal, zlib) = both(&blob, piece);
            if let (Some(isal), Some(zlib)) = (&isal, &zlib) {
                prop_assert_eq!(isal, zlib);
            }
            if damage.is_empty() {
                let whole = cut.is_none().then(|| sample(len));
                prop_assert_eq!((&isal, &zlib), (&whole, &whole));
            }
        }
    }
}
