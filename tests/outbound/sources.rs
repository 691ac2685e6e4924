//! What holds for every source: see `holds_for` and its callers.

use std::sync::Arc;
use std::time::Duration;

use axum::response::{IntoResponse, Redirect, Response};
use countersign::outbound::{IdTokenCache, IdTokenSource, SourceOptions};
use serde_json::json;

use crate::google::{Google, START, audience};
use crate::{settle, shown, until};

/// A source under test.
pub(crate) struct Case {
    /// A source of this server.
    pub(crate) make: fn(&Google, SourceOptions) -> Arc<dyn IdTokenSource>,
    /// A part of the path of the request that brings the ID token.
    pub(crate) path: &'static str,
    /// The member of its answer.
    pub(crate) member: &'static str,
    /// The audience that it can serve.
    pub(crate) audience: &'static str,
    /// How many requests a token costs, the first time.
    pub(crate) requests: usize,
    /// The first request is not bounded by the options, but by the metadata server's own budget: see its tests.
    pub(crate) has_own_budget: bool,
}

impl Case {
    fn of(&self, google: &Google) -> Arc<dyn IdTokenSource> {
        (self.make)(google, google.options())
    }

    /// Everything that holds for every source.
    pub(crate) async fn holds(&self) {
        self.happy().await;
        self.tried_again().await;
        self.refusals().await;
        self.no_good_tokens().await;
        if !self.has_own_budget {
            self.slow().await;
        }
        self.no_redirects().await;
        self.five_hundred_callers().await;
    }

    async fn happy(&self) {
        let google = Google::start().await;
        let source = self.of(&google);
        let token = source.fetch(&audience(self.audience)).await.unwrap();
        assert_eq!(token.audience().as_str(), self.audience);
        assert_eq!(google.count(), self.requests);
        let debug = format!("{source:?} {source:#?} {}", source.name());
        for secret in ["ya29", "eyJ", "PRIVATE", "s3cret", "1//refresh"] {
            assert!(!debug.contains(secret), "{debug}");
        }
    }

    async fn tried_again(&self) {
        for status in [408, 429, 500, 503] {
            let google = Google::start().await;
            google.then_says(self.path, status, "busy").then_says(self.path, status, "busy");
            self.of(&google).fetch(&audience(self.audience)).await.unwrap();
            assert_eq!(google.count(), self.requests + 2, "{status}");
        }
    }

    async fn refusals(&self) {
        for status in [400, 401, 403, 404] {
            let google = Google::start().await;
            let body = r#"{"error":"invalid_grant","error_description":"Bad eyJhbGciOi.J9.x"}"#;
            google.then_says(self.path, status, body);
            let source = self.of(&google);
            let error = source.fetch(&audience(self.audience)).await.unwrap_err();
            assert_eq!((error.tries(), error.is_retryable()), (1, false), "{error}");
            let text = shown(&error);
            assert!(text.contains("invalid_grant: Bad") && !text.contains("eyJ"), "{text}");
            assert!(
                text.contains(&status.to_string()) && error.to_string().contains("; "),
                "{text}"
            );
            source.fetch(&audience(self.audience)).await.expect("nothing is remembered");
        }
    }

    async fn no_good_tokens(&self) {
        let member = self.member;
        let answer = |body: serde_json::Value| axum::Json(body).into_response();
        let google = Google::start().await;
        let other = google.token("https://other.example");
        let expired = google.token_with(self.audience, |claims| claims["exp"] = json!(START + 5));
        let table: Vec<(Box<dyn Fn() -> Response>, &str)> = vec![
            (Box::new(|| "<html>log in</html>".into_response()), "<html>log in"),
            (Box::new(move || answer(json!({"x": "ya29.y"}))), "an object without"),
            (Box::new(move || answer(json!({member: 5}))), "not a text"),
            (Box::new(move || answer(json!([]))), "no object"),
            (Box::new(move || answer(json!({member: "garbage"}))), "not an ID token"),
            (Box::new(move || answer(json!({member: other}))), "other.example"),
            (Box::new(move || answer(json!({member: expired}))), "expires at 1700000005"),
            (Box::new(|| "x".repeat(64 * 1024 + 1).into_response()), "more than 65536 bytes"),
        ];
        for (make, message) in table {
            let source = self.of(&google);
            for _ in 0..5 {
                let response = make();
                google.then_at(self.path, move |_, _| response);
            }
            let error = source.fetch(&audience(self.audience)).await.unwrap_err();
            assert_eq!(error.tries(), 5, "{message}: {error}");
            let text = shown(&error);
            assert!(text.contains(message), "{message}: {text}");
            assert!(!text.contains("eyJ") && !text.contains("ya29"), "{text}");
            source.fetch(&audience(self.audience)).await.expect("the next one heals");
        }
    }

    async fn slow(&self) {
        let google = Google::start().await;
        google.hold();
        let options = google.options().budget(Duration::from_millis(50));
        let source = (self.make)(&google, options);
        let error = source.fetch(&audience(self.audience)).await.unwrap_err();
        assert!(error.is_retryable() && error.to_string().contains("within 50 ms"), "{error}");
        google.release();
        self.of(&google).fetch(&audience(self.audience)).await.unwrap();
    }

    async fn no_redirects(&self) {
        let (google, other) = (Google::start().await, Google::start().await);
        for _ in 0..5 {
            let to = other.url("/token");
            google.then_at(self.path, move |_, _| Redirect::temporary(&to).into_response());
        }
        let error = self.of(&google).fetch(&audience(self.audience)).await.unwrap_err();
        assert!(error.to_string().contains("307"), "{error}");
        assert_eq!(other.count(), 0);
    }

    /// threats.md row 25, and that a failure is not remembered by the cache either.
    async fn five_hundred_callers(&self) {
        let google = Google::start().await;
        let tokens = IdTokenCache::new(self.of(&google), google.clock());
        let asked = audience(self.audience);
        google.then_says(self.path, 403, "no");
        tokens.token(&asked).await.unwrap_err();
        tokens.token(&asked).await.expect("the next success heals");
        google.clock().advance(Duration::from_secs(3_600));
        let before = google.count();
        google.hold();
        let calls: Vec<_> = (0..500)
            .map(|_| {
                let (tokens, asked) = (tokens.clone(), asked.clone());
                tokio::spawn(async move { tokens.token(&asked).await.unwrap().as_str().to_owned() })
            })
            .collect();
        until(|| google.count() > before).await;
        settle().await;
        google.release();
        let mut all = std::collections::BTreeSet::new();
        for call in calls {
            all.insert(call.await.unwrap());
        }
        assert_eq!((all.len(), google.count() - before), (1, self.requests));
    }
}

/// A file in a directory of its own, which goes away with it.
pub(crate) fn file(content: impl AsRef<[u8]>) -> (tempfile::TempDir, std::path::PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("credentials.json");
    std::fs::write(&path, content).unwrap();
    (directory, path)
}
