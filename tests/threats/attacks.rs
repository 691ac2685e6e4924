//! The 24 ways to attack a bearer token, each by its number. Number 24 is in `reflection`.

use countersign::emulator::{BadToken, Emulator, Endpoint, TokenSpec};
use countersign::inbound::jwks::{KeyFault, KeySet};
use countersign::inbound::{Authenticate, Authenticator, SignatureCheck, Verifier};
use serde_json::{Value, json};

use crate::support::signer::{Signer, claims, encode, hmac_token, now, pem, token, with, without};
use crate::support::{AUDIENCE, CALLER, CALLER_MEMBER, Guarded, policy, send, verifier};

/// Trusts one key and has nothing to fetch.
async fn fixed() -> Guarded {
    let verifier = Signer::trusted().verifier().build().unwrap();
    Guarded::start(verifier, policy(&[CALLER_MEMBER])).await
}

/// Fetches its keys from an emulator.
async fn fetching() -> (Emulator, Guarded) {
    let emulator = Emulator::start().await.unwrap();
    let verifier = verifier(&emulator).build().unwrap();
    let service = Guarded::start(verifier, policy(&[CALLER_MEMBER])).await;
    (emulator, service)
}

fn bad(emulator: &Emulator, bad: BadToken) -> String {
    emulator.mint(&TokenSpec::for_audience(AUDIENCE).bad(bad))
}

/// The trusted key's signature under this header.
fn signed_under(header: &Value) -> String {
    Signer::trusted().sign_text(&header.to_string(), &claims().to_string())
}

fn header_with(name: &str, value: impl Into<Value>) -> Value {
    let mut header = Signer::trusted().header();
    header[name] = value.into();
    header
}

#[tokio::test]
async fn attack_01_alg_none_in_every_mix_of_case_with_and_without_the_last_dot() {
    let service = fixed().await;
    for mix in 0..16_u8 {
        let letters = "none".chars().enumerate();
        let name: String = letters
            .map(|(at, c)| if mix & (1 << at) == 0 { c } else { c.to_ascii_uppercase() })
            .collect();
        let unsigned = token(&header_with("alg", name.as_str()), &claims(), "");
        service.refuses(&unsigned, "wrong_algorithm").await;
        service.refuses(unsigned.trim_end_matches('.'), "malformed_token").await;
        // With a good signature under it, too: `alg` chooses nothing.
        service.refuses(&signed_under(&header_with("alg", name)), "wrong_algorithm").await;
    }
}

#[tokio::test]
async fn attack_02_a_signature_left_out_under_an_unchanged_header() {
    let service = fixed().await;
    let good = Signer::trusted().sign(&claims());
    let (input, _) = good.rsplit_once('.').unwrap();
    service.refuses(&format!("{input}."), "wrong_signature").await;
    service.refuses(input, "malformed_token").await;
    service.refuses(&format!("{input}.AA"), "wrong_signature").await;
    service.refuses(&format!("{input}.{}", encode([0; 256])), "wrong_signature").await;
}

#[tokio::test]
async fn attack_03_hmac_with_the_published_key_in_every_spelling() {
    let service = fixed().await;
    let signer = Signer::trusted();
    let spki = pem("PUBLIC KEY", &signer.public_der());
    let pkcs1 = pem("RSA PUBLIC KEY", &signer.public_pkcs1_der());
    let certificate = rcgen_certificate();
    let secrets: Vec<Vec<u8>> = vec![
        spki.clone().into(),
        spki.trim_end().into(),
        format!("\u{feff}{spki}").into(),
        format!(" {spki}").into(),
        format!("\n{spki}").into(),
        spki.replace('\n', "\r\n").into(),
        pkcs1.clone().into(),
        pkcs1.trim_end().into(),
        signer.public_der(),
        signer.public_pkcs1_der(),
        certificate,
        signer.jwk().to_string().into(),
        signer.key_set().to_string().into(),
        signer.modulus(),
        encode(signer.modulus()).into(),
        signer.kid.clone().into(),
    ];
    for secret in &secrets {
        for algorithm in ["HS256", "HS384", "HS512"] {
            let token = hmac_token(algorithm, &signer.kid, secret);
            service.refuses(&token, "wrong_algorithm").await;
        }
        // The HMAC under the expected algorithm is no RSA signature either.
        let input = signer.sign(&claims());
        let (input, _) = input.rsplit_once('.').unwrap();
        let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, secret);
        let tag = aws_lc_rs::hmac::sign(&key, input.as_bytes());
        service.refuses(&format!("{input}.{}", encode(tag)), "wrong_signature").await;
    }
}

