// SPDX-License-Identifier: Apache-2.0
//! An overlay mount that nobody else can see.
//!
//! All directories are named relative to the working directory of this thread: no path of the
//! caller's, with its colons, commas and backslashes, ever becomes part of an option.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags, mkdirat, open};
use rustix::io::{Errno, read};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MountPropagationFlags, UnmountFlags,
    fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, mount, mount_change,
    unmount,
};

use super::report::{MountKind, Obstacle, OpaqueXattr};
use super::scratch::{LOWER_BELOW, LOWER_OPAQUE, MERGED, Scratch, UPPER, WORK};
use crate::errno;
use crate::sys;

/// Unmounted when dropped.
pub(super) struct Overlay {
    /// None only while it is being dropped.
    root: Option<OwnedFd>,
    kind: MountKind,
    /// Whether directories of a lower layer can be renamed.
    pub(super) redirect_dir: bool,
}

/// One option: a flag where there is no value.
type Setting = (&'static str, Option<String>);

/// What to ask for beyond the necessary, most wanted first; older kernels refuse what they do not
/// know, and newer ones what does not go together.
const WISHES: [Wish; 4] = [
    Wish { volatile: true, redirect_dir: true },
    Wish { volatile: false, redirect_dir: true },
    Wish { volatile: true, redirect_dir: false },
    Wish { volatile: false, redirect_dir: false },
];

#[derive(Clone, Copy)]
struct Wish {
    /// Without it, unmounting syncs the whole upper file system: that of somebody's daemon.
    volatile: bool,
    redirect_dir: bool,
}

/// A step that failed, and what the kernel said.
struct Refusal {
    operation: &'static str,
    errno: Errno,
    message: Option<String>,
}

impl Overlay {
    /// Mounts the directories of `scratch`, which must be the working directory of this thread.
    pub(super) fn mount(scratch: &Scratch<'_>, xattr: OpaqueXattr) -> Result<Overlay, Obstacle> {
        match Overlay::by(MountKind::Detached, scratch, xattr) {
            // Before Linux 5.2, or a seccomp filter or security module that knows only mount(2),
            // or a mount namespace that belongs to another user namespace. Which of them, nobody
            // tells: the other way finds out.
            Err(Refusal { errno: Errno::NOSYS | Errno::PERM | Errno::ACCESS, .. }) => {
                enter_private_namespace()?;
                Ok(Overlay::by(MountKind::PrivateNamespace, scratch, xattr)?)
            }
            mounted => Ok(mounted?),
        }
    }

    fn by(kind: MountKind, scratch: &Scratch<'_>, xattr: OpaqueXattr) -> Result<Overlay, Refusal> {
        let mut last = None;
        for (attempt, wish) in WISHES.into_iter().enumerate() {
            // Each attempt has a work directory of its own: overlayfs refuses one that a volatile
            // mount has used.
            let workdir = format!("{WORK}/{kind:?}-{attempt}");
            mkdirat(scratch, &workdir, Mode::RWXU).map_err(refused("mkdirat"))?;
            let settings = settings(workdir, xattr, wish);
            let root = match kind {
                MountKind::Detached => detached(&settings),
                MountKind::PrivateNamespace => attached(&settings),
            };
            match root {
                Err(refusal) if refusal.errno == Errno::INVAL => last = Some(refusal),
                root => {
                    return Ok(Overlay {
                        root: Some(root?),
                        kind,
                        redirect_dir: wish.redirect_dir,
                    });
                }
            }
        }
        Err(last.expect("there are wishes, and each was refused"))
    }

    pub(super) fn kind(&self) -> MountKind {
        self.kind
    }
}

impl AsFd for Overlay {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.root.as_ref().expect("only drop takes it").as_fd()
    }
}

impl Drop for Overlay {
    fn drop(&mut self) {
        drop(self.root.take());
        if self.kind == MountKind::PrivateNamespace {
            // Now, not when the thread's namespace goes: that may be after the thread was joined.
            let _ = unmount(MERGED, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW);
        }
    }
}

fn settings(workdir: String, xattr: OpaqueXattr, wish: Wish) -> Vec<Setting> {
    let mut settings = vec![
        ("lowerdir", Some(format!("{LOWER_OPAQUE}:{LOWER_BELOW}"))),
        ("upperdir", Some(UPPER.into())),
        ("workdir", Some(workdir)),
    ];
    if xattr == OpaqueXattr::User {
        settings.push(("userxattr", None));
    }
    if wish.volatile {
        settings.push(("volatile", None));
    }
    if wish.redirect_dir {
        settings.push(("redirect_dir", Some("on".into())));
    }
    settings
}

/// A mount without a place in any namespace; it is gone with its descriptor.
fn detached(settings: &[Setting]) -> Result<OwnedFd, Refusal> {
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).map_err(refused("fsopen"))?;
    for (key, value) in settings {
        match value {
            Some(value) => fsconfig_set_string(&context, *key, value.as_str()),
            None => fsconfig_set_flag(&context, *key),
        }
        .map_err(refused("fsconfig"))
        .map_err(|refusal| refusal.with_message(&context))?;
    }
    fsconfig_create(&context)
        .map_err(refused("fsconfig"))
        .map_err(|refusal| refusal.with_message(&context))?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes).map_err(refused("fsmount"))
}

/// Gives this thread a mount namespace that shares nothing with the caller's.
fn enter_private_namespace() -> Result<(), Obstacle> {
    sys::private_mount_namespace().map_err(refused("unshare(CLONE_NEWNS)"))?;
    // Not left out when it fails: in a shared mount, ours would appear in the caller's namespace.
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount_change("/", private).map_err(refused("mount(MS_PRIVATE)"))?;
    Ok(())
}

/// A mount at [`MERGED`], in the namespace of this thread.
fn attached(settings: &[Setting]) -> Result<OwnedFd, Refusal> {
    let options: Vec<_> = settings
        .iter()
        .map(|(key, value)| match value {
            Some(value) => format!("{key}={value}"),
            None => (*key).into(),
        })
        .collect();
    let options = CString::new(options.join(",")).expect("no option has a NUL");
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount("overlay", MERGED, "overlay", flags, options.as_c_str()).map_err(refused("mount"))?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    open(MERGED, flags, Mode::empty()).map_err(|errno| {
        let _ = unmount(MERGED, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW);
        refused("open")(errno)
    })
}

fn refused(operation: &'static str) -> impl Fn(Errno) -> Refusal {
    move |errno| Refusal { operation, errno, message: None }
}

impl Refusal {
    /// Each read(2) of the context gives one message, with its severity in the first two bytes.
    fn with_message(mut self, context: &OwnedFd) -> Refusal {
        let mut buffer = [0; 1024];
        let mut messages = Vec::new();
        while let Ok(length @ 1..) = read(context, &mut buffer) {
            let message = String::from_utf8_lossy(&buffer[..length]).into_owned();
            messages.push(message.get(2..).unwrap_or_default().trim_end().to_owned());
        }
        self.message = (!messages.is_empty()).then(|| messages.join("; "));
        self
    }
}

impl From<Refusal> for Obstacle {
    fn from(Refusal { operation, errno, message }: Refusal) -> Obstacle {
        match errno {
            Errno::NODEV => Obstacle::NoOverlay,
            Errno::PERM | Errno::ACCESS => {
                Obstacle::NoPrivilege { operation, errno: errno::Errno::of(errno) }
            }
            _ => Obstacle::MountRefused { operation, errno: errno::Errno::of(errno), message },
        }
    }
}
