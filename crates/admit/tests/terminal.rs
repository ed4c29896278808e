//! `admit run` at a terminal: its keys, and the job control of the shell around it.

#![allow(clippy::unwrap_used, reason = "a test may fail where it stands")]

mod support;

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::{Arc, Mutex};

use support::{Running, Server, content, runs, wait_until};

const CTRL_C: &str = "\x03";
const CTRL_Z: &str = "\x1a";

/// A terminal and the program that it belongs to.
struct Terminal {
    keys: File,
    screen: Arc<Mutex<String>>,
    program: Running,
}

impl Terminal {
    fn start(mut program: Command) -> Terminal {
        let (mut ours, mut theirs) = (0, 0);
        // SAFETY: openpty writes two descriptors, which are nobody else's.
        let (ours, theirs) = unsafe {
            let (name, modes, size) = (std::ptr::null_mut(), std::ptr::null_mut(), std::ptr::null_mut());
            assert_eq!(libc::openpty(&raw mut ours, &raw mut theirs, name, modes, size), 0);
            (OwnedFd::from_raw_fd(ours), OwnedFd::from_raw_fd(theirs))
        };
        let controlling = theirs.as_raw_fd();
        let terminal = || theirs.try_clone().unwrap();
        program.stdin(terminal()).stdout(terminal()).stderr(terminal());
        // SAFETY: setsid and ioctl are system calls on numbers, safe between fork and exec.
        unsafe {
            program.pre_exec(move || {
                libc::setsid();
                libc::ioctl(controlling, libc::TIOCSCTTY, 0);
                Ok(())
            });
        }
        let program = Running(program.spawn().unwrap());
        let keys = File::from(ours);
        let (mut shown, screen) = (keys.try_clone().unwrap(), Arc::<Mutex<String>>::default());
        let written = Arc::clone(&screen);
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(read @ 1..) = shown.read(&mut bytes) {
                *written.lock().unwrap() += &String::from_utf8_lossy(&bytes[..read]);
            }
        });
        Terminal { keys, screen, program }
    }

    fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
    }

    fn screen(&self) -> String {
        self.screen.lock().unwrap().clone()
    }
}

/// The letter that says what a process does: `T` is stopped.
fn state(pid: u32) -> char {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().and_then(|rest| rest.trim().chars().next()).unwrap_or('-')
}

/// Processes whose command line has this in it.
fn processes(part: &str) -> Vec<String> {
    let all = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    all.filter_map(|entry| std::fs::read_to_string(entry.path().join("cmdline")).ok())
        .filter(|line| line.contains(part))
        .collect()
}

#[test]
fn the_command_has_the_terminal() {
    let server = Server::start();
    server.ok(&["limit", "set", "db", "--max", "1"]);
    let script = "read line; echo $line > line; sh -c 'echo $$ > pid; exec sleep 1000'; true";
    let mut command = server.admit();
    command.args(["run", "db", "--", "sh", "-c", script]);
    let mut terminal = Terminal::start(command);
    terminal.press("typed\n");
    assert_eq!(content(&server, "line"), "typed");
    let grandchild = content(&server, "pid").parse().unwrap();
    terminal.press(CTRL_C);
    assert_eq!(terminal.program.0.wait().unwrap().code(), Some(128 + libc::SIGINT));
    wait_until("the key has ended all", || !runs(grandchild));
    server.wait_for("db", 0, 0);
}

/// A shell that somebody types into; `$admit` is the binary.
fn shell(server: &Server) -> Terminal {
    let mut shell = Command::new("sh");
    shell.arg("-i").current_dir(server.folder.path()).env("ADMIT_URL", &server.url);
    shell.env("PS1", "ready> ").env("admit", env!("CARGO_BIN_EXE_admit")).env_remove("ENV");
    let mut terminal = Terminal::start(shell);
    terminal.press("echo shell > shell\n");
    content(server, "shell");
    terminal
}

#[test]
fn a_key_stops_the_command_and_the_shell_has_it_go_on() {
    let server = Server::start();
    server.ok(&["limit", "set", "db", "--max", "1"]);
    let mut terminal = shell(&server);
    let marker = format!("marker-{}", server.folder.path().display());
    terminal.press(&format!(
        "$admit run db -- sh -c 'echo $$ > pid; read line; echo $line > line; exit 7' '{marker}'\n"
    ));
    let pid = content(&server, "pid").parse().unwrap();
    for round in 0..3 {
        terminal.press(CTRL_Z);
        wait_until("the command has stopped", || state(pid) == 'T');
        // The shell has the terminal: it takes a command of its own.
        terminal.press(&format!("echo here > prompt{round}\n"));
        assert_eq!(content(&server, &format!("prompt{round}")), "here");
        assert_eq!(state(pid), 'T');
        server.wait_for("db", 1, 0);
        terminal.press("fg\n");
        wait_until("the command goes on", || state(pid) != 'T');
    }
    // It has the terminal again.
    terminal.press("typed\n");
    assert_eq!(content(&server, "line"), "typed");
    terminal.press("echo $? > code\n");
    assert_eq!(content(&server, "code"), "7", "{}", terminal.screen());
    server.wait_for("db", 0, 0);
    wait_until("nothing is left", || processes(&marker).is_empty());
}

#[test]
fn a_command_that_is_stopped_for_longer_than_its_ttl_is_ended_with_its_slot() {
    let server = Server::start();
    server.ok(&["limit", "set", "db", "--max", "1"]);
    let mut terminal = shell(&server);
    let marker = format!("marker-{}", server.folder.path().display());
    terminal.press(&format!("$admit run db --ttl 1s -- sh -c 'echo $$ > pid; read line' '{marker}'\n"));
    let pid = content(&server, "pid").parse().unwrap();
    terminal.press(CTRL_Z);
    // `admit run` is stopped too and renews nothing: the slot ends, and the command before it.
    wait_until("the command is ended", || !runs(pid));
    server.wait_for("db", 0, 0);
    terminal.press("fg\n");
    terminal.press("echo $? > code\n");
    assert_eq!(content(&server, "code"), (128 + libc::SIGKILL).to_string(), "{}", terminal.screen());
    wait_until("nothing is left", || processes(&marker).is_empty());
}
