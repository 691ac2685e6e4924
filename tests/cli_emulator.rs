//! `countersign emulator`, around a command and by itself, and `countersign token mint`: the binary over real sockets.
#![cfg(unix)]

mod binary;

use std::net::TcpListener;

use binary::{Process, client, countersign, output, stderr, stdout, within};
use countersign::clock::{Clock as _, SystemClock};
use countersign::emulator::{BadToken, Emulator};
use countersign::inbound::Verifier;
use countersign::inbound::jwks::{KeySet, KeyUrl};
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use rustix::process::Signal;
use serde_json::Value;
use tokio::io::AsyncBufReadExt as _;

const BINARY: &str = env!("CARGO_BIN_EXE_countersign");

/// What an oracle other than this crate says of a token, by a published key set.
fn claims(token: &str, key_set: &str, audience: &str) -> Value {
    let set: JwkSet = serde_json::from_str(key_set).unwrap();
    let kid = decode_header(token).unwrap().kid.unwrap();
    let key = DecodingKey::from_jwk(set.find(&kid).unwrap()).unwrap();
    let mut validation = Validation::new(Algorithm::RS256);
    validation.set_audience(&[audience]);
    decode::<Value>(token, &key, &validation).unwrap().claims
}

async fn keys(url: &str) -> String {
    client().get(url).send().await.unwrap().text().await.unwrap()
}

#[tokio::test]
async fn a_command_is_pointed_at_the_emulator() {
    let script = "echo $GCE_METADATA_HOST; echo $JWKS_URL; echo $TRUST_EMULATOR; echo \"[$GOOGLE_APPLICATION_CREDENTIALS]\"";
    let mut command = countersign(&["emulator", "--", "sh", "-c", script]);
    command.env("GOOGLE_APPLICATION_CREDENTIALS", "/a/real/key.json");
    let output = within("the command's end", command.output()).await.unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = stdout(&output);
    let lines: Vec<&str> = text.lines().collect();
    let [host, keys, trust, credentials] = lines[..] else { panic!("{text}") };
    assert!(host.starts_with("127.0.0.1:"), "{text}");
    assert_ne!(host, "127.0.0.1:9090", "a free port");
    assert_eq!(keys, format!("http://{host}/oauth2/v3/certs"));
    assert_eq!((trust, credentials), ("1", "[]"), "a real key must not be what signs");
}

#[tokio::test]
async fn the_commands_exit_code_is_the_emulators() {
    for (arguments, expected) in [
        (&["sh", "-c", "exit 0"][..], 0),
        (&["sh", "-c", "exit 7"], 7),
        (&["sh", "-c", "kill -TERM $$"], 128 + 15),
        (&["sh", "-c", "kill -KILL $$"], 128 + 9),
    ] {
        let arguments = [&["emulator", "--"], arguments].concat();
        assert_eq!(output(&arguments).await.status.code(), Some(expected), "{arguments:?}");
    }
}

#[tokio::test]
async fn a_command_that_cannot_be_started_is_told() {
    let missing = output(&["emulator", "--", "no-such-command-anywhere"]).await;
    assert_eq!(missing.status.code(), Some(127));
    assert!(stderr(&missing).contains("\"no-such-command-anywhere\""), "{missing:?}");
    let directory = output(&["emulator", "--", "/"]).await;
    assert_eq!(directory.status.code(), Some(126), "{directory:?}");
    assert!(stderr(&directory).contains("cannot run \"/\""), "{directory:?}");
}

#[tokio::test]
async fn signals_go_to_the_command() {
    for (signal, name) in [(Signal::TERM, "TERM"), (Signal::INT, "INT")] {
        // The shell waits for its own child, and ends by the trap only.
        let script = format!("trap 'exit 42' {name}; echo ready; while :; do sleep 0.05; done");
        let mut process = Process::spawn(&["emulator", "--", "sh", "-c", &script]);
        process.line_with("ready").await;
        process.send(signal);
        assert_eq!(process.exit_code().await, Some(42), "{name}");
    }
}

