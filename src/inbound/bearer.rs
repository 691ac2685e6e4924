//! Where the token is in a request (RFC 6750 section 2.1).
//!
//! Tokens are read from headers only, never from the query, the body or a cookie, and never from two places: a request
//! with two credentials is refused, because first-wins here and last-wins elsewhere is how checks are got round.

use http::header::{AUTHORIZATION, HeaderMap, HeaderName};

use super::cause::Cause;
use crate::identity::X_SERVERLESS_AUTHORIZATION;

/// The one bearer token of `Authorization`.
///
/// # Errors
/// When there is none, something else, or more than one value.
pub fn from_authorization(headers: &HeaderMap) -> Result<&str, Cause> {
    one(headers, &AUTHORIZATION, "Authorization")?.ok_or(Cause::NoToken)
}

/// The one bearer token behind Cloud Run's IAM check: `X-Serverless-Authorization` decides alone where it is present,
/// because it is what IAM looked at; else `Authorization`.
///
/// # Errors
/// As [`from_authorization`]. A malformed `X-Serverless-Authorization` does not fall back to the other header.
pub fn from_cloud_run(headers: &HeaderMap) -> Result<&str, Cause> {
    match one(headers, &X_SERVERLESS_AUTHORIZATION, "X-Serverless-Authorization")? {
        Some(token) => Ok(token),
        None => from_authorization(headers),
    }
}

fn one<'h>(
    headers: &'h HeaderMap,
    name: &HeaderName,
    header: &'static str,
) -> Result<Option<&'h str>, Cause> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let more = values.count();
    if more > 0 {
        return Err(Cause::SeveralTokens { header, found: more + 1 });
    }
    // RFC 9110 section 11.4: the scheme is case-insensitive (Cloud Run's own rewriting writes `bearer`).
    let token = value.to_str().ok().and_then(|value| {
        let (scheme, token) = value.split_once(' ')?;
        let token = token.trim_start_matches(' ');
        (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
    });
    token.map(Some).ok_or(Cause::NotBearer { header })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(list: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in list {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn the_scheme_is_case_insensitive_and_the_rest_is_the_token() {
        for value in ["Bearer a.b.c", "bearer a.b.c", "BEARER   a.b.c"] {
            assert_eq!(
                from_authorization(&headers(&[("authorization", value)])),
                Ok("a.b.c"),
                "{value}"
            );
        }
    }

    #[test]
    fn something_else_than_a_bearer_token() {
        let header = "Authorization";
        for value in [
            "",
            "Bearer",
            "Bearer ",
            "a.b.c",
            "Basic dTpw",
            "Bearera.b.c",
            "Bearer\ta.b.c",
            " Bearer x",
        ] {
            let request = headers(&[("authorization", value)]);
            let found = from_authorization(&request);
            assert_eq!(found, Err(Cause::NotBearer { header }), "{value:?}");
        }
        let mut odd = HeaderMap::new();
        odd.insert(AUTHORIZATION, http::HeaderValue::from_bytes(b"Bearer \xff").unwrap());
        assert_eq!(from_authorization(&odd), Err(Cause::NotBearer { header }));
    }

    #[test]
    fn two_values_are_refused_even_if_they_are_equal() {
        let two = headers(&[("authorization", "Bearer a"), ("authorization", "Bearer a")]);
        let expected = Cause::SeveralTokens { header: "Authorization", found: 2 };
        assert_eq!(from_authorization(&two), Err(expected));
    }

    #[test]
    fn required_mode_reads_authorization_only() {
        let other = headers(&[("x-serverless-authorization", "Bearer a"), ("cookie", "token=a")]);
        assert_eq!(from_authorization(&other), Err(Cause::NoToken));
    }

    #[test]
    fn behind_cloud_run_the_serverless_header_decides_alone() {
        let both =
            headers(&[("authorization", "Bearer a"), ("x-serverless-authorization", "bearer s")]);
        assert_eq!(from_cloud_run(&both), Ok("s"));
        assert_eq!(from_cloud_run(&headers(&[("authorization", "Bearer a")])), Ok("a"));
        let broken = headers(&[("authorization", "Bearer a"), ("x-serverless-authorization", "x")]);
        let header = "X-Serverless-Authorization";
        assert_eq!(from_cloud_run(&broken), Err(Cause::NotBearer { header }));
        assert_eq!(from_cloud_run(&HeaderMap::new()), Err(Cause::NoToken));
    }
}
