//! Attacks 13 to 19: on what a token says, and on how much it says.

use countersign::emulator::{BadToken, Emulator, Endpoint, TokenSpec};
use serde_json::json;

use crate::support::signer::{Signer, claims, encode, now, with, without};
use crate::support::{AUDIENCE, CALLER, CALLER_MEMBER, Guarded, policy, verifier};

use super::{bad, fetching, fixed, header_with, signed_under};

#[tokio::test]
async fn attack_13_two_readings_of_one_token() {
    let service = fixed().await;
    let signer = Signer::trusted();
    let header = signer.header().to_string();
    let whole = claims().to_string();
    let rest = &whole[1..];
    for twice in [
        format!("{{\"aud\":\"https://another.example\",{rest}"),
        format!("{{\"aud\":\"{AUDIENCE}\",{rest}"),
        format!("{{\"\\u0061ud\":\"https://another.example\",{rest}"),
        format!("{{\"email\":\"admin@demo.iam.gserviceaccount.com\",{rest}"),
        format!("{{\"google\":{{\"a\":{{\"b\":1,\"b\":2}}}},{rest}"),
        format!("{{\"list\":[0,{{\"c\":1,\"\\u0063\":2}}],{rest}"),
        format!("{whole}{whole}"),
        format!("{whole}\0"),
        format!("{whole}//"),
        format!("\u{feff}{whole}"),
        format!("[{whole}]"),
        whole.replace('"', "'"),
        whole.replace("true", "True"),
        format!("{{\"x\":NaN,{rest}"),
        format!("{{\"x\":\"\\ud800\",{rest}"),
        format!("{{\"\\ud800\":1,{rest}"),
        format!("{{\"x\":01,{rest}"),
        format!("{{,{rest}"),
        whole.replace('}', ",}"),
        String::new(),
        "null".to_owned(),
        "\"\"".to_owned(),
    ] {
        service.refuses(&signer.sign_text(&header, &twice), "malformed_payload").await;
    }
    let rest = &header[1..];
    for twice in [
        format!("{{\"alg\":\"none\",{rest}"),
        format!("{{\"a\\u006cg\":\"none\",{rest}"),
        format!("{{\"kid\":\"other\",{rest}"),
        format!("{{\"x\":{{\"y\":1,\"y\":1}},{rest}"),
        format!("{header}{header}"),
        "[]".to_owned(),
        "null".to_owned(),
        String::new(),
    ] {
        service.refuses(&signer.sign_text(&twice, &whole), "malformed_header").await;
    }
    // UTF-8 that is none.
    let mut bytes = whole.clone().into_bytes();
    bytes.splice(1..1, *b"\"x\":\"\xff\",");
    let input = format!("{}.{}", encode(&header), encode(bytes));
    service.refuses(&signer.sign_input(&input), "malformed_payload").await;
    for (name, value) in [("b64", json!(false)), ("b64", json!(true)), ("zip", json!("DEF"))] {
        service.refuses(&signed_under(&header_with(name, value)), "unsupported_header").await;
    }
    // White space between the tokens of JSON has one reading.
    service.accepts(&signer.sign_text(&header, &format!(" \n{whole}\t"))).await;
}

#[tokio::test]
async fn attack_13_other_spellings_of_base64() {
    let service = fixed().await;
    let signer = Signer::trusted();
    let good = signer.sign(&claims());
    let parts: Vec<&str> = good.split('.').collect();
    // Signed anew over the other spelling, so that nothing but the spelling is wrong.
    for input in [
        format!("{}=.{}", parts[0], parts[1]),
        format!("{}.{}=", parts[0], parts[1]),
        format!("{}.{}\n", parts[0], parts[1]).replace('\n', "%0A"),
        format!("{} .{}", parts[0], parts[1]),
        format!("{}.{}+/", parts[0], parts[1]),
        format!("{}.{}A", parts[0], &parts[1][..parts[1].len() - parts[1].len() % 4]),
    ] {
        service.refuses(&signer.sign_input(&input), "malformed_token").await;
    }
    for token in [
        format!("{good}="),
        format!("{good}=="),
        format!("{good},{good}"),
        format!("{good} {good}"),
        format!("\"{good}\""),
        format!("{good}%00"),
        format!(".{good}"),
        format!("{good}."),
        good.replace('.', ".."),
    ] {
        service.refuses(&token, "malformed_token").await;
    }
    let (emulator, fetching) = fetching().await;
    for name in [BadToken::NonCanonicalBase64, BadToken::PaddedBase64, BadToken::Whitespace] {
        fetching.refuses(&bad(&emulator, name), "malformed_token").await;
    }
}

