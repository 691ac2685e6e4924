//! How Cloud Run's door reads a token: with the emulator's own keys, by jsonwebtoken, and by its own rules.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use crate::emulator::google::Google;
use crate::emulator::token::GCLOUD_CLIENT_ID;

/// How far clocks may differ. Google does not say what its front end allows.
const SKEW_SECONDS: i64 = 30;
/// More than any token of Google's.
const LONGEST: usize = 16 * 1024;

/// Who a verified token speaks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Caller {
    /// Only if verified; in lower case.
    pub(super) email: Option<String>,
    pub(super) hosted_domain: Option<String>,
    pub(super) person: bool,
}

impl Caller {
    /// As an IAM member.
    pub(super) fn member(&self) -> String {
        let kind = if self.person { "user" } else { "serviceAccount" };
        let email = self.email.as_deref().unwrap_or("(a token without an e-mail address)");
        format!("{kind}:{email}")
    }
}

/// Verifies a token: `Err` says in a few words why not.
pub(super) fn verify(
    google: &Google,
    token: &str,
    audiences: &[String],
) -> Result<Caller, &'static str> {
    if token.len() > LONGEST {
        return Err("token too long");
    }
    if token.starts_with("ya29.") {
        return Err("access token");
    }
    let (signed, signature) = token.rsplit_once('.').ok_or("not a token")?;
    let (header, payload) = signed.split_once('.').ok_or("not a token")?;
    if payload.contains('.') {
        return Err("not a token");
    }
    let header = object(header).ok_or("not a token")?;
    if header["alg"] != "RS256" {
        return Err("algorithm");
    }
    let kid = header["kid"].as_str().ok_or("unknown key")?;
    let published = google.keys.published();
    let key = published.iter().find(|key| key.kid() == kid).ok_or("unknown key")?;
    let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| "signature")?;
    if !key.verifies(signed.as_bytes(), &signature) {
        return Err("signature");
    }
    check_claims(&object(payload).ok_or("not a token")?, audiences, google.clock.unix_seconds())
}

fn check_claims(claims: &Value, audiences: &[String], now: i64) -> Result<Caller, &'static str> {
    let issuer = claims["iss"].as_str().ok_or("issuer")?;
    if !["https://accounts.google.com", "accounts.google.com"].contains(&issuer) {
        return Err("issuer");
    }
    if claims["exp"].as_i64().ok_or("no expiry")? <= now - SKEW_SECONDS {
        return Err("expired");
    }
    let begins = [&claims["iat"], &claims["nbf"]];
    if begins.iter().any(|time| time.as_i64().is_some_and(|time| time > now + SKEW_SECONDS)) {
        return Err("not yet valid");
    }
    let audience = claims["aud"].as_str().ok_or("audience")?;
    claims["sub"].as_str().ok_or("no subject")?;
    let verified = claims["email_verified"] == true;
    let email = claims["email"].as_str().filter(|_| verified).map(str::to_ascii_lowercase);
    // Without an address it can only be a service account's: people's tokens always have one.
    let person = email.as_deref().is_some_and(|email| !email.ends_with(".gserviceaccount.com"));
    // gcloud's tokens for people carry its client id, and Cloud Run takes them for that.
    let of_gcloud = person && audience == GCLOUD_CLIENT_ID;
    if !of_gcloud && !audiences.iter().any(|accepted| accepted == audience) {
        return Err("wrong audience");
    }
    let hosted_domain = claims["hd"].as_str().filter(|_| verified).map(str::to_ascii_lowercase);
    Ok(Caller { email, hosted_domain, person })
}

fn object(part: &str) -> Option<Value> {
    let value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()?;
    matches!(value, Value::Object(_)).then_some(value)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Just, Strategy, any, prop_oneof};
    use serde_json::json;

    use super::*;

    const NOW: i64 = 1_700_000_000;

    fn check(claims: &Value) -> Result<Caller, &'static str> {
        check_claims(claims, &["https://called.example".to_owned()], NOW)
    }

    fn good() -> Value {
        json!({
            "iss": "https://accounts.google.com",
            "aud": "https://called.example",
            "sub": "1",
            "iat": NOW,
            "exp": NOW + 3600,
            "email": "Caller@demo.iam.gserviceaccount.com",
            "email_verified": true,
        })
    }

    #[test]
    fn the_caller_is_who_the_verified_address_says() {
        let caller = check(&good()).unwrap();
        assert_eq!(caller.member(), "serviceAccount:caller@demo.iam.gserviceaccount.com");
        let mut unverified = good();
        unverified["email_verified"] = json!("true");
        unverified["hd"] = json!("example.com");
        let caller = check(&unverified).unwrap();
        assert_eq!((caller.email, caller.hosted_domain), (None, None));
    }

    #[test]
    fn time_is_judged_with_a_little_leeway() {
        let expires = |at: i64| {
            let mut claims = good();
            claims["exp"] = json!(at);
            check(&claims).map(|_| ())
        };
        assert_eq!(expires(NOW - SKEW_SECONDS + 1), Ok(()));
        assert_eq!(expires(NOW - SKEW_SECONDS), Err("expired"));
    }

    fn odd_value() -> impl Strategy<Value = Value> {
        prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            Just(json!([])),
            Just(json!(["https://called.example"])),
            Just(json!({"a": 1})),
        ]
    }

    proptest::proptest! {
        #[test]
        fn a_required_claim_of_another_type_is_refused(
            name in proptest::sample::select(vec!["iss", "aud", "sub", "exp"]),
            value in odd_value(),
        ) {
            let mut claims = good();
            claims[name] = value;
            proptest::prop_assert!(check(&claims).is_err());
        }

        #[test]
        fn another_audience_is_refused(audience: String) {
            proptest::prop_assume!(audience != "https://called.example");
            let mut claims = good();
            claims["aud"] = json!(audience);
            proptest::prop_assert_eq!(check(&claims), Err("wrong audience"));
        }
    }
}
