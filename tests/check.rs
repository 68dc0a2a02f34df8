// SPDX-License-Identifier: Apache-2.0
//! The overlay check on the kernel that runs the tests, which is taken to be a sound one: the
//! first test asks it by other means. What an affected kernel answers takes an affected kernel.

use std::fs;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, symlink};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Barrier;
use std::time::Duration;

use ocilayer::{
    CopyUp, Errno, ErrorKind, MountKind, Obstacle, OpaqueXattr, Outcome, OverlayCheck, Verdict,
    check_overlay_opaque_propagation,
};
use rustix::fs::{FlockOperation, flock};
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use rustix::thread::UnshareFlags;
use tempfile::TempDir;

#[test]
fn a_mount_by_hand_agrees_with_the_check() {
    let Some(dir) = directory() else { return };
    // Runs in a namespace of its own, so that the mount goes with the shell.
    let script = r#"
        cd "$1" && mkdir -p below/d opaque/d upper work merged && touch below/d/hidden
        mount -t overlay -o lowerdir=opaque:below,upperdir=upper,workdir=work none merged
        test ! -e merged/d/hidden && touch merged/d/created"#;
    fs::create_dir_all(dir.path().join("opaque/d")).unwrap();
    let marked = dir.path().join("opaque/d");
    rustix::fs::setxattr(&marked, "trusted.overlay.opaque", b"y", rustix::fs::XattrFlags::CREATE)
        .unwrap();
    let status = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-euc", script, "sh"])
        .arg(dir.path())
        .status()
        .unwrap();
    assert!(status.success());
    let copied = dir.path().join("upper/d");
    let mark = rustix::fs::getxattr(&copied, "trusted.overlay.opaque", &mut [0u8; 8]);
    let by_hand = match mark {
        Ok(_) => Verdict::Affected,
        Err(errno) => {
            assert_eq!(errno, rustix::io::Errno::NODATA);
            Verdict::NotAffected
        }
    };

    assert_eq!(check(dir.path()).verdict, by_hand);
}

#[test]
fn this_kernel_is_not_affected_and_each_way_of_copying_up_was_tried() {
    let Some(dir) = directory() else { return };
    let check = check(dir.path());
    assert_eq!(check, sound(dir.path(), MountKind::Detached));
    assert_eq!(check.advice(), None);
    assert_empty(dir.path());
}

#[test]
fn a_directory_may_have_any_name() {
    let Some(dir) = directory() else { return };
    for name in ["a:b", "a,b=c", "a\\b\\:c\\,", "a b", "a\nb", "-o", "%s\u{fc}"] {
        let named = dir.path().join(name);
        fs::create_dir(&named).unwrap();
        assert_eq!(check(&named), sound(&named, MountKind::Detached));
        let fallback = without(&[libc::SYS_fsopen], libc::ENOSYS, || check(&named));
        assert_eq!(fallback, sound(&named, MountKind::PrivateNamespace));
        assert_empty(&named);
    }
}

#[test]
fn without_a_directory_a_temporary_one_serves() {
    if !able() {
        return;
    }
    let check = check_overlay_opaque_propagation(None).unwrap();
    assert_eq!(check.verdict, Verdict::NotAffected);
    assert!(check.directory.is_absolute());
}

#[test]
fn a_relative_directory_is_relative_to_the_caller() {
    let Some(dir) = directory() else { return };
    let dir = dir.path();
    on_own_thread(UnshareFlags::FS, || {
        rustix::process::chdir(dir).unwrap();
        assert_eq!(check(Path::new(".")), sound(Path::new("."), MountKind::Detached));
        assert_eq!(std::env::current_dir().unwrap(), dir.canonicalize().unwrap());
    });
    assert_empty(dir);
}

