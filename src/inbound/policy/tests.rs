use super::*;
use crate::clock::{Clock as _, ManualClock};
use crate::identity::Claims;
use crate::inbound::checks::Times;
use crate::inbound::testing::{CALLER, NOW, claims, with, without};
use serde_json::Value;

fn token(claims: &Value) -> VerifiedToken {
    let payload = claims.to_string().into_bytes();
    let claims = Claims::parse(&payload).unwrap();
    let times = Times::of(&claims).unwrap();
    let audience = claims.audience.required("aud").unwrap().parse().unwrap();
    VerifiedToken::new(claims, times, audience, payload, Some(1))
}

fn policy(members: &[&str]) -> Policy {
    Policy::new(members.iter().map(|member| member.parse().unwrap())).unwrap()
}

fn admits(members: &[&str], claims: &Value) -> bool {
    policy(members).admit(token(claims)).is_ok()
}

fn person(domain: &str) -> Value {
    with(with(claims(), "email", "jo@example.com"), "hd", domain)
}

#[test]
fn an_account_comes_in_by_its_verified_address_only() {
    let member = format!("serviceAccount:{CALLER}");
    let list = &[member.as_str()];
    assert!(admits(list, &claims()));
    assert!(admits(list, &with(claims(), "email", CALLER.to_ascii_uppercase())));
    for email in [
        "caller@demo.iam.gserviceaccount.com.evil.example",
        "evil-caller@demo.iam.gserviceaccount.com",
        "caller@demo.iam.gserviceaccount.co",
        "caller@evil@demo.iam.gserviceaccount.com",
        "caller@demo.iam.gserviceaccount.com ",
        "caller@demo.iam.gserviceaccount.com\u{0}",
        "c\u{430}ller@demo.iam.gserviceaccount.com",
        "",
    ] {
        assert!(!admits(list, &with(claims(), "email", email)), "{email:?}");
    }
}

#[test]
fn an_address_that_is_not_verified_does_not_count() {
    let member = format!("serviceAccount:{CALLER}");
    for claims in [with(claims(), "email_verified", false), without(claims(), "email_verified")] {
        let cause = policy(&[&member]).admit(token(&claims)).unwrap_err();
        assert!(cause.to_string().contains("not verified"), "{cause}");
    }
    let cause = policy(&[&member]).admit(token(&without(claims(), "email"))).unwrap_err();
    assert!(cause.to_string().contains("format=full"), "{cause}");
    assert!(cause.to_string().starts_with("\"112233445566778899001\" "), "named by sub: {cause}");
}

#[test]
fn a_pinned_unique_id_refuses_an_account_made_anew() {
    let pinned = format!("serviceAccount:{CALLER}?uid=112233445566778899001");
    assert!(admits(&[&pinned], &claims()));
    let anew = with(claims(), "sub", "999");
    let cause = policy(&[&pinned]).admit(token(&anew)).unwrap_err();
    assert!(cause.to_string().contains("another unique id"), "{cause}");

    let second = format!("serviceAccount:{CALLER}?uid=999");
    assert!(admits(&[&pinned, &second], &anew), "both are listed");
    let any = format!("serviceAccount:{CALLER}");
    assert!(
        admits(&[&pinned, &any], &anew) && admits(&[&any, &pinned], &anew),
        "any id is listed, too"
    );
}

#[test]
fn a_domain_is_decided_by_hd_to_the_letter() {
    let list = &["domain:example.com"];
    assert!(admits(list, &person("example.com")));
    for domain in ["sub.example.com", "Example.com", "example.com.", "xexample.com", ""] {
        assert!(!admits(list, &person(domain)), "{domain:?}");
    }
    assert!(
        !admits(list, &with(claims(), "email", "jo@example.com")),
        "the address alone is no domain"
    );
    assert!(!admits(list, &with(person("example.com"), "email_verified", false)));
    assert!(!admits(list, &without(person("example.com"), "email")));
}

#[test]
fn all_authenticated_users_are_all_accounts() {
    assert!(admits(&["allAuthenticatedUsers"], &without(claims(), "email")));
    assert!(!policy(&["allAuthenticatedUsers"]).admits_anyone());
    assert!(policy(&["allUsers"]).admits_anyone());
}

#[test]
fn lists_that_mean_nothing_are_errors() {
    assert_eq!(Policy::new([]).unwrap_err(), PolicyError::Empty);
    let members = ["allUsers", "user:jo@example.com"].map(|member| member.parse().unwrap());
    assert_eq!(Policy::new(members).unwrap_err(), PolicyError::AllUsersBesideOthers);
}

#[test]
fn a_principal_says_who_and_what_else_the_token_says() {
    #[derive(serde::Deserialize)]
    struct Extra {
        iat: u64,
        azp: String,
    }
    let claims = with(claims(), "hd", "example.com");
    let principal = policy(&["allAuthenticatedUsers"]).admit(token(&claims)).unwrap();
    assert_eq!(principal.email(), Some(CALLER));
    assert_eq!(principal.subject(), "112233445566778899001");
    assert_eq!(principal.name(), CALLER);
    assert_eq!(principal.hosted_domain(), Some("example.com"));
    assert_eq!(principal.authorized_party(), Some("112233445566778899001"));
    assert_eq!(principal.expires_at(), principal.issued_at() + 3_600);
    let extra: Extra = principal.claims().unwrap();
    assert_eq!((extra.iat, extra.azp.as_str()), (NOW, "112233445566778899001"));
    assert!(principal.claims::<Vec<u8>>().is_err());
    assert_eq!(ManualClock::at_unix_seconds(NOW).now().unix_seconds(), principal.issued_at());
}
