//! Verifier and policy together: what one request may do, decided from its headers alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::HeaderMap;

use super::bearer;
use super::cause::Cause;
use super::policy::Policy;
use super::principal::{Principal, VerifiedToken};
use super::verifier::{SignatureCheck, Verdict, Verifier, Waiting};

/// Decides about requests. The tower layer [`Authenticate`](super::Authenticate) is built on it; use it directly where
/// there is no tower. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Authenticator(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    verifier: Verifier,
    policy: Policy,
    /// Set for good by the first request that proves that Cloud Run's IAM check is not in front.
    front_end_missing: AtomicBool,
}

/// A request that was let in: by whose right, or by nobody's where the policy is `allUsers`.
#[derive(Clone, Debug)]
pub struct Admission(Option<Principal>);

/// Why a verifier and a policy do not go together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AuthenticatorError {
    /// `SIGNATURE_CHECK=cloud-run` trusts what IAM lets through, and such a policy trusts everybody.
    #[error(
        "signature check \"cloud-run\" together with {member}: anybody could send forged claims without a signature; \
         list the accounts that may call, or use \"required\""
    )]
    OpenBehindCloudRun {
        /// `allUsers` or `allAuthenticatedUsers`.
        member: &'static str,
    },
}

impl Admission {
    /// Who it is; nobody where the policy lets requests in without a token.
    #[must_use]
    pub const fn principal(&self) -> Option<&Principal> {
        self.0.as_ref()
    }
}

/// For tests of handlers, see [`Principal::for_tests`].
#[cfg(feature = "emulator")]
impl From<Principal> for Admission {
    fn from(principal: Principal) -> Self {
        Self(Some(principal))
    }
}

/// What can be said of a request at once.
pub(super) enum Decision {
    Decided(Result<Admission, Cause>),
    /// Keys have to be fetched first.
    Pending(Pending),
}

/// A request whose decision waits for keys.
pub(super) struct Pending {
    authenticator: Authenticator,
    waiting: Waiting,
}

impl Pending {
    pub(super) async fn decision(self) -> Result<Admission, Cause> {
        let verdict = self.waiting.verdict().await;
        self.authenticator.admit(verdict)
    }
}

impl Authenticator {
    /// Puts a verifier and a policy together.
    ///
    /// # Errors
    /// When the verifier believes Cloud Run's front end and the policy lets any account in.
    pub fn new(verifier: Verifier, policy: Policy) -> Result<Self, AuthenticatorError> {
        let behind = verifier.signature_check() == SignatureCheck::CloudRun;
        if behind && policy.admits_any_account() {
            let member = if policy.admits_anyone() { "allUsers" } else { "allAuthenticatedUsers" };
            return Err(AuthenticatorError::OpenBehindCloudRun { member });
        }
        let front_end_missing = AtomicBool::new(false);
        Ok(Self(Arc::new(Inner { verifier, policy, front_end_missing })))
    }

    /// Decides about a request by its headers; waits for keys if there are none for its token.
    ///
    /// # Errors
    /// Why it is refused.
    pub async fn authenticate(&self, headers: &HeaderMap) -> Result<Admission, Cause> {
        match self.decide(headers) {
            Decision::Decided(result) => result,
            Decision::Pending(pending) => pending.decision().await,
        }
    }

    /// The verifier.
    #[must_use]
    pub fn verifier(&self) -> &Verifier {
        &self.0.verifier
    }

    /// The policy.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.0.policy
    }

    pub(super) fn decide(&self, headers: &HeaderMap) -> Decision {
        let token = match self.token(headers) {
            Ok(token) => token,
            Err(Cause::NoToken) if self.0.policy.admits_anyone() => {
                return Decision::Decided(Ok(Admission(None)));
            }
            Err(cause) => return Decision::Decided(Err(cause)),
        };
        match self.0.verifier.verdict(token) {
            Verdict::Decided(verdict) => Decision::Decided(self.admit(verdict)),
            Verdict::Waiting(waiting) => {
                Decision::Pending(Pending { authenticator: self.clone(), waiting })
            }
        }
    }

    fn token<'h>(&self, headers: &'h HeaderMap) -> Result<&'h str, Cause> {
        if self.0.verifier.signature_check() == SignatureCheck::Required {
            return bearer::from_authorization(headers);
        }
        if self.0.front_end_missing.load(Ordering::Relaxed) {
            return Err(Cause::FrontEndMissing);
        }
        bearer::from_cloud_run(headers).map_err(|cause| match cause {
            // IAM lets nothing through without a bearer token in either header: so it is not there, and stripped claims
            // prove nothing. (What it makes of a malformed X-Serverless-Authorization is not known: plainly refused.)
            Cause::NoToken | Cause::NotBearer { header: "Authorization" } => {
                self.0.front_end_missing.store(true, Ordering::Relaxed);
                Cause::FrontEndMissing
            }
            other => other,
        })
    }

    fn admit(&self, verdict: Result<VerifiedToken, Cause>) -> Result<Admission, Cause> {
        self.0.policy.admit(verdict?).map(|principal| Admission(Some(principal)))
    }
}
