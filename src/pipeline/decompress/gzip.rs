// SPDX-License-Identifier: Apache-2.0
//! gzip: any number of members.

use super::blob::Blob;
use super::error::DecompressError;
use super::inflate::Inflate;
use crate::pipeline::error::Result;

/// Any number of gzip members (RFC 1952), each checked against its CRC and length.
///
/// Nothing but another member may follow a member, not even zeros: Go's and containerd's readers
/// refuse that too, and what one program ignores is a place to hide things from another.
pub(super) struct Gzip {
    inflate: Inflate,
    inside: bool,
}

impl Gzip {
    pub(super) fn new() -> Gzip {
        Gzip { inflate: Inflate::new(), inside: true }
    }

    pub(super) fn fill(&mut self, blob: &mut Blob<'_>, out: &mut [u8]) -> Result<usize> {
        let mut filled = 0;
        while filled < out.len() {
            let at_end = blob.is_at_end()?;
            if !self.inside {
                if at_end {
                    break;
                }
                self.begin_member(blob)?;
            }
            let made = self.step(blob, &mut out[filled..])?;
            // At the blob's end the decoder may still hold output, but no more than that.
            if at_end && self.inside && made == 0 {
                return Err(DecompressError::Truncated { offset: blob.offset }.into());
            }
            filled += made;
        }
        Ok(filled)
    }

    fn begin_member(&mut self, blob: &mut Blob<'_>) -> Result<()> {
        if blob.pass(|input| (0, input[0] != 0x1f))? {
            let reason = "data that is no gzip member follows the last one".into();
            return Err(DecompressError::Gzip { offset: blob.offset, reason }.into());
        }
        self.inflate.reset();
        self.inside = true;
        Ok(())
    }

    fn step(&mut self, blob: &mut Blob<'_>, out: &mut [u8]) -> Result<usize> {
        let inflate = &mut self.inflate;
        let step = blob.pass(|input| {
            let step = inflate.step(input, out);
            (step.used, step)
        })?;
        match step.fault {
            None => {
                self.inside = !step.ended;
                Ok(step.made)
            }
            Some(reason) => Err(DecompressError::Gzip { offset: blob.offset, reason }.into()),
        }
    }
}
