//! What the settings say, and what is said about them.

use countersign::emulator::{Emulator, Endpoint, Fault, FaultKind, TokenSpec};
use serde_json::Value;

use super::support::door::Closed;
use super::support::process::{Ended, Process, run};
use super::support::{AUDIENCE, CALLER_MEMBER, send, until};
use super::{BINARY, address, called, called_with, good};

/// It ends with 2 before it listens, and all that it says is on stderr.
async fn refused(subcommand: &str, settings: &[(&str, &str)]) -> String {
    let Ended { status, stdout, stderr } = run(BINARY, subcommand, settings).await;
    assert_eq!(status.code(), Some(2), "{stdout}{stderr}");
    assert!(!stdout.contains("listening") && !stderr.contains("listening"), "{stdout}{stderr}");
    stderr
}

#[tokio::test]
async fn every_mistake_is_told_at_once_with_what_was_found_and_what_is_expected() {
    let bad = [("PORT", "80a"), ("ALLOWED_PRINCIPALS", "caller@demo.iam.gserviceaccount.com")];
    let message = refused("called", &bad).await;
    assert!(message.starts_with("countersign: 3 settings are wrong:\n"), "{message}");
    for says in [
        "PORT: found \"80a\", expected a port number from 0 to 65535",
        "AUDIENCE: not set; expected the audiences",
        "ALLOWED_PRINCIPALS: \"caller@demo.iam.gserviceaccount.com\" is not an IAM member",
        "did you mean \"serviceAccount:caller@demo.iam.gserviceaccount.com\"?",
    ] {
        assert!(message.contains(says), "{says:?} is not in:\n{message}");
    }
}

#[tokio::test]
async fn on_cloud_run_the_message_is_one_entry() {
    let bad = [("K_SERVICE", "called"), ("PORT", "-1"), ("ALLOWED_PRINCIPALS", "group:a@b.c")];
    let message = refused("called", &bad).await;
    assert_eq!(message.trim_end().lines().count(), 1, "{message}");
    let entry: Value = serde_json::from_str(&message).unwrap();
    assert_eq!(entry["severity"], "CRITICAL");
    let text = entry["message"].as_str().unwrap();
    assert!(text.contains("PORT: ") && text.contains("ALLOWED_PRINCIPALS: "), "{text}");
}

#[tokio::test]
async fn members_that_no_token_can_decide_say_why_and_what_to_do() {
    for (member, says) in [
        (
            "group:team@example.com",
            &["which groups", "roles/run.invoker", "serviceAccountTokenCreator"][..],
        ),
        ("principal://iam.googleapis.com/x", &["impersonates"][..]),
        ("deleted:serviceAccount:a@b.iam.gserviceaccount.com?uid=1", &["was deleted"][..]),
        ("user:jo@example.com", &["OAuth client id", "impersonate", "32555940559"][..]),
        ("domain:example.com", &["OAuth client id"][..]),
        ("allUsers,user:jo@example.com", &["must stand alone"][..]),
        ("serviceAccount:*@demo.iam.gserviceaccount.com@x", &["one @"][..]),
        (",", &["is empty"][..]),
    ] {
        let settings = [("PORT", "0"), ("AUDIENCE", AUDIENCE), ("ALLOWED_PRINCIPALS", member)];
        let message = refused("called", &settings).await;
        for says in says {
            assert!(message.contains(says), "{member}: {says:?} is not in:\n{message}");
        }
    }
}

/// All that is needed, and one more.
async fn refused_with(name: &str, value: &str, says: &str) {
    let mut settings =
        vec![("PORT", "0"), ("AUDIENCE", AUDIENCE), ("ALLOWED_PRINCIPALS", CALLER_MEMBER)];
    settings.retain(|(known, _)| *known != name);
    settings.push((name, value));
    let message = refused("called", &settings).await;
    assert!(message.contains(name) && message.contains(says), "{name}={value}: {message}");
}

#[tokio::test]
async fn settings_that_would_open_the_door_are_refused() {
    let loopback = "http://127.0.0.1:9090/oauth2/v3/certs";
    refused_with("JWKS_URL", loopback, "over https only").await;
    refused_with("JWKS_URL", "http://keys.example/certs", "over https only").await;
    refused_with("JWKS_URL", "file:///tmp/keys", "over https only").await;
    refused_with("JWKS_URL", "https://u:p@keys.example/", "no user name or password").await;
    refused_with("SIGNATURE_CHECK", "cloud-run", "not Cloud Run").await;
    refused_with("SIGNATURE_CHECK", "none", "expected required or cloud-run").await;
    refused_with("TRUST_EMULATOR", "yes", "expected 1 or nothing").await;
    refused_with("CLOCK_SKEW_SECONDS", "301", "from 0 to 300").await;
    refused_with("CLOCK_SKEW_SECONDS", "-1", "from 0 to 300").await;
    refused_with("AUDIENCE", "https://called.example,,", "is empty").await;
    refused_with("AUDIENCE", "https://called.example?x=1", "query").await;
    refused_with("ISSUERS", "https://accounts.google.com,", "as tokens name them").await;
    refused_with("HOST", "localhost", "an IP address").await;
    refused_with("LOG_FORMAT", "xml", "json or text").await;
    refused_with("RUST_LOG", "countersign=loud", "RUST_LOG").await;
    refused_with("SSL_CERT_FILE", "/nonexistent.pem", "/nonexistent.pem").await;
    for member in ["allUsers", "allAuthenticatedUsers"] {
        let settings = [
            ("K_SERVICE", "called"),
            ("AUDIENCE", AUDIENCE),
            ("ALLOWED_PRINCIPALS", member),
            ("SIGNATURE_CHECK", "cloud-run"),
        ];
        let message = refused("called", &settings).await;
        assert!(message.contains("forged claims"), "{message}");
    }
}

