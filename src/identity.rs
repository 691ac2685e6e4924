//! The words that both sides share: audiences, IAM members, the claims of an ID token, and the token itself.
//!
//! Nothing here decides whom to trust. [`Claims`] says what a token *says*, not that it is true; the `inbound` module
//! verifies, the `outbound` module obtains.

pub mod audience;
pub mod claims;
pub mod compact;
pub mod id_token;
pub mod member;

pub(crate) mod json;

pub use audience::{Audience, AudienceError};
pub use claims::{Claim, ClaimError, Claims};
pub use compact::{CompactJws, CompactJwsError};
pub use id_token::{IdToken, IdTokenError};
pub use member::{EmailAddress, Member, MemberError};

/// The header that Cloud Run's IAM check reads first where it is present, and whose token it passes on without its
/// signature, <https://cloud.google.com/run/docs/authenticating/service-to-service>.
pub const X_SERVERLESS_AUTHORIZATION: http::HeaderName =
    http::HeaderName::from_static("x-serverless-authorization");
