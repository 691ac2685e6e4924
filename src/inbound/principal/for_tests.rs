//! Principals without a token, for tests of handlers. With the feature `emulator` only, which belongs under
//! `[dev-dependencies]`.

use serde_json::{Value, json};

use super::{Principal, VerifiedToken};
use crate::identity::Claims;
use crate::identity::claims::JsonError;
use crate::inbound::cause::Cause;
use crate::inbound::checks::{self, Times};

/// Why claims do not make a principal.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct TestPrincipalError(#[from] Cause);

impl Principal {
    /// A service account or a person of this address, as a good token of an allowed principal would say it.
    ///
    /// ```
    /// use axum::{Router, body::Body, routing::get};
    /// use countersign::inbound::{Admission, Principal};
    /// use http::Request;
    /// use tower::ServiceExt as _;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let whoami = |principal: Principal| async move { principal.name().to_owned() };
    /// let router: Router = Router::new().route("/whoami", get(whoami));
    ///
    /// let caller = Principal::for_tests("caller@demo.iam.gserviceaccount.com")?;
    /// let request = Request::get("/whoami").extension(Admission::from(caller)).body(Body::empty())?;
    /// let answer = router.oneshot(request).await?;
    /// assert_eq!(answer.status(), 200);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// None for an address; see [`Principal::for_tests_with`].
    pub fn for_tests(email: &str) -> Result<Self, TestPrincipalError> {
        Self::for_tests_with(json!({ "email": email, "email_verified": true }))
    }

    /// The same with any claims; those that every token has are filled in where they are missing.
    ///
    /// # Errors
    /// When a claim has a wrong type.
    pub fn for_tests_with(claims: Value) -> Result<Self, TestPrincipalError> {
        let mut all = json!({
            "iss": "https://accounts.google.com", "aud": "https://service.example",
            "sub": "100000000000000000001", "iat": 0, "exp": 3_600,
        });
        match (all.as_object_mut(), claims) {
            (Some(all), Value::Object(claims)) => all.extend(claims),
            _ => {
                return Err(
                    Cause::Payload(JsonError::NotAnObject { found: "something else" }).into()
                );
            }
        }
        let payload = all.to_string().into_bytes();
        let claims = Claims::parse(&payload).map_err(Cause::Payload)?;
        checks::subject(&claims)?;
        checks::optional_claims(&claims)?;
        let times = Times::of(&claims)?;
        let audience = claims.audience.required("aud").map_err(Cause::from)?.parse();
        let audience = audience.map_err(|_| Cause::Audience {
            found: "no audience".to_owned(),
            expected: "one".to_owned(),
            hint: "",
        })?;
        Ok(Self::admitted(VerifiedToken::new(claims, times, audience, payload, None)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_it_was_made_of() {
        let principal = Principal::for_tests("Jo@example.com").unwrap();
        assert_eq!(principal.email(), Some("jo@example.com"));
        let principal =
            Principal::for_tests_with(json!({"sub": "7", "hd": "example.com"})).unwrap();
        assert_eq!((principal.name(), principal.hosted_domain()), ("7", Some("example.com")));
    }

    #[test]
    fn claims_of_a_wrong_type_make_nobody() {
        for claims in [json!({"email": 1}), json!({"aud": ""}), json!({"exp": "x"}), json!([])] {
            assert!(Principal::for_tests_with(claims.clone()).is_err(), "{claims}");
        }
    }
}
