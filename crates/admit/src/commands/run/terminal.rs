//! The terminal, lent to the command's process group while `admit run` itself is in front, as a shell does
//! it: the keys that make signals reach the command, and it may read.

use std::fs::File;
use std::os::fd::{AsRawFd, RawFd};

/// The terminal that controls us.
pub struct Terminal {
    file: File,
}

impl Terminal {
    /// The terminal, if there is one.
    pub fn open() -> Option<Terminal> {
        File::options().read(true).write(true).open("/dev/tty").ok().map(|file| Terminal { file })
    }

    /// Its descriptor.
    pub fn descriptor(&self) -> RawFd {
        self.file.as_raw_fd()
    }

    /// Whether our own group is in front.
    pub fn is_ours(&self) -> bool {
        // SAFETY: both take numbers only.
        unsafe { libc::tcgetpgrp(self.descriptor()) == libc::getpgrp() }
    }

    /// Brings a group to the front; none: our own.
    pub fn lend(&self, group: Option<libc::pid_t>) {
        // SAFETY: getpgrp takes nothing.
        bring_to_front(self.descriptor(), group.unwrap_or_else(|| unsafe { libc::getpgrp() }));
    }
}

/// Brings a group to the front, also from behind: SIGTTOU, which would stop us for it, is blocked meanwhile.
/// Async-signal-safe.
pub fn bring_to_front(terminal: RawFd, group: libc::pid_t) {
    let mut stop = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
    let mut before = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigemptyset makes `stop` whole, pthread_sigmask makes `before` whole before it is read.
    unsafe {
        libc::sigemptyset(stop.as_mut_ptr());
        libc::sigaddset(stop.as_mut_ptr(), libc::SIGTTOU);
        libc::pthread_sigmask(libc::SIG_BLOCK, stop.as_ptr(), before.as_mut_ptr());
        libc::tcsetpgrp(terminal, group);
        libc::pthread_sigmask(libc::SIG_SETMASK, before.as_ptr(), std::ptr::null_mut());
    }
}

/// Sends a signal to our own group, as the terminal does when a key is pressed.
pub fn signal_own_group(signal: i32) {
    // SAFETY: kill takes numbers only.
    unsafe { libc::kill(0, signal) };
}