fn rcgen_certificate() -> Vec<u8> {
    let key = rcgen::KeyPair::generate().unwrap();
    let parameters = rcgen::CertificateParams::new(Vec::<String>::new()).unwrap();
    parameters.self_signed(&key).unwrap().der().to_vec()
}

#[tokio::test]
async fn attack_04_hmac_with_an_empty_or_a_well_known_secret() {
    let service = fixed().await;
    for secret in ["", " ", "\0", "secret", "password", "changeme", "your-256-bit-secret", "key"] {
        for kid in ["", "trusted", "unknown"] {
            let token = hmac_token("HS256", kid, secret.as_bytes());
            service.refuses(&token, "wrong_algorithm").await;
        }
    }
}

#[tokio::test]
async fn attack_05_a_key_in_the_header() {
    let (emulator, service) = fetching().await;
    service.refuses(&bad(&emulator, BadToken::JwkInHeader), "unknown_key").await;
    service.refuses(&bad(&emulator, BadToken::X5cInHeader), "wrong_signature").await;
    let service = fixed().await;
    let forger = Signer::forger();
    for kid in ["trusted", "forger"] {
        let header = json!({"alg": "RS256", "kid": kid, "jwk": forger.jwk(), "typ": "JWT"});
        let token = forger.sign_text(&header.to_string(), &claims().to_string());
        let code = if kid == "trusted" { "wrong_signature" } else { "unknown_key" };
        service.refuses(&token, code).await;
    }
}

#[tokio::test]
async fn attack_06_a_link_to_a_key_in_the_header_is_never_followed() {
    let (emulator, service) = fetching().await;
    service.refuses(&bad(&emulator, BadToken::JkuInHeader), "unknown_key").await;
    service.refuses(&bad(&emulator, BadToken::X5uInHeader), "unknown_key").await;
    let host = emulator.host();
    let kid = emulator.current_kid();
    for member in ["jku", "x5u"] {
        for url in [
            format!("{}/canary/jwks", emulator.url()),
            format!("http://www.googleapis.com@{host}/canary/jwks"),
            format!("http://{host}/canary/jwks?x=https://www.googleapis.com/oauth2/v3/certs"),
            format!("http://{host}/canary/jwks#https://www.googleapis.com"),
            format!("//{host}/canary/jwks"),
            format!("{}/../canary/jwks", emulator.jwks_url()),
        ] {
            let header = json!({"alg": "RS256", "kid": kid, "typ": "JWT", member: url});
            let forged = Signer::forger().sign_text(&header.to_string(), &claims().to_string());
            service.refuses(&forged, "wrong_signature").await;
        }
    }
    assert_eq!(emulator.requests(Endpoint::Canary), 0);
    assert_eq!(emulator.requests(Endpoint::Other), 0);
}

