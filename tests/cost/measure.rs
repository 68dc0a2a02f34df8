// SPDX-License-Identifier: Apache-2.0
//! What one call of the library costs, in a process that does nothing else.

use std::collections::{HashMap, HashSet};
use std::env;
use std::ffi::OsStr;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use ocilayer::{
    AuditLayer, AuditOptions, Error, Lowers, Mode, Options, Source, audit, scan, unpack,
};
use rustix::fs::{FsWord, XattrFlags, setxattr, statfs};
use tempfile::TempDir;

use crate::common::archive::archive;
use crate::common::memory::high_water;
use crate::shapes::Shape;

/// A call of the library, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Way {
    Directory,
    DirectoryTwo,
    Overlay,
    OverlayTwo,
    Userxattr,
    Scan,
    Audit,
}

use Way::{Audit, Directory, DirectoryTwo, Overlay, OverlayTwo, Scan, Userxattr};

impl Way {
    const ALL: [Way; 7] = [Directory, DirectoryTwo, Overlay, OverlayTwo, Userxattr, Scan, Audit];

    pub fn name(self) -> &'static str {
        match self {
            Directory => "directory",
            DirectoryTwo => "directory, 2 threads",
            Overlay => "overlay",
            OverlayTwo => "overlay, 2 threads",
            Userxattr => "overlay-userxattr",
            Scan => "scan",
            Audit => "audit",
        }
    }

    fn mode(self) -> Mode {
        match self {
            Directory | DirectoryTwo | Scan => Mode::Directory,
            Overlay | OverlayTwo | Audit => Mode::Overlay,
            Userxattr => Mode::OverlayUserxattr,
        }
    }

    pub fn threads(self) -> usize {
        if matches!(self, DirectoryTwo | OverlayTwo) { 2 } else { 1 }
    }
}

#[derive(Clone, Copy, Debug, Default)]
pub struct Cost {
    /// CPU seconds outside of the kernel, and in it. The kernel looks which of the two it is a few
    /// hundred times a second.
    pub user: f64,
    pub system: f64,
    /// Bytes at the peak.
    pub memory: f64,
}

impl Cost {
    pub fn least(self, other: Cost) -> Cost {
        Cost {
            user: self.user.min(other.user),
            system: self.system.min(other.system),
            memory: self.memory.min(other.memory),
        }
    }

    fn beyond(self, fixed: Cost) -> Cost {
        Cost {
            user: (self.user - fixed.user).max(0.0),
            system: (self.system - fixed.system).max(0.0),
            memory: (self.memory - fixed.memory).max(0.0),
        }
    }
}

/// Tell the measured process what to do, in its working directory: the way, and of which size.
const CALL: &str = "OCILAYER_COST_CALL";
const SIZE: &str = "OCILAYER_COST_SIZE";
const RESULT: &str = "cost";

fn blob(n: usize) -> String {
    format!("layer-{n}")
}

fn lower_blob(n: usize) -> String {
    format!("lower-layer-{n}")
}

fn root(n: usize) -> String {
    format!("root-{n}")
}

fn lower(n: usize) -> String {
    format!("lower-{n}")
}

/// In the measured process: makes the call and leaves its cost in a file. False elsewhere.
pub fn was_here() -> bool {
    let Ok(name) = env::var(CALL) else { return false };
    let way = Way::ALL.into_iter().find(|way| way.name() == name).expect("a way");
    let n = env::var(SIZE).ok().and_then(|n| n.parse().ok()).expect("a size");
    let before = used(libc::RUSAGE_SELF);
    call(way, n).unwrap_or_else(|error| panic!("refused: {error}"));
    let after = used(libc::RUSAGE_SELF);
    let [user, system] = [0, 1].map(|of| after[of] - before[of]);
    fs::write(RESULT, format!("{user} {system} {}", high_water())).expect("write");
    true
}

fn call(way: Way, n: usize) -> Result<(), Error> {
    match way {
        Audit => {
            let mut options = AuditOptions::default();
            let layers = [(lower_blob(n), lower(n)), (blob(n), root(n))];
            let layer = |(blob, directory): (String, String)| {
                AuditLayer::new(Source::path(blob), directory)
            };
            options.threads = way.threads();
            audit(layers.map(layer).into(), &options, &mut ()).map(drop)
        }
        _ => {
            let mut options = Options::default();
            if way.mode() != Mode::Directory {
                options.lowers = Lowers::Known(vec![lower(n).into()]);
            }
            options.mode = way.mode();
            options.threads = way.threads();
            match way {
                Scan => scan(Source::path(blob(n)), &options, &mut ()).map(drop),
                _ => unpack(Source::path(blob(n)), root(n), &options).map(drop),
            }
        }
    }
}

/// User and system seconds so far: of this process, or of all that it has waited for.
pub fn used(by: libc::c_int) -> [f64; 2] {
    // SAFETY: an rusage is plain numbers, for which zero is a value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a local that outlives the call.
    let result = unsafe { libc::getrusage(by, &mut usage) };
    assert_eq!(result, 0, "getrusage");
    [usage.ru_utime, usage.ru_stime].map(|time| time.tv_sec as f64 + time.tv_usec as f64 / 1e6)
}

