//! A request's credentials, marked as what they are.

use http::header::{AUTHORIZATION, COOKIE, Entry};
use http::{HeaderMap, HeaderName};

/// Where Cloud Run's IAM check looks first.
const X_SERVERLESS_AUTHORIZATION: HeaderName =
    HeaderName::from_static("x-serverless-authorization");

/// Marks them sensitive: `Debug` does not show them then, whoever prints the headers on the way.
pub(super) fn mark(headers: &mut HeaderMap) {
    for name in [AUTHORIZATION, X_SERVERLESS_AUTHORIZATION, COOKIE] {
        if let Ok(Entry::Occupied(mut values)) = headers.try_entry(name) {
            values.iter_mut().for_each(|value| value.set_sensitive(true));
        }
    }
}
