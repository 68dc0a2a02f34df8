// SPDX-License-Identifier: Apache-2.0
//! Layers on disk: one directory for each, named by its chain ID, complete or not there.
//!
//! ```text
//! STORE/settings.json      how all of them were unpacked
//! STORE/sha256/HEX         a layer, above those that its chain ID stands for
//! STORE/partial/HEX.PID.N  one that is being made; locked by who makes it
//! STORE/lock               held while a partial one is begun, or those of the dead are removed
//! ```
//!
//! A layer is made in `partial/` and renamed into its place when all of it was verified and is on
//! disk as asked. A process that dies leaves a directory there that nobody has locked: the next one to
//! come removes it.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{CWD, fsync};
use rustix::fs::{
    FlockOperation, Mode as Permissions, OFlags, RenameFlags, flock, open, renameat_with,
};
use rustix::io::{Errno, retry_on_intr};
use serde_json::{Value, json};

use super::error::{ImageError, Result};
use crate::digest::Digest;
use crate::options::{Devices, Mode, Options, Owners, Sync};

/// A directory of layers, which any number of processes may use at once.
#[derive(Debug)]
pub struct LayerStore {
    path: PathBuf,
}

/// A layer that is being made. Dropped before it is complete, it is removed.
#[derive(Debug)]
pub(super) struct Partial {
    pub(super) path: PathBuf,
    _lock: File,
}

impl LayerStore {
    /// Opens the store in a directory, which is made if it is not there, for layers that are unpacked with
    /// these options. What dead processes have left is removed.
    ///
    /// # Errors
    ///
    /// The directory cannot be used, or its layers were unpacked with other options: in another
    /// mode, or with other owners or devices.
    pub fn open(path: impl AsRef<Path>, options: &Options) -> Result<LayerStore> {
        let path = path.as_ref();
        let failed = |error| ImageError::Io(path.display().to_string(), error);
        fs::create_dir_all(path.join("partial")).map_err(failed)?;
        // Paths in lowerdir must hold wherever the mount is made.
        let store = LayerStore { path: path.canonicalize().map_err(failed)? };
        let _lock = store.lock()?;
        store.settle(&settings(options))?;
        store.remove_dead()?;
        Ok(store)
    }

    /// Where the layer of a chain ID is, or will be.
    pub fn path_of(&self, chain_id: &Digest) -> PathBuf {
        LayerStore::path_in(&self.path, chain_id)
    }

    /// The same for the store in a directory, without opening it.
    pub fn path_in(store: &Path, chain_id: &Digest) -> PathBuf {
        store.join(chain_id.to_string().replacen(':', "/", 1))
    }

    /// Whether the layer is there, which means that all of it is.
    pub fn has(&self, chain_id: &Digest) -> bool {
        self.path_of(chain_id).is_dir()
    }

    /// Opens a layer's directory, which must be complete.
    pub(super) fn open_layer(&self, chain_id: &Digest) -> Result<OwnedFd> {
        let path = self.path_of(chain_id);
        let failed = |errno: Errno| ImageError::Io(path.display().to_string(), errno.into());
        open_dir(&path).map(OwnedFd::from).map_err(failed)
    }

