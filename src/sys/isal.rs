// SPDX-License-Identifier: Apache-2.0
//! Intel's ISA-L, as far as it decompresses gzip: slices in, slices out.
//!
//! The header is read by a call of its own. `isal_inflate` would read it, too, but forgets what the
//! header's flags were when the header comes in two pieces.

use std::mem::MaybeUninit;

use isal_sys::igzip_lib::{
    ISAL_DECOMP_OK, ISAL_GZIP_NO_HDR_VER, ISAL_INCORRECT_CHECKSUM, ISAL_INVALID_BLOCK,
    ISAL_INVALID_LOOKBACK, ISAL_INVALID_SYMBOL, ISAL_INVALID_WRAPPER, ISAL_UNSUPPORTED_METHOD,
    inflate_state, isal_block_state_ISAL_BLOCK_FINISH, isal_gzip_header, isal_gzip_header_init,
    isal_inflate, isal_inflate_init, isal_inflate_reset, isal_read_gzip_header,
};

/// Flags that RFC 1952 wants to be zero.
const RESERVED_FLAGS: u32 = 0xe0;

/// What is wrong with a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    Block,
    Symbol,
    Lookback,
    Header,
    Method,
    Checksum,
    Other,
}

/// What one call did.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) used: usize,
    pub(crate) made: usize,
    /// The member is complete, and its CRC and length are right.
    pub(crate) ended: bool,
    pub(crate) fault: Option<Fault>,
}

/// One gzip member in the making.
pub(crate) struct State {
    inflate: Box<inflate_state>,
    /// Kept from call to call until the header is complete.
    header: Option<isal_gzip_header>,
}

// SAFETY: the two structs point into nothing between two calls: `State::inflate` clears what it
// has set.
unsafe impl Send for State {}

impl State {
    pub(crate) fn new() -> State {
        // SAFETY: zero is a value for each field of it, and the pointer is to all of them; the call
        // sets what has to be something else.
        let mut inflate = unsafe {
            let mut inflate = Box::new(MaybeUninit::<inflate_state>::zeroed().assume_init());
            isal_inflate_init(&mut *inflate);
            inflate
        };
        inflate.crc_flag = ISAL_GZIP_NO_HDR_VER;
        State { inflate, header: Some(new_header()) }
    }

    /// The next call begins a member.
    pub(crate) fn reset(&mut self) {
        // SAFETY: the struct was initialized in `new`.
        unsafe { isal_inflate_reset(&mut *self.inflate) };
        self.header = Some(new_header());
    }

    /// Goes on with the member, until the input is used up, the output is full, or the member ends.
    pub(crate) fn inflate(&mut self, input: &[u8], out: &mut [u8]) -> Step {
        // One call takes what 32 bits count; the caller comes again with the rest.
        let avail = |len: usize| u32::try_from(len).unwrap_or(u32::MAX);
        let (avail_in, avail_out) = (avail(input.len()), avail(out.len()));
        let state = &mut *self.inflate;
        state.next_in = input.as_ptr().cast_mut();
        state.avail_in = avail_in;
        state.next_out = out.as_mut_ptr();
        state.avail_out = avail_out;
        // SAFETY: next_in and next_out are slices that outlive the calls, with their lengths or
        // less. The library reads its input only, although the pointer is not const.
        let code = unsafe { run(state, &mut self.header) };
        state.next_in = std::ptr::null_mut();
        state.next_out = std::ptr::null_mut();
        let made = (avail_out - state.avail_out) as usize;
        // On damage it gives back bytes that it had read ahead, also such as came with an earlier
        // call. A stream that is well ends where its last byte is: in this call.
        let Some(used) = avail_in.checked_sub(state.avail_in) else {
            let fault = code.err().unwrap_or(Fault::Other);
            return Step { used: 0, made, ended: false, fault: Some(fault) };
        };
        Step {
            used: used as usize,
            made,
            ended: code.is_ok() && state.block_state == isal_block_state_ISAL_BLOCK_FINISH,
            fault: code.err(),
        }
    }
}

/// Header and data, as far as they are there.
///
/// # Safety
///
/// next_in and next_out must be valid for avail_in and avail_out bytes.
unsafe fn run(
    state: &mut inflate_state,
    header: &mut Option<isal_gzip_header>,
) -> Result<(), Fault> {
    if let Some(begun) = header {
        // SAFETY: the caller vouches for the input, and the header has no buffers to write to.
        match unsafe { isal_read_gzip_header(state, begun) } {
            code if code > 0 => return Ok(()),
            code => check(code)?,
        }
        if begun.flags & RESERVED_FLAGS != 0 {
            return Err(Fault::Header);
        }
        *header = None;
    }
    // SAFETY: the caller vouches for both.
    check(unsafe { isal_inflate(state) })
}

fn check(code: i32) -> Result<(), Fault> {
    const OK: i32 = ISAL_DECOMP_OK as i32;
    Err(match code {
        OK => return Ok(()),
        ISAL_INVALID_BLOCK => Fault::Block,
        ISAL_INVALID_SYMBOL => Fault::Symbol,
        ISAL_INVALID_LOOKBACK => Fault::Lookback,
        ISAL_INVALID_WRAPPER => Fault::Header,
        ISAL_UNSUPPORTED_METHOD => Fault::Method,
        ISAL_INCORRECT_CHECKSUM => Fault::Checksum,
        _ => Fault::Other,
    })
}

fn new_header() -> isal_gzip_header {
    let mut header = MaybeUninit::<isal_gzip_header>::zeroed();
    // SAFETY: zero is a value for each field of it, and the pointer is to all of them.
    unsafe {
        isal_gzip_header_init(header.as_mut_ptr());
        header.assume_init()
    }
}
