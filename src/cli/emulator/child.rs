//! The command that runs under an emulator: started, sent on the signals that are meant for it, waited for.

use std::ffi::{OsStr, OsString};
use std::io;
use std::process::{ExitCode, ExitStatus};

use tokio::process::{Child, Command};

use crate::cli::refuse;

/// Settings of the user's own that would lead the command away from the emulator and to Google itself.
const NOT_INHERITED: &[&str] = &[
    "GOOGLE_APPLICATION_CREDENTIALS",
    "CLOUDSDK_ACTIVE_CONFIG_NAME",
    "CLOUDSDK_AUTH_ACCESS_TOKEN_FILE",
    "CLOUDSDK_AUTH_CREDENTIAL_FILE_OVERRIDE",
    "CLOUDSDK_AUTH_IMPERSONATE_SERVICE_ACCOUNT",
    "CLOUDSDK_CORE_ACCOUNT",
];

/// Runs the command with this environment over the inherited one. The exit code is the command's; 127 where there is no
/// such command, 126 where it cannot be run, 128 and the signal's number where one killed it (as shells have it).
pub async fn run(
    program: &OsStr,
    arguments: &[OsString],
    environment: Vec<(String, String)>,
) -> ExitCode {
    let mut command = Command::new(program);
    command.args(arguments).envs(environment);
    for name in NOT_INHERITED {
        command.env_remove(name);
    }
    // Before the child is there: a signal in between is for it, too.
    let signals = match Signals::listen() {
        Ok(signals) => signals,
        Err(error) => return refuse(&format_args!("cannot listen for signals: {error}"), 1),
    };
    let child = match command.spawn() {
        Ok(child) => child,
        Err(error) => return not_started(program, &error),
    };
    match signals.pass_on_to(child).await {
        Ok(status) => code(status),
        Err(error) => refuse(&format_args!("cannot wait for {}: {error}", program.display()), 1),
    }
}

fn not_started(program: &OsStr, error: &io::Error) -> ExitCode {
    let program = program.display();
    if error.kind() == io::ErrorKind::NotFound {
        let message = format_args!(
            "there is no command {program:?}: expected a program on the PATH, or its path"
        );
        return refuse(&message, 127);
    }
    refuse(&format_args!("cannot run {program:?}: {error}"), 126)
}

#[cfg(unix)]
fn code(status: ExitStatus) -> ExitCode {
    use std::os::unix::process::ExitStatusExt as _;

    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    // Both are below 256 on every Unix.
    ExitCode::from(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
}

#[cfg(not(unix))]
fn code(status: ExitStatus) -> ExitCode {
    ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
}

/// SIGTERM and SIGINT, which end the command and not this process.
#[cfg(unix)]
struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn listen() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};

        let terminate = signal(SignalKind::terminate())?;
        let interrupt = signal(SignalKind::interrupt())?;
        Ok(Self { terminate, interrupt })
    }

    async fn pass_on_to(mut self, mut child: Child) -> io::Result<ExitStatus> {
        use rustix::process::Signal;

        loop {
            tokio::select! {
                status = child.wait() => return status,
                Some(()) = self.terminate.recv() => send(&child, Signal::TERM),
                // At a terminal Ctrl-C has reached the child already, and twice means something else to many programs.
                Some(()) = self.interrupt.recv() => if !in_foreground() {
                    send(&child, Signal::INT);
                },
            }
        }
    }
}

#[cfg(unix)]
fn send(child: &Child, signal: rustix::process::Signal) {
    use rustix::process::{Pid, kill_process};

    // No id: it has ended, and `wait` is about to say so.
    let id = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    if let Some(id) = id
        && let Err(error) = kill_process(id, signal)
    {
        eprintln!("countersign: cannot send a signal to the command: {error}");
    }
}

/// Whether this process, and so its child, is what a terminal sends Ctrl-C to.
#[cfg(unix)]
fn in_foreground() -> bool {
    use rustix::process::getpgrp;
    use rustix::termios::tcgetpgrp;

    tcgetpgrp(rustix::stdio::stdin()).is_ok_and(|foreground| foreground == getpgrp())
}

/// Elsewhere the console tells every process of its group by itself.
#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn listen() -> io::Result<Self> {
        Ok(Self)
    }

    async fn pass_on_to(self, mut child: Child) -> io::Result<ExitStatus> {
        loop {
            tokio::select! {
                status = child.wait() => return status,
                _ = tokio::signal::ctrl_c() => (),
            }
        }
    }
}