#[tokio::test]
async fn attack_07_kid_is_compared_and_nothing_else() {
    let service = fixed().await;
    for kid in [
        "../../../../dev/null",
        "/dev/null",
        "file:///dev/null",
        "http://127.0.0.1/keys",
        "x' UNION SELECT 'secret' -- ",
        "$(touch /tmp/x)",
        "`id`",
        "|cat /etc/passwd",
        "trusted\u{0}",
        "trusted\n",
        " trusted",
        "trusted ",
        "Trusted",
        "truste",
        "trusted.",
        "tru\u{455}ted",
        "__proto__",
        "constructor",
        "toString",
        "hasOwnProperty",
        "0",
        "*",
        "%74rusted",
    ] {
        service.refuses(&signed_under(&header_with("kid", kid)), "unknown_key").await;
    }
    for kid in [json!(""), json!("k".repeat(257)), json!(["trusted"]), json!(null), json!(0)] {
        service.refuses(&signed_under(&header_with("kid", kid)), "malformed_key_id").await;
    }
    // An escape in JSON is another spelling of the same kid, for everybody who reads JSON.
    let header = r#"{"alg":"RS256","kid":"tr\u0075sted","typ":"JWT"}"#;
    service.accepts(&Signer::trusted().sign_text(header, &claims().to_string())).await;
}

#[tokio::test]
async fn attack_08_another_algorithm_of_the_same_family_or_key() {
    let (emulator, service) = fetching().await;
    for name in [BadToken::AlgRs512, BadToken::AlgPs256, BadToken::AlgEs256] {
        service.refuses(&bad(&emulator, name), "wrong_algorithm").await;
    }
    let service = fixed().await;
    for name in [
        json!("rs256"),
        json!("RS256 "),
        json!("RS256\u{0}"),
        json!("RS384"),
        json!("PS512"),
        json!("EdDSA"),
        json!("RSA-OAEP"),
        json!("SHA256withRSA"),
        json!(["RS256"]),
        json!(256),
        json!(null),
    ] {
        service.refuses(&signed_under(&header_with("alg", name)), "wrong_algorithm").await;
    }
}

#[tokio::test]
async fn attack_09_ecdsa_with_r_and_s_of_nothing() {
    let service = fixed().await;
    for algorithm in ["ES256", "ES256K", "ES384", "ES512"] {
        let zeros = token(&header_with("alg", algorithm), &claims(), [0; 64]);
        service.refuses(&zeros, "wrong_algorithm").await;
    }
    service
        .refuses(&token(&Signer::trusted().header(), &claims(), [0; 64]), "wrong_signature")
        .await;
}

#[tokio::test]
async fn attack_10_rsa_signatures_that_are_not_reduced_or_not_of_the_moduluss_length() {
    let service = fixed().await;
    let signer = Signer::trusted();
    let good = signer.sign(&claims());
    let (input, _) = good.rsplit_once('.').unwrap();
    let signature = signer.signature(input.as_bytes());
    let modulus = signer.modulus();

    let mut plus_n = Vec::new();
    let mut carry = 0;
    for (a, b) in signature.iter().rev().zip(modulus.iter().rev()) {
        let sum = u16::from(*a) + u16::from(*b) + carry;
        plus_n.push(u8::try_from(sum & 0xff).unwrap());
        carry = sum >> 8;
    }
    plus_n.push(u8::try_from(carry).unwrap());
    plus_n.reverse();

    let mut variants = vec![
        plus_n.clone(),
        plus_n[1..].to_vec(),
        [&[0], &signature[..]].concat(),
        [&signature[..], &[0]].concat(),
        signature[1..].to_vec(),
        signature[..255].to_vec(),
        vec![0; 256],
        [vec![0; 255], vec![1]].concat(),
        modulus.clone(),
        vec![0xff; 256],
    ];
    let mut one_less = modulus;
    *one_less.last_mut().unwrap() -= 1;
    variants.push(one_less);
    for variant in variants {
        service.refuses(&format!("{input}.{}", encode(variant)), "wrong_signature").await;
    }
    service.accepts(&good).await;
}

