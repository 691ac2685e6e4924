//! Attack 24: what an attacker gets to see of what it sent, and what it can write into the log.

use countersign::emulator::{Emulator, TokenSpec};
use countersign::telemetry::LogFormat;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::support::signer::{Signer, claims, with};
use crate::support::{AUDIENCE, CALLER_MEMBER, Guarded, Lines, policy, send};

/// What would do harm in an answer, a header, or a log line.
const ODD: &[&str] = &[
    "<script>alert(1)</script>",
    "a\r\nSet-Cookie: stolen=1",
    "a\n{\"severity\":\"CRITICAL\",\"message\":\"forged\"}",
    "\u{1b}[31mred\u{1b}[0m",
    "\u{202e}gnp.exe",
    "a\u{2028}b\u{85}c",
    "\", error=\"insufficient_scope",
    "${jndi:ldap://x.example/a}",
    "a\u{0}b",
    "needle-needle-needle",
];

async fn service() -> Guarded {
    let verifier = Signer::trusted().verifier().build().unwrap();
    Guarded::start(verifier, policy(&[CALLER_MEMBER])).await
}

/// Tokens with the text wherever a check looks, signed by the trusted key so that nothing but the text is odd.
fn tokens(text: &str) -> Vec<String> {
    let signer = Signer::trusted();
    let header = |name: &str| {
        let mut header = signer.header();
        header[name] = text.into();
        signer.sign_text(&header.to_string(), &claims().to_string())
    };
    let name = json!(text).to_string();
    let mut tokens: Vec<String> = ["iss", "aud", "exp", "iat", "nbf", "email_verified"]
        .iter()
        .map(|name| signer.sign(&with(name, text)))
        .collect();
    tokens.extend(["alg", "kid", "typ"].map(header));
    tokens.push(signer.sign(&with("email", format!("{text}@demo.iam.gserviceaccount.com"))));
    let mut nobody = with("sub", text);
    nobody.as_object_mut().unwrap().remove("email");
    tokens.push(signer.sign(&nobody));
    let whole = claims().to_string();
    let twice = format!("{{{name}:1,{name}:2,{}", &whole[1..]);
    tokens.push(signer.sign_text(&signer.header().to_string(), &twice));
    tokens.push(signer.sign_text(&twice, &whole));
    tokens.push(signer.sign_text(text, &whole));
    tokens.push(signer.sign_text(&signer.header().to_string(), text));
    tokens
}

#[tokio::test]
async fn attack_24_nothing_of_a_token_is_reflected_to_the_client() {
    let service = service().await;
    for text in ODD {
        for token in tokens(text) {
            let answer = service.whoami(&token).await;
            assert!((400..500).contains(&answer.status), "{text:?}: {answer:?}");
            let code = answer.code();
            let shown = format!("{:?} {}", answer.headers, answer.body);
            for part in text.split(['\r', '\n', '\0']).filter(|part| part.len() > 6) {
                assert!(!shown.contains(part), "{code} shows {part:?}: {shown}");
            }
            assert!(answer.header("set-cookie").is_none());
            assert!(!shown.contains(&token[..20]), "{code} shows the token");
        }
    }
}

#[tokio::test]
async fn attack_24_paths_queries_and_fields_are_not_reflected() {
    let service = service().await;
    for path in ["/needle-needle", "/%3Cscript%3E", "/?next=needle-needle", "/whoami?needle-needle"]
    {
        let request = service.request(path).header("user-agent", "needle-needle");
        let answer = send(request.header("x-needle", "needle-needle")).await;
        answer.assert_no_token();
        let shown = format!("{:?} {}", answer.headers, answer.body);
        assert!(!shown.contains("needle") && !shown.contains("cript"), "{shown}");
    }
}

