use std::sync::{Arc, OnceLock};

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use countersign::outbound::{IdTokenSource, ServiceAccountKey, SourceOptions};
use serde_json::{Value, json};

use crate::google::{Google, START, audience, claims};
use crate::shown;
use crate::sources::{Case, file};

const AUDIENCE: &str = "https://called.example/path";
const EMAIL: &str = "caller@demo.iam.gserviceaccount.com";

pub(crate) fn pair() -> &'static KeyPair {
    static KEY: OnceLock<KeyPair> = OnceLock::new();
    KEY.get_or_init(|| KeyPair::generate(KeySize::Rsa2048).unwrap())
}

fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<&str> =
        text.as_bytes().chunks(64).map(|line| str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

fn pkcs8() -> Vec<u8> {
    let der: Pkcs8V1Der<'static> = pair().as_der().unwrap();
    der.as_ref().to_vec()
}

pub(crate) fn key_file(google: &Google) -> Value {
    json!({
        "type": "service_account", "project_id": "demo", "private_key_id": "kid-1",
        "private_key": pem("PRIVATE KEY", &pkcs8()), "client_email": EMAIL, "client_id": "1122",
        "token_uri": google.url("/token"),
    })
}

fn make(google: &Google, options: SourceOptions) -> Arc<dyn IdTokenSource> {
    let (_directory, path) = file(key_file(google).to_string());
    Arc::new(ServiceAccountKey::from_file(path, &options).unwrap())
}

#[tokio::test]
async fn what_holds_for_every_source() {
    let case = Case {
        make,
        path: "/token",
        member: "id_token",
        audience: AUDIENCE,
        requests: 1,
        has_own_budget: false,
    };
    case.holds().await;
}

#[tokio::test]
async fn the_assertion_is_what_google_wants() {
    let google = Google::start().await;
    make(&google, google.options()).fetch(&audience(AUDIENCE)).await.unwrap();
    let posted = &google.posted()[0];
    assert_eq!(posted["grant_type"], "urn:ietf:params:oauth:grant-type:jwt-bearer");
    let assertion = posted["assertion"].as_str().unwrap();
    let claims = claims(assertion);
    assert_eq!(claims["iss"], EMAIL);
    assert_eq!(claims["aud"], google.url("/token"));
    assert_eq!(claims["target_audience"], AUDIENCE);
    assert_eq!((&claims["iat"], &claims["exp"]), (&json!(START), &json!(START + 600)));
    assert!(claims.get("scope").is_none());
    let (input, signature) = assertion.rsplit_once('.').unwrap();
    let header = URL_SAFE_NO_PAD.decode(input.split('.').next().unwrap()).unwrap();
    let header: Value = serde_json::from_slice(&header).unwrap();
    assert_eq!(header, json!({"alg": "RS256", "typ": "JWT", "kid": "kid-1"}));
    UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, pair().public_key().as_ref())
        .verify(input.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).unwrap())
        .unwrap();
}

#[tokio::test]
async fn other_spellings_of_a_good_key_are_read() {
    let google = Google::start().await;
    let mut crlf = key_file(&google);
    let text = crlf["private_key"].as_str().unwrap().replace('\n', "\r\n");
    crlf["private_key"] = text.into();
    // PKCS #1 is what PKCS #8 has inside, from its 26th byte on for this size.
    let mut pkcs1 = key_file(&google);
    pkcs1["private_key"] = pem("RSA PRIVATE KEY", &pkcs8()[26..]).into();
    let pretty = serde_json::to_string_pretty(&key_file(&google)).unwrap();
    for content in [
        crlf.to_string(),
        pkcs1.to_string(),
        pretty.replace('\n', "\r\n"),
        format!("\u{feff}{pretty}"),
    ] {
        let (_directory, path) = file(content);
        let key = ServiceAccountKey::from_file(path, &google.options()).unwrap();
        IdTokenSource::fetch(&key, &audience(AUDIENCE)).await.unwrap();
    }
}

#[tokio::test]
async fn a_broken_file_is_one_clear_line() {
    let google = Google::start().await;
    let with = |name: &str, value: Value| {
        let mut key = key_file(&google);
        key[name] = value;
        key.to_string().into_bytes()
    };
    let good = key_file(&google)["private_key"].as_str().unwrap().to_owned();
    let utf16: Vec<u8> =
        key_file(&google).to_string().encode_utf16().fold(vec![0xff, 0xfe], |mut bytes, unit| {
            bytes.extend(unit.to_le_bytes());
            bytes
        });
    let ec = rcgen::KeyPair::generate().unwrap().serialize_pem();
    let table: Vec<(Vec<u8>, &str, &str)> = vec![
        (with("type", "authorized_user".into()), "\"type\"", "service_account"),
        (with("type", Value::Null), "\"type\"", "missing"),
        (with("client_email", Value::Null), "\"client_email\"", "missing"),
        (with("client_email", "nobody".into()), "\"client_email\"", "e-mail"),
        (with("private_key", Value::Null), "\"private_key\"", "missing"),
        (with("private_key", 5.into()), "\"private_key\"", "a number"),
        (with("private_key", "".into()), "\"private_key\"", "missing"),
        (with("private_key", "x".into()), "\"private_key\"", "not PEM"),
        (with("private_key", good[..900].into()), "\"private_key\"", "broken PEM"),
        (
            with("private_key", good.replace('\n', "\\n").into()),
            "\"private_key\"",
            "two characters",
        ),
        (with("private_key", pem("PRIVATE KEY", b"junk").into()), "\"private_key\"", "not an RSA"),
        (with("private_key", ec.into()), "\"private_key\"", "not an RSA"),
        (with("token_uri", "http://oauth2.example/token".into()), "\"token_uri\"", "https://"),
        (with("token_uri", "nowhere".into()), "\"token_uri\"", "not a URL"),
        (with("universe_domain", "a/b".into()), "\"universe_domain\"", "a domain"),
        (good.into_bytes(), "credentials.json", "bare PEM"),
        (b"".to_vec(), "credentials.json", "empty"),
        (b"[]".to_vec(), "credentials.json", "not an object"),
        (b"{\"private_key\": s3cret".to_vec(), "credentials.json", "line 1"),
        (utf16, "credentials.json", "UTF-16"),
        (vec![b' '; 70_000], "credentials.json", "more than 65536 bytes"),
    ];
    for (content, place, what) in table {
        let (_directory, path) = file(content);
        let error = ServiceAccountKey::from_file(&path, &google.options()).unwrap_err();
        let text = error.to_string();
        assert!(text.starts_with(path.to_str().unwrap()), "{text}");
        assert!(text.contains(place) && text.contains(what), "{what}: {text}");
        let all = shown(&error);
        assert!(!text.contains('\n') && !all.contains("s3cret") && !all.contains("MII"), "{all}");
    }
}

#[test]
fn what_is_no_file_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let error = |path: &std::path::Path| {
        ServiceAccountKey::from_file(path, &SourceOptions::default()).unwrap_err().to_string()
    };
    assert!(error(directory.path()).contains("a directory"));
    assert!(error(&directory.path().join("none.json")).contains("none.json: no such file"));
}

#[cfg(unix)]
#[test]
fn a_file_that_may_not_be_read_is_told() {
    use std::os::unix::fs::PermissionsExt as _;
    let (_directory, path) = file("{}");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o000)).unwrap();
    // The superuser reads everything.
    if std::fs::read(&path).is_err() {
        let error = ServiceAccountKey::from_file(&path, &SourceOptions::default()).unwrap_err();
        assert!(error.to_string().contains("may not be read"), "{error}");
    }
}