#[test]
fn attack_11_weak_keys_are_left_out_of_the_set() {
    let jwk = |n: Vec<u8>, e: &[u8]| json!({"kty": "RSA", "alg": "RS256", "use": "sig", "kid": "weak", "n": encode(n), "e": encode(e)});
    let odd = |bytes: usize| {
        let mut number = vec![0xff; bytes];
        number[0] = 0xc0;
        number
    };
    let strong = Signer::trusted().modulus();
    let e = &[1, 0, 1][..];
    let even = {
        let mut even = strong.clone();
        *even.last_mut().unwrap() -= 1;
        even
    };
    let table = [
        (jwk(strong.clone(), &[1]), KeyFault::Exponent),
        (jwk(strong.clone(), &[2]), KeyFault::Exponent),
        (jwk(strong.clone(), &[3]), KeyFault::Exponent),
        (jwk(strong.clone(), &[1, 0, 0]), KeyFault::Exponent),
        (jwk(strong.clone(), &[0xff; 5]), KeyFault::Exponent),
        (jwk(strong.clone(), &[]), KeyFault::Encoding),
        (jwk(strong.clone(), &[0, 1, 0, 1]), KeyFault::Encoding),
        (jwk(odd(64), e), KeyFault::Modulus),
        (jwk(odd(128), e), KeyFault::Modulus),
        (jwk(odd(255), e), KeyFault::Modulus),
        (jwk(odd(1_025), e), KeyFault::Modulus),
        (jwk(even, e), KeyFault::Modulus),
        (jwk([vec![0], strong.clone()].concat(), e), KeyFault::Encoding),
    ];
    for (weak, fault) in table {
        let keys = json!({"keys": [weak, Signer::trusted().jwk()]});
        let set = KeySet::parse(keys.to_string().as_bytes()).unwrap();
        assert_eq!(set.len(), 1, "{weak}");
        assert_eq!(set.skipped()[0].fault, fault, "{weak}");
        assert!(set.key("weak").is_none());
    }
}

#[tokio::test]
async fn attack_12_encryption_taken_for_a_signature() {
    let (emulator, service) = fetching().await;
    service.refuses(&bad(&emulator, BadToken::FivePartsJwe), "malformed_token").await;
    service.refuses(&bad(&emulator, BadToken::Cty), "unsupported_header").await;
    // An unsigned token within: the outer one is signed, the inner one is what would be believed.
    let inner = token(&json!({"alg": "none"}), &claims(), "");
    let service = fixed().await;
    let signer = Signer::trusted();
    for header in [header_with("cty", "JWT"), header_with("cty", "jwt")] {
        let nested = signer.sign_text(&header.to_string(), &inner);
        service.refuses(&nested, "unsupported_header").await;
    }
    service
        .refuses(&signer.sign_text(&signer.header().to_string(), &inner), "malformed_payload")
        .await;
    let header = json!({"alg": "dir", "enc": "A128CBC-HS256", "kid": "trusted"});
    service.refuses(&token(&header, &claims(), [0; 256]), "wrong_algorithm").await;
}

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
    let text = claims().to_string().replace(&ahead.to_string(), &format!("{ahead}.0"));
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
async fn attack_20_random_kids_in_a_flood_beside_good_traffic() {
    let (emulator, service) = fetching().await;
    let good = emulator.mint(&TokenSpec::for_audience(AUDIENCE));
    service.accepts(&good).await;
    let mut flood = tokio::task::JoinSet::new();
    for number in 0..500 {
        let spec = TokenSpec::for_audience(AUDIENCE).header("kid", format!("kid-{number}"));
        let token = emulator.mint(&spec);
        let (bad, good) = (service.request("/whoami"), service.request("/whoami"));
        let good_token = good_variant(&emulator, number, &good_of(&emulator));
        flood.spawn(async move {
            let refused = send(bad.bearer_auth(token)).await;
            let served = send(good.bearer_auth(good_token)).await;
            (refused.status, refused.code(), served.status)
        });
    }
    while let Some(outcome) = flood.join_next().await {
        assert_eq!(outcome.unwrap(), (401, "unknown_key".to_owned(), 200));
    }
    assert_eq!(emulator.requests(Endpoint::Certs), 2, "the first, and one for all unknown kids");
}

fn good_of(emulator: &Emulator) -> String {
    emulator.mint(&TokenSpec::for_audience(AUDIENCE))
}

