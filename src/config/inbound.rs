//! What a verifying server has: for whom tokens must be made, who may call, whose keys count.

use std::time::Duration;

use super::reader::Reader;
use crate::http_client::Roots;
use crate::identity::{Audience, Member};
use crate::inbound::jwks::KeyUrl;
use crate::inbound::{
    Authenticator, AuthenticatorError, Policy, SignatureCheck, Verifier, VerifierError,
};

/// The settings of a server's inbound side.
#[derive(Debug, Clone)]
pub struct InboundConfig {
    /// For whom tokens must be made.
    pub audience: AudienceSetting,
    /// Who may call.
    pub policy: Policy,
    /// What is done about tokens without a signature.
    pub signature_check: SignatureCheck,
    /// Where keys come from; Google's if not given.
    pub key_url: Option<KeyUrl>,
    /// Who may sign; Google's two spellings if not given.
    pub issuers: Option<Vec<String>>,
    /// How far clocks may be apart.
    pub leeway: Duration,
    /// Whom https connections trust.
    pub roots: Roots,
    /// Whether keys over http from loopback are admitted.
    pub trust_emulator: bool,
}

/// Where the accepted audiences come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AudienceSetting {
    /// From AUDIENCE.
    Given(Vec<Audience>),
    /// AUDIENCE is not set and this runs on Cloud Run: `https://SERVICE-PROJECTNUMBER.REGION.run.app`, for which the
    /// metadata server has to be asked.
    OfCloudRunService(String),
}

