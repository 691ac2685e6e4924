//! The built binary as a process: its lines, its end, under a deadline.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses its part")]

use std::process::{Output, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

/// Long enough for anything that should happen at all.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// Fails the test where something that should happen does not.
pub async fn within<F: Future>(what: &str, future: F) -> F::Output {
    match tokio::time::timeout(DEADLINE, future).await {
        Ok(output) => output,
        Err(_) => panic!("{what}: did not happen within {DEADLINE:?}"),
    }
}

/// `countersign` with these arguments, and with nothing inherited that would point it anywhere.
pub fn countersign(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
    command.args(arguments).kill_on_drop(true).stdin(Stdio::null());
    for name in
        ["GCE_METADATA_HOST", "GOOGLE_APPLICATION_CREDENTIALS", "TRUST_EMULATOR", "NO_COLOR"]
    {
        command.env_remove(name);
    }
    command
}

/// Runs it to its end.
pub async fn output(arguments: &[&str]) -> Output {
    within("the command's end", countersign(arguments).output()).await.unwrap()
}

pub fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// One that runs, read line by line.
pub struct Process {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Process {
    pub fn spawn(arguments: &[&str]) -> Self {
        Self::start(countersign(arguments))
    }

    /// One with an environment of its own.
    pub fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    /// Reads up to the first line that has this in it.
    pub async fn line_with(&mut self, text: &str) -> String {
        within(&format!("a line with {text:?}"), async {
            loop {
                let line = self.lines.next_line().await.unwrap();
                let line = line.unwrap_or_else(|| panic!("it ended before a line with {text:?}"));
                if line.contains(text) {
                    return line;
                }
            }
        })
        .await
    }

    pub fn send(&self, signal: Signal) {
        let id = Pid::from_raw(i32::try_from(self.child.id().unwrap()).unwrap()).unwrap();
        kill_process(id, signal).unwrap();
    }

    /// Its exit code; what it still has to say is read.
    pub async fn exit_code(mut self) -> Option<i32> {
        within("the process's end", async {
            while let Some(_line) = self.lines.next_line().await.unwrap() {}
            self.child.wait().await.unwrap().code()
        })
        .await
    }
}

/// A plain HTTP client that neither follows redirects nor uses a proxy.
pub fn client() -> reqwest::Client {
    // reqwest wants a provider even for plain HTTP. A second installation in this process changes nothing.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .tls_certs_only([])
        .build()
        .unwrap()
}