#[tokio::test]
async fn keys_over_http_from_elsewhere_are_refused_even_with_trust_in_an_emulator() {
    for url in [
        "http://169.254.169.254/certs",
        "http://127.0.0.1.nip.io/certs",
        "http://localhost.example/certs",
        "http://0.0.0.0:9090/certs",
        "http://[::ffff:127.0.0.1]/certs",
        "http://127.0.0.1@keys.example/certs",
    ] {
        let settings = [
            ("AUDIENCE", AUDIENCE),
            ("ALLOWED_PRINCIPALS", CALLER_MEMBER),
            ("TRUST_EMULATOR", "1"),
            ("JWKS_URL", url),
        ];
        let message = refused("called", &settings).await;
        assert!(message.contains("JWKS_URL"), "{url}: {message}");
    }
}

#[tokio::test]
async fn the_caller_tells_its_own_mistakes_as_well() {
    let message = refused("caller", &[]).await;
    for name in ["AUDIENCE", "ALLOWED_PRINCIPALS", "CALLED_URL"] {
        assert!(message.contains(&format!("\n  {name}: not set")), "{name}: {message}");
    }
    for (url, name) in [
        ("http://called.example", "CALLED_URL"),
        ("ftp://called.example", "CALLED_URL"),
        ("called.example", "CALLED_URL"),
        ("https://user:secret-word@called.example", "CALLED_URL"),
        ("https://called.example", "CALLED_AUDIENCE"),
    ] {
        let settings = [
            ("AUDIENCE", AUDIENCE),
            ("ALLOWED_PRINCIPALS", CALLER_MEMBER),
            ("CALLED_URL", url),
            ("GCE_METADATA_HOST", "127.0.0.1:1"),
        ];
        let message = refused("caller", &settings).await;
        assert!(message.contains(&format!("\n  {name}: ")), "{url}: {message}");
        assert!(!message.contains("secret-word"), "{message}");
    }
}

#[tokio::test]
async fn trust_in_an_emulator_and_open_doors_are_warned_of_and_what_is_trusted_is_said() {
    let (_emulator, called) = called().await;
    called.logs("trusted: tokens for these audiences").await;
    let entries = called.entries();
    assert_eq!(entries[0]["message"], "listening");
    assert_eq!(entries[0]["address"], called.address.to_string());
    let warns = |entries: &[Value], text: &str| {
        entries.iter().any(|entry| {
            entry["severity"] == "WARNING" && entry["message"].as_str().unwrap().contains(text)
        })
    };
    assert!(warns(&entries, "TRUST_EMULATOR"), "{entries:?}");
    let trusted = entries.iter().find(|entry| entry["audiences"].is_string()).unwrap();
    assert_eq!(trusted["audiences"], AUDIENCE);
    assert_eq!(trusted["principals"], CALLER_MEMBER);

    let settings = [("AUDIENCE", AUDIENCE), ("ALLOWED_PRINCIPALS", "allUsers")];
    let open = Process::start(BINARY, "called", &settings).await;
    open.logs("trusted: tokens").await;
    assert!(warns(&open.entries(), "anybody may call this service"));
    assert!(!warns(&open.entries(), "TRUST_EMULATOR"));
    let more = [("CALLED_URL", "http://127.0.0.1:1"), ("GCE_METADATA_HOST", "127.0.0.1:1")];
    let settings = [&settings[..], &more[..]].concat();
    let open = Process::start(BINARY, "caller", &settings).await;
    open.logs("trusted: tokens").await;
    assert!(warns(&open.entries(), "lends its identity to anybody"));
}

#[tokio::test]
async fn a_port_that_is_taken_is_named_and_ends_with_1() {
    let (_emulator, called) = called().await;
    let port = called.address.port().to_string();
    let settings = [
        ("HOST", "127.0.0.1"),
        ("PORT", &*port),
        ("AUDIENCE", AUDIENCE),
        ("ALLOWED_PRINCIPALS", CALLER_MEMBER),
    ];
    let ended = run(BINARY, "called", &settings).await;
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    let said = format!("{}{}", ended.stdout, ended.stderr);
    assert!(said.contains(&format!("127.0.0.1:{port}")) && said.contains("PORT"), "{said}");
}

const SERVICE_URL: &str = "https://called-123456789012.us-central1.run.app";

