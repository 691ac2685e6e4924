use std::net::{IpAddr, Ipv4Addr};

use super::*;
use crate::inbound::SignatureCheck;
use crate::outbound::CalledHeaders;
use crate::telemetry::{LogFormat, RequestLog};

const CALLED: &[(&str, &str)] = &[
    ("AUDIENCE", "https://called.example"),
    ("ALLOWED_PRINCIPALS", "serviceAccount:caller@demo.iam.gserviceaccount.com"),
];
const CALLER: &[(&str, &str)] = &[
    ("AUDIENCE", "https://caller.example"),
    ("ALLOWED_PRINCIPALS", "serviceAccount:front@demo.iam.gserviceaccount.com"),
    ("CALLED_URL", "https://called-1.europe-west1.run.app/v1"),
];

fn called(more: &[(&str, &str)]) -> Result<CalledConfig, ConfigError> {
    CalledConfig::read(&Settings::from_pairs(CALLED.iter().chain(more).copied()))
}

fn caller(more: &[(&str, &str)]) -> Result<CallerConfig, ConfigError> {
    CallerConfig::read(&Settings::from_pairs(CALLER.iter().chain(more).copied()))
}

/// The settings that are told to be wrong, each with a part of its message.
fn assert_mistakes<T: fmt::Debug>(read: Result<T, ConfigError>, expected: &[(&str, &str)]) {
    let error = read.unwrap_err();
    let found: Vec<_> = error.mistakes().iter().map(|mistake| mistake.setting).collect();
    let names: Vec<_> = expected.iter().map(|(name, _)| *name).collect();
    assert_eq!(found, names, "{error}");
    for (mistake, (_, part)) in error.mistakes().iter().zip(expected) {
        assert!(mistake.message.contains(part), "{part:?} in {error}");
    }
}

#[test]
fn defaults_are_cloud_runs_and_googles() {
    let config = called(&[]).unwrap();
    let server = &config.process.server;
    assert_eq!((server.host, server.port), (IpAddr::V4(Ipv4Addr::UNSPECIFIED), 8080));
    assert_eq!(config.process.telemetry.format, LogFormat::Text);
    assert_eq!(config.process.telemetry.request_log, RequestLog::Denied);
    assert_eq!(config.inbound.signature_check, SignatureCheck::Required);
    assert_eq!(config.inbound.leeway.as_secs(), 60);
    assert!(config.inbound.key_url.is_none() && config.inbound.issuers.is_none());
    assert!(!config.inbound.trust_emulator);

    let on_cloud_run = called(&[("K_SERVICE", "orders"), ("K_REVISION", "orders-1")]).unwrap();
    assert_eq!(on_cloud_run.process.telemetry.format, LogFormat::Json);
    assert_eq!(on_cloud_run.process.telemetry.service.as_deref(), Some("orders"));
}

#[test]
fn every_mistake_is_told_at_once() {
    let settings = Settings::from_pairs([
        ("PORT", "80800"),
        ("ALLOWED_PRINCIPALS", "user:jo@example.com,group:team@example.com, nobody"),
        ("CLOCK_SKEW_SECONDS", "301"),
        ("SIGNATURE_CHECK", "none"),
        ("LOG_FORMAT", "xml"),
        ("LOG_REQUESTS", "some"),
        ("RUST_LOG", "very=loud"),
        ("HOST", "localhost"),
        ("TRUST_EMULATOR", "yes"),
        ("JWKS_URL", "http://keys.example/"),
        ("GCE_METADATA_HOST", "http://x/y"),
        ("SSL_CERT_FILE", "/does/not/exist.pem"),
    ]);
    assert_mistakes(
        CalledConfig::read(&settings),
        &[
            ("TRUST_EMULATOR", "found \"yes\", expected 1 or nothing"),
            ("LOG_REQUESTS", "expected all, denied or none"),
            ("PORT", "found \"80800\", expected a port number from 0 to 65535"),
            ("HOST", "expected an IP address"),
            ("LOG_FORMAT", "expected json or text"),
            ("RUST_LOG", "very=loud"),
            ("SSL_CERT_FILE", "/does/not/exist.pem"),
            ("AUDIENCE", "not set"),
            ("ALLOWED_PRINCIPALS", "does not say which groups"),
            ("ALLOWED_PRINCIPALS", "\"nobody\" is not an IAM member"),
            ("SIGNATURE_CHECK", "expected required or cloud-run"),
            ("JWKS_URL", "over https only"),
            ("CLOCK_SKEW_SECONDS", "whole seconds from 0 to 300"),
            ("GCE_METADATA_HOST", ""),
        ],
    );
}

#[test]
fn the_message_names_each_setting_on_a_line_of_its_own() {
    let error = CalledConfig::read(&Settings::from_pairs([("PORT", "x")])).unwrap_err();
    let lines: Vec<_> = error.to_string().lines().map(str::to_owned).collect();
    assert_eq!(lines[0], "3 settings are wrong:");
    assert!(lines[1].starts_with("  PORT: ") && lines[2].starts_with("  AUDIENCE: "));
    assert!(lines[3].starts_with("  ALLOWED_PRINCIPALS: ") && lines.len() == 4);
}

