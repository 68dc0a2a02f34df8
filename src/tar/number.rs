// SPDX-License-Identifier: Apache-2.0
//! Numbers, in the three ways in which archives write them.

use super::entry::Time;
use super::error::NumberFault;

type Result<T> = std::result::Result<T, NumberFault>;

/// A numeric field of a header: octal text, or base-256 as GNU tar and star write what does not
/// fit. An empty field is 0, as in every reader.
pub(super) fn field(bytes: &[u8]) -> Result<i64> {
    if bytes.first().is_some_and(|first| first & 0x80 != 0) { base256(bytes) } else { octal(bytes) }
}

/// What follows the NUL after the digits is not looked at: GNU tar and Go do the same.
fn octal(bytes: &[u8]) -> Result<i64> {
    let start = bytes.iter().position(|&b| b != b' ' && b != 0).unwrap_or(bytes.len());
    let text = &bytes[start..];
    let text = &text[..text.iter().position(|&b| b == 0).unwrap_or(text.len())];
    let mut value = 0i64;
    let mut digits = text.trim_ascii_end().iter();
    digits.try_for_each(|&digit| {
        if !(b'0'..=b'7').contains(&digit) {
            return Err(NumberFault::Malformed);
        }
        value = value.checked_mul(8).ok_or(NumberFault::Range)? | i64::from(digit - b'0');
        Ok(())
    })?;
    Ok(value)
}

/// Big-endian two's complement; the first bit only marks the encoding, the second is the sign.
fn base256(bytes: &[u8]) -> Result<i64> {
    let first = bytes[0] & 0x7f;
    let sign = if first & 0x40 != 0 { -0x80 } else { 0 };
    // 12 bytes are the longest field, so i128 holds every value of one.
    let value = bytes[1..].iter().fold(i128::from(first) + sign, |v, &b| v << 8 | i128::from(b));
    i64::try_from(value).map_err(|_| NumberFault::Range)
}

/// A decimal of a PAX record.
pub(super) fn decimal(text: &[u8]) -> Result<i64> {
    let (negative, digits) = match text.strip_prefix(b"-") {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    let magnitude = i128::from(unsigned(digits)?);
    i64::try_from(if negative { -magnitude } else { magnitude }).map_err(|_| NumberFault::Range)
}

/// Digits and nothing else.
pub(super) fn unsigned(digits: &[u8]) -> Result<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(NumberFault::Malformed);
    }
    let more = |value: u64, digit: &u8| value.checked_mul(10)?.checked_add((digit - b'0').into());
    digits.iter().try_fold(0, more).ok_or(NumberFault::Range)
}

/// A time of a PAX record. Digits past the nanoseconds are cut off, as Go does, and not rounded:
/// a file must not become newer by being archived.
pub(super) fn time(text: &[u8]) -> Result<Time> {
    let (whole, fraction) = match text.iter().position(|&b| b == b'.') {
        Some(point) => (&text[..point], &text[point + 1..]),
        None => (text, &[][..]),
    };
    if !fraction.iter().all(u8::is_ascii_digit) {
        return Err(NumberFault::Malformed);
    }
    let seconds = decimal(whole)?;
    let digits = fraction.iter().map(|b| u32::from(b - b'0')).chain(std::iter::repeat(0));
    let nanoseconds = digits.take(9).fold(0, |value, digit| value * 10 + digit);
    // The sign is taken from the text: "-0.5" is before 1970 though its seconds are 0.
    if nanoseconds == 0 || !text.starts_with(b"-") {
        return Ok(Time { seconds, nanoseconds });
    }
    let seconds = seconds.checked_sub(1).ok_or(NumberFault::Range)?;
    Ok(Time { seconds, nanoseconds: 1_000_000_000 - nanoseconds })
}

/// A user or group. -1 means "leave as it is" to chown(2), and a cut-off number is another user:
/// 2^32 would make a setuid file root's.
pub(super) fn owner(value: i64) -> Result<u32> {
    u32::try_from(value).ok().filter(|&id| id != u32::MAX).ok_or(NumberFault::Range)
}

pub(super) fn size(value: i64) -> Result<u64> {
    u64::try_from(value).map_err(|_| NumberFault::Range)
}

/// Linux has 12 bits of major number; cut off, 4096:0 would be 0:0, a whiteout.
pub(super) fn major(value: i64) -> Result<u32> {
    bits(value, 12)
}

/// Linux has 20 bits of minor number.
pub(super) fn minor(value: i64) -> Result<u32> {
    bits(value, 20)
}

/// The file type bits that some writers add are the typeflag's business.
pub(super) fn mode(value: i64) -> Result<u32> {
    if value < 0 { Err(NumberFault::Range) } else { Ok(value as u32 & 0o7777) }
}

fn bits(value: i64, bits: u32) -> Result<u32> {
    u32::try_from(value).ok().filter(|&number| number >> bits == 0).ok_or(NumberFault::Range)
}