#[tokio::test]
async fn token_print_under_the_emulator_prints_a_good_token_alone() {
    let script = "\"$0\" token print --audience https://x.example; echo $JWKS_URL; read _";
    let mut command = countersign(&["emulator", "--", "sh", "-c", script, BINARY]);
    command.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
    let mut child = command.spawn().unwrap();
    let stdout = child.stdout.take().unwrap();
    let mut lines = tokio::io::BufReader::new(stdout).lines();
    let token = within("the token", lines.next_line()).await.unwrap().unwrap();
    let url = within("the keys' address", lines.next_line()).await.unwrap().unwrap();

    let published = keys(&url).await;
    let said = claims(&token, &published, "https://x.example");
    assert_eq!(said["email"], "caller@demo.iam.gserviceaccount.com");

    drop(child.stdin.take());
    within("the end", child.wait()).await.unwrap();
    assert_eq!(within("nothing more", lines.next_line()).await.unwrap(), None);
}

#[tokio::test]
async fn a_client_ids_audience_and_an_impersonated_account_do_not_go_together() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("login.json");
    let login =
        r#"{"type":"authorized_user","client_id":"x","client_secret":"x","refresh_token":"x"}"#;
    std::fs::write(&path, login).unwrap();
    let mut command = countersign(&["token", "print", "--audience-from-client-id"]);
    command.env("GOOGLE_APPLICATION_CREDENTIALS", &path);
    command.env("IMPERSONATE_SERVICE_ACCOUNT", "a@demo.iam.gserviceaccount.com");
    let done = within("the refusal", command.output()).await.unwrap();
    assert_eq!(done.status.code(), Some(2));
    let said = stderr(&done);
    assert!(said.contains("IMPERSONATE_SERVICE_ACCOUNT is set"), "{said}");
}

#[tokio::test]
async fn it_stays_up_and_says_how_to_use_it_in_text_for_a_shell() {
    let mut process = Process::spawn(&["emulator", "--port", "0"]);
    let host = process.line_with("export GCE_METADATA_HOST=").await;
    let host = host.rsplit_once('=').unwrap().1.to_owned();
    let keys_line = process.line_with("export JWKS_URL=").await;
    let published = keys(keys_line.rsplit_once('=').unwrap().1).await;

    let url = format!("http://{host}");
    let minted = output(&["token", "mint", "--emulator", &url, "--audience", "https://x"]).await;
    let token = stdout(&minted);
    assert_eq!(token.lines().count(), 1, "the token alone");
    assert_eq!(claims(token.trim(), &published, "https://x")["aud"], "https://x");

    process.send(Signal::INT);
    assert_eq!(process.exit_code().await, Some(0));
}

#[tokio::test]
async fn a_port_that_is_taken_is_told() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    for arguments in
        [&["emulator", "--port", &port][..], &["emulator", "--port", &port, "--", "true"]]
    {
        let output = output(arguments).await;
        assert_eq!(output.status.code(), Some(1));
        let said = stderr(&output);
        assert!(
            said.contains(&format!("127.0.0.1:{port}")) && said.contains("another port"),
            "{said}"
        );
    }
}

#[tokio::test]
async fn every_bad_token_can_be_minted_and_is_refused() {
    let emulator = Emulator::start().await.unwrap();
    let audience = "https://called.demo";
    let verifier = Verifier::builder()
        .audience(audience.parse().unwrap())
        .key_url(KeyUrl::parse(&emulator.jwks_url(), true).unwrap())
        .build()
        .unwrap();
    let url = emulator.url();
    for bad in BadToken::ALL {
        let flags = ["--emulator", &url, "--audience", audience, "--bad", bad.name()];
        let minted = output(&[&["token", "mint"][..], &flags].concat()).await;
        assert!(minted.status.success(), "{bad}: {minted:?}");
        let token = stdout(&minted);
        let verdict = verifier.verify(token.trim_end()).await;
        // A good token that only a list of addresses would refuse.
        let admitted = matches!(bad, BadToken::NoEmail | BadToken::EmailUnverified);
        assert_eq!(verdict.is_ok(), admitted, "{bad}: {verdict:?}");
    }
    emulator.shutdown().await;
}

