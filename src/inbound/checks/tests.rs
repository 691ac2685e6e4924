use super::*;

fn header(json: &str) -> Header<'_> {
    Header::parse(json.as_bytes()).unwrap()
}

fn claims(json: &str) -> Claims {
    Claims::parse(json.as_bytes()).unwrap()
}

fn times(claims: &Claims, now: i64, leeway: i64) -> Result<(), Cause> {
    Times::of(claims)?.check(now, leeway)
}

fn code<T: std::fmt::Debug>(result: Result<T, Cause>) -> &'static str {
    result.map_or_else(|cause| cause.code(), |_| "ok")
}

#[test]
fn the_algorithm_is_rs256_to_the_letter() {
    assert_eq!(algorithm(&header(r#"{"alg":"RS256"}"#)), Ok(()));
    for json in [
        r#"{"alg":"none"}"#,
        r#"{"alg":"rs256"}"#,
        r#"{"alg":"RS256 "}"#,
        r#"{"alg":"HS256"}"#,
        r#"{"alg":"RS512"}"#,
        r#"{"alg":"PS256"}"#,
        r#"{"alg":["RS256"]}"#,
        r#"{"alg":null}"#,
        "{}",
    ] {
        assert_eq!(code(algorithm(&header(json))), "wrong_algorithm", "{json}");
    }
}

#[test]
fn header_members_that_change_the_meaning_are_refused() {
    for name in ["crit", "b64", "zip", "cty"] {
        for value in ["[]", "false", "null", "\"DEF\""] {
            let json = format!("{{\"{name}\":{value}}}");
            assert_eq!(code(header_members(&header(&json))), "unsupported_header", "{json}");
        }
    }
    assert_eq!(header_members(&header(r#"{"jwk":{},"jku":"x","x5c":[]}"#)), Ok(()));
}

#[test]
fn the_type_is_jwt_or_absent() {
    for json in ["{}", r#"{"typ":"JWT"}"#, r#"{"typ":"jwt"}"#] {
        assert_eq!(token_type(&header(json)), Ok(()), "{json}");
    }
    for json in [r#"{"typ":"at+jwt"}"#, r#"{"typ":""}"#, r#"{"typ":1}"#] {
        assert_eq!(code(token_type(&header(json))), "wrong_type", "{json}");
    }
}

#[test]
fn the_key_id_is_a_short_string() {
    assert_eq!(key_id(&header(r#"{"kid":"a"}"#)), Ok("a"));
    let long = format!("{{\"kid\":\"{}\"}}", "k".repeat(MAX_KID_BYTES + 1));
    for json in ["{}", r#"{"kid":""}"#, r#"{"kid":7}"#, &long] {
        assert_eq!(code(key_id(&header(json))), "malformed_key_id", "{json}");
    }
}

#[test]
fn duplicate_members_of_the_header_are_refused() {
    let json = br#"{"alg":"RS256","alg":"none"}"#;
    assert_eq!(Header::parse(json).unwrap_err().code(), "malformed_header");
}

#[test]
fn issuers_and_audiences_are_byte_equal() {
    let issuers = ["https://accounts.google.com".into(), "accounts.google.com".into()];
    let audiences = ["https://called.example".parse().unwrap()];
    let issued = |iss: &str| issuer(&claims(&format!("{{\"iss\":{iss}}}")), &issuers);
    let made = |aud: &str| audience(&claims(&format!("{{\"aud\":{aud}}}")), &audiences);

    assert_eq!(issued(r#""accounts.google.com""#), Ok(()));
    for near in [
        "\"https://accounts.google.com/\"",
        "\"accounts.google\"",
        "\"Accounts.google.com\"",
        "\"\"",
    ] {
        assert_eq!(code(issued(near)), "wrong_issuer", "{near}");
    }
    assert_eq!(code(issued(r#"["accounts.google.com"]"#)), "malformed_claim");
    assert_eq!(code(issuer(&claims("{}"), &issuers)), "missing_claim");

    assert_eq!(made(r#""https://called.example""#), Ok(&audiences[0]));
    assert_eq!(made(r#"["https://called.example"]"#), Ok(&audiences[0]));
    for near in [
        "\"https://called.example/\"",
        "\"https://called.exampl\"",
        "\"http://called.example\"",
        "\"https://CALLED.example\"",
        "\"https://called.example\\u0000\"",
        "\"https://c\u{0430}lled.example\"",
        "\"\"",
    ] {
        assert_eq!(code(made(near)), "wrong_audience", "{near}");
    }
    assert_eq!(code(made(r#"["https://called.example","x"]"#)), "malformed_claim");
    assert_eq!(code(made("123")), "malformed_claim");
    assert_eq!(code(audience(&claims("{}"), &audiences)), "missing_claim");
}

#[test]
fn times_have_a_leeway_and_sharp_edges() {
    let token = claims(r#"{"exp":1000,"iat":500,"nbf":600}"#);
    let at = |now| code(times(&token, now, 60));
    assert_eq!((at(539), at(540), at(1_059), at(1_060)), ("not_yet_valid", "ok", "ok", "expired"));

    let without_nbf = claims(r#"{"exp":1000,"iat":500}"#);
    let at = |now| code(times(&without_nbf, now, 60));
    assert_eq!((at(439), at(440)), ("not_yet_valid", "ok"));

    for json in [r#"{"iat":1}"#, r#"{"exp":1}"#] {
        assert_eq!(code(times(&claims(json), 1, 60)), "missing_claim", "{json}");
    }
    for json in
        [r#"{"exp":"1","iat":1}"#, r#"{"exp":2,"iat":1.5}"#, r#"{"exp":2,"iat":1,"nbf":"0"}"#]
    {
        assert_eq!(code(times(&claims(json), 1, 60)), "malformed_claim", "{json}");
    }
}

#[test]
fn extreme_times_neither_overflow_nor_pass() {
    let json = format!("{{\"exp\":{},\"iat\":{}}}", i64::MAX, i64::MIN);
    assert_eq!(code(lifetime(&claims(&json))), "wrong_lifetime");
    assert_eq!(code(times(&claims(&json), 0, 300)), "ok", "the lifetime check refuses it");
    let json = format!("{{\"exp\":{},\"iat\":{}}}", i64::MIN, i64::MAX);
    assert_eq!(code(lifetime(&claims(&json))), "wrong_lifetime");
    assert_eq!(code(times(&claims(&json), i64::MAX, 300)), "expired");
}

#[test]
fn a_lifetime_is_more_than_nothing_and_at_most_a_day() {
    let of = |exp: i64| code(lifetime(&claims(&format!("{{\"exp\":{exp},\"iat\":1000}}"))));
    assert_eq!(
        (of(1_000), of(1_001), of(87_400), of(87_401)),
        ("wrong_lifetime", "ok", "ok", "wrong_lifetime")
    );
}

#[test]
fn a_subject_is_not_empty() {
    assert_eq!(subject(&claims(r#"{"sub":"1"}"#)), Ok("1"));
    assert_eq!(code(subject(&claims(r#"{"sub":""}"#))), "missing_claim");
    assert_eq!(code(subject(&claims(r#"{"sub":1}"#))), "malformed_claim");
}

#[test]
fn optional_claims_of_a_wrong_type_are_refused() {
    for json in [
        r#"{"email":1}"#,
        r#"{"email_verified":"true"}"#,
        r#"{"hd":["example.com"]}"#,
        r#"{"azp":{}}"#,
    ] {
        assert_eq!(code(optional_claims(&claims(json))), "malformed_claim", "{json}");
    }
    assert_eq!(optional_claims(&claims("{}")), Ok(()));
}

#[test]
fn causes_for_the_log_quote_what_they_found() {
    let audiences = ["https://called.example".parse().unwrap()];
    let cause = audience(&claims(r#"{"aud":"https://odd\n"}"#), &audiences).unwrap_err();
    assert_eq!(
        cause.to_string(),
        r#"the token's audience is "https://odd\n"; expected "https://called.example""#
    );
    assert!(!cause.description().contains("odd"));
}

#[test]
fn a_signature_is_as_long_as_a_modulus_that_we_take() {
    for length in [0, 1, 64, 255, 1_025, 12_000] {
        assert_eq!(code(signature_length(&vec![1; length])), "wrong_signature", "{length}");
    }
    for length in [256, 384, 512, 1_024] {
        assert_eq!(signature_length(&vec![1; length]), Ok(()), "{length}");
    }
}

#[test]
fn a_near_miss_of_an_audience_says_what_is_near() {
    let accepted = ["https://called-1.europe-west1.run.app".parse().unwrap()];
    let said = |aud: &str| {
        let json = serde_json::json!({ "aud": aud }).to_string();
        audience(&claims(&json), &accepted).unwrap_err().to_string()
    };
    assert!(said("https://called-1.europe-west1.run.app/").contains("slash"));
    assert!(said("https://called-abc-ew.a.run.app").contains("two run.app URLs"));
    assert!(said("https://other.example").ends_with("run.app\""));
}