#[test]
fn nothing_is_let_in_by_leaving_a_setting_out() {
    for principals in ["", " ", ","] {
        let settings = Settings::from_pairs([
            ("AUDIENCE", "https://called.example"),
            ("ALLOWED_PRINCIPALS", principals),
        ]);
        let error = CalledConfig::read(&settings).unwrap_err();
        assert!(error.mistakes().iter().all(|mistake| mistake.setting == "ALLOWED_PRINCIPALS"));
    }
    assert_mistakes(called(&[("AUDIENCE", "https://a,")]), &[("AUDIENCE", "is empty")]);
    assert_mistakes(called(&[("AUDIENCE", "https://a?x=1")]), &[("AUDIENCE", "query")]);
}

#[test]
fn lists_may_have_white_space_around_their_entries() {
    let config = called(&[("AUDIENCE", " https://a , https://b\n")]).unwrap();
    let expected = ["https://a", "https://b"].map(|audience| audience.parse().unwrap());
    assert_eq!(config.inbound.audience, AudienceSetting::Given(expected.into()));
}

#[test]
fn on_cloud_run_the_audience_can_be_derived() {
    let config = called(&[("AUDIENCE", ""), ("K_SERVICE", "orders")]).unwrap();
    assert_eq!(config.inbound.audience, AudienceSetting::OfCloudRunService("orders".to_owned()));
}

#[test]
fn all_users_stands_alone() {
    let both = "allUsers,user:jo@example.com";
    assert_mistakes(
        called(&[("ALLOWED_PRINCIPALS", both)]),
        &[("ALLOWED_PRINCIPALS", "must stand alone")],
    );
    assert!(called(&[("ALLOWED_PRINCIPALS", "allUsers")]).unwrap().inbound.policy.admits_anyone());
}

#[test]
fn people_need_a_client_id_among_the_audiences() {
    for people in ["user:jo@example.com", "domain:example.com"] {
        assert_mistakes(
            called(&[("ALLOWED_PRINCIPALS", people)]),
            &[("ALLOWED_PRINCIPALS", "32555940559.apps.googleusercontent.com")],
        );
        let audience = "https://called.example,32555940559.apps.googleusercontent.com";
        assert!(called(&[("ALLOWED_PRINCIPALS", people), ("AUDIENCE", audience)]).is_ok());
    }
}

#[test]
fn cloud_runs_word_counts_on_cloud_run_only_and_not_for_everybody() {
    let cloud_run = ("SIGNATURE_CHECK", "cloud-run");
    assert_mistakes(called(&[cloud_run]), &[("SIGNATURE_CHECK", "K_SERVICE is not")]);
    let config = called(&[cloud_run, ("K_SERVICE", "orders")]).unwrap();
    assert_eq!(config.inbound.signature_check, SignatureCheck::CloudRun);
    for open in ["allUsers", "allAuthenticatedUsers"] {
        let settings = [cloud_run, ("K_SERVICE", "orders"), ("ALLOWED_PRINCIPALS", open)];
        assert_mistakes(called(&settings), &[("SIGNATURE_CHECK", "forged claims")]);
    }
}

#[test]
fn an_emulator_is_trusted_on_loopback_only_and_listens_there() {
    let trust = ("TRUST_EMULATOR", "1");
    let config = called(&[trust, ("JWKS_URL", "http://127.0.0.1:9090/certs")]).unwrap();
    assert_eq!(config.process.server.host, IpAddr::V4(Ipv4Addr::LOCALHOST));
    assert!(config.inbound.trust_emulator);
    let wide = called(&[trust, ("HOST", "0.0.0.0")]).unwrap();
    assert_eq!(wide.process.server.host, IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    for url in ["http://10.0.0.1/certs", "http://metadata.google.internal/"] {
        assert_mistakes(called(&[trust, ("JWKS_URL", url)]), &[("JWKS_URL", "https only")]);
    }
    assert_mistakes(
        called(&[("JWKS_URL", "http://127.0.0.1/")]),
        &[("JWKS_URL", "TRUST_EMULATOR=1")],
    );
}

#[test]
fn the_called_url_tells_the_audience_where_it_can() {
    let config = caller(&[]).unwrap();
    assert_eq!(config.outbound.called_audience.as_str(), "https://called-1.europe-west1.run.app");
    assert_eq!(config.outbound.called_headers, CalledHeaders::Auto);
    let custom = ("CALLED_URL", "https://api.example.com/orders");
    assert_mistakes(caller(&[custom]), &[("CALLED_AUDIENCE", "does not tell it")]);
    let config =
        caller(&[custom, ("CALLED_AUDIENCE", "orders"), ("CALLED_HEADERS", "both")]).unwrap();
    assert_eq!(config.outbound.called_audience.as_str(), "orders");
    assert_eq!(config.outbound.called_headers, CalledHeaders::Both);
}

#[test]
fn tokens_are_sent_over_https_or_loopback_only() {
    for url in ["http://called.example/", "ftp://127.0.0.1/", "https://a:b@called.example/"] {
        let settings = [("CALLED_URL", url), ("CALLED_AUDIENCE", "x")];
        let error = caller(&settings).unwrap_err();
        assert_eq!(error.mistakes()[0].setting, "CALLED_URL", "{url}");
        assert!(!error.to_string().contains("a:b@"), "no password: {error}");
    }
    assert_mistakes(caller(&[("CALLED_URL", "called")]), &[("CALLED_URL", "not a URL")]);
    assert_mistakes(caller(&[("CALLED_URL", "")]), &[("CALLED_URL", "not set")]);
    assert_mistakes(caller(&[("CALLED_HEADERS", "all")]), &[("CALLED_HEADERS", "all")]);
    assert!(caller(&[("CALLED_URL", "http://127.0.0.1:8081")]).is_ok());
}

#[test]
fn a_credential_file_is_not_passed_over_in_silence() {
    let file = ("GOOGLE_APPLICATION_CREDENTIALS", "/no/key.json");
    assert_mistakes(caller(&[file]), &[("GOOGLE_APPLICATION_CREDENTIALS", "no such file")]);
}

#[test]
fn more_authorities_come_from_a_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ca.pem");
    let certificate = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(&path, certificate.cert.pem()).unwrap();
    let file = ("SSL_CERT_FILE", path.to_str().unwrap());
    assert!(called(&[file]).is_ok());
    std::fs::write(&path, "not pem").unwrap();
    assert_mistakes(called(&[file]), &[("SSL_CERT_FILE", "ca.pem")]);
}

