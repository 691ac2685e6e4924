//! Everything that the demo tries: data only. What is expected stands here; what is shown was observed.

use countersign::emulator::{BadToken, TokenSpec};

use super::scenario::{
    Circumstances, Credential, Function, Group, Iam, Outcome, Place, Scenario, Token,
};
use super::stage::{
    BILLING, CALLED, CALLER, CALLER_ACCOUNT, DEVELOPER, EDITOR_ACCOUNT, STRANGER_ACCOUNT,
};

/// All groups, in the order in which they have to be played: some change what is there for the later ones.
pub fn groups() -> Vec<Group> {
    vec![
        Group { title: "WHO ELSE TRIES, IAM is on", scenarios: behind_iam() },
        Group { title: "HOW THE TOKEN ARRIVES", scenarios: headers() },
        Group {
            title: "IAM IS OFF: the function's door is the only one",
            scenarios: without_iam(),
        },
        Group {
            title: "IAM IS OFF, AND SIGNATURE_CHECK=cloud-run: never do this",
            scenarios: trusting_without_iam(),
        },
        Group { title: "THROUGH THE CALLER", scenarios: through_the_caller() },
        Group { title: "BAD DAYS", scenarios: bad_days() },
    ]
}

/// The remarks, and why each of their rows matters.
pub const LESSONS: &[(&str, &str)] = &[
    (
        "why a list",
        "IAM alone never means \"only the caller\": the project's owners and editors get in.",
    ),
    (
        "worst case",
        "Without its signature a token is text that anybody can write; only IAM vouches for it.",
    ),
    (
        "believed!",
        "SIGNATURE_CHECK=cloud-run trusts IAM blindly: set it only where IAM is surely on.",
    ),
    ("your hole", "A caller that is open lends its identity to anybody. Callers need a list, too."),
];

fn behind_iam() -> Vec<Scenario> {
    use Place::{Billing, Called};
    vec![
        row("no token", Called, Credential::Nothing, refused(403, "no token")),
        row("garbage", Called, one(bad(BadToken::Garbage)), refused(401, "not a token")),
        row(
            "an access token, not an ID token",
            Called,
            one(bad(BadToken::AccessToken)),
            refused(401, "access token"),
        ),
        row(
            "a token for another service",
            Called,
            one(bad(BadToken::WrongAudience)),
            refused(401, "wrong audience"),
        ),
        row(
            "a good token, replayed at billing",
            Billing,
            Credential::OneHeader(Token::Replayed),
            refused(401, "wrong audience"),
        ),
        row("a good token, 61 minutes later", Called, old(), refused(401, "expired")),
        row("a token that is not valid yet", Called, at_clock(3600), refused(401, "not yet valid")),
        row(
            "an account without the role",
            Called,
            one(token_of(STRANGER_ACCOUNT)),
            refused(403, "no invoker role"),
        ),
        row(
            "a person's token, from gcloud",
            Called,
            one(TokenSpec::for_person(DEVELOPER)),
            reached("project owner", 401, "signature_removed"),
        ),
        row(
            "a project EDITOR",
            Called,
            both(token_of(EDITOR_ACCOUNT)),
            reached("project editor", 403, "principal_not_allowed"),
        )
        .remark("why a list"),
    ]
}

fn headers() -> Vec<Scenario> {
    use Place::{Called, CalledStripped, Trusting};
    vec![
        row("the caller, in both headers", Called, both(good()), served("invoker")),
        row("the caller, in one header", Called, one(good()), served("invoker")),
        row(
            "the same, Cloud Run strips it",
            CalledStripped,
            one(good()),
            reached("invoker", 401, "signature_removed"),
        ),
        row("and SIGNATURE_CHECK=cloud-run", Trusting, one(good()), served("invoker")),
    ]
}

fn without_iam() -> Vec<Scenario> {
    let called = |name, credential, status, code| {
        row(name, Place::CalledWithoutIam, credential, reached(IAM_OFF, status, code))
    };
    let forged = |name, way, code| called(name, one(bad(way)), 401, code);
    vec![
        called("no token", Credential::Nothing, 401, "no_token"),
        forged("an access token, not an ID token", BadToken::AccessToken, "access_token"),
        row(
            "a good token, replayed at billing",
            Place::BillingWithoutIam,
            Credential::OneHeader(Token::Replayed),
            reached(IAM_OFF, 401, "wrong_audience"),
        ),
        called("a good token, 61 minutes later", old(), 401, "expired"),
        called("a token that is not valid yet", at_clock(3600), 401, "not_yet_valid"),
        called(
            "a good token of a stranger",
            one(token_of(STRANGER_ACCOUNT)),
            403,
            "principal_not_allowed",
        ),
        forged("forged: another key, same kid", BadToken::ForgedSameKid, "wrong_signature"),
        forged("forged: alg none", BadToken::AlgNone, "wrong_algorithm"),
        forged(
            "forged: HS256 with the public key",
            BadToken::AlgHs256WithPublicPem,
            "wrong_algorithm",
        ),
        forged("forged: claims that look stripped", BadToken::StrippedForged, "signature_removed")
            .remark("worst case"),
    ]
}