#[test]
fn without_the_new_mount_calls_a_private_namespace_gives_the_same_answer() {
    let Some(dir) = directory() else { return };
    let all = [libc::SYS_fsopen, libc::SYS_fsconfig, libc::SYS_fsmount];
    let each = all.map(|call| vec![call]);
    for hidden in [vec![all.to_vec()], each.to_vec()].concat() {
        for errno in [libc::ENOSYS, libc::EPERM] {
            let check = without(&hidden, errno, || check(dir.path()));
            assert_eq!(check, sound(dir.path(), MountKind::PrivateNamespace), "{hidden:?} {errno}");
            assert_empty(dir.path());
        }
    }
}

#[test]
fn what_a_seccomp_filter_takes_away_for_good_is_no_privilege() {
    let Some(dir) = directory() else { return };
    let cases = [
        (vec![libc::SYS_unshare], "unshare(CLONE_FS)"),
        (vec![libc::SYS_fsopen, libc::SYS_mount], "mount(MS_PRIVATE)"),
    ];
    for (hidden, operation) in cases {
        let check = without(&hidden, libc::EPERM, || check(dir.path()));
        let obstacle = Obstacle::NoPrivilege { operation, errno: Errno::PERM };
        assert_eq!(check.verdict, Verdict::Unknown { obstacle });
        assert_eq!(check.trials, []);
        assert_empty(dir.path());
    }
}

#[test]
fn the_mount_table_never_changes() {
    let Some(dir) = directory() else { return };
    let dir = dir.path();
    let watch = || {
        // Shared, as on most machines: what a fallback mounted in it would come through.
        mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::SHARED).unwrap();
        let table = MountTable::open();
        check(dir);
        assert!(!table.changed(), "{}", fs::read_to_string("/proc/thread-self/mountinfo").unwrap());

        mount("none", dir, "tmpfs", MountFlags::empty(), None).unwrap();
        assert!(table.changed(), "this test would not see a mount");
    };
    in_own_namespace(watch);
    in_own_namespace(|| without(&[libc::SYS_fsopen], libc::ENOSYS, watch));
    assert_empty(dir);
}

#[test]
fn the_caller_keeps_its_umask_directory_and_descriptors() {
    let Some(dir) = directory() else { return };
    let dir = dir.path();
    on_own_thread(UnshareFlags::FS | UnshareFlags::FILES, || {
        let context = || {
            let status = fs::read_to_string("/proc/thread-self/status").unwrap();
            let umask = status.lines().find(|line| line.starts_with("Umask:")).unwrap().to_owned();
            let descriptors = fs::read_dir("/proc/thread-self/fd").unwrap().count();
            (umask, std::env::current_dir().unwrap(), descriptors)
        };
        rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o167));
        let before = context();
        check(dir);
        without(&[libc::SYS_fsopen], libc::ENOSYS, || check(dir));
        assert_eq!(context(), before);
    });
}

#[test]
fn eight_threads_may_check_one_directory_at_once() {
    let Some(dir) = directory() else { return };
    let dir = dir.path();
    let start = Barrier::new(8);
    let run = |kind| {
        start.wait();
        for _ in 0..10 {
            assert_eq!(check(dir), sound(dir, kind));
        }
    };
    std::thread::scope(|scope| {
        for thread in 0..8 {
            scope.spawn(move || match thread % 2 {
                0 => run(MountKind::Detached),
                _ => without(&[libc::SYS_fsopen], libc::EPERM, || run(MountKind::PrivateNamespace)),
            });
        }
    });
    assert_empty(dir);
}

