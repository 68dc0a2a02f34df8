// SPDX-License-Identifier: Apache-2.0
//! System calls that a test answers in the kernel's place, by seccomp's user notification.
//!
//! Filters belong to threads and pass to those that they start. So the work runs on a new thread,
//! the thread that waits for it is outside of the filter, and both have the same memory and
//! descriptors: what was trapped can be looked at, and carried out, from here.

use std::mem::offset_of;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// A call that waits for an answer.
pub struct Trapped(libc::seccomp_notif);

/// What the call comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// As if nobody had trapped it.
    Go,
    Fail(i32),
    Return(i64),
}

impl Trapped {
    pub fn number(&self) -> i64 {
        self.0.data.nr.into()
    }

    pub fn arguments(&self) -> [u64; 6] {
        self.0.data.args
    }

    /// Makes the call on this thread, with these arguments in place of its own.
    pub fn make(&self, arguments: [u64; 6]) -> Answer {
        let [a, b, c, d, e, f] = arguments;
        // SAFETY: the trapped thread has asked for this very call. Its memory is ours, and stays
        // as it is until it gets its answer.
        let value = unsafe { libc::syscall(self.number(), a, b, c, d, e, f) };
        match value {
            -1 => Answer::Fail(std::io::Error::last_os_error().raw_os_error().expect("errno")),
            value => Answer::Return(value),
        }
    }

    /// The C string that an argument points to.
    pub fn text(&self, argument: usize) -> Option<String> {
        let pointer = self.arguments()[argument] as *const libc::c_char;
        if pointer.is_null() {
            return None;
        }
        // SAFETY: the kernel would read it as one, and its thread waits for us.
        let text = unsafe { std::ffi::CStr::from_ptr(pointer) };
        Some(text.to_bytes().escape_ascii().to_string())
    }

    /// The name of the thread that waits.
    pub fn thread(&self) -> String {
        let name = std::fs::read_to_string(format!("/proc/self/task/{}/comm", self.0.pid));
        name.unwrap_or_default().trim_end().to_owned()
    }
}

/// Runs `work` on a thread whose calls of these numbers go to `answer`, on this one. Work that does
/// not end ends the process: `what` is then said to hang.
pub fn trapped<T: Send>(
    what: &str,
    numbers: &[i64],
    answer: impl FnMut(&Trapped) -> Answer,
    work: impl FnOnce() -> T + Send,
) -> std::io::Result<T> {
    std::thread::scope(|scope| {
        let (tell, told) = mpsc::channel();
        let worker = scope.spawn(move || {
            let listener = listen(numbers);
            let listening = listener.is_ok();
            tell.send(listener).expect("it waits for this");
            listening.then(work)
        });
        let listener = told.recv().expect("it is sent in any case")?;
        serve(what, &listener, answer);
        match worker.join() {
            Ok(value) => Ok(value.expect("it was listening")),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// Whether this machine has it.
pub fn works() -> bool {
    let answer = |_: &Trapped| Answer::Return(1234);
    let work = || std::os::unix::process::parent_id();
    matches!(trapped("getppid", &[libc::SYS_getppid], answer, work), Ok(1234))
}

/// Until the last trapped thread has ended.
fn serve(what: &str, listener: &OwnedFd, mut answer: impl FnMut(&Trapped) -> Answer) {
    let begin = Instant::now();
    loop {
        let mut listeners = [PollFd::new(listener, PollFlags::IN)];
        let second = Timespec { tv_sec: 1, tv_nsec: 0 };
        let _ = poll(&mut listeners, Some(&second));
        let events = listeners[0].revents();
        if begin.elapsed() > HANG {
            eprintln!("{what}: hangs");
            std::process::abort();
        }
        if events.contains(PollFlags::IN) {
            serve_one(listener, &mut answer);
        } else if events.contains(PollFlags::HUP) {
            return;
        }
    }
}

fn serve_one(listener: &OwnedFd, mut answer: impl FnMut(&Trapped) -> Answer) {
    // SAFETY: plain numbers, for which zero is a value; the kernel demands zeros.
    let mut call: libc::seccomp_notif = unsafe { std::mem::zeroed() };
    // SAFETY: the request takes a pointer to this structure, which the kernel fills.
    let got =
        unsafe { libc::ioctl(listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_RECV, &raw mut call) };
    if got != 0 {
        // Interrupted, or the thread has gone.
        return;
    }
    let (val, error, flags) = match answer(&Trapped(call)) {
        Answer::Go => (0, 0, libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32),
        Answer::Fail(errno) => (0, -errno, 0),
        Answer::Return(value) => (value, 0, 0),
    };
    let mut response = libc::seccomp_notif_resp { id: call.id, val, error, flags };
    // SAFETY: the request takes a pointer to this structure. That the thread has gone meanwhile is
    // no matter.
    unsafe { libc::ioctl(listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_SEND, &raw mut response) };
}

/// From here on this thread's calls of these numbers wait for whoever has the descriptor.
fn listen(numbers: &[i64]) -> std::io::Result<OwnedFd> {
    let statement = |code: u32, k: u32| libc::sock_filter { code: code as u16, jt: 0, jf: 0, k };
    let call = offset_of!(libc::seccomp_data, nr) as u32;
    let mut filter = vec![statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, call)];
    for (index, number) in numbers.iter().enumerate() {
        // To the last statement, over the other comparisons and the one that lets the call go.
        let jt = u8::try_from(numbers.len() - index).expect("a short list");
        let code = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
        filter.push(libc::sock_filter { code, jt, jf: 0, k: *number as u32 });
    }
    filter.push(statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW));
    filter.push(statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_USER_NOTIF));
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: the program points to `filter`, which outlives the call that copies it; both calls
    // change this thread only.
    let listener = unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        let (set, flags) = (libc::SECCOMP_SET_MODE_FILTER, libc::SECCOMP_FILTER_FLAG_NEW_LISTENER);
        libc::syscall(libc::SYS_seccomp, set, flags, &raw const program)
    };
    match listener {
        -1 => Err(std::io::Error::last_os_error()),
        // SAFETY: it was opened just now and is nobody else's.
        fd => Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) }),
    }
}

/// Far beyond what a tiny layer takes on a loaded machine.
const HANG: Duration = Duration::from_secs(120);
