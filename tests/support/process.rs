//! The program itself, as a child with an environment of its own.

use std::net::SocketAddr;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;

use super::{Answer, client, send, until, within};

/// The program with these arguments, and nothing in its environment but these settings.
fn command(binary: &str, subcommand: &str, settings: &[(&str, &str)]) -> Command {
    let mut command = Command::new(binary);
    command
        .arg(subcommand)
        .env_clear()
        .envs(settings.iter().copied())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// What is left of a process that has ended by itself.
#[derive(Debug)]
pub struct Ended {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

/// Runs it to its end.
pub async fn run(binary: &str, subcommand: &str, settings: &[(&str, &str)]) -> Ended {
    let output = command(binary, subcommand, settings).output();
    let output = within("the process's end", output).await.unwrap();
    Ended {
        status: output.status,
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// A server that is running, and every line that it has logged.
pub struct Process {
    pub address: SocketAddr,
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
    stdout_ended: watch::Receiver<bool>,
    client: reqwest::Client,
}

impl Process {
    /// Starts a server on a free port; ready once its first line has told where it listens.
    pub async fn start(binary: &str, subcommand: &str, settings: &[(&str, &str)]) -> Self {
        let mut all = vec![("PORT", "0"), ("HOST", "127.0.0.1"), ("LOG_FORMAT", "json")];
        all.extend_from_slice(settings);
        let mut child = command(binary, subcommand, &all).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut stderr = child.stderr.take().unwrap();
        let first = within("the first log line", stdout.next_line()).await.unwrap();
        let Some(first) = first else {
            let mut why = String::new();
            let _ = stderr.read_to_string(&mut why).await;
            panic!("{subcommand} ended before it listened: {why}");
        };
        let line: Value = serde_json::from_str(&first).unwrap();
        assert_eq!(line["message"], "listening", "the first line says something else: {first}");
        let address = line["address"].as_str().unwrap().parse().unwrap();

        let lines = Arc::new(Mutex::new(vec![first]));
        let (tell_end, stdout_ended) = watch::channel(false);
        let sink = Arc::clone(&lines);
        tokio::spawn(async move {
            while let Ok(Some(line)) = stdout.next_line().await {
                sink.lock().unwrap().push(line);
            }
            let _ = tell_end.send(true);
        });
        let sink = Arc::clone(&lines);
        tokio::spawn(async move {
            let mut stderr = BufReader::new(stderr).lines();
            while let Ok(Some(line)) = stderr.next_line().await {
                sink.lock().unwrap().push(line);
            }
        });
        Self { address, child, lines, stdout_ended, client: client() }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn client(&self) -> &reqwest::Client {
        &self.client
    }

    pub fn get(&self, path: &str) -> reqwest::RequestBuilder {
        self.client.get(self.url(path))
    }

    pub fn post(&self, path: &str) -> reqwest::RequestBuilder {
        self.client.post(self.url(path))
    }

    pub async fn health(&self, probe: &str) -> Answer {
        send(self.get(&format!("/health/{probe}"))).await
    }

    /// `GET /whoami` with this token.
    pub async fn whoami(&self, token: &str) -> Answer {
        send(self.get("/whoami").bearer_auth(token)).await
    }

    /// Everything that it has written so far, on both outputs.
    pub fn log(&self) -> String {
        self.lines.lock().unwrap().join("\n")
    }

    /// Waits until a line says this.
    pub async fn logs(&self, text: &str) {
        until(text, || std::future::ready(self.log().contains(text))).await;
    }

    /// Its log lines as JSON.
    pub fn entries(&self) -> Vec<Value> {
        let lines = self.lines.lock().unwrap();
        lines.iter().map(|line| serde_json::from_str(line).expect(line)).collect()
    }

    pub fn terminate(&self) {
        let pid = self.child.id().and_then(|id| Pid::from_raw(id.cast_signed())).unwrap();
        kill_process(pid, Signal::TERM).unwrap();
    }

    /// Waits for its end.
    pub async fn ended(&mut self) -> ExitStatus {
        let status = within("the process's end", self.child.wait()).await.unwrap();
        let mut ended = self.stdout_ended.clone();
        let _ = within("the end of its output", ended.wait_for(|ended| *ended)).await;
        status
    }
}