/// Every second request has a token of its own, so that it is not merely remembered.
fn good_variant(emulator: &Emulator, number: u32, plain: &str) -> String {
    if number.is_multiple_of(2) {
        return plain.to_owned();
    }
    emulator.mint(&TokenSpec::for_audience(AUDIENCE).claim("jti", number))
}

#[tokio::test]
async fn attack_20_a_minute_of_flood_costs_two_fetches() {
    use std::sync::Arc;
    use std::time::Duration;

    use countersign::clock::ManualClock;

    let emulator = Emulator::start().await.unwrap();
    let clock = Arc::new(ManualClock::at_unix_seconds(emulator.unix_seconds().unsigned_abs()));
    let verifier = verifier(&emulator).clock(Arc::clone(&clock) as Arc<_>).build().unwrap();
    let service = Guarded::start(verifier, policy(&[CALLER_MEMBER])).await;
    let good = emulator.mint(&TokenSpec::for_audience(AUDIENCE));
    service.accepts(&good).await;
    let before = emulator.requests(Endpoint::Certs);
    for second in 0..59 {
        for number in 0..5 {
            let kid = format!("kid-{second}-{number}");
            let spec = TokenSpec::for_audience(AUDIENCE).header("kid", kid);
            service.refuses(&emulator.mint(&spec), "unknown_key").await;
        }
        service.accepts(&good).await;
        clock.advance(Duration::from_secs(1));
    }
    assert_eq!(emulator.requests(Endpoint::Certs) - before, 2);
}

#[tokio::test]
async fn attack_21_two_credentials_other_places_and_tricks_with_the_scheme() {
    let service = fixed().await;
    let good = Signer::trusted().sign(&claims());
    let bearer = format!("Bearer {good}");

    // Other places do not count.
    for name in [
        "x-serverless-authorization",
        "proxy-authorization",
        "x-goog-iap-jwt-assertion",
        "x-authorization",
        "x_authorization",
        "authentication",
        "cookie",
        "x-endpoint-api-userinfo",
    ] {
        send(service.request("/whoami").header(name, &bearer)).await.assert_no_token();
    }
    for query in ["access_token", "id_token", "token", "authorization"] {
        send(service.request(&format!("/whoami?{query}={good}"))).await.assert_no_token();
    }
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let request = service.post("/").header(form[0].0, form[0].1);
    send(request.body(format!("access_token={good}"))).await.assert_no_token();

    // Tricks with the scheme.
    for value in [
        "Bearer".to_owned(),
        "Bearer ".to_owned(),
        good.clone(),
        format!("Bearer{good}"),
        format!("Bearer:{good}"),
        format!("Bearer\t{good}"),
        format!("Token {good}"),
        format!("Basic {good}"),
        format!("JWT {good}"),
        format!("\"Bearer\" {good}"),
    ] {
        let answer = send(service.request("/whoami").header("authorization", &value)).await;
        assert_eq!((answer.status, answer.code().as_str()), (401, "not_a_bearer_token"));
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
    }
    for value in [
        format!("Bearer {good}, Bearer {good}"),
        format!("Bearer {good};"),
        format!("Bearer Bearer {good}"),
        format!("Bearer token={good}"),
        format!("Bearer \t{good}"),
        format!("Basic dTpw, Bearer {good}"),
    ] {
        let answer = send(service.request("/whoami").header("authorization", &value)).await;
        assert_eq!(answer.status, 401, "{value}: {answer:?}");
    }
    assert_eq!(service.handled(), 0);
    for scheme in ["Bearer", "bearer", "BEARER", "bEaReR"] {
        let request =
            service.request("/whoami").header("authorization", format!("{scheme} {good}"));
        assert_eq!(send(request).await.status, 200);
    }
    // A second, forged one in the other header changes nothing: only one is read.
    let forged = format!("Bearer {}", Signer::forger().sign(&claims()));
    let request = service.request("/whoami").header("authorization", &bearer);
    assert_eq!(send(request.header("x-serverless-authorization", &forged)).await.status, 200);
    let request = service.request("/whoami").header("authorization", forged);
    let answer = send(request.header("x-serverless-authorization", bearer)).await;
    answer.assert_bad_token("unknown_key");
}

