// SPDX-License-Identifier: Apache-2.0
//! Hides openat2(2) as old kernels and container runtimes do.

use std::mem::offset_of;

/// What openat2 answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Openat2 {
    Works,
    /// Kernels before 5.6.
    Enosys,
    /// Seccomp profiles that do not know the call.
    Eperm,
}

/// Runs `work` on a thread of its own where openat2 answers so. Threads that `work` starts
/// inherit the filter; it cannot be taken off again, hence the thread.
pub fn with_openat2<T: Send>(answer: Openat2, work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let name = std::thread::current().name().unwrap_or("test").to_owned();
        let thread = std::thread::Builder::new().name(name).spawn_scoped(scope, move || {
            match answer {
                Openat2::Works => {}
                // QEMU's user mode has no filters: scripts/check-targets says so.
                _ if std::env::var_os("OCILAYER_NO_SECCOMP").is_some() => {
                    eprintln!("SKIPPED {answer:?} for openat2: no seccomp filters here");
                }
                Openat2::Enosys => hide(libc::ENOSYS),
                Openat2::Eperm => hide(libc::EPERM),
            }
            work()
        });
        match thread.expect("thread").join() {
            Ok(value) => value,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

fn hide(errno: i32) {
    let statement = |code: u32, k: u32| libc::sock_filter { code: code as u16, jt: 0, jf: 0, k };
    let call = offset_of!(libc::seccomp_data, nr) as u32;
    // openat2 has the same number on every architecture, so the architecture need not be checked.
    let mut filter = [
        statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, call),
        libc::sock_filter {
            code: (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16,
            jt: 0,
            jf: 1,
            k: libc::SYS_openat2 as u32,
        },
        statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ERRNO | errno as u32),
        statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: the program points to `filter`, which outlives the call that copies it; both calls
    // change this thread only.
    unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        let mode = libc::SECCOMP_MODE_FILTER;
        assert_eq!(libc::prctl(libc::PR_SET_SECCOMP, mode, &raw const program, 0, 0), 0);
    }
    assert_eq!(openat2_errno(), errno, "openat2 must really be hidden");
}

fn openat2_errno() -> i32 {
    let how = [0u64; 3];
    // SAFETY: the path is a C string and `how` has the 24 bytes that the size tells.
    let result = unsafe {
        libc::syscall(libc::SYS_openat2, libc::AT_FDCWD, c"/".as_ptr(), how.as_ptr(), 24usize)
    };
    assert_eq!(result, -1, "openat2 must fail here");
    std::io::Error::last_os_error().raw_os_error().expect("errno")
}