#[tokio::test]
async fn tokens_are_minted_as_the_flags_say() {
    let emulator = Emulator::start().await.unwrap();
    let published = keys(&emulator.jwks_url()).await;
    KeySet::parse(published.as_bytes()).unwrap();
    let mint = async |flags: &[&str]| {
        // As under `emulator -- COMMAND`: the environment says where it is.
        let mut command = countersign(&[&["token", "mint"][..], flags].concat());
        command.env("GCE_METADATA_HOST", emulator.host());
        let output = within("the token", command.output()).await.unwrap();
        assert!(output.status.success(), "{output:?}");
        stdout(&output).trim_end().to_owned()
    };
    let flags = [
        "--audience=https://x",
        "--account=a@demo.iam.gserviceaccount.com",
        "--issued-offset=-60",
        "--lifetime=1800",
        "--claim=hd=example.com",
        "--claim=roles=[1]",
    ];
    let said = claims(&mint(&flags).await, &published, "https://x");
    assert_eq!(said["email"], "a@demo.iam.gserviceaccount.com");
    assert_eq!((&said["hd"], &said["roles"][0]), (&Value::from("example.com"), &Value::from(1)));
    assert_eq!(said["exp"].as_i64().unwrap() - said["iat"].as_i64().unwrap(), 1800);
    assert!(said["iat"].as_i64().unwrap() <= SystemClock.now().unix_seconds() - 60);

    let gcloud = "32555940559.apps.googleusercontent.com";
    let said = claims(&mint(&["--as-person=alice@example.com"]).await, &published, gcloud);
    assert_eq!(said["email"], "alice@example.com");
    emulator.shutdown().await;
}

#[tokio::test]
async fn names_of_bad_tokens_are_listed_and_unknown_ones_told() {
    for arguments in [["token", "mint", "--list"].as_slice(), &["token", "mint", "--bad", "list"]] {
        let list = output(arguments).await;
        assert!(list.status.success());
        let text = stdout(&list);
        assert_eq!(text.lines().count(), BadToken::ALL.len());
        for bad in BadToken::ALL {
            assert!(text.contains(&format!("{} ", bad.name())) && text.contains(bad.description()));
        }
    }
    let unknown = output(&["token", "mint", "--audience", "https://x", "--bad", "good"]).await;
    assert_eq!(unknown.status.code(), Some(2));
    let said = stderr(&unknown);
    assert!(said.contains("`good`") && said.contains("stripped-forged"), "{said}");
    assert!(unknown.stdout.is_empty());
}

#[tokio::test]
async fn mint_says_what_is_not_an_emulator() {
    let mint =
        async |url: &str| output(&["token", "mint", "--audience", "x", "--emulator", url]).await;
    let elsewhere = mint("https://example.com").await;
    assert_eq!(elsewhere.status.code(), Some(2));
    assert!(stderr(&elsewhere).contains("\"https://example.com\""), "{elsewhere:?}");

    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let nobody = mint(&format!("http://{free}")).await;
    assert_eq!(nobody.status.code(), Some(1));
    assert!(stderr(&nobody).contains("countersign emulator"), "{nobody:?}");

    // A metadata server of one account only: it has no admin API.
    let emulator = Emulator::start().await.unwrap();
    let metadata = emulator.metadata_for("a@demo.iam.gserviceaccount.com").await.unwrap();
    let other = mint(&metadata.host()).await;
    assert_eq!(other.status.code(), Some(1));
    assert!(stderr(&other).contains("is no emulator"), "{other:?}");

    let refused = output(&[
        "token",
        "mint",
        "--audience=x",
        "--account=nobody",
        "--emulator",
        &emulator.url(),
    ])
    .await;
    assert_eq!(refused.status.code(), Some(1));
    assert!(stderr(&refused).contains("account: found `nobody`"), "{refused:?}");
    emulator.shutdown().await;
}

