// SPDX-License-Identifier: Apache-2.0
//! `forgetful MOUNTPOINT DIRECTORY SIZE`: a file `image` at the mount point, by FUSE, of which only that is
//! sure to stay which was there at the last fsync(2). Its content is kept below the directory.
//!
//! `cut PATH` on standard input writes to that path what a loss of power may leave: all that was there at
//! the last fsync, and of each write since then all, a part in sectors, or nothing. That answers with the
//! number of these writes. It ends with its standard input.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, BufRead, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{
    Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo,
    LockOwner, OpenFlags, ReplyAttr, ReplyData, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyWrite,
    Request, WriteFlags,
};

const IMAGE: INodeNo = INodeNo(2);
const SECTOR: usize = 512;
const FOREVER: Duration = Duration::from_secs(3600);

struct Device {
    size: u64,
    current: File,
    durable: File,
    durable_path: PathBuf,
    /// Since the last fsync, in their order.
    pending: Vec<(u64, Vec<u8>)>,
    random: u64,
}

impl Device {
    fn new(directory: &Path, size: u64) -> io::Result<Device> {
        let durable_path = directory.join("durable");
        let open = |path: &Path| {
            let file =
                File::options().read(true).write(true).create(true).truncate(true).open(path)?;
            file.set_len(size)?;
            io::Result::Ok(file)
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
        Ok(Device {
            size,
            current: open(&directory.join("current"))?,
            durable: open(&durable_path)?,
            durable_path,
            pending: Vec::new(),
            random: now.as_nanos() as u64 | 1,
        })
    }

    fn write(&mut self, at: u64, data: &[u8]) -> io::Result<()> {
        self.current.write_all_at(data, at)?;
        self.pending.push((at, data.to_vec()));
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        for (at, data) in self.pending.drain(..) {
            self.durable.write_all_at(&data, at)?;
        }
        Ok(())
    }

    fn below(&mut self, most: usize) -> usize {
        // Xorshift.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random % most as u64) as usize
    }

    fn cut(&mut self, path: &Path) -> io::Result<usize> {
        fs::copy(&self.durable_path, path)?;
        let image = File::options().write(true).open(path)?;
        let pending = std::mem::take(&mut self.pending);
        for (at, data) in &pending {
            let kept = match self.below(8) {
                0..=2 => 0,
                3 => self.below(data.len() / SECTOR + 1) * SECTOR,
                _ => data.len(),
            };
            image.write_all_at(&data[..kept], *at)?;
        }
        let writes = pending.len();
        self.pending = pending;
        Ok(writes)
    }
}

struct Image(Arc<Mutex<Device>>);

impl Image {
    fn attributes(&self, inode: INodeNo) -> FileAttr {
        let size = self.0.lock().expect("no panic").size;
        let root = inode == INodeNo::ROOT;
        FileAttr {
            ino: inode,
            size: if root { 0 } else { size },
            blocks: 0,
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind: if root { FileType::Directory } else { FileType::RegularFile },
            perm: if root { 0o755 } else { 0o600 },
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            flags: 0,
            blksize: 4096,
        }
    }
}

impl Filesystem for Image {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match parent == INodeNo::ROOT && name == "image" {
            true => reply.entry(&FOREVER, &self.attributes(IMAGE), Generation(0)),
            false => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _: &Request, inode: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        reply.attr(&FOREVER, &self.attributes(inode));
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        // Each write comes here at once, and not when the kernel finds time for it.
        reply.opened(FileHandle(0), FopenFlags::FOPEN_DIRECT_IO);
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let device = self.0.lock().expect("no panic");
        let most = device.size.saturating_sub(offset).min(size.into()) as usize;
        let mut data = vec![0; most];
        match device.current.read_exact_at(&mut data, offset) {
            Ok(()) => reply.data(&data),
            Err(_) => reply.error(Errno::EIO),
        }
    }

    fn write(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        match self.0.lock().expect("no panic").write(offset, data) {
            Ok(()) => reply.written(data.len() as u32),
            Err(_) => reply.error(Errno::EIO),
        }
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        // close(2) makes nothing durable.
        reply.ok();
    }

    fn fsync(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        match self.0.lock().expect("no panic").flush() {
            Ok(()) => reply.ok(),
            Err(_) => reply.error(Errno::EIO),
        }
    }
}

fn main() -> io::Result<()> {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let [at, directory, size] = &arguments[..] else {
        return Err(io::Error::other("usage: forgetful MOUNTPOINT DIRECTORY SIZE"));
    };
    let size = size.to_str().and_then(|size| size.parse().ok());
    let size = size.ok_or_else(|| io::Error::other("SIZE is a number of bytes"))?;
    let device = Arc::new(Mutex::new(Device::new(Path::new(directory), size)?));
    let session = fuser::spawn_mount(Image(device.clone()), at, &Config::default())?;
    println!("ready");
    for line in io::stdin().lock().lines() {
        let line = line?;
        let Some(path) = line.strip_prefix("cut ") else {
            return Err(io::Error::other(format!("what is {line:?}?")));
        };
        let writes = device.lock().expect("no panic").cut(Path::new(path))?;
        println!("{writes}");
        io::stdout().flush()?;
    }
    drop(session);
    Ok(())
}