#[test]
fn file_systems_answer_for_themselves() {
    if !able() {
        return;
    }
    let dir = TempDir::new().unwrap();
    let dir = dir.path();
    in_own_namespace(|| {
        mount("none", dir, "tmpfs", MountFlags::empty(), None).unwrap();
        let on_tmpfs = check(dir);
        assert_eq!(on_tmpfs, sound(dir, MountKind::Detached));
        assert_eq!(on_tmpfs.filesystem.as_deref(), Some("tmpfs"));

        for name in ["lower", "upper", "work", "merged"] {
            fs::create_dir(dir.join(name)).unwrap();
        }
        let of = |name| dir.join(name).display().to_string();
        let options =
            format!("lowerdir={},upperdir={},workdir={}", of("lower"), of("upper"), of("work"));
        let options = std::ffi::CString::new(options).unwrap();
        let merged = dir.join("merged");
        mount("none", &merged, "overlay", MountFlags::empty(), options.as_c_str()).unwrap();
        let on_overlay = check(&merged);
        assert_eq!(on_overlay.filesystem.as_deref(), Some("overlay"));
        assert!(
            matches!(
                on_overlay.verdict,
                Verdict::Unknown { obstacle: Obstacle::MountRefused { .. } }
            ),
            "{on_overlay}"
        );
        assert_empty(&merged);

        mount("none", dir, "tmpfs", MountFlags::RDONLY, None).unwrap();
        let obstacle = Obstacle::Directory { operation: "mkdirat", errno: Errno::ROFS };
        assert_eq!(check(dir).verdict, Verdict::Unknown { obstacle });
    });
    for kernel in ["/proc", "/sys"] {
        let check = check(Path::new(kernel));
        assert!(matches!(check.verdict, Verdict::Unknown { .. }), "{check}");
    }
}

#[test]
fn what_is_no_directory_is_an_error() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    symlink("nowhere", dir.path().join("dangling")).unwrap();
    let cases = [
        (dir.path().join("missing"), Errno::NOENT),
        (dir.path().join("dangling"), Errno::NOENT),
        (file.clone(), Errno::NOTDIR),
        (file.join("below"), Errno::NOTDIR),
        (PathBuf::new(), Errno::NOENT),
    ];
    for (path, errno) in cases {
        let error = check_overlay_opaque_propagation(Some(&path)).unwrap_err();
        assert_eq!((error.kind(), error.errno()), (ErrorKind::InvalidArgument, errno), "{path:?}");
        assert!(error.to_string().contains(&path.display().to_string()));
    }
}

#[test]
fn what_killed_checks_left_is_removed_and_nothing_else() {
    let Some(dir) = directory() else { return };
    let canary = TempDir::new().unwrap();
    fs::write(canary.path().join("bird"), "sings").unwrap();
    let make = |name: &str, mode, below: &str| {
        let path = dir.path().join(name);
        fs::DirBuilder::new().mode(0o700).create(&path).unwrap();
        let tree = path.join(below);
        fs::create_dir_all(tree.join("a/b")).unwrap();
        fs::write(tree.join("a/file"), "").unwrap();
        symlink(canary.path(), tree.join("a/link")).unwrap();
        fs::set_permissions(tree.join("a"), fs::Permissions::from_mode(0o000)).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    };
    make(".ocilayer-check-1-stale", 0o700, "ocilayer-work");
    symlink(
        canary.path(),
        make(".ocilayer-check-1-links", 0o700, "ocilayer-upper").join("ocilayer-work"),
    )
    .unwrap();
    fs::create_dir(dir.path().join(".ocilayer-check-1-empty")).unwrap();
    let live = make(".ocilayer-check-2-live", 0o700, "ocilayer-work");
    let lock = fs::File::open(&live).unwrap();
    flock(&lock, FlockOperation::LockExclusive).unwrap();

    let others = [
        make(".ocilayer-check-3-shared", 0o777, "ocilayer-work"),
        make(".ocilayer-check-3-other-names", 0o700, "upper"),
        make("ocilayer-check-3-other-prefix", 0o700, "ocilayer-work"),
        make(".ocilayer-check-3-other-user", 0o700, "ocilayer-work"),
        dir.path().join(".ocilayer-check-3-symlink"),
        dir.path().join(".ocilayer-check-3-file"),
    ];
    std::os::unix::fs::chown(&others[3], Some(4711), None).unwrap();
    symlink(canary.path(), &others[4]).unwrap();
    fs::write(&others[5], "").unwrap();

    assert_eq!(check(dir.path()), sound(dir.path(), MountKind::Detached));
    let mut kept = others.to_vec();
    kept.push(live);
    assert_eq!(listing(dir.path()), sorted(kept));
    for (below, other) in
        ["ocilayer-work", "upper", "ocilayer-work", "ocilayer-work"].iter().zip(&others)
    {
        assert!(other.join(below).join("a/file").exists(), "{other:?}");
    }

    drop(lock);
    // The same without statx(2), which tells whose a leftover is before it is opened.
    without(&[libc::SYS_statx], libc::ENOSYS, || check(dir.path()));
    assert_eq!(listing(dir.path()), sorted(others.to_vec()));
    assert_eq!(fs::read(canary.path().join("bird")).unwrap(), b"sings");
    assert_eq!(listing(canary.path()).len(), 1);
}

