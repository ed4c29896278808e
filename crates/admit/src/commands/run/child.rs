//! The command: in a process group of its own, with whatever it starts; started so that it cannot outlive us,
//! signalled only while it lives, waited for.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use admit_client::Lease;
use uuid::Uuid;

use super::guard::{self, Guard};
use super::terminal::{self, Terminal};
use crate::exit::code;

/// The pause after a stop that did not stop us: a command that stops again at once costs little.
const STOP_PAUSE: Duration = Duration::from_millis(100);

/// Where things stand, shared by the threads of `admit run`.
pub struct Job {
    phase: Mutex<Phase>,
}

enum Phase {
    /// No command yet: the request under this id waits, or is granted and about to be used.
    Waiting(Option<Uuid>),
    /// A signal came before the command started: it never will.
    Interrupted,
    /// The command runs.
    Running {
        /// Its process id, which is that of its group too.
        pid: libc::pid_t,
        /// Kills the group when we cannot.
        guard: Guard,
        /// The slot is lost: nothing of the group may run on.
        is_lost: bool,
    },
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
            Phase::Running { .. } | Phase::Ended => Interrupted::Running,
        }
    }

    /// Sends a signal to the command and all that it has started, while it lives.
    pub fn signal(&self, signal: i32) {
        if let Phase::Running { pid, .. } = *self.phase() {
            kill(-pid, signal);
        }
    }

    /// Sends a signal to the command alone, while it lives.
    pub fn signal_command(&self, signal: i32) {
        if let Phase::Running { pid, .. } = *self.phase() {
            kill(pid, signal);
        }
    }

    /// The command and all that it has started is killed at this moment, whatever becomes of us until then,
    /// unless another moment is said before.
    pub fn kill_at(&self, deadline: Instant) {
        if let Phase::Running { guard, .. } = &*self.phase() {
            guard.kill_at(deadline);
        }
    }

    /// The slot is lost: the command is told to stop, and when it ends so does all that it has started.
    pub fn lose(&self) {
        if let Phase::Running { pid, is_lost, .. } = &mut *self.phase() {
            *is_lost = true;
            kill(-*pid, libc::SIGTERM);
        }
    }

    /// Starts the command. Call it from the main thread: the command dies with the thread that started it.
    ///
    /// # Errors
    /// There is no such command, or it cannot be started.
    pub fn start(&self, command: &[OsString], lease: Option<&Lease>) -> io::Result<Started> {
        let (program, arguments) = command.split_first().ok_or(io::ErrorKind::InvalidInput)?;
        let mut command = Command::new(program);
        command.args(arguments).process_group(0);
        if let Some(lease) = lease {
            command.env("ADMIT_LEASE_ID", lease.id.to_string());
            command.env("ADMIT_FENCING_TOKEN", lease.token.to_string());
        }
        let guard = Guard::start()?;
        let terminal = Terminal::open();
        let is_lent = terminal.as_ref().is_some_and(Terminal::is_ours);
        be_in_front_and_guarded(&mut command, terminal.as_ref().filter(|_| is_lent), &guard);
        die_with_us(&mut command);
        // Held across the start: a signal comes either before it, and there is no command, or after it.
        let mut phase = self.phase();
        if matches!(*phase, Phase::Interrupted) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let child = command.spawn().inspect_err(|_| {
            if let Some(terminal) = terminal.as_ref().filter(|_| is_lent) {
                terminal.lend(None);
            }
        })?;
        *phase = Phase::Running { pid: child.id().cast_signed(), guard, is_lost: false };
        Ok(Started { child, terminal, is_lent })
    }

    /// Waits for the command's end and gives its exit code, 128+n if signal n ended it.
    pub fn wait(&self, mut started: Started) -> u8 {
        started.wait_without_reaping();
        let phase = std::mem::replace(&mut *self.phase(), Phase::Ended);
        if let Phase::Running { pid, is_lost: true, .. } = phase {
            kill(-pid, libc::SIGKILL);
        }
        // The guard is told before the process id may become another's.
        drop(phase);
        let lent = started.terminal.filter(|_| started.is_lent);
        if let Some(terminal) = &lent {
            terminal.lend(None);
        }
        let ended = started.child.wait();
        if let (Some(_), Ok(Some(key @ (libc::SIGINT | libc::SIGQUIT)))) =
            (lent, ended.as_ref().map(ExitStatusExt::signal))
        {
            // The key was meant for all that is in front: the script around us, and what is piped to us.
            terminal::signal_own_group(key);
        }
        match ended {
            Ok(status) => match (status.code(), status.signal()) {
                (Some(exit), _) => u8::try_from(exit).unwrap_or(code::FAILED),
                (None, Some(signal)) => u8::try_from(signal).map_or(code::FAILED, |n| code::SIGNAL_BASE + n),
                (None, None) => code::FAILED,
            },
            Err(_) => code::FAILED,
        }
    }
}

