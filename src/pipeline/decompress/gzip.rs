// SPDX-License-Identifier: Apache-2.0
//! gzip: any number of members.

use super::blob::Blob;
use super::error::DecompressError;
use super::inflate::Inflate;
use crate::pipeline::error::Result;

/// Any number of gzip members (RFC 1952), each checked against its CRC and length.
///
/// Zeros may follow the last one, as on a tape: GNU gzip, igzip and Python's gzip take them for
/// padding. Anything else there is refused: what one program ignores is a place to hide things from
/// another.
pub(super) struct Gzip {
    inflate: Inflate,
    place: Place,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Member,
    BehindMember,
    Padding,
}

/// Of a byte behind a member that is neither padding nor begins the next one.
pub(super) const JUNK: &str = "data that is no gzip member follows the last one";

impl Gzip {
    pub(super) fn new() -> Gzip {
        Gzip { inflate: Inflate::new(), place: Place::Member }
    }

    pub(super) fn fill(&mut self, blob: &mut Blob<'_>, out: &mut [u8]) -> Result<usize> {
        let mut filled = 0;
        while filled < out.len() {
            if blob.may_wait() {
                // The decoder may hold output that had no room before.
                if self.place == Place::Member {
                    let held = self.inflate.step(&[], &mut out[filled..]);
                    filled += held.made;
                    if held.ended {
                        self.place = Place::BehindMember;
                    }
                }
                if filled > 0 {
                    break;
                }
            }
            let at_end = blob.is_at_end()?;
            if self.place != Place::Member {
                if at_end {
                    break;
                }
                if !self.begin_member(blob)? {
                    continue;
                }
            }
            let made = self.step(blob, &mut out[filled..])?;
            // At the blob's end the decoder may still hold output, but no more than that.
            if at_end && self.place == Place::Member && made == 0 {
                return Err(DecompressError::Truncated { offset: blob.offset }.into());
            }
            filled += made;
        }
        Ok(filled)
    }

    /// False: this was padding, or some of it.
    fn begin_member(&mut self, blob: &mut Blob<'_>) -> Result<bool> {
        let (zeros, next) = blob.pass(|input| {
            let zeros = input.iter().take_while(|byte| **byte == 0).count();
            (zeros, (zeros, input.get(zeros).copied()))
        })?;
        if zeros > 0 {
            self.place = Place::Padding;
        }
        match (self.place, next) {
            (_, None) => Ok(false),
            (Place::BehindMember, Some(0x1f)) => {
                self.inflate.reset();
                self.place = Place::Member;
                Ok(true)
            }
            _ => Err(DecompressError::Gzip { offset: blob.offset, reason: JUNK.into() }.into()),
        }
    }

    fn step(&mut self, blob: &mut Blob<'_>, out: &mut [u8]) -> Result<usize> {
        let inflate = &mut self.inflate;
        let step = blob.pass(|input| {
            let step = inflate.step(input, out);
            (step.used, step)
        })?;
        match step.fault {
            None => {
                if step.ended {
                    self.place = Place::BehindMember;
                }
                Ok(step.made)
            }
            Some(reason) => Err(DecompressError::Gzip { offset: blob.offset, reason }.into()),
        }
    }
}