#[cfg(unix)]
#[test]
fn text_that_is_not_utf8_is_told() {
    use std::os::unix::ffi::OsStringExt as _;
    let odd = std::ffi::OsString::from_vec(vec![b'8', 0xff]);
    let settings = Settings::from_pairs(CALLED.iter().copied()).with("PORT", odd);
    assert_mistakes(CalledConfig::read(&settings), &[("PORT", "not UTF-8")]);
}

#[test]
fn flags_win_and_debug_shows_names_only() {
    let settings = Settings::from_pairs([("PORT", "1")]).with("PORT", "2");
    assert_eq!(settings.value("PORT").unwrap(), "2");
    assert_eq!(format!("{settings:?}"), "{\"PORT\"}");
}

#[test]
fn on_cloud_run_the_last_words_are_one_json_line() {
    let pairs = [("K_SERVICE", "orders"), ("PORT", "x")];
    let settings = Settings::from_pairs(pairs);
    let error = CalledConfig::read(&settings).unwrap_err();
    let words = settings.start_up_failure(&error);
    let line: serde_json::Value = serde_json::from_str(&words).unwrap();
    assert_eq!((words.lines().count(), &line["severity"]), (1, &"CRITICAL".into()));
    assert!(line["message"].as_str().unwrap().contains("PORT: found \"x\""));
    let text = settings.with("LOG_FORMAT", "text").start_up_failure(&error);
    assert!(text.starts_with("countersign: "));
}

#[test]
fn a_password_in_a_url_is_not_repeated() {
    let error = caller(&[
        ("CALLED_URL", "https://bob:secret@host:99999/"),
        ("JWKS_URL", "https://bob:secret@host:99999/"),
        ("GCE_METADATA_HOST", "bob:secret@host"),
    ])
    .unwrap_err();
    assert_eq!(error.mistakes().len(), 3, "{error}");
    assert!(
        error.to_string().contains("…@host") && !error.to_string().contains("secret"),
        "{error}"
    );
}

#[test]
fn an_issuer_without_a_name_is_a_mistake() {
    for issuers in [",", "accounts.google.com,", "https://accounts.google.com accounts.google.com"]
    {
        assert_mistakes(called(&[("ISSUERS", issuers)]), &[("ISSUERS", "separated by commas")]);
    }
}

#[test]
fn a_persons_login_is_no_source_for_a_service_unless_it_impersonates() {
    let directory = tempfile::tempdir().unwrap();
    let gcloud = directory.path().join(".config/gcloud");
    std::fs::create_dir_all(&gcloud).unwrap();
    let login = r#"{"type":"authorized_user","client_id":"1-a.example","client_secret":"s","refresh_token":"r"}"#;
    std::fs::write(gcloud.join("application_default_credentials.json"), login).unwrap();
    let home = ("HOME", directory.path().to_str().unwrap());
    assert_mistakes(caller(&[home]), &[("GOOGLE_APPLICATION_CREDENTIALS", "1-a.example")]);
    let account = ("IMPERSONATE_SERVICE_ACCOUNT", "a@demo.iam.gserviceaccount.com");
    assert!(caller(&[home, account]).is_ok());
    let elsewhere = ("CLOUDSDK_CONFIG", "/no/such/directory");
    assert!(caller(&[home, elsewhere]).is_ok());
    let wrong = ("IMPERSONATE_SERVICE_ACCOUNT", "a/b");
    assert_mistakes(caller(&[home, wrong]), &[(wrong.0, "no service account")]);
    for name in ["TOKEN_URL", "IAM_CREDENTIALS_URL"] {
        assert_mistakes(caller(&[(name, "http://x.example/")]), &[(name, "https://")]);
    }
}
