// SPDX-License-Identifier: Apache-2.0
//! zstd: any number of frames.

use zstd::zstd_safe::zstd_sys::ZSTD_ErrorCode;
use zstd::zstd_safe::{
    DCtx, DParameter, ErrorCode, InBuffer, OutBuffer, get_error_name, is_error_kind,
};

use super::blob::Blob;
use super::error::DecompressError;
use crate::limits::LimitExceeded;
use crate::pipeline::error::{PipelineError, Result};

/// Any number of zstd frames and skippable frames (RFC 8878), with the checksums they have.
pub(super) struct Zstd {
    context: DCtx<'static>,
    window_log: u32,
    inside: bool,
    /// There were zeros behind the last frame, and nothing may follow but more of them.
    padding: bool,
}

impl Zstd {
    pub(super) fn new(window_log: u32) -> Zstd {
        let mut context = DCtx::create();
        context
            .set_parameter(DParameter::WindowLogMax(window_log))
            .expect("Options::check keeps it within zstd's bounds");
        Zstd { context, window_log, inside: true, padding: false }
    }

    pub(super) fn fill(&mut self, blob: &mut Blob<'_>, out: &mut [u8]) -> Result<usize> {
        let mut out = OutBuffer::around(out);
        while out.pos() < out.capacity() {
            if blob.may_wait() {
                // The decoder may hold output that had no room before.
                if self.inside {
                    let held = self.context.decompress_stream(&mut out, &mut InBuffer::around(&[]));
                    let wanted = held.map_err(|code| self.explain(code, blob.offset))?;
                    self.inside = wanted != 0;
                }
                if out.pos() > 0 {
                    break;
                }
            }
            let at_end = blob.is_at_end()?;
            if at_end && !self.inside {
                break;
            }
            if !self.inside && !at_end && self.pass_padding(blob)? {
                continue;
            }
            let before = out.pos();
            self.step(blob, &mut out)?;
            // At the blob's end the decoder may still hold output, but no more than that.
            if at_end && self.inside && out.pos() == before {
                return Err(DecompressError::Truncated { offset: blob.offset }.into());
            }
        }
        Ok(out.pos())
    }

    /// Behind a frame: whether what came next was padding, as bsdtar fills its last record with.
    fn pass_padding(&mut self, blob: &mut Blob<'_>) -> Result<bool> {
        let (zeros, next) = blob.pass(|input| {
            let zeros = input.iter().take_while(|byte| **byte == 0).count();
            (zeros, (zeros, input.get(zeros).copied()))
        })?;
        self.padding |= zeros > 0;
        match next {
            Some(_) if self.padding => {
                let reason = "data behind the zeros that follow the last frame".into();
                Err(DecompressError::Zstd { offset: blob.offset, reason }.into())
            }
            Some(_) => Ok(false),
            None => Ok(true),
        }
    }

    fn step(&mut self, blob: &mut Blob<'_>, out: &mut OutBuffer<'_, [u8]>) -> Result<()> {
        let context = &mut self.context;
        let wanted = blob.pass(|input| {
            let mut input = InBuffer::around(input);
            let wanted = context.decompress_stream(out, &mut input);
            (input.pos(), wanted)
        })?;
        let wanted = wanted.map_err(|code| self.explain(code, blob.offset))?;
        // Zero says that a frame is complete and all of it is in `out`.
        self.inside = wanted != 0;
        Ok(())
    }

    fn explain(&self, code: ErrorCode, offset: u64) -> PipelineError {
        if is_error_kind(code, ZSTD_ErrorCode::ZSTD_error_frameParameter_windowTooLarge) {
            return LimitExceeded::ZstdWindow(self.window_log).into();
        }
        DecompressError::Zstd { offset, reason: get_error_name(code).into() }.into()
    }
}
