// SPDX-License-Identifier: Apache-2.0
//! The overlay mounts of this mount namespace, as /proc/self/mountinfo has them (proc(5)).

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use crate::sys::mounts::{self, unescape};

/// One overlay mount.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct OverlayMount {
    /// Where it is mounted, from the root directory of this process.
    pub mount_point: PathBuf,
    /// Of a mount that can be written to.
    pub upper: Option<PathBuf>,
    /// Topmost first, as in overlay's lowerdir.
    pub lowers: Vec<PathBuf>,
    /// Whether the marks are `user.overlay.*`.
    pub userxattr: bool,
}

impl OverlayMount {
    /// All directories, topmost first.
    pub fn layers(&self) -> Vec<PathBuf> {
        self.upper.iter().chain(&self.lowers).cloned().collect()
    }
}

/// Every overlay mount that this process sees. Relative directories in a mount's options are left
/// out: nothing says what they are relative to.
///
/// # Errors
///
/// /proc cannot be read.
pub fn overlay_mounts() -> std::io::Result<Vec<OverlayMount>> {
    let table = mounts::table()?;
    Ok(table.split(|byte| *byte == b'\n').filter_map(parse).collect())
}

fn parse(line: &[u8]) -> Option<OverlayMount> {
    let fields: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
    let dash = fields.iter().position(|field| *field == b"-")?;
    if *fields.get(dash + 1)? != b"overlay" {
        return None;
    }
    let mut mount = OverlayMount {
        mount_point: path(&unescape(fields.get(4)?)),
        upper: None,
        lowers: Vec::new(),
        userxattr: false,
    };
    for option in separated(fields.get(dash + 3)?, b',') {
        // The kernel's escapes for this table are outermost, overlay's own inside.
        let option = unescape(&option);
        let (name, value) = match option.iter().position(|byte| *byte == b'=') {
            Some(at) => (&option[..at], &option[at + 1..]),
            None => (&option[..], &b""[..]),
        };
        match name {
            b"userxattr" => mount.userxattr = true,
            b"upperdir" => mount.upper = Some(path(&plain(value))),
            b"lowerdir+" => mount.lowers.push(path(&plain(value))),
            // A data-only layer follows a double colon: it has no directories to merge.
            b"lowerdir" => mount.lowers.extend(
                separated(value, b':')
                    .iter()
                    .take_while(|part| !part.is_empty())
                    .map(|part| path(&plain(part))),
            ),
            _ => {}
        }
    }
    mount.lowers.retain(|lower| lower.is_absolute());
    mount.upper = mount.upper.filter(|upper| upper.is_absolute());
    Some(mount)
}

/// Splits where the separator is not escaped by a backslash.
fn separated(text: &[u8], separator: u8) -> Vec<Vec<u8>> {
    let mut parts = vec![Vec::new()];
    let mut escaped = false;
    for byte in text {
        if *byte == separator && !escaped {
            parts.push(Vec::new());
            continue;
        }
        escaped = *byte == b'\\' && !escaped;
        parts.last_mut().expect("begins with one").push(*byte);
    }
    parts
}

/// Without overlay's backslashes.
fn plain(text: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(text.len());
    let mut bytes = text.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => plain.extend(bytes.next()),
            _ => plain.push(*byte),
        }
    }
    plain
}

fn path(bytes: &[u8]) -> PathBuf {
    OsString::from_vec(bytes.to_vec()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_table_becomes_directories() {
        let line = br"36 35 0:31 / /mnt/a\040b rw,relatime shared:1 - overlay overlay rw,lowerdir=/l/2:/l\134:1:/l/0,upperdir=/up,workdir=/w,index=off";
        let mount = parse(line).unwrap();
        assert_eq!(mount.mount_point, PathBuf::from("/mnt/a b"));
        assert_eq!(mount.upper, Some("/up".into()));
        assert_eq!(mount.lowers, ["/l/2", "/l:1", "/l/0"].map(PathBuf::from));
        assert!(!mount.userxattr);
        let line = br"36 35 0:31 / /m rw - overlay o ro,lowerdir+=/a,lowerdir+=/b\040c,userxattr";
        let mount = parse(line).unwrap();
        assert_eq!(mount.layers(), ["/a", "/b c"].map(PathBuf::from));
        assert!(mount.userxattr);
    }

    #[test]
    fn other_mounts_and_relative_directories_are_left_out() {
        assert_eq!(parse(b"22 1 8:1 / / rw - ext4 /dev/sda1 rw"), None);
        assert_eq!(parse(b""), None);
        let mount = parse(b"36 35 0:31 / /m rw - overlay o rw,lowerdir=l:/a,upperdir=u").unwrap();
        assert_eq!(mount.layers(), [PathBuf::from("/a")]);
    }
}