/// Every line is one event of ours: nobody else has begun one.
fn assert_no_line_is_forged(log: &str, tokens: &[String]) {
    assert!(log.lines().count() >= tokens.len(), "a refusal without a line");
    for line in log.lines() {
        let entry: Value = serde_json::from_str(line).expect(line);
        assert_ne!(entry["message"], "forged", "{line}");
        assert_ne!(entry["severity"], "CRITICAL", "{line}");
        let control = |sign: char| sign.is_control() || "\u{202e}\u{2028}\u{2029}".contains(sign);
        let message = entry["message"].as_str().unwrap_or_default();
        assert!(!message.contains(control), "{message:?}");
    }
    assert_no_token(log, tokens);
}

fn assert_no_token(log: &str, tokens: &[String]) {
    for token in tokens {
        for part in token.split('.').filter(|part| part.len() > 16) {
            assert!(!log.contains(part), "a part of a token is in the log: {part}");
        }
    }
}

#[tokio::test]
async fn attack_24_log_lines_cannot_be_forged_and_have_no_token_in_them() {
    let (lines, _guard) = Lines::collect(LogFormat::Json);
    let service = service().await;
    let tokens: Vec<String> = ODD.iter().flat_map(|text| tokens(text)).collect();
    for token in &tokens {
        service.whoami(token).await;
    }
    assert_no_line_is_forged(&lines.text(), &tokens);
    let refused = lines.text().lines().filter(|line| line.contains("\"code\":")).count();
    assert!(refused >= tokens.len(), "{refused} of {} refusals have their line", tokens.len());
}

#[tokio::test]
async fn attack_24_text_lines_have_no_control_characters() {
    let (lines, _guard) = Lines::collect(LogFormat::Text);
    let service = service().await;
    let tokens: Vec<String> = ODD.iter().flat_map(|text| tokens(text)).collect();
    for token in &tokens {
        service.whoami(token).await;
    }
    let log = lines.text();
    let odd = |sign: char| sign.is_control() && sign != '\n' || "\u{202e}\u{2028}".contains(sign);
    assert!(!log.contains(odd), "{:?}", log.lines().find(|line| line.contains(odd)));
    let begins_with_time = |line: &str| line.as_bytes().first().is_some_and(u8::is_ascii_digit);
    assert!(log.lines().all(begins_with_time), "a line that is no event's");
    assert_no_token(&log, &tokens);
}

#[tokio::test]
async fn the_log_says_who_a_refused_principal_was_and_never_the_query() {
    let emulator = Emulator::start().await.unwrap();
    let stranger = "stranger@demo.iam.gserviceaccount.com";
    let token = emulator.mint(&TokenSpec::for_audience(AUDIENCE).account(stranger));
    let verifier = crate::support::verifier(&emulator).build().unwrap();
    let (lines, _guard) = Lines::collect(LogFormat::Json);
    let service = Guarded::start(verifier, policy(&[CALLER_MEMBER])).await;

    let answer = send(service.request("/x?token=secret-in-query").bearer_auth(&token)).await;
    assert_eq!((answer.status, answer.code().as_str()), (403, "principal_not_allowed"));
    assert!(!answer.body.contains("stranger"), "{}", answer.body);

    let log = lines.text();
    let entries = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let refusals: Vec<Value> =
        entries.filter(|entry| entry["code"] == "principal_not_allowed").collect();
    let [refusal] = &refusals[..] else { panic!("expected one line: {log}") };
    assert_eq!(refusal["principal"], stranger);
    assert_eq!(refusal["httpRequest"]["status"], 403);
    assert_eq!(refusal["httpRequest"]["requestUrl"], "/x");
    assert!(!log.contains("secret-in-query"));
    assert_no_token(&log, &[token]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_a_claim_says_a_line_stays_a_line(text in "\\PC{0,30}[\\x00-\\x1f\u{2028}]{1,4}\\PC{0,30}") {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (lines, _guard) = Lines::collect(LogFormat::Json);
            let service = service().await;
            let tokens = tokens(&text);
            for token in &tokens {
                let answer = service.whoami(token).await;
                assert!((400..500).contains(&answer.status), "{answer:?}");
            }
            assert_no_line_is_forged(&lines.text(), &tokens);
        });
    }
}