/// The layers of one shape, of any size, and the directories that they go to.
pub struct Bench<'s> {
    test: &'static str,
    shape: &'s Shape,
    base: TempDir,
    written: HashSet<usize>,
    /// Lower directories that are there, and stacks as the library unpacks them.
    lowers: HashSet<usize>,
    audited: HashSet<usize>,
    fixed: HashMap<Way, Cost>,
}

impl<'s> Bench<'s> {
    /// `test` is who calls [`was_here`] first of all.
    pub fn new(test: &'static str, shape: &'s Shape) -> Bench<'s> {
        let base = tempfile::Builder::new().prefix("ocilayer-cost-").tempdir_in(ground());
        let (written, lowers, audited, fixed) = Default::default();
        Bench { test, shape, base: base.expect("tempdir"), written, lowers, audited, fixed }
    }

    /// Without what a layer of size 0 costs.
    pub fn cost(&mut self, way: Way, n: usize) -> Cost {
        if !self.fixed.contains_key(&way) {
            let fixed = self.whole_cost(way, 0);
            self.fixed.insert(way, fixed);
        }
        self.whole_cost(way, n).beyond(self.fixed[&way])
    }

    fn whole_cost(&mut self, way: Way, n: usize) -> Cost {
        self.write(n);
        match way {
            Scan => {}
            Audit if self.audited.insert(n) => self.unpack_stack(n),
            Audit => {}
            _ => self.prepare(way, n),
        }
        self.run(way, n)
    }

    fn unpack_stack(&self, n: usize) {
        make_anew(&self.at(root(n)));
        make_anew(&self.at(lower(n)));
        let blob = Source::path(self.at(lower_blob(n)));
        unpack(blob, self.at(lower(n)), &Options::default()).expect("a lower layer");
        self.run(Overlay, n);
    }

    fn prepare(&mut self, way: Way, n: usize) {
        self.audited.remove(&n);
        make_anew(&self.at(root(n)));
        if way.mode() == Mode::Directory {
            self.lay_lower(n, &self.at(root(n)));
        } else if self.lowers.insert(n) {
            make_anew(&self.at(lower(n)));
            self.lay_lower(n, &self.at(lower(n)));
        }
    }

    fn at(&self, name: String) -> PathBuf {
        self.base.path().join(name)
    }

    fn write(&mut self, n: usize) {
        if self.written.insert(n) {
            fs::write(self.at(blob(n)), self.shape.blob(n)).expect("write");
            fs::write(self.at(lower_blob(n)), archive(&(self.shape.lower)(n))).expect("write");
        }
    }

    /// By hand, which is much faster; an audit would tell the difference.
    fn lay_lower(&self, n: usize, directory: &Path) {
        for entry in (self.shape.lower)(n) {
            let name = directory.join(OsStr::from_bytes(&entry.name));
            let make = || match entry.typeflag {
                b'5' => fs::create_dir_all(&name),
                b'2' => symlink(OsStr::from_bytes(&entry.link), &name),
                _ => fs::File::create(&name).map(drop),
            };
            if make().is_err() {
                fs::create_dir_all(name.parent().expect("below the directory")).expect("mkdir");
                make().expect("make");
            }
        }
    }

    fn run(&self, way: Way, n: usize) -> Cost {
        let output = Command::new(env::current_exe().expect("own path"))
            .args(["--exact", self.test, "--test-threads=1", "--nocapture"])
            .envs([(CALL, way.name()), (SIZE, &n.to_string())])
            .current_dir(self.base.path())
            .stdin(Stdio::null())
            .output()
            .expect("run the test again");
        let text =
            [output.stdout, output.stderr].map(|it| String::from_utf8_lossy(&it).into_owned());
        let name = &self.shape.name;
        assert!(output.status.success(), "{name}, {}, {n}:\n{}", way.name(), text.concat());
        let result = self.at(RESULT.into());
        let numbers = fs::read_to_string(&result).expect("a cost");
        fs::remove_file(result).expect("unlink");
        let mut numbers = numbers.split(' ').map(|number| number.parse().expect("a number"));
        let mut next = || numbers.next().expect("three of them");
        Cost { user: next(), system: next(), memory: next() }
    }
}

fn make_anew(directory: &Path) {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != ErrorKind::NotFound => panic!("{error}"),
        _ => fs::create_dir(directory).expect("mkdir"),
    }
}

/// A file system in memory where there is a large one: it has no limit of hardlinks, and costs
/// little by itself.
fn ground() -> PathBuf {
    const MEMORY: &str = "/dev/shm";
    const TMPFS: FsWord = 0x0102_1994;
    const ROOM: u64 = 2 << 30;
    let large = statfs(MEMORY)
        .is_ok_and(|it| it.f_type == TMPFS && it.f_bavail.saturating_mul(it.f_bsize as u64) > ROOM);
    let takes_marks = || -> std::io::Result<()> {
        let probe = tempfile::NamedTempFile::new_in(MEMORY)?;
        for mark in ["trusted.overlay.opaque", "user.overlay.opaque"] {
            setxattr(probe.path(), mark, b"y", XattrFlags::empty())?;
        }
        Ok(())
    };
    if large && takes_marks().is_ok() { MEMORY.into() } else { env::temp_dir() }
}
