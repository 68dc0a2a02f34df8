// SPDX-License-Identifier: Apache-2.0
//! The field case: five layers over one directory, with an opaque marker in the second.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use crate::Result;
use crate::common::archive::{self, Entry};

/// What stands in one layer. The path comes first.
#[derive(Debug, Clone, Copy)]
pub enum Item {
    Dir(&'static str, u32),
    File(&'static str, &'static str),
    Whiteout(&'static str),
    Opaque(&'static str),
}

use Item::{Dir, File, Opaque, Whiteout};

pub const LAYERS: [&[Item]; 5] = [
    &[
        Dir("srv", 0o755),
        Dir("srv/app", 0o755),
        File("srv/app/one", "1"),
        Dir("srv/app/conf", 0o755),
        File("srv/app/conf/one", "1"),
        Dir("srv/log", 0o755),
        File("srv/log/a", "1"),
    ],
    &[
        Opaque("srv/app"),
        File("srv/app/two", "2"),
        Dir("srv/app/conf", 0o755),
        File("srv/app/conf/two", "2"),
        Opaque("srv/log"),
        File("srv/log/c", "2"),
        File("srv/log/d", "2"),
    ],
    &[File("srv/app/three", "3")],
    // Metadata, and a deletion: both copy the directory up as well.
    &[Dir("srv/app", 0o750), File("srv/app/conf/four", "4"), Whiteout("srv/log/c")],
    &[File("srv/app/five", "5"), Whiteout("srv/app/three"), Dir("srv/app/new", 0o755)],
];

/// The files of a container of these layers.
pub const FILES: [(&str, &str); 5] = [
    ("srv/app/conf/four", "4"),
    ("srv/app/conf/two", "2"),
    ("srv/app/five", "5"),
    ("srv/app/two", "2"),
    ("srv/log/d", "2"),
];

/// A layer as an image has it.
pub fn archive(layer: &[Item]) -> Vec<u8> {
    let entries: Vec<Entry> = layer
        .iter()
        .map(|item| match *item {
            Dir(path, mode) => archive::dir(path).mode(mode),
            File(path, text) => archive::file(path).data(text),
            Whiteout(path) => archive::whiteout(path),
            Opaque(path) => archive::opaque(path),
        })
        .collect();
    archive::archive(&entries)
}

/// Applies a layer as containerd 1.2 did: through the mount of its parents, where a whiteout
/// deletes, and where an opaque directory is removed and made anew.
pub fn apply_naively(layer: &[Item], root: &Path) -> Result<()> {
    for item in layer {
        match *item {
            Dir(path, mode) => {
                fs::create_dir_all(root.join(path))?;
                fs::set_permissions(root.join(path), Permissions::from_mode(mode))?;
            }
            File(path, text) => {
                let path = root.join(path);
                fs::create_dir_all(path.parent().expect("below the root"))?;
                remove(&path)?;
                fs::write(path, text)?;
            }
            Whiteout(path) => remove(&root.join(path))?,
            Opaque(path) => {
                remove(&root.join(path))?;
                fs::create_dir_all(root.join(path))?;
            }
        }
    }
    // Last, for a directory's time changes with what is made in it.
    for item in layer {
        if let Dir(path, _) | File(path, _) = *item {
            let at = std::fs::File::open(root.join(path))?;
            at.set_modified(UNIX_EPOCH + Duration::from_secs(archive::MTIME.unsigned_abs()))?;
        }
    }
    Ok(())
}

fn remove(path: &Path) -> Result<()> {
    let removed = match path.symlink_metadata() {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        result => Ok(result?),
    }
}

/// What is missing below `root`, and what is there and should not be, in words.
pub fn verdict(root: &Path) -> Result<String> {
    let mut found = BTreeMap::new();
    read(root, "", &mut found)?;
    let (mut lost, mut words) = (Vec::new(), Vec::new());
    for (path, text) in FILES {
        match found.remove(path) {
            Some(content) if content == text => {}
            Some(_) => words.push(format!("changed: {path}")),
            None => lost.push(path),
        }
    }
    match lost.as_slice() {
        [] => words.insert(0, "nothing lost".into()),
        lost => words.insert(0, format!("lost: {}", lost.join(" "))),
    }
    words.extend(found.into_keys().map(|path| format!("reappeared: {path}")));
    Ok(words.join("; "))
}

fn read(root: &Path, below: &str, found: &mut BTreeMap<String, String>) -> Result<()> {
    for entry in fs::read_dir(root.join(below))? {
        let entry = entry?;
        let name = entry.file_name().into_string().map_err(|_| "a name of ours is UTF-8")?;
        let path = if below.is_empty() { name } else { format!("{below}/{name}") };
        if entry.file_type()?.is_dir() {
            read(root, &path, found)?;
        } else {
            found.insert(path, fs::read_to_string(entry.path())?);
        }
    }
    Ok(())
}