#[test]
fn a_check_that_is_killed_is_cleaned_up_after() {
    let Some(dir) = directory() else { return };
    for (kind, hidden) in [("detached", ""), ("private namespace", "fsopen")] {
        let mut left = 0;
        for round in 0..40 {
            let mut child = child(dir.path()).env(HIDE, hidden).env(FOREVER, "1").spawn().unwrap();
            // Once it has begun, at a different point of the check each time.
            while listing(dir.path()).is_empty() {
                assert!(child.try_wait().unwrap().is_none(), "the child ended by itself");
                std::thread::sleep(Duration::from_micros(200));
            }
            std::thread::sleep(Duration::from_micros(round * 97));
            child.kill().unwrap();
            assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGKILL));
            left += usize::from(!listing(dir.path()).is_empty());

            assert_eq!(check(dir.path()), sound(dir.path(), MountKind::Detached));
            assert_empty(dir.path());
        }
        assert!(left > 0, "{kind}: each kill came between two checks");
    }
}

#[test]
fn in_a_user_namespace_the_mark_is_that_of_userxattr() {
    let Some(on_disk) = directory() else { return };
    let on_tmpfs = tempfile::tempdir_in("/dev/shm").unwrap();
    let namespaces = [("-Urm", "detached"), ("-Ur", "private_namespace")];
    for dir in [&on_disk, &on_tmpfs] {
        for (namespace, kind) in namespaces {
            let json = answer(child_of(Command::new("unshare").arg(namespace), dir.path()));
            assert_eq!(json["verdict"], "not_affected", "{json}");
            assert_eq!(json["xattr"], "user.overlay.opaque");
            assert_eq!(json["mount"], kind);
            let outcomes = json["trials"].as_array().unwrap().iter().map(|t| &t["outcome"]);
            assert_eq!(outcomes.collect::<Vec<_>>(), ["clean", "clean", "no_redirect_dir"]);
            assert_empty(dir.path());
        }
        let mut unshare = Command::new("unshare");
        let hidden = child_of(unshare.arg("-Urm").env(HIDE, "fsopen"), dir.path());
        assert_eq!(answer(hidden)["mount"], "private_namespace");
    }
}