    pub(super) fn begin(&self, chain_id: &Digest) -> Result<Partial> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let _lock = self.lock()?;
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let hex = chain_id.to_string();
        let name = format!("{}.{}.{number}", hex.replace(':', "-"), std::process::id());
        let path = self.path.join("partial").join(name);
        let failed = |error| ImageError::Io(path.display().to_string(), error);
        // Of a dead process with this one's number.
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).map_err(failed)?;
        let directory = open_dir(&path).map_err(|errno| failed(errno.into()))?;
        flock(&directory, FlockOperation::NonBlockingLockExclusive)
            .map_err(|errno| failed(errno.into()))?;
        Ok(Partial { path, _lock: directory })
    }

    /// Puts a layer where it is looked for. If another process was faster, its layer stays.
    pub(super) fn complete(&self, partial: Partial, chain_id: &Digest, sync: Sync) -> Result<()> {
        let to = self.path_of(chain_id);
        let above = to.parent().expect("a digest has two parts");
        let failed = |errno: Errno| ImageError::Io(to.display().to_string(), errno.into());
        fs::create_dir_all(above)
            .map_err(|error| ImageError::Io(above.display().to_string(), error))?;
        match renameat_with(CWD, &partial.path, CWD, &to, RenameFlags::NOREPLACE) {
            Ok(()) => {}
            Err(Errno::EXIST | Errno::NOTEMPTY) => return Ok(()),
            // A file system without it, or a kernel before 3.15: rename(2) replaces an empty
            // directory only, and a complete layer that is empty is as good as this one.
            Err(Errno::INVAL | Errno::NOSYS) => match fs::rename(&partial.path, &to) {
                Err(_) if to.is_dir() => return Ok(()),
                result => {
                    result.map_err(|error| ImageError::Io(to.display().to_string(), error))?
                }
            },
            Err(errno) => return Err(failed(errno)),
        }
        if sync != Sync::None {
            // The new name, and the names of its directories, which may be new as well.
            for dir in above.ancestors().take_while(|dir| dir.starts_with(&self.path)) {
                open_dir(dir).and_then(|dir| fsync(dir.as_fd())).map_err(failed)?;
            }
        }
        Ok(())
    }

    fn lock(&self) -> Result<File> {
        let path = self.path.join("lock");
        let failed = |error| ImageError::Io(path.display().to_string(), error);
        let file = File::options().create(true).truncate(false).write(true).open(&path);
        let file = file.map_err(failed)?;
        retry_on_intr(|| flock(&file, FlockOperation::LockExclusive))
            .map_err(|errno| failed(errno.into()))?;
        Ok(file)
    }

    /// All layers of a store are of one kind: what one was unpacked with, the next one relies on.
    fn settle(&self, wanted: &Value) -> Result<()> {
        let path = self.path.join("settings.json");
        let failed = |error| ImageError::Io(path.display().to_string(), error);
        match fs::read(&path) {
            Ok(bytes) => {
                let own: Value = serde_json::from_slice(&bytes).map_err(|error| {
                    ImageError::Json(path.display().to_string(), error.to_string())
                })?;
                match own == *wanted {
                    true => Ok(()),
                    false => Err(ImageError::Settings {
                        store: self.path.clone(),
                        has: own.to_string(),
                        wanted: wanted.to_string(),
                    }),
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let new = self.path.join("partial/settings.json");
                fs::write(&new, wanted.to_string()).map_err(failed)?;
                fs::rename(new, &path).map_err(failed)
            }
            Err(error) => Err(failed(error)),
        }
    }

    fn remove_dead(&self) -> Result<()> {
        let partial = self.path.join("partial");
        let failed = |error| ImageError::Io(partial.display().to_string(), error);
        for entry in fs::read_dir(&partial).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            let Ok(directory) = open_dir(&path) else { continue };
            match flock(&directory, FlockOperation::NonBlockingLockExclusive) {
                // It is being made.
                Err(Errno::WOULDBLOCK) => {}
                Ok(()) => remove(&path)?,
                Err(errno) => return Err(failed(errno.into())),
            }
        }
        Ok(())
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        // Renamed into its place it is not here any more. What cannot be removed the next one tries.
        let _ = fs::remove_dir_all(&self.path);
    }
}

fn remove(path: &Path) -> Result<()> {
    fs::remove_dir_all(path).map_err(|error| ImageError::Io(path.display().to_string(), error))
}

fn open_dir(path: &Path) -> std::result::Result<File, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    retry_on_intr(|| open(path, flags, Permissions::empty())).map(File::from)
}

/// What the content of a layer's directory depends on, beside the layer.
fn settings(options: &Options) -> Value {
    let ranges = |ranges: &[crate::options::IdRange]| -> Vec<Value> {
        let one =
            |range: &crate::options::IdRange| json!([range.container, range.host, range.count]);
        ranges.iter().map(one).collect()
    };
    let owners = match &options.owners {
        Owners::Keep => json!("keep"),
        Owners::Ignore => json!("ignore"),
        Owners::Map { uids, gids } => json!({ "uids": ranges(uids), "gids": ranges(gids) }),
    };
    let mode = if options.mode == Mode::OverlayUserxattr { "overlay-userxattr" } else { "overlay" };
    let devices = if options.devices == Devices::Skip { "skip" } else { "create" };
    json!({ "mode": mode, "owners": owners, "devices": devices })
}