fn kill(pid: libc::pid_t, signal: i32) {
    // SAFETY: kill takes numbers only. The process is our child and not waited for yet (`Job::wait` takes the
    // phase away first), so the number is still its own, and its group's.
    unsafe { libc::kill(pid, signal) };
}

/// A command that was started.
pub struct Started {
    child: Child,
    terminal: Option<Terminal>,
    /// Whether the terminal is lent to the command's group.
    is_lent: bool,
}

impl Started {
    /// Waits until the child has ended but leaves it as a zombie, so that its process id stays its own until
    /// nobody can signal it any more. Where a terminal has stopped it, we stop with it.
    fn wait_without_reaping(&mut self) {
        loop {
            let mut info = std::mem::MaybeUninit::<libc::siginfo_t>::zeroed();
            let wait = |options, info: *mut libc::siginfo_t| {
                // SAFETY: waitid writes one siginfo_t, for which there is room.
                unsafe { libc::waitid(libc::P_PID, self.child.id(), info, options) }
            };
            if wait(libc::WEXITED | libc::WSTOPPED | libc::WNOWAIT, info.as_mut_ptr()) != 0 {
                if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted {
                    continue;
                }
                return;
            }
            // SAFETY: all zero is a siginfo_t, and waitid has filled it in.
            if unsafe { info.assume_init() }.si_code != libc::CLD_STOPPED {
                return;
            }
            // This stop is seen.
            wait(libc::WSTOPPED | libc::WNOHANG, info.as_mut_ptr());
            self.stop_with_it();
        }
    }

    /// Gives the terminal back and stops, so that the shell sees its job stopped; goes on when the shell does.
    /// Without a terminal nobody would let us go on, and the slot is kept for the stopped command.
    fn stop_with_it(&mut self) {
        let Some(terminal) = &self.terminal else { return };
        if self.is_lent {
            terminal.lend(None);
        }
        // As the key would have done it; whoever continues us continues here.
        terminal::signal_own_group(libc::SIGTSTP);
        std::thread::sleep(STOP_PAUSE);
        let group = self.child.id().cast_signed();
        self.is_lent = terminal.is_ours();
        if self.is_lent {
            terminal.lend(Some(group));
        }
        kill(-group, libc::SIGCONT);
    }
}

/// Has the command's process tell the guard its group, and bring it to the front of the terminal.
fn be_in_front_and_guarded(command: &mut Command, terminal: Option<&Terminal>, guard: &Guard) {
    let (terminal, guard) = (terminal.map(Terminal::descriptor), guard.descriptor());
    let prepare = move || {
        guard::announce(guard);
        if let Some(terminal) = terminal {
            // SAFETY: getpid takes nothing and cannot fail.
            terminal::bring_to_front(terminal, unsafe { libc::getpid() });
        }
        Ok(())
    };
    // SAFETY: `prepare` runs in the forked child and calls nothing but async-signal-safe functions.
    unsafe { command.pre_exec(prepare) };
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

/// Elsewhere there is no such signal, and the guard alone sees to it.
#[cfg(not(target_os = "linux"))]
fn die_with_us(_: &mut Command) {}