#[tokio::test]
async fn attack_22_identity_and_path_from_outside() {
    let service = fixed().await;
    let good = Signer::trusted().sign(&claims());
    for (name, value) in [
        ("x-forwarded-for", "127.0.0.1"),
        ("x-forwarded-host", "called.example"),
        ("x-forwarded-proto", "https"),
        ("x-real-ip", "127.0.0.1"),
        ("x-goog-authenticated-user-email", "accounts.google.com:admin@example.com"),
        ("x-goog-authenticated-user-id", "accounts.google.com:1"),
        ("x-http-method-override", "OPTIONS"),
        ("access-control-request-method", "GET"),
        ("x-original-method", "OPTIONS"),
        ("x-original-url", "/health/live"),
        ("user-agent", "GoogleHC/1.0"),
        ("metadata-flavor", "Google"),
        ("host", "localhost"),
        ("via", "1.1 google"),
    ] {
        send(service.request("/whoami").header(name, value)).await.assert_no_token();
        let request = service.request("/whoami").header(name, value).bearer_auth(&good);
        assert_eq!(send(request).await.json()["email"], CALLER, "{name}");
    }
}

const STRIPPED: &str = "SIGNATURE_REMOVED_BY_GOOGLE";

fn stripped(claims: &Value) -> String {
    let good = Signer::trusted().sign(claims);
    let (input, _) = good.rsplit_once('.').unwrap();
    format!("{input}.{STRIPPED}")
}

#[tokio::test]
async fn attack_23_a_signature_that_cloud_run_has_removed_proves_nothing() {
    let service = fixed().await;
    service.refuses(&stripped(&claims()), "signature_removed").await;
    let (emulator, fetching) = fetching().await;
    for name in [BadToken::SignatureRemovedByGoogle, BadToken::StrippedForged] {
        fetching.refuses(&bad(&emulator, name), "signature_removed").await;
    }
    assert_eq!(emulator.requests(Endpoint::Certs), 0);
    // The header that Cloud Run strips is not read at all.
    let value = format!("bearer {}", stripped(&claims()));
    let request = service.request("/whoami").header("x-serverless-authorization", value);
    send(request).await.assert_no_token();
}

async fn behind_cloud_run() -> Guarded {
    let verifier = Signer::trusted().verifier().signature_check(SignatureCheck::CloudRun);
    Guarded::start(verifier.build().unwrap(), policy(&[CALLER_MEMBER])).await
}

#[tokio::test]
async fn attack_23_behind_cloud_run_only_the_exact_mark_counts_and_claims_are_still_checked() {
    let service = behind_cloud_run().await;
    let good = stripped(&claims());
    service.accepts(&good).await;
    let input = good.trim_end_matches(STRIPPED);
    for mark in [
        "SIGNATURE_REMOVED_BY_GOOGL",
        "SIGNATURE_REMOVED_BY_GOOGLE_",
        "signature_removed_by_google",
        "Signature_Removed_By_Google",
        "",
        "U0lHTkFUVVJFX1JFTU9WRURfQllfR09PR0xF",
    ] {
        let answer = service.whoami(&format!("{input}{mark}")).await;
        assert_eq!(answer.status, 401, "{mark:?}: {answer:?}");
    }
    service.refuses(&stripped(&with("aud", "https://other.example")), "wrong_audience").await;
    service.refuses(&stripped(&with("iss", "https://other.example")), "wrong_issuer").await;
    service.refuses(&stripped(&with("iat", now() - 90_000)), "wrong_lifetime").await;
    service.refuses(&stripped(&without("sub")), "missing_claim").await;
    let answer = service.whoami(&stripped(&with("email", "x@demo.iam.gserviceaccount.com"))).await;
    assert_eq!(answer.status, 403);
    // A signature that is there is verified.
    service.refuses(&Signer::forger().sign(&claims()), "unknown_key").await;
    service.accepts(&Signer::trusted().sign(&claims())).await;
    service.accepts(&good).await;
}

