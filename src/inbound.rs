//! The called side: verifies Google-signed ID tokens and decides who may come in.
//!
//! A request passes in this order; each step says by a [`Cause`] why it refuses:
//!
//! 1. [`bearer`]: one token, from `Authorization` only;
//! 2. [`verifier`]: shape, header, claims, key, signature, by Google's keys ([`jwks`]), which are cached;
//! 3. [`policy`]: is the principal on the list of IAM members?
//! 4. the handler, which takes the [`Principal`] as an argument ([`extract`]).
//!
//! [`layer`] puts this around a tower service or an axum router; [`rejection`] turns causes into answers.
//!
//! ```no_run
//! use axum::{Router, routing::get};
//! use countersign::inbound::{Authenticate, Policy, Principal, Verifier};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let verifier = Verifier::builder()
//!     .audience("https://orders-123456789.europe-west1.run.app".parse()?)
//!     .build()?;
//! let policy = Policy::new(["serviceAccount:caller@demo.iam.gserviceaccount.com".parse()?])?;
//!
//! let router: Router = Router::new()
//!     .route("/whoami", get(|principal: Principal| async move { principal.name().to_owned() }))
//!     .layer(Authenticate::new(verifier, policy)?);
//! # Ok(())
//! # }
//! ```

pub mod authenticator;
pub mod bearer;
pub mod cause;
pub mod denial;
pub mod extract;
pub mod jwks;
pub mod layer;
pub mod policy;
pub mod principal;
pub mod rejection;
pub mod verifier;

mod checks;

pub use authenticator::{Admission, Authenticator, AuthenticatorError};
pub use cause::Cause;
pub use layer::{Allow, Authenticate};
pub use policy::{Policy, PolicyError};
pub use principal::{Principal, VerifiedToken};
pub use rejection::ResponseBody;
pub use verifier::{SignatureCheck, Verifier, VerifierBuilder, VerifierError};

#[cfg(test)]
mod testing;