#[tokio::test]
async fn attack_14_claims_of_another_type() {
    let service = fixed().await;
    let ahead = now() + 3_600;
    for (name, value) in [
        ("exp", json!(ahead.to_string())),
        ("exp", json!(f64::from(i32::MAX) + 0.5)),
        ("exp", json!(1e300)),
        ("exp", json!(u64::MAX)),
        ("exp", json!(true)),
        ("iss", json!(["https://accounts.google.com"])),
        ("aud", json!({ "aud": AUDIENCE })),
        ("aud", json!([AUDIENCE, "https://another.example"])),
        ("aud", json!([AUDIENCE, AUDIENCE])),
        ("aud", json!([1])),
        ("aud", json!(true)),
        ("sub", json!(["112233"])),
        ("email", json!({ "address": CALLER })),
        ("email_verified", json!("false")),
        ("email_verified", json!("true")),
        ("email_verified", json!([])),
    ] {
        let token = Signer::trusted().sign(&with(name, value));
        service.refuses(&token, "malformed_claim").await;
    }
    // An array of exactly one is allowed by RFC 7519 and reads in one way only.
    service.accepts(&Signer::trusted().sign(&with("aud", json!([AUDIENCE])))).await;
    // An integer in the notation of a float.
    let claims = claims();
    let exp = claims["exp"].to_string();
    let text = claims.to_string().replace(&exp, &format!("{exp}.0"));
    let header = Signer::trusted().header().to_string();
    service.refuses(&Signer::trusted().sign_text(&header, &text), "malformed_claim").await;
}

#[tokio::test]
async fn attack_15_claims_that_are_absent() {
    let service = fixed().await;
    for name in ["iss", "aud", "sub", "exp", "iat"] {
        service.refuses(&Signer::trusted().sign(&without(name)), "missing_claim").await;
    }
    service.refuses(&Signer::trusted().sign(&json!({})), "missing_claim").await;
    service.refuses(&Signer::trusted().sign(&with("sub", "")), "missing_claim").await;
    // Without a verified address nobody is on a list of addresses.
    for name in ["email", "email_verified"] {
        let answer = service.whoami(&Signer::trusted().sign(&without(name))).await;
        assert_eq!((answer.status, answer.code().as_str()), (403, "principal_not_allowed"));
    }
}

#[tokio::test]
async fn attack_16_near_misses_of_the_audience() {
    let service = fixed().await;
    for audience in [
        "https://called.example/",
        "https://called.example/x",
        "https://called.example?x",
        "https://called.example#x",
        "https://called.exampl",
        "https://called.example.evil.example",
        "https://evil.example/https://called.example",
        "https://Called.example",
        "HTTPS://called.example",
        "http://called.example",
        "https://called.example:443",
        "https://called.example\u{0}",
        "https://called.example\n",
        " https://called.example",
        "https://called.example ",
        "https://c\u{430}lled.example",
        "https://user@called.example",
        "called.example",
        "https://called.example,https://other.example",
        "*",
        "",
    ] {
        service.refuses(&Signer::trusted().sign(&with("aud", audience)), "wrong_audience").await;
    }
}

#[tokio::test]
async fn attack_16_near_misses_of_the_address() {
    let service = fixed().await;
    for email in [
        "caller@demo.iam.gserviceaccount.com.evil.example",
        "xcaller@demo.iam.gserviceaccount.com",
        "caller@demo.iam.gserviceaccount.co",
        "caller@demo.iam.gserviceaccount.com ",
        "caller@demo.iam.gserviceaccount.com\u{0}",
        "caller@demo.iam.gserviceaccount.com\n",
        "caller@xdemo.iam.gserviceaccount.com",
        "caller+x@demo.iam.gserviceaccount.com",
        "caller@@demo.iam.gserviceaccount.com",
        "c\u{430}ller@demo.iam.gserviceaccount.com",
        // The sign for Kelvin, which full case folding turns into a k: not in this address, but of its kind.
        "\u{212a}aller@demo.iam.gserviceaccount.com",
        "\u{ff43}aller@demo.iam.gserviceaccount.com",
        "serviceAccount:caller@demo.iam.gserviceaccount.com",
        "caller",
        "*",
        "",
    ] {
        let answer = service.whoami(&Signer::trusted().sign(&with("email", email))).await;
        assert_eq!(answer.status, 403, "{email:?}: {answer:?}");
    }
    // Google compares addresses without regard to ASCII case.
    service.accepts(&Signer::trusted().sign(&with("email", CALLER.to_uppercase()))).await;
}