#[tokio::test]
async fn attack_23_behind_cloud_run_the_serverless_header_decides_alone() {
    let service = behind_cloud_run().await;
    let (good, forged) = (Signer::trusted().sign(&claims()), Signer::forger().sign(&claims()));
    let both = |authorization: String, serverless: String| {
        let request = service.request("/whoami").header("authorization", authorization);
        send(request.header("x-serverless-authorization", serverless))
    };
    let bearer = |token: &str| format!("Bearer {token}");
    assert_eq!(both(bearer(&forged), bearer(&good)).await.status, 200);
    both(bearer(&good), bearer(&forged)).await.assert_bad_token("unknown_key");
    let answer = both(bearer(&good), "Basic dTpw".into()).await;
    assert_eq!((answer.status, answer.code().as_str()), (401, "not_a_bearer_token"));
    let request = service.request("/whoami").header("x-serverless-authorization", bearer(&good));
    let answer = send(request.header("x-serverless-authorization", bearer(&good))).await;
    assert_eq!((answer.status, answer.code().as_str()), (400, "several_tokens"));
}

#[tokio::test]
async fn attack_23_behind_cloud_run_a_request_without_a_token_shuts_the_door_for_good() {
    let service = behind_cloud_run().await;
    service.accepts(&stripped(&claims())).await;
    let answer = send(service.request("/whoami")).await;
    assert_eq!((answer.status, answer.code().as_str()), (503, "iam_check_missing"));
    for token in [stripped(&claims()), Signer::trusted().sign(&claims())] {
        let answer = service.whoami(&token).await;
        assert_eq!((answer.status, answer.code().as_str()), (503, "iam_check_missing"));
    }
}

#[test]
fn attack_23_behind_cloud_run_an_open_list_is_no_list() {
    for member in ["allUsers", "allAuthenticatedUsers"] {
        let verifier = || -> Verifier {
            let builder = Signer::trusted().verifier().signature_check(SignatureCheck::CloudRun);
            builder.build().unwrap()
        };
        assert!(Authenticator::new(verifier(), policy(&[member])).is_err());
        assert!(Authenticate::new(verifier(), policy(&[member])).is_err());
    }
}

#[tokio::test]
async fn attack_21_over_http2_it_is_the_same() {
    let service = fixed().await;
    let client = {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let builder = reqwest::Client::builder().no_proxy().tls_certs_only([]);
        builder.http2_prior_knowledge().build().unwrap()
    };
    let good = format!("Bearer {}", Signer::trusted().sign(&claims()));
    let request = || client.get(service.url("/whoami"));
    assert_eq!(send(request().header("authorization", &good)).await.status, 200);
    send(request()).await.assert_no_token();
    let twice = request().header("authorization", &good).header("authorization", &good);
    let answer = send(twice).await;
    assert_eq!((answer.status, answer.code().as_str()), (400, "several_tokens"));
    let forged = format!("Bearer {}", Signer::forger().sign(&claims()));
    send(request().header("authorization", forged)).await.assert_bad_token("unknown_key");
    // HTTP/2 does not trim: what is around the value is part of it.
    for value in [format!(" {good}"), format!("{good} "), format!("{good}\t")] {
        let answer = send(request().header("authorization", value)).await;
        assert!([200, 400, 401].contains(&answer.status), "{answer:?}");
        assert!(answer.status != 200 || answer.json()["email"] == CALLER);
    }
}