#[tokio::test]
async fn on_cloud_run_the_audience_is_derived_while_it_listens() {
    let emulator = Emulator::start().await.unwrap();
    let metadata = Closed::new();
    let host = metadata.address().to_string();
    let (_held, let_pass) = metadata.hold(address(&emulator));
    let jwks_url = emulator.jwks_url();
    let settings = [
        ("K_SERVICE", "called"),
        ("GCE_METADATA_HOST", &*host),
        ("ALLOWED_PRINCIPALS", CALLER_MEMBER),
        ("TRUST_EMULATOR", "1"),
        ("JWKS_URL", &*jwks_url),
    ];
    let called = Process::start(BINARY, "called", &settings).await;
    let token = emulator.mint(&TokenSpec::for_audience(SERVICE_URL));

    let early = called.whoami(&token).await;
    assert_eq!((early.status, early.code().as_str()), (503, "starting"), "{early:?}");
    assert!(early.header("retry-after").is_some());
    assert_eq!(called.health("live").await.status, 200);
    let ready = called.health("ready").await;
    assert_eq!((ready.status, ready.code().as_str()), (503, "starting"));

    let_pass.send_replace(true);
    until("the audience is known", async || called.whoami(&token).await.status == 200).await;
    assert_eq!(called.whoami(&token).await.json()["audience"], SERVICE_URL);
    called.whoami(&good(&emulator)).await.assert_bad_token("wrong_audience");
    for near in
        ["https://called-abcdefghij-uc.a.run.app", "http://called-123456789012.us-central1.run.app"]
    {
        let token = emulator.mint(&TokenSpec::for_audience(near));
        called.whoami(&token).await.assert_bad_token("wrong_audience");
    }
    // Never from what a request says.
    let token = emulator.mint(&TokenSpec::for_audience("https://evil.example"));
    let request = called.get("/whoami").header("host", "evil.example").bearer_auth(&token);
    send(request.header("x-forwarded-host", "evil.example"))
        .await
        .assert_bad_token("wrong_audience");
    assert!(called.entries().iter().any(|entry| entry["audience"] == SERVICE_URL));
}

#[tokio::test]
async fn an_audience_that_cannot_be_derived_ends_it_with_1_and_a_message() {
    let emulator = Emulator::start().await.unwrap();
    let host = emulator.host();
    emulator.inject(Fault::on(Endpoint::Metadata, FaultKind::status(404))).unwrap();
    let down = Closed::new();
    let closed = down.address().to_string();
    for host in [host, closed] {
        let settings = [
            ("K_SERVICE", "called"),
            ("PORT", "0"),
            ("HOST", "127.0.0.1"),
            ("GCE_METADATA_HOST", &*host),
            ("ALLOWED_PRINCIPALS", CALLER_MEMBER),
        ];
        let ended = run(BINARY, "called", &settings).await;
        assert_eq!(ended.status.code(), Some(1), "{ended:?}");
        let said = format!("{}{}", ended.stdout, ended.stderr);
        assert!(said.contains("set AUDIENCE") && said.contains(&host), "{said}");
    }
}

#[tokio::test]
async fn behind_cloud_run_a_stripped_token_counts_and_a_request_without_one_ends_that() {
    let emulator = Emulator::start().await.unwrap();
    let behind = [("K_SERVICE", "called"), ("SIGNATURE_CHECK", "cloud-run")];
    let called = called_with(&emulator.jwks_url(), &behind).await;
    called.logs("Cloud Run's IAM check is trusted").await;
    let good = good(&emulator);
    let (input, _) = good.rsplit_once('.').unwrap();
    let stripped = format!("{input}.SIGNATURE_REMOVED_BY_GOOGLE");
    assert_eq!(called.whoami(&stripped).await.status, 200);
    assert_eq!(send(called.get("/whoami")).await.code(), "iam_check_missing");
    for token in [&stripped, &good] {
        let answer = called.whoami(token).await;
        assert_eq!((answer.status, answer.code().as_str()), (503, "iam_check_missing"));
    }
    called.logs("until a restart").await;
    assert_eq!(called.health("live").await.status, 200);
}

#[tokio::test]
async fn flags_win_over_the_environment_and_odd_values_are_no_panic() {
    use std::os::unix::ffi::OsStrExt as _;

    let odd = std::ffi::OsStr::from_bytes(b"caller\xff");
    for name in ["AUDIENCE", "ALLOWED_PRINCIPALS", "PORT", "JWKS_URL", "CALLED_URL", "RUST_LOG"] {
        for subcommand in ["called", "caller"] {
            let output = tokio::process::Command::new(BINARY)
                .arg(subcommand)
                .env_clear()
                .env("PORT", "0")
                .env(name, odd)
                .output()
                .await
                .unwrap();
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(2), "{name}: {said}");
            assert!(!said.contains("panicked"), "{name}: {said}");
            if name != "CALLED_URL" || subcommand == "caller" {
                assert!(said.contains("not UTF-8"), "{name}: {said}");
            }
        }
    }
    let output = tokio::process::Command::new(BINARY)
        .args(["called", "--port", "x", "--audience", "b c"])
        .env_clear()
        .env("PORT", "0")
        .output()
        .await
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2));
    assert!(said.contains("PORT: found \"x\"") && said.contains("\"b c\""), "{said}");
}