#[tokio::test]
async fn attack_17_a_genuine_token_of_somebody_else_or_for_another_service() {
    let (emulator, service) = fetching().await;
    let stranger = TokenSpec::for_audience(AUDIENCE).account("x@demo.iam.gserviceaccount.com");
    let answer = service.whoami(&emulator.mint(&stranger)).await;
    assert_eq!((answer.status, answer.code().as_str()), (403, "principal_not_allowed"));
    let replayed = emulator.mint(&TokenSpec::for_audience("https://another.example"));
    service.refuses(&replayed, "wrong_audience").await;
    let person = emulator.mint(&TokenSpec::for_person("jo@example.com"));
    service.refuses(&person, "wrong_audience").await;
    let person = TokenSpec::for_person("jo@example.com").audience(AUDIENCE);
    let answer = service.whoami(&emulator.mint(&person)).await;
    assert_eq!(answer.status, 403);
}

#[tokio::test]
async fn attack_17_an_account_made_anew_under_the_same_address() {
    let emulator = Emulator::start().await.unwrap();
    let pinned = format!("{CALLER_MEMBER}?uid={}", emulator.unique_id(CALLER));
    let verifier = verifier(&emulator).build().unwrap();
    let service = Guarded::start(verifier, policy(&[&pinned])).await;
    let spec = TokenSpec::for_audience(AUDIENCE).account(CALLER);
    service.accepts(&emulator.mint(&spec)).await;
    emulator.recreate_account(CALLER);
    let answer = service.whoami(&emulator.mint(&spec)).await;
    assert_eq!((answer.status, answer.code().as_str()), (403, "principal_not_allowed"));
}

#[tokio::test]
async fn attack_18_after_its_time_before_its_time_and_without_an_end() {
    let (emulator, service) = fetching().await;
    for (name, code) in [
        (BadToken::Expired, "expired"),
        (BadToken::NotYetValid, "not_yet_valid"),
        (BadToken::IssuedInTheFuture, "not_yet_valid"),
        (BadToken::NoExpiry, "missing_claim"),
        (BadToken::NoIssuedAt, "missing_claim"),
        (BadToken::LifetimeOver24h, "wrong_lifetime"),
    ] {
        service.refuses(&bad(&emulator, name), code).await;
    }
    // Leaked, and used 61 minutes later (plus what clocks may be apart).
    emulator.set_clock_offset(-62 * 60);
    let leaked = emulator.mint(&TokenSpec::for_audience(AUDIENCE));
    service.refuses(&leaked, "expired").await;

    let service = fixed().await;
    for (iat, exp) in [(i64::MIN, i64::MAX), (0, i64::MAX), (i64::MIN, now() + 60), (0, 0)] {
        let mut claims = with("iat", iat);
        claims["exp"] = exp.into();
        service.refuses(&Signer::trusted().sign(&claims), "wrong_lifetime").await;
    }
    service.refuses(&Signer::trusted().sign(&with("nbf", i64::MAX)), "not_yet_valid").await;
}

#[tokio::test]
async fn attack_19_sizes_and_depths() {
    let (emulator, service) = fetching().await;
    service.refuses(&bad(&emulator, BadToken::Oversized), "token_too_long").await;
    service.refuses(&bad(&emulator, BadToken::DeeplyNested), "malformed_payload").await;
    assert_eq!(emulator.requests(Endpoint::Certs), 0);
    let service = fixed().await;
    let signer = Signer::trusted();
    let header = signer.header().to_string();
    for open in ["[", "{\"a\":", "[[{\"\":"] {
        let deep = format!("{{\"x\":{}", open.repeat(1_500));
        service.refuses(&signer.sign_text(&header, &deep), "malformed_payload").await;
        service.refuses(&signer.sign_text(&deep, &header), "malformed_header").await;
    }
    // Many members, all different: read, and no harm in them.
    let mut many = claims();
    (0..600).for_each(|number| many[format!("m{number}")] = json!(number));
    service.accepts(&signer.sign(&many)).await;
    // A megabyte never gets as far as a token.
    let huge = signer.sign(&with("x", "x".repeat(1 << 20)));
    let answer = service.whoami(&huge).await;
    assert_eq!(answer.status, 431);
}

#[tokio::test]
async fn attack_19_an_upload_without_a_token_is_not_taken_in() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let service = fixed().await;
    for (expect, begin) in [("Expect: 100-continue\r\n", ""), ("", "the first of a million bytes")]
    {
        let mut stream = tokio::net::TcpStream::connect(service.address).await.unwrap();
        let head =
            format!("POST / HTTP/1.1\r\nHost: h\r\n{expect}Content-Length: 1000000\r\n\r\n{begin}");
        stream.write_all(head.as_bytes()).await.unwrap();
        // The rest is never sent: the answer comes without it, and the connection ends.
        let mut answer = String::new();
        let _ = crate::support::within("the end", stream.read_to_string(&mut answer)).await;
        assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    }
}
