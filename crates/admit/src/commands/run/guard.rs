//! A process beside `admit run` that kills the command's process group when `admit run` cannot: when it is
//! killed itself, and when it is stopped, or starved, beyond the time for which it may hold its slot.
//!
//! The guard waits on a pipe whose other end `admit run` holds. It learns the group from the command itself,
//! before that becomes the command: there is no moment in which something runs that nobody would kill.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::time::Instant;

/// Descriptors that the guard closes: a command line tool has a handful, and what lies above was inherited.
const CLOSED_DESCRIPTORS: RawFd = 256;

/// What the pipe carries: what it is about, and its value.
type Message = [i64; 2];
/// The command's process group.
const GROUP: i64 = 1;
/// When the group is killed, in milliseconds of the monotonic clock; 0: never.
const DEADLINE: i64 = 2;
/// The command has ended: there is nothing to guard.
const DONE: i64 = 3;

/// The guard, as `admit run` sees it. Dropped, it is told that the command has ended; only a process that
/// dies without a word leaves it to its work.
pub struct Guard {
    pipe: OwnedFd,
}

impl Guard {
    /// Starts the guard.
    ///
    /// # Errors
    /// There is no pipe or process left.
    pub fn start() -> io::Result<Guard> {
        let (read, write) = io::pipe()?;
        // A signal to the guard must neither end it nor reach the handlers that it inherits.
        let before = block_all_signals();
        // SAFETY: the child of this process, which has threads, runs `watch` only, and that makes
        // async-signal-safe calls only and never returns.
        let forked = unsafe { libc::fork() };
        if forked == 0 {
            watch(read.as_raw_fd());
        }
        let error = io::Error::last_os_error();
        // SAFETY: restores the mask that `block_all_signals` has read.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const before, std::ptr::null_mut()) };
        if forked < 0 { Err(error) } else { Ok(Guard { pipe: write.into() }) }
    }

    /// Where the command says which group it is.
    pub fn descriptor(&self) -> RawFd {
        self.pipe.as_raw_fd()
    }

    /// The group is killed at this moment unless another is said before.
    pub fn kill_at(&self, deadline: Instant) {
        let left = deadline.saturating_duration_since(Instant::now());
        send(
            self.descriptor(),
            [DEADLINE, now_ms() + i64::try_from(left.as_millis()).unwrap_or(i64::MAX / 2)],
        );
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        send(self.descriptor(), [DONE, 0]);
    }
}

/// Says from the command's process, before it becomes the command, which group is guarded.
/// Async-signal-safe.
pub fn announce(descriptor: RawFd) {
    // SAFETY: getpid takes nothing and cannot fail.
    send(descriptor, [GROUP, i64::from(unsafe { libc::getpid() })]);
}

/// Writes a message whole, as a pipe takes it. Where the guard is gone there is nobody to tell.
fn send(descriptor: RawFd, message: Message) {
    // SAFETY: write reads as many bytes as the message has.
    unsafe { libc::write(descriptor, message.as_ptr().cast(), size_of::<Message>()) };
}

/// The guard's life.
fn watch(pipe: RawFd) -> ! {
    // SAFETY: setsid and close take numbers only; nothing here uses the descriptors that it closes. Without
    // them nobody who reads our output waits for the guard, and no connection stays open by it.
    unsafe {
        libc::setsid();
        (0..CLOSED_DESCRIPTORS).filter(|descriptor| *descriptor != pipe).for_each(|descriptor| {
            libc::close(descriptor);
        });
    }
    let (mut group, mut deadline) = (0, 0);
    loop {
        let left = if deadline == 0 { -1 } else { (deadline - now_ms()).clamp(0, i64::from(i32::MAX)) };
        let mut poll = libc::pollfd { fd: pipe, events: libc::POLLIN, revents: 0 };
        // SAFETY: poll gets one pollfd.
        if unsafe { libc::poll(&raw mut poll, 1, i32::try_from(left).unwrap_or(i32::MAX)) } == 0 {
            kill(group);
            deadline = 0;
            continue;
        }
        let mut message: Message = [0; 2];
        // SAFETY: read writes no more bytes than the message has.
        let read = unsafe { libc::read(pipe, message.as_mut_ptr().cast(), size_of::<Message>()) };
        match message {
            [GROUP, said] if read > 0 => group = i32::try_from(said).unwrap_or(0),
            [DEADLINE, said] if read > 0 => deadline = said,
            // The pipe is closed, and nobody said that the command has ended.
            _ if read <= 0 => {
                kill(group);
                leave();
            }
            _ => leave(),
        }
    }
}

fn leave() -> ! {
    // SAFETY: _exit ends the process without running what belongs to the one it was forked from.
    unsafe { libc::_exit(0) }
}

fn kill(group: i32) {
    if group > 0 {
        // SAFETY: kill takes numbers only. The number is the group's as long as its first process is not
        // waited for or another of its processes lives.
        unsafe { libc::kill(-group, libc::SIGKILL) };
    }
}

/// The monotonic clock, which all processes share. Async-signal-safe.
fn now_ms() -> i64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: clock_gettime writes one timespec.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    now.tv_sec * 1_000 + now.tv_nsec / 1_000_000
}

/// Blocks all signals of this thread, and gives those that were blocked before.
fn block_all_signals() -> libc::sigset_t {
    let mut all = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
    let mut before = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigfillset makes `all` whole, pthread_sigmask makes `before` whole; neither can fail on these.
    unsafe {
        libc::sigfillset(all.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr());
        before.assume_init()
    }
}
