//! A program that prints a subject token, run where the operator has allowed it.

use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::io::AsyncReadExt as _;
use tokio::process::Command;

use crate::outbound::credential_file::{CredentialError, Fields};
use crate::outbound::endpoint::SourceOptions;
use crate::outbound::source::SourceFault;

const MAX_OUTPUT_BYTES: u64 = 64 * 1024;

/// The program, with what it is told.
pub(super) struct Executable {
    program: String,
    arguments: Vec<String>,
    audience: String,
    token_type: String,
    timeout: Duration,
}

impl Executable {
    pub(super) fn from_fields(
        file: &Fields,
        fields: &Fields,
        options: &SourceOptions,
    ) -> Result<Self, CredentialError> {
        if !options.allow_executables {
            return Err(fields.wrong(
                "command",
                "the file names a program to run: set GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES=1 if you trust it",
            ));
        }
        let mut words = fields.text("command")?.split_whitespace().map(str::to_owned);
        let program =
            words.next().ok_or_else(|| fields.wrong("command", "found white space only"))?;
        let timeout = fields.number("timeout_millis")?.unwrap_or(30_000);
        if !(1..=120_000).contains(&timeout) {
            return Err(fields.wrong("timeout_millis", "expected 1 to 120000"));
        }
        Ok(Self {
            program,
            arguments: words.collect(),
            audience: file.text("audience")?.to_owned(),
            token_type: file.text("subject_token_type")?.to_owned(),
            timeout: Duration::from_millis(timeout),
        })
    }

    pub(super) fn name(&self) -> String {
        format!("the program {}", self.program)
    }

    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    pub(super) async fn run(&self) -> Result<String, SourceFault> {
        let output = tokio::time::timeout(self.timeout, self.output()).await;
        let output = output.map_err(|_| SourceFault::TimedOut { budget: self.timeout })?;
        let output =
            output.map_err(|error| SourceFault::Local(format!("failed ({error})").into()))?;
        subject_token(&output)
    }

    async fn output(&self) -> std::io::Result<Vec<u8>> {
        let mut child = Command::new(&self.program)
            .args(&self.arguments)
            .env("GOOGLE_EXTERNAL_ACCOUNT_AUDIENCE", &self.audience)
            .env("GOOGLE_EXTERNAL_ACCOUNT_TOKEN_TYPE", &self.token_type)
            .env("GOOGLE_EXTERNAL_ACCOUNT_INTERACTIVE", "0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        let mut output = Vec::new();
        if let Some(stdout) = child.stdout.take() {
            stdout.take(MAX_OUTPUT_BYTES + 1).read_to_end(&mut output).await?;
        }
        if output.len() as u64 > MAX_OUTPUT_BYTES {
            return Err(std::io::Error::other("its output is too large"));
        }
        let status = child.wait().await?;
        if status.success() { Ok(output) } else { Err(std::io::Error::other(status.to_string())) }
    }
}

/// The token in the program's answer; what it says about itself is never shown, as it may hold the token.
fn subject_token(output: &[u8]) -> Result<String, SourceFault> {
    let answer: Value = serde_json::from_slice(output).unwrap_or_default();
    if answer["success"] == false {
        let code: String = answer["code"].as_str().unwrap_or("no code").chars().take(40).collect();
        return Err(SourceFault::Local(format!("said that it failed ({code})").into()));
    }
    let token = answer["id_token"].as_str().or(answer["saml_response"].as_str());
    match token.filter(|token| !token.is_empty() && answer["success"] == true) {
        Some(token) => Ok(token.to_owned()),
        None => Err(SourceFault::Local(
            "printed something else than {\"version\": 1, \"success\": true, \"id_token\": …}"
                .into(),
        )),
    }
}
