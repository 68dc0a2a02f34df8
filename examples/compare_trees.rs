// SPDX-License-Identifier: Apache-2.0
//! Compares two directories by everything that a layer can set, and fails if they differ:
//! `cargo run --example compare_trees -- LEFT RIGHT`

use std::collections::{BTreeMap, HashMap};
use std::error::Error;
use std::fmt::Write;
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use rustix::fs::{major, minor};
use sha2::{Digest, Sha256};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// More differences than these have one cause.
const SHOWN: usize = 20;

/// Everything about each path in one line; the directory itself has the empty path.
struct Tree {
    lines: BTreeMap<PathBuf, String>,
    /// Paths by type, for the summary.
    kinds: BTreeMap<&'static str, u64>,
    bytes: u64,
}

fn main() -> Result<ExitCode> {
    let arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [left, right] = arguments.as_slice() else {
        eprintln!("usage: compare_trees LEFT RIGHT");
        return Ok(ExitCode::from(2));
    };
    let (ours, theirs) = (Tree::read(left)?, Tree::read(right)?);
    let differences = ours.differences(&theirs);
    for (path, here, there) in differences.iter().take(SHOWN) {
        println!(
            "{}\n  {}: {here}\n  {}: {there}",
            path.display(),
            left.display(),
            right.display()
        );
    }
    if !differences.is_empty() {
        println!("{} paths differ", differences.len());
        return Ok(ExitCode::FAILURE);
    }
    let kinds: Vec<String> = ours.kinds.iter().map(|(kind, n)| format!("{n} {kind}")).collect();
    println!("the same {} paths: {}; {} bytes", ours.lines.len(), kinds.join(", "), ours.bytes);
    Ok(ExitCode::SUCCESS)
}

impl Tree {
    fn read(root: &Path) -> Result<Tree> {
        let mut tree = Tree { lines: BTreeMap::new(), kinds: BTreeMap::new(), bytes: 0 };
        let mut inodes: HashMap<(u64, u64), Vec<PathBuf>> = HashMap::new();
        let mut to_visit = vec![PathBuf::new()];
        while let Some(path) = to_visit.pop() {
            // Without the slash that joining nothing leaves: it would follow a symlink.
            let full = if path.as_os_str().is_empty() { root.to_owned() } else { root.join(&path) };
            let line = tree.describe(&full).map_err(|e| format!("{}: {e}", full.display()))?;
            let metadata = fs::symlink_metadata(&full)?;
            if metadata.is_dir() {
                for entry in fs::read_dir(&full)? {
                    to_visit.push(path.join(entry?.file_name()));
                }
            } else {
                inodes.entry((metadata.dev(), metadata.ino())).or_default().push(path.clone());
            }
            tree.lines.insert(path, line);
        }
        // Which names are one file, not how many links it has: names outside do not count.
        for names in inodes.values_mut().filter(|names| names.len() > 1) {
            names.sort();
            for name in names.iter() {
                let line = tree.lines.get_mut(name).expect("inserted above");
                write!(line, " same file as {}", names[0].display())?;
            }
        }
        Ok(tree)
    }

    fn describe(&mut self, path: &Path) -> Result<String> {
        let m = fs::symlink_metadata(path)?;
        let file_type = m.file_type();
        let (kind, content) = if file_type.is_file() {
            self.bytes += m.len();
            ("files", format!("{} bytes {}", m.len(), sha256(path)?))
        } else if file_type.is_dir() {
            ("directories", String::new())
        } else if file_type.is_symlink() {
            ("symlinks", format!("-> {}", fs::read_link(path)?.display()))
        } else if file_type.is_char_device() || file_type.is_block_device() {
            ("devices", format!("{}:{}", major(m.rdev()), minor(m.rdev())))
        } else {
            ("FIFOs and sockets", String::new())
        };
        *self.kinds.entry(kind).or_default() += 1;
        let mut line = format!("mode {:o} owner {}:{}", m.mode(), m.uid(), m.gid());
        write!(line, " mtime {}.{:09} {content}", m.mtime(), m.mtime_nsec())?;
        for (name, value) in xattrs(path)? {
            write!(line, " {}={}", name.escape_ascii(), value.escape_ascii())?;
            *self.kinds.entry("xattrs").or_default() += 1;
        }
        Ok(line)
    }

    fn differences<'a>(&'a self, other: &'a Tree) -> Vec<(&'a Path, &'a str, &'a str)> {
        let look = |tree: &'a Tree, path| tree.lines.get(path).map_or("missing", String::as_str);
        let mut paths: Vec<&PathBuf> = self.lines.keys().chain(other.lines.keys()).collect();
        paths.sort();
        paths.dedup();
        let both =
            paths.into_iter().map(|path| (path.as_path(), look(self, path), look(other, path)));
        both.filter(|(_, here, there)| here != there).collect()
    }
}

fn sha256(path: &Path) -> io::Result<String> {
    let mut hash = Sha256::new();
    io::copy(&mut File::open(path)?, &mut HashWriter(&mut hash))?;
    let mut hex = String::new();
    for byte in hash.finalize() {
        let _ = write!(hex, "{byte:02x}");
    }
    Ok(hex)
}

struct HashWriter<'a>(&'a mut Sha256);

impl io::Write for HashWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Sorted. What overlayfs notes in its own layers is not a part of the tree that it shows.
fn xattrs(path: &Path) -> Result<BTreeMap<Vec<u8>, Vec<u8>>> {
    let mut found = BTreeMap::new();
    for name in xattr::list(path)? {
        if !name.as_bytes().starts_with(b"trusted.overlay.") {
            let value = xattr::get(path, &name)?.ok_or("an xattr is gone")?;
            found.insert(name.into_vec(), value);
        }
    }
    Ok(found)
}