/// Sends these bytes and reads to the end.
async fn raw(service: &Guarded, request: &str) -> String {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = tokio::net::TcpStream::connect(service.address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let _ = crate::support::within("the end", stream.read_to_end(&mut answer)).await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn attack_21_requests_that_two_readers_would_cut_differently() {
    let service = fixed().await;
    let good = Signer::trusted().sign(&claims());
    let end = "Connection: close\r\n\r\n";
    for head in [
        format!("GET /whoami HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer\r\n {good}\r\n"),
        format!("GET /whoami HTTP/1.1\r\nHost: h\r\nAuthorization : Bearer {good}\r\n"),
        format!("GET /whoami HTTP/1.1\r\nHost: h\r\nX: a\rAuthorization: Bearer {good}\r\n"),
        format!("GET /whoami HTTP/1.1\r\nHost: h\r\nX: a\0\r\nAuthorization: Bearer {good}\r\n"),
        format!("GET /whoami HTTP/1.1\r\nHost: h\r\nX-Authorization: Bearer {good}\r\n"),
        format!("GET /whoami?Authorization:%20Bearer%20{good} HTTP/1.1\r\nHost: h\r\n"),
        "CONNECT /whoami HTTP/1.1\r\nHost: h\r\n".to_owned(),
        "CONNECT h:80 HTTP/1.1\r\nHost: h\r\n".to_owned(),
        "OPTIONS * HTTP/1.1\r\nHost: h\r\n".to_owned(),
        "TRACE /whoami HTTP/1.1\r\nHost: h\r\n".to_owned(),
        "GET http://other.example/whoami HTTP/1.1\r\nHost: h\r\n".to_owned(),
        "GET /whoami HTTP/1.1\r\nHost: a\r\nHost: b\r\n".to_owned(),
        "GET /whoami HTTP/1.0\r\n".to_owned(),
        "get /whoami HTTP/1.1\r\nHost: h\r\n".to_owned(),
    ] {
        let answer = raw(&service, &format!("{head}{end}")).await;
        let refused = answer.contains(" 401 ") || answer.contains(" 400 ");
        assert!(refused, "{head}: {answer}");
        assert!(!answer.contains("\"email\""), "{head}: {answer}");
    }
    assert_eq!(service.handled(), 0);
    // A request within the body of another one is no request: its own headers decide, or nobody's.
    let within = "GET /whoami HTTP/1.1\r\nHost: h\r\n\r\n";
    let request = format!(
        "POST / HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {good}\r\nContent-Length: {}\r\n\
         Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n{within}",
        within.len()
    );
    let answer = raw(&service, &request).await;
    assert!(!answer.contains("\"email\""), "{answer}");
    assert!(service.handled() <= 1);
    // Credentials behind the body.
    let trailer = format!(
        "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nTrailer: authorization\r\n\
         Connection: close\r\n\r\n0\r\nAuthorization: Bearer {good}\r\n\r\n"
    );
    assert!(raw(&service, &trailer).await.starts_with("HTTP/1.1 401 "));
}

/// A user's router without a fallback of its own: axum's default one must be behind the layer as well.
#[tokio::test]
async fn attack_22_unknown_paths_of_a_plain_router_are_behind_the_layer() {
    use axum::Router;
    use axum::routing::get;
    use countersign::server::{Config, Server};

    let verifier = Signer::trusted().verifier().build().unwrap();
    let layer = Authenticate::new(verifier, policy(&[CALLER_MEMBER])).unwrap();
    let nested = Router::new().route("/inner", get(|| async { "inner" }));
    let router =
        Router::new().route("/", get(|| async { "root" })).nest("/nested", nested).layer(layer);
    let host = std::net::Ipv4Addr::LOCALHOST.into();
    let server = Server::bind(Config { host, port: 0, ..Config::default() }).await.unwrap();
    let url = format!("http://{}", server.local_addr());
    tokio::spawn(server.serve(router, std::future::pending()));
    let client = crate::support::client();
    for path in ["/", "/unknown", "/nested", "/nested/", "/nested/inner", "/nested/unknown", "//"] {
        send(client.get(format!("{url}{path}"))).await.assert_no_token();
        send(client.put(format!("{url}{path}"))).await.assert_no_token();
        send(client.request(http::Method::OPTIONS, format!("{url}{path}"))).await.assert_no_token();
    }
    let token = Signer::trusted().sign(&claims());
    let answer = send(client.get(format!("{url}/unknown")).bearer_auth(token)).await;
    assert_eq!(answer.status, 404);
}