fn trusting_without_iam() -> Vec<Scenario> {
    let forged = || one(bad(BadToken::StrippedForged));
    let to =
        |name, credential, expected| row(name, Place::TrustingWithoutIam, credential, expected);
    let closed = || reached(IAM_OFF, 503, "iam_check_missing");
    vec![
        to("forged: claims that look stripped", forged(), served(IAM_OFF)).remark("believed!"),
        to("a request without a token", Credential::Nothing, closed()),
        to("the forged claims once more", forged(), closed()),
    ]
}

fn through_the_caller() -> Vec<Scenario> {
    let lent = Outcome {
        reached_called_as: Some(format!("serviceAccount:{CALLER_ACCOUNT}").into()),
        ..served(IAM_OFF)
    };
    let for_caller = TokenSpec::for_audience(CALLER).account(STRANGER_ACCOUNT);
    vec![
        row("a stranger, and the caller is OPEN", Place::OpenCaller, Credential::Nothing, lent)
            .remark("your hole"),
        row(
            "a stranger, and it has a list",
            Place::CallerWithoutIam,
            one(for_caller),
            reached(IAM_OFF, 403, "principal_not_allowed"),
        ),
    ]
}

fn bad_days() -> Vec<Scenario> {
    use Place::{Billing, Called};
    // A lifetime of its own makes it a token that the function has not verified before, and so needs a key for.
    let unseen = good().lifetime(1800);
    let for_billing = || both(TokenSpec::for_audience(BILLING).account(CALLER_ACCOUNT));
    vec![
        row("keys rotated between two calls", Called, both(good()), served("invoker"))
            .when(Circumstances::KeysRotated)
            .fetching(1),
        row("key server down, keys in hand", Called, both(unseen), served("invoker"))
            .when(Circumstances::KeyServerDown)
            .fetching(0),
        row(
            "a role that was granted just now",
            Billing,
            for_billing(),
            refused(403, "no invoker role"),
        )
        .when(Circumstances::RoleGranted { takes_effect_after: 120 }),
        row("the same, two minutes later", Billing, for_billing(), served("invoker"))
            .when(Circumstances::Later { seconds: 120 }),
    ]
}

/// What the front end gives as its reason where its IAM check is off.
const IAM_OFF: &str = "no invoker check";

fn row(name: &'static str, to: Place, credential: Credential, expected: Outcome) -> Scenario {
    Scenario { name, circumstances: Circumstances::Usual, to, credential, expected, remark: None }
}

impl Scenario {
    fn remark(mut self, remark: &'static str) -> Self {
        self.remark = Some(remark);
        self
    }

    fn when(mut self, circumstances: Circumstances) -> Self {
        self.circumstances = circumstances;
        self
    }

    fn fetching(mut self, times: u64) -> Self {
        self.expected.key_fetches = Some(times);
        self
    }
}

fn good() -> TokenSpec {
    token_of(CALLER_ACCOUNT)
}

fn token_of(account: &str) -> TokenSpec {
    TokenSpec::for_audience(CALLED).account(account)
}

fn bad(bad: BadToken) -> TokenSpec {
    good().bad(bad)
}

fn one(spec: TokenSpec) -> Credential {
    Credential::OneHeader(Token::Minted { spec: Box::new(spec), clock_offset: 0 })
}

fn both(spec: TokenSpec) -> Credential {
    Credential::BothHeaders(Token::Minted { spec: Box::new(spec), clock_offset: 0 })
}

fn at_clock(clock_offset: i64) -> Credential {
    Credential::OneHeader(Token::Minted { spec: Box::new(good()), clock_offset })
}

/// 61 minutes: the hour that it lives, and the 60 s by which clocks may be apart.
fn old() -> Credential {
    at_clock(-61 * 60)
}

fn refused(status: u16, why: &'static str) -> Outcome {
    let iam = Iam::Refuses { status, why: why.into() };
    Outcome { iam, function: Function::NotReached, key_fetches: None, reached_called_as: None }
}

fn reached(why: &'static str, status: u16, code: &'static str) -> Outcome {
    let function = Function::Answers { status, code: Some(code.into()) };
    Outcome {
        iam: Iam::LetsIn { why: why.into() },
        function,
        key_fetches: None,
        reached_called_as: None,
    }
}

fn served(why: &'static str) -> Outcome {
    let function = Function::Answers { status: 201, code: None };
    Outcome {
        iam: Iam::LetsIn { why: why.into() },
        function,
        key_fetches: None,
        reached_called_as: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_remark_has_its_lesson_and_every_lesson_its_row() {
        let groups = groups();
        let remarks: Vec<&str> = groups
            .iter()
            .flat_map(|group| &group.scenarios)
            .filter_map(|scenario| scenario.remark)
            .collect();
        let lessons: Vec<&str> = LESSONS.iter().map(|(remark, _)| *remark).collect();
        assert_eq!(remarks, lessons);
    }

    #[test]
    fn names_fit_their_column() {
        for scenario in groups().iter().flat_map(|group| &group.scenarios) {
            let length = scenario.name.len();
            assert!(length <= super::super::report::NAME, "{} has {length}", scenario.name);
        }
    }
}
