use super::*;
use crate::identity::{ClaimError, CompactJwsError, claims::JsonError};
use http::header::CONTENT_TYPE;

/// One cause of each kind.
fn causes() -> Vec<(Cause, u16, &'static str)> {
    let text = || "x\"\n".to_owned();
    vec![
        (Cause::NoToken, 401, "16"),
        (Cause::NotBearer { header: "Authorization" }, 401, "16"),
        (Cause::SeveralTokens { header: "Authorization", found: 2 }, 400, "16"),
        (Cause::AccessToken, 401, "16"),
        (Cause::Shape(CompactJwsError::TooLong { found: 9 }), 401, "16"),
        (Cause::Shape(CompactJwsError::Parts { found: 5 }), 401, "16"),
        (Cause::Header(JsonError::Duplicate { name: text() }), 401, "16"),
        (Cause::HeaderMember { name: "crit" }, 401, "16"),
        (Cause::Algorithm { found: text() }, 401, "16"),
        (Cause::Type { found: text() }, 401, "16"),
        (Cause::SignatureRemoved, 401, "16"),
        (Cause::Payload(JsonError::NotAnObject { found: "null" }), 401, "16"),
        (Cause::Claim(ClaimError::Missing { name: "aud" }), 401, "16"),
        (Cause::Claim(ClaimError::WrongType { name: "a", expected: "b", found: "c" }), 401, "16"),
        (Cause::Issuer { found: text(), expected: text() }, 401, "16"),
        (Cause::Audience { found: text(), expected: text(), hint: "" }, 401, "16"),
        (Cause::Expired { expires_at: 1, now: 2 }, 401, "16"),
        (Cause::NotYetValid { claim: "iat", from: 2, now: 1 }, 401, "16"),
        (Cause::Lifetime { seconds: 0 }, 401, "16"),
        (Cause::KeyId { problem: "is empty" }, 401, "16"),
        (Cause::UnknownKey { kid: text() }, 401, "16"),
        (Cause::Signature, 401, "16"),
        (Cause::NotAllowed { principal: text(), hint: "" }, 403, "7"),
        (Cause::NoKeys { reason: text() }, 503, "14"),
        (Cause::FrontEndMissing, 503, "14"),
    ]
}

#[test]
fn each_cause_has_its_status_and_a_code_of_its_own() {
    let mut codes = std::collections::HashSet::new();
    for (cause, expected, _) in causes() {
        let response = respond(&cause, &HeaderMap::new());
        assert_eq!(response.status(), expected, "{cause:?}");
        assert_eq!(response.headers()[CONTENT_TYPE], "application/problem+json");
        let problem: serde_json::Value = serde_json::from_slice(response.body()).unwrap();
        assert_eq!(problem["status"], expected);
        assert_eq!(problem["code"], cause.code());
        assert_eq!(problem["type"], format!("urn:countersign:problem:{}", cause.code()));
        assert_eq!(problem["detail"], cause.description());
        assert!(problem["title"].is_string());
        assert!(codes.insert(cause.code()), "{} twice", cause.code());
    }
}

#[test]
fn challenges_follow_rfc_6750() {
    for (cause, status, _) in causes() {
        let response = respond(&cause, &HeaderMap::new());
        let challenge =
            response.headers().get(WWW_AUTHENTICATE).map(|value| value.to_str().unwrap());
        match (&cause, status) {
            (Cause::NoToken | Cause::NotBearer { .. }, _) => assert_eq!(challenge, Some("Bearer")),
            (_, 400) => assert!(challenge.unwrap().starts_with("Bearer error=\"invalid_request\"")),
            (_, 401) => assert!(
                challenge
                    .unwrap()
                    .starts_with("Bearer error=\"invalid_token\", error_description=\"")
            ),
            _ => assert_eq!(challenge, None),
        }
        assert_eq!(response.headers().contains_key(RETRY_AFTER), status == 503);
    }
}

#[test]
fn descriptions_are_fixed_and_need_no_quoting() {
    for (cause, _, _) in causes() {
        let plain = |c: char| (' '..='~').contains(&c) && !"\"\\%".contains(c);
        assert!(cause.description().chars().all(plain), "{}", cause.description());
        assert!(cause.description().ends_with('.'));
    }
}

#[test]
fn grpc_requests_get_a_grpc_status_without_a_body() {
    for content_type in
        ["application/grpc", "application/grpc+proto", "Application/gRPC;x", "application/grpc-web"]
    {
        let mut request = HeaderMap::new();
        request.insert(CONTENT_TYPE, content_type.parse().unwrap());
        for (cause, _, expected) in causes() {
            let response = respond(&cause, &request);
            assert_eq!(response.status(), 200);
            assert_eq!(response.headers()["grpc-status"], expected, "{cause:?}");
            assert_eq!(response.headers()["grpc-message"], cause.description());
            assert!(response.body().is_empty());
        }
    }
    for content_type in ["application/json", "application/grpcx", "text/application/grpc"] {
        let mut request = HeaderMap::new();
        request.insert(CONTENT_TYPE, content_type.parse().unwrap());
        assert_eq!(respond(&Cause::NoToken, &request).status(), 401, "{content_type}");
    }
}