#[test]
fn without_privilege_the_check_cannot_tell() {
    let Some(dir) = directory() else { return };
    // The test binary may lie where only root can go.
    let copy = dir.path().join("copy");
    fs::copy(std::env::current_exe().unwrap(), &copy).unwrap();
    let world = dir.path().join("world");
    fs::create_dir(&world).unwrap();
    for (path, mode) in [(dir.path(), 0o755), (&copy, 0o755), (&world, 0o777)] {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
    let ask = |dir: &Path| {
        let mut command = Command::new(&copy);
        command.uid(65534).gid(65534).current_dir("/");
        answer(helper(&mut command, dir))
    };
    let json = ask(&world);
    assert_eq!(json["verdict"], "unknown", "{json}");
    assert_eq!(json["obstacle"]["kind"], "no_privilege");
    assert_empty(&world);

    let json = ask(dir.path());
    assert_eq!(json["obstacle"]["kind"], "directory", "{json}");
}

#[test]
fn the_answer_reads_well_as_a_line_and_as_json() {
    let mut check = sound(Path::new("/var/lib"), MountKind::Detached);
    check.filesystem = Some("ext4".into());
    let line = "/var/lib (ext4): not affected: trusted.overlay.opaque stays where it is";
    assert_eq!(check.to_string(), line);
    let json = r#"{"verdict":"not_affected","directory":"/var/lib","filesystem":"ext4","#
        .to_owned()
        + r#""xattr":"trusted.overlay.opaque","mount":"detached","trials":["#
        + r#"{"copy_up":"create","outcome":"clean"},{"copy_up":"metadata","outcome":"clean"},"#
        + r#"{"copy_up":"rename","outcome":"clean"}]}"#;
    assert_eq!(check.to_json(), json);

    check.verdict = Verdict::Affected;
    check.trials[0].outcome = Outcome::Propagated;
    check.trials[1].outcome = Outcome::Propagated;
    check.trials[2].outcome = Outcome::Failed { operation: "renameat", errno: Errno::XDEV };
    let line = "/var/lib (ext4): affected: a directory's trusted.overlay.opaque is copied up by \
                creating a file in it, changing its metadata";
    assert_eq!(check.to_string(), line);
    assert!(check.advice().is_some_and(|advice| !advice.contains(['\n', '\\'])));
    let json: serde_json::Value = serde_json::from_str(&check.to_json()).unwrap();
    assert_eq!(json["verdict"], "affected");
    assert_eq!(json["trials"][2]["operation"], "renameat");

    check.verdict = Verdict::Unknown { obstacle: Obstacle::NoOverlay };
    assert_eq!(check.to_string(), "/var/lib (ext4): cannot tell: this kernel has no overlayfs");
    let json: serde_json::Value = serde_json::from_str(&check.to_json()).unwrap();
    assert_eq!(json["obstacle"]["kind"], "no_overlay");
    assert_eq!(json["obstacle"]["message"], "this kernel has no overlayfs");
}

/// Not a test: other tests run it in a process of its own, in a namespace or as another user.
#[test]
#[ignore = "run by the other tests"]
fn helper_prints_the_check() {
    let dir = PathBuf::from(std::env::var_os(DIR).expect("only for the other tests"));
    let ask = || {
        while std::env::var_os(FOREVER).is_some() {
            check(&dir);
        }
        println!("\n{ANSWER}{}", check(&dir).to_json());
    };
    match std::env::var_os(HIDE) {
        Some(call) if call == "fsopen" => without(&[libc::SYS_fsopen], libc::ENOSYS, ask),
        _ => ask(),
    }
}

const DIR: &str = "OCILAYER_TEST_DIR";
const HIDE: &str = "OCILAYER_TEST_HIDE";
const FOREVER: &str = "OCILAYER_TEST_FOREVER";
const ANSWER: &str = "answer: ";

fn helper<'a>(command: &'a mut Command, dir: &Path) -> &'a mut Command {
    command
        .args(["--exact", "helper_prints_the_check", "--ignored", "--nocapture"])
        .env(DIR, dir)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
}

fn child(dir: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    helper(&mut command, dir);
    command
}

/// The helper as an argument of a command that runs it.
fn child_of<'a>(command: &'a mut Command, dir: &Path) -> &'a mut Command {
    helper(command.arg(std::env::current_exe().unwrap()), dir)
}

fn answer(command: &mut Command) -> serde_json::Value {
    let output = command.output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let json = text.lines().find_map(|line| line.strip_prefix(ANSWER));
    serde_json::from_str(json.unwrap_or_else(|| panic!("no answer: {text}"))).unwrap()
}

fn check(dir: &Path) -> OverlayCheck {
    check_overlay_opaque_propagation(Some(dir)).unwrap()
}