/// Why an authenticator cannot be made of the settings.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InboundConfigError {
    /// The verifier's part.
    #[error(transparent)]
    Verifier(#[from] VerifierError),
    /// Verifier and policy do not go together.
    #[error(transparent)]
    Authenticator(#[from] AuthenticatorError),
}

impl InboundConfig {
    pub(super) fn read(
        reader: &mut Reader<'_>,
        roots: Roots,
        trust_emulator: bool,
    ) -> Option<Self> {
        let audience = audience(reader);
        let policy = policy(reader);
        let signature_check = signature_check(reader, policy.as_ref());
        if let (Some(audience), Some(policy)) = (&audience, &policy) {
            check_people(reader, audience, policy);
        }
        let key_url = reader.text("JWKS_URL").and_then(|url| {
            KeyUrl::parse(url, trust_emulator)
                .map_err(|error| reader.mistake("JWKS_URL", error))
                .ok()
        });
        let issuers = issuers(reader);
        let in_range = |seconds: &u64| *seconds <= 300;
        let leeway = reader.expected("CLOCK_SKEW_SECONDS", "whole seconds from 0 to 300", in_range);
        Some(Self {
            audience: audience?,
            policy: policy?,
            signature_check: signature_check?,
            key_url,
            issuers,
            leeway: Duration::from_secs(leeway.unwrap_or(60)),
            roots,
            trust_emulator,
        })
    }

    /// The authenticator for these audiences: those of AUDIENCE, or the one that was derived.
    ///
    /// # Errors
    /// When the HTTP client cannot be set up; what settings can do wrong was told when they were read.
    pub fn authenticator(
        &self,
        audiences: impl IntoIterator<Item = Audience>,
    ) -> Result<Authenticator, InboundConfigError> {
        let mut verifier = Verifier::builder()
            .audiences(audiences)
            .signature_check(self.signature_check)
            .leeway(self.leeway)
            .roots(self.roots.clone());
        if let Some(url) = &self.key_url {
            verifier = verifier.key_url(url.clone());
        }
        if let Some(issuers) = &self.issuers {
            verifier = verifier.issuers(issuers.iter().map(String::as_str));
        }
        Ok(Authenticator::new(verifier.build()?, self.policy.clone())?)
    }
}

fn audience(reader: &mut Reader<'_>) -> Option<AudienceSetting> {
    if let Some(audiences) = reader.list("AUDIENCE") {
        return (!reader.has_mistake("AUDIENCE")).then_some(AudienceSetting::Given(audiences));
    }
    if let Some(service) = reader.text("K_SERVICE") {
        return Some(AudienceSetting::OfCloudRunService(service.to_owned()));
    }
    if !reader.has_mistake("AUDIENCE") {
        reader.mistake(
            "AUDIENCE",
            "not set; expected the audiences that callers' tokens are made for, for example \
             https://SERVICE-PROJECTNUMBER.REGION.run.app (on Cloud Run it is derived)",
        );
    }
    None
}

fn policy(reader: &mut Reader<'_>) -> Option<Policy> {
    let Some(members) = reader.list::<Member>("ALLOWED_PRINCIPALS") else {
        if !reader.has_mistake("ALLOWED_PRINCIPALS") {
            reader.mistake(
                "ALLOWED_PRINCIPALS",
                "not set; expected who may call, as IAM members, for example \
                 serviceAccount:NAME@PROJECT.iam.gserviceaccount.com",
            );
        }
        return None;
    };
    if reader.has_mistake("ALLOWED_PRINCIPALS") {
        return None;
    }
    Policy::new(members).map_err(|error| reader.mistake("ALLOWED_PRINCIPALS", error)).ok()
}

fn signature_check(reader: &mut Reader<'_>, policy: Option<&Policy>) -> Option<SignatureCheck> {
    const NAME: &str = "SIGNATURE_CHECK";
    match reader.text(NAME) {
        None | Some("required") => return Some(SignatureCheck::Required),
        Some("cloud-run") => {}
        Some(other) => {
            reader.mistake(NAME, format!("found {other:?}, expected required or cloud-run"));
            return None;
        }
    }
    if !reader.is_set("K_SERVICE") {
        reader.mistake(
            NAME,
            "cloud-run is for services on Cloud Run behind its IAM check, and this is not Cloud Run (K_SERVICE is not \
             set): anybody could send forged claims; use required",
        );
    }
    if policy.is_some_and(Policy::admits_any_account) {
        reader.mistake(
            NAME,
            "cloud-run together with allUsers or allAuthenticatedUsers: anybody could send forged claims; list the \
             accounts in ALLOWED_PRINCIPALS, or use required",
        );
    }
    Some(SignatureCheck::CloudRun)
}

fn issuers(reader: &mut Reader<'_>) -> Option<Vec<String>> {
    const NAME: &str = "ISSUERS";
    let issuers = reader.list::<String>(NAME)?;
    if issuers.iter().any(|issuer| issuer.is_empty() || issuer.contains(char::is_whitespace)) {
        reader.mistake(
            NAME,
            format!(
                "found {issuers:?}, expected issuers as tokens name them, separated by commas, for example \
                 https://accounts.google.com,accounts.google.com; unset it for Google's"
            ),
        );
    }
    Some(issuers)
}

/// People's own tokens are made for an OAuth client id, so a list with people in it and no such audience would refuse
/// every one of them.
fn check_people(reader: &mut Reader<'_>, audience: &AudienceSetting, policy: &Policy) {
    let people: Vec<String> = policy
        .members()
        .iter()
        .filter(|member| member.is_people())
        .map(ToString::to_string)
        .collect();
    let has_client_id = match audience {
        AudienceSetting::Given(audiences) => audiences.iter().any(Audience::is_oauth_client_id),
        AudienceSetting::OfCloudRunService(_) => false,
    };
    if people.is_empty() || has_client_id {
        return;
    }
    reader.mistake(
        "ALLOWED_PRINCIPALS",
        format!(
            "{} can never come in: the tokens that people get for themselves are made for an OAuth client id, and \
             AUDIENCE has none. Let people impersonate a service account and list that one (gcloud auth \
             print-identity-token --impersonate-service-account=… --audiences=…), or, for development only, add \
             gcloud's client id 32555940559.apps.googleusercontent.com to AUDIENCE",
            people.join(", ")
        ),
    );
}
