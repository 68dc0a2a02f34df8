// SPDX-License-Identifier: Apache-2.0
//! Single values of the command line, from their text.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use ocilayer::{IdRange, MAX_THREADS};

pub fn threads(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(threads) if threads <= MAX_THREADS => Ok(threads),
        _ => Err(format!("a number from 0 to {MAX_THREADS}")),
    }
}

/// `64`, `64K`, `64M`, `64G` or `64T`.
pub fn size(text: &str) -> Result<u64, String> {
    const UNITS: [(char, u32); 4] = [('K', 10), ('M', 20), ('G', 30), ('T', 40)];
    let unit =
        UNITS.iter().find(|(letter, _)| text.ends_with([*letter, letter.to_ascii_lowercase()]));
    let (digits, shift) = unit.map_or((text, 0), |(_, shift)| (&text[..text.len() - 1], *shift));
    let size = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(1 << shift));
    size.ok_or_else(|| "a number of bytes, with K, M, G or T for powers of 1024".into())
}

/// `CONTAINER:HOST:COUNT`.
pub fn id_range(text: &str) -> Result<IdRange, String> {
    let numbers: Option<Vec<u32>> = text.split(':').map(|number| number.parse().ok()).collect();
    match numbers.as_deref() {
        Some(&[container, host, count]) if count > 0 => Ok(IdRange { container, host, count }),
        _ => Err("CONTAINER:HOST:COUNT, three numbers, the last one above 0".into()),
    }
}

/// A `lowerdir` list: overlayfs takes a backslash before any byte for that byte.
pub fn lower_directories(list: &OsStr) -> Result<Vec<PathBuf>, String> {
    if list.is_empty() {
        return Ok(Vec::new());
    }
    let mut names = vec![Vec::new()];
    let mut bytes = list.as_bytes().iter();
    while let Some(byte) = bytes.next() {
        let name = names.last_mut().expect("one from the start, and never fewer");
        match byte {
            b':' => names.push(Vec::new()),
            b'\\' => name.push(*bytes.next().ok_or("a backslash with nothing after it")?),
            byte => name.push(*byte),
        }
    }
    if names.iter().any(Vec::is_empty) {
        return Err("an empty directory name in the list".into());
    }
    Ok(names.into_iter().map(|name| OsString::from_vec(name).into()).collect())
}

/// What a file like /etc/subuid, `USER:START:COUNT` in each line, lends to `user`: ids from 0 on,
/// range after range.
pub fn lent_ids(file: &str, user: &str) -> Vec<IdRange> {
    let mut container = 0u32;
    let mut ranges = Vec::new();
    for line in file.lines() {
        let Some((name, range)) = line.trim().split_once(':') else { continue };
        let Some((host, count)) = range.split_once(':') else { continue };
        let (Ok(host), Ok(count)) = (host.parse(), count.parse::<u32>()) else { continue };
        let Some(next) = container.checked_add(count) else { break };
        if name == user && count > 0 {
            ranges.push(IdRange { container, host, count });
            container = next;
        }
    }
    ranges
}

/// A name or a pattern of names, below the root.
pub fn pattern(text: &str) -> Result<glob::Pattern, String> {
    let names = text.trim_start_matches("./").trim_matches('/');
    match names {
        "" => Err("the root is in every layer".into()),
        names => glob::Pattern::new(names).map_err(|error| error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lower_lists_are_split_as_overlayfs_splits_them() {
        let table: &[(&str, Result<&[&str], ()>)] = &[
            ("", Ok(&[])),
            ("/a", Ok(&["/a"])),
            ("/b:/a", Ok(&["/b", "/a"])),
            (r"/b\:2:/a", Ok(&["/b:2", "/a"])),
            (r"/back\\slash:/a", Ok(&[r"/back\slash", "/a"])),
            (r"\a", Ok(&["a"])),
            ("/b::/a", Err(())),
            (":", Err(())),
            ("/a:", Err(())),
            (r"/a\", Err(())),
        ];
        for (list, expected) in table {
            let expected =
                expected.map(|names| names.iter().map(PathBuf::from).collect::<Vec<_>>());
            let got = lower_directories(OsStr::new(list)).map_err(drop);
            assert_eq!(got, expected, "{list:?}");
        }
    }

    #[test]
    fn sizes_have_binary_suffixes() {
        let table = [
            ("0", Some(0)),
            ("512", Some(512)),
            ("64K", Some(64 << 10)),
            ("3m", Some(3 << 20)),
            ("2G", Some(2 << 30)),
            ("1T", Some(1 << 40)),
            ("16777216T", None),
            ("K", None),
            ("", None),
            ("-1", None),
            ("1.5G", None),
            ("1KB", None),
        ];
        for (text, expected) in table {
            assert_eq!(size(text).ok(), expected, "{text:?}");
        }
    }

    #[test]
    fn id_ranges_are_three_numbers() {
        let range = IdRange { container: 0, host: 100_000, count: 65_536 };
        assert_eq!(id_range("0:100000:65536"), Ok(range));
        for text in ["", "0", "0:1", "0:1:0", "0:1:2:3", "a:1:2", "0:-1:2", "0:1:4294967296"] {
            assert!(id_range(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn lent_ids_follow_each_other_from_zero() {
        let file = "\
            # a comment\n\
            root:1000:10\n\
            dev:100000:65536\n\
            other:5:5\n\
            dev:300000:1000\n\
            dev:broken\n";
        let expected = [
            IdRange { container: 0, host: 100_000, count: 65_536 },
            IdRange { container: 65_536, host: 300_000, count: 1_000 },
        ];
        assert_eq!(lent_ids(file, "dev"), expected);
        assert_eq!(lent_ids(file, "nobody"), []);
    }
}