/// What root gets on a sound kernel with redirect_dir, on whatever file system `dir` is.
fn sound(dir: &Path, kind: MountKind) -> OverlayCheck {
    let ways = [CopyUp::Create, CopyUp::Metadata, CopyUp::Rename];
    let mut sound = check(dir);
    sound.verdict = Verdict::NotAffected;
    sound.directory = dir.into();
    sound.xattr = Some(OpaqueXattr::Trusted);
    sound.mount = Some(kind);
    assert_eq!(sound.trials.len(), ways.len());
    for (trial, copy_up) in sound.trials.iter_mut().zip(ways) {
        (trial.copy_up, trial.outcome) = (copy_up, Outcome::Clean);
    }
    sound
}

/// Whether this process may mount; says loudly when not, and fails where that must not be.
fn able() -> bool {
    let able = std::thread::spawn(|| unshare(UnshareFlags::NEWNS).is_ok()).join().unwrap();
    if !able {
        assert!(std::env::var_os("CI").is_none(), "CI must run this as root with CAP_SYS_ADMIN");
        eprintln!("\n*** SKIPPED: needs root with CAP_SYS_ADMIN ***\n");
    }
    able
}

fn directory() -> Option<TempDir> {
    able().then(|| TempDir::with_prefix("probe-").unwrap())
}

fn listing(dir: &Path) -> Vec<PathBuf> {
    sorted(fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect())
}

fn sorted(mut paths: Vec<PathBuf>) -> Vec<PathBuf> {
    paths.sort();
    paths
}

fn assert_empty(dir: &Path) {
    assert_eq!(listing(dir), [] as [PathBuf; 0]);
}

fn unshare(what: UnshareFlags) -> Result<(), rustix::io::Errno> {
    // SAFETY: neither namespaces nor a copy of the descriptor table invalidate a descriptor.
    unsafe { rustix::thread::unshare_unsafe(what) }
}

fn on_own_thread<T: Send>(what: UnshareFlags, work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            unshare(what).unwrap();
            work()
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn in_own_namespace<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    on_own_thread(UnshareFlags::NEWNS | UnshareFlags::FS, || {
        mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::PRIVATE).unwrap();
        work()
    })
}

/// Tells whether anything was mounted or unmounted since, even if it is gone again.
struct MountTable(fs::File);

impl MountTable {
    fn open() -> MountTable {
        MountTable(fs::File::open("/proc/thread-self/mountinfo").unwrap())
    }

    fn changed(&self) -> bool {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let mut table = [PollFd::new(&self.0, PollFlags::PRI)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut table, Some(&now)).unwrap();
        table[0].revents().contains(PollFlags::PRI)
    }
}

/// Runs `work` on a thread that gets `errno` from these system calls, and so do its threads.
fn without<T: Send>(hidden: &[libc::c_long], errno: i32, work: impl FnOnce() -> T + Send) -> T {
    let step = |code: u32, jump, k| libc::sock_filter { code: code as u16, jt: jump, jf: 0, k };
    // The system call's number is the first word of what a filter sees.
    let mut program = vec![step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0)];
    for (index, call) in hidden.iter().enumerate() {
        let to_refusal = (hidden.len() - index) as u8;
        let equal = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
        program.push(step(equal, to_refusal, *call as u32));
    }
    let answer = libc::BPF_RET | libc::BPF_K;
    program.push(step(answer, 0, libc::SECCOMP_RET_ALLOW));
    program.push(step(answer, 0, libc::SECCOMP_RET_ERRNO | errno as u32));

    std::thread::scope(|scope| {
        let thread = scope.spawn(move || {
            let filter = libc::sock_fprog {
                len: program.len().try_into().unwrap(),
                filter: program.as_mut_ptr(),
            };
            let mode = libc::SECCOMP_MODE_FILTER;
            // SAFETY: the kernel copies the program, which lives until then.
            let installed = unsafe {
                libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
                libc::prctl(libc::PR_SET_SECCOMP, mode, &filter)
            };
            assert_eq!(installed, 0, "{}", std::io::Error::last_os_error());
            work()
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}
