// SPDX-License-Identifier: Apache-2.0
//! Entries that any tool might write, by the `tar` crate: a mistake that our own writer shares with
//! the library's reader would go unseen.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use tar::{Builder, EntryType, Header};

use super::{Entry, Format};

/// What the name and the target of a plain header have room for.
const NAME: usize = 100;

/// False, and nothing is written, where the entry is not an ordinary one.
pub fn append(archive: &mut Builder<Vec<u8>>, entry: &Entry) -> bool {
    if !is_ordinary(entry) {
        return false;
    }
    let mut header = header(entry);
    let written = match entry.format {
        Format::Pax => append_pax(archive, &mut header, entry),
        Format::Gnu => append_gnu(archive, &mut header, entry),
    };
    written.expect("memory");
    true
}

fn is_ordinary(entry: &Entry) -> bool {
    let by_hand = !(entry.patches.is_empty()
        && entry.damage.is_empty()
        && entry.before.is_empty()
        && entry.pax.is_empty());
    // The crate makes sparse entries of sparse files only.
    let whole = entry.sparse.is_none();
    let is_link = matches!(entry.typeflag, b'1' | b'2');
    let kind = (b'0'..=b'6').contains(&entry.typeflag)
        && entry.link.is_empty() != is_link
        && (entry.data.is_empty() || entry.typeflag == b'0');
    let numbers = entry.mode <= 0o7777
        && [entry.uid, entry.gid].iter().all(|id| u32::try_from(*id).is_ok())
        && entry.device.0 <= 0xfff
        && entry.device.1 <= 0xf_ffff;
    let slash = entry.name.ends_with(b"/") == (entry.typeflag == b'5');
    !by_hand && whole && kind && numbers && slash && is_plain(&entry.name) && fits(entry)
}

/// Whether the format has a way to say it.
fn fits(entry: &Entry) -> bool {
    match entry.format {
        // The crate takes keys of records as text.
        Format::Pax => entry.xattrs.iter().all(|(name, _)| str::from_utf8(name).is_ok()),
        Format::Gnu => {
            let time = entry.mtime.0 >= 0 && entry.mtime.1 == 0;
            // The start of a long name stands in the header as well, and is text there.
            let name = entry.name.len() <= NAME || str::from_utf8(&entry.name).is_ok();
            let link = entry.link.len() <= NAME || is_plain(&entry.link);
            time && name && link && entry.xattrs.is_empty()
        }
    }
}

/// Below the root and without detours, so that the crate, too, writes it as it is.
fn is_plain(name: &[u8]) -> bool {
    let path = name.strip_suffix(b"/").unwrap_or(name);
    let odd = |part: &[u8]| matches!(part, b"" | b"." | b"..") || part.contains(&0);
    name == b"./" || !path.split(|byte| *byte == b'/').any(odd)
}

/// All but the name, the target and what only one of the formats can say.
fn header(entry: &Entry) -> Header {
    let mut header = match entry.format {
        Format::Pax => Header::new_ustar(),
        Format::Gnu => Header::new_gnu(),
    };
    header.set_entry_type(EntryType::new(entry.typeflag));
    header.set_mode(entry.mode);
    header.set_size(entry.data.len() as u64);
    if matches!(entry.typeflag, b'3' | b'4') {
        header.set_device_major(entry.device.0).expect("a field of ustar");
        header.set_device_minor(entry.device.1).expect("a field of ustar");
    }
    header
}

/// With records for what the header has no room for.
fn append_pax(
    archive: &mut Builder<Vec<u8>>,
    header: &mut Header,
    entry: &Entry,
) -> std::io::Result<()> {
    let records = entry.records();
    let text = |(key, value)| (str::from_utf8(key).expect("fits"), value);
    archive.append_pax_extensions(
        records.iter().map(|(key, value)| (&key[..], &value[..])).map(text),
    )?;
    let or_zero = |value: i64, most: u64| {
        u64::try_from(value).ok().filter(|value| *value <= most).unwrap_or_default()
    };
    header.set_uid(or_zero(entry.uid, 0o777_7777));
    header.set_gid(or_zero(entry.gid, 0o777_7777));
    header.set_mtime(or_zero(entry.mtime.0, 0o777_7777_7777));
    let start = |bytes: &[u8]| bytes[..bytes.len().min(NAME)].to_vec();
    let (name, link) = (start(&entry.name), start(&entry.link));
    header.as_old_mut().name[..name.len()].copy_from_slice(&name);
    header.as_old_mut().linkname[..link.len()].copy_from_slice(&link);
    header.set_cksum();
    archive.append(header, &entry.data[..])
}

/// With base-256 numbers and `././@LongLink` entries, both of the crate's own making.
fn append_gnu(
    archive: &mut Builder<Vec<u8>>,
    header: &mut Header,
    entry: &Entry,
) -> std::io::Result<()> {
    header.set_uid(entry.uid.unsigned_abs());
    header.set_gid(entry.gid.unsigned_abs());
    header.set_mtime(entry.mtime.0.unsigned_abs());
    let path = |bytes| Path::new(OsStr::from_bytes(bytes));
    let (name, link) = (path(&entry.name), path(&entry.link));
    if entry.link.len() > NAME {
        return archive.append_link(header, name, link);
    }
    header.set_link_name_literal(&entry.link)?;
    archive.append_data(header, name, &entry.data[..])
}