#[tokio::test]
async fn credential_files_of_every_kind_are_printed_alone() {
    let emulator = Emulator::start().await.unwrap();
    let port = emulator.url().rsplit_once(':').unwrap().1.to_owned();
    for (kind, account, expected) in [
        ("service-account", "a@demo.iam.gserviceaccount.com", "service_account"),
        ("impersonated", "a@demo.iam.gserviceaccount.com", "impersonated_service_account"),
        ("external-account", "a@demo.iam.gserviceaccount.com", "external_account"),
        ("authorized-user", "alice@example.com", "authorized_user"),
    ] {
        let arguments = ["emulator", "credentials", kind, "--port", &port, "--account", account];
        let printed = output(&arguments).await;
        assert!(printed.status.success() && printed.stderr.is_empty(), "{kind}: {printed:?}");
        let file: Value = serde_json::from_str(&stdout(&printed)).unwrap();
        assert_eq!(file["type"], expected);
        assert!(file.to_string().contains(account) && file.to_string().contains(&emulator.url()));
        // Under `emulator -- COMMAND` the environment says where it is.
        let mut command = countersign(&["emulator", "credentials", kind, "--account", account]);
        command.env("GCE_METADATA_HOST", emulator.host());
        let again = within("the file", command.output()).await.unwrap();
        assert_eq!(serde_json::from_str::<Value>(&stdout(&again)).unwrap(), file);
    }
    let arguments =
        ["emulator", "credentials", "external-account", "--port", &port, "--subject-token-file=/t"];
    let file: Value = serde_json::from_str(&stdout(&output(&arguments).await)).unwrap();
    assert_eq!(file["credential_source"]["file"], "/t");

    let refused =
        ["emulator", "credentials", "service-account", "--port", &port, "--account", "nobody"];
    let refused = output(&refused).await;
    assert_eq!((refused.status.code(), refused.stdout.len()), (Some(1), 0));
    assert!(stderr(&refused).contains("account: found `nobody`"), "{refused:?}");
    let unknown = output(&["emulator", "credentials", "password"]).await;
    assert_eq!(unknown.status.code(), Some(2));
    assert!(stderr(&unknown).contains("external-account"), "{unknown:?}");
    emulator.shutdown().await;
    let nobody = output(&["emulator", "credentials", "service-account", "--port", &port]).await;
    assert_eq!(nobody.status.code(), Some(1));
    assert!(stderr(&nobody).contains("countersign emulator"), "{nobody:?}");
}

#[tokio::test]
async fn a_developers_own_gcloud_login_is_out_of_sight() {
    let own = tempfile::tempdir().unwrap();
    let login = own.path().join("application_default_credentials.json");
    std::fs::write(&login, r#"{"type": "authorized_user"}"#).unwrap();
    let script = "echo $CLOUDSDK_CONFIG; ls -A $CLOUDSDK_CONFIG | wc -l; echo \"[$CLOUDSDK_CORE_ACCOUNT]\"; touch $CLOUDSDK_CONFIG/left";
    let mut command = countersign(&["emulator", "--", "sh", "-c", script]);
    command.env("CLOUDSDK_CONFIG", own.path()).env("CLOUDSDK_CORE_ACCOUNT", "me@example.com");
    let output = within("the command's end", command.output()).await.unwrap();
    let text = stdout(&output);
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let [directory, entries, account] = lines[..] else { panic!("{text}") };
    assert_ne!(std::path::Path::new(directory), own.path());
    assert_eq!((entries, account), ("0", "[]"));
    assert!(!std::path::Path::new(directory).exists(), "it is removed, with what was left in it");
    assert!(login.exists());
}
