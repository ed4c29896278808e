//! The command: started so that it cannot outlive us, signalled only while it lives, waited for.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command};
use std::sync::{Mutex, MutexGuard, PoisonError};

use admit_client::Lease;
use uuid::Uuid;

use crate::exit::code;

/// Where things stand, shared by the threads of `admit run`.
pub struct Job {
    phase: Mutex<Phase>,
}

enum Phase {
    /// No command yet: the request under this id waits, or is granted and about to be used.
    Waiting(Option<Uuid>),
    /// A signal came before the command started: it never will.
    Interrupted,
    /// The command runs under this process id.
    Running(libc::pid_t),
    /// It has ended: its process id may be another's by now.
    Ended,
}

/// What became of a signal that came.
#[derive(Debug, PartialEq, Eq)]
pub enum Interrupted {
    /// There is no command yet; the request under this id, if one was sent, is to be given back.
    Waiting(Option<Uuid>),
    /// The wait was ended already by an earlier signal.
    Again,
    /// The command runs, or has ended.
    Running,
}

impl Job {
    pub fn new() -> Job {
        Job { phase: Mutex::new(Phase::Waiting(None)) }
    }

    fn phase(&self) -> MutexGuard<'_, Phase> {
        self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes the id under which slots are asked for from now on; false: a signal has ended the wait.
    pub fn waits_as(&self, id: Uuid) -> bool {
        let mut phase = self.phase();
        if matches!(*phase, Phase::Waiting(_)) {
            *phase = Phase::Waiting(Some(id));
        }
        !matches!(*phase, Phase::Interrupted)
    }

    /// Whether a signal has ended the wait.
    pub fn is_interrupted(&self) -> bool {
        matches!(*self.phase(), Phase::Interrupted)
    }

    /// Ends the wait for a slot, unless the command runs already.
    pub fn interrupt(&self) -> Interrupted {
        let mut phase = self.phase();
        match *phase {
            Phase::Waiting(id) => {
                *phase = Phase::Interrupted;
                Interrupted::Waiting(id)
            }
            Phase::Interrupted => Interrupted::Again,
            Phase::Running(_) | Phase::Ended => Interrupted::Running,
        }
    }

    /// Sends a signal to the command if it lives.
    pub fn signal(&self, signal: i32) {
        if let Phase::Running(pid) = *self.phase() {
            // SAFETY: kill takes numbers only. The process is our child and not waited for yet (`wait` takes
            // the lock first), so the number is still its own.
            unsafe { libc::kill(pid, signal) };
        }
    }

    /// Starts the command. Call it from the main thread: the command dies with the thread that started it.
    ///
    /// # Errors
    /// There is no such command, or it cannot be started.
    pub fn start(&self, command: &[OsString], lease: Option<&Lease>) -> io::Result<Child> {
        let (program, arguments) = command.split_first().ok_or(io::ErrorKind::InvalidInput)?;
        let mut command = Command::new(program);
        command.args(arguments);
        if let Some(lease) = lease {
            command.env("ADMIT_LEASE_ID", lease.id.to_string());
            command.env("ADMIT_FENCING_TOKEN", lease.token.to_string());
        }
        die_with_us(&mut command);
        // Held across the start: a signal comes either before it, and there is no command, or after it.
        let mut phase = self.phase();
        if matches!(*phase, Phase::Interrupted) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let child = command.spawn()?;
        *phase = Phase::Running(child.id().cast_signed());
        Ok(child)
    }

    /// Waits for the command's end and gives its exit code, 128+n if signal n ended it.
    pub fn wait(&self, mut child: Child) -> u8 {
        wait_without_reaping(child.id());
        *self.phase() = Phase::Ended;
        match child.wait() {
            Ok(status) => match (status.code(), status.signal()) {
                (Some(exit), _) => u8::try_from(exit).unwrap_or(code::FAILED),
                (None, Some(signal)) => u8::try_from(signal).map_or(code::FAILED, |n| code::SIGNAL_BASE + n),
                (None, None) => code::FAILED,
            },
            Err(_) => code::FAILED,
        }
    }
}

/// Waits until the child has ended but leaves it as a zombie, so that its process id stays its own until
/// nobody can signal it any more.
fn wait_without_reaping(pid: u32) {
    loop {
        let mut info = std::mem::MaybeUninit::<libc::siginfo_t>::zeroed();
        // SAFETY: waitid writes one siginfo_t, for which there is room.
        let done =
            unsafe { libc::waitid(libc::P_PID, pid, info.as_mut_ptr(), libc::WEXITED | libc::WNOWAIT) };
        if done == 0 || io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
            return;
        }
    }
}

/// Has the command killed when we die, whatever kills us.
#[cfg(target_os = "linux")]
fn die_with_us(command: &mut Command) {
    let parent = std::process::id().cast_signed();
    let arm = move || {
        // SAFETY: prctl and getppid are system calls on numbers, safe between fork and exec.
        let (armed, now) = unsafe { (libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL), libc::getppid()) };
        if armed != 0 {
            return Err(io::Error::last_os_error());
        }
        // We died between the fork and the call: no signal will come any more.
        if now == parent { Ok(()) } else { Err(io::Error::from_raw_os_error(libc::ESRCH)) }
    };
    // SAFETY: `arm` runs in the forked child and calls nothing but async-signal-safe functions; the errors
    // that it makes are numbers and allocate nothing.
    unsafe { command.pre_exec(arm) };
}

/// Elsewhere there is no such signal: the command outlives an `admit run` that is killed by SIGKILL.
#[cfg(not(target_os = "linux"))]
fn die_with_us(_: &mut Command) {}
