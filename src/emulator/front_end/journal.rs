//! What happened at a front end lately: what its door decided, and what reached the container.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use http::header::AUTHORIZATION;
use http::{HeaderMap, request};
use serde::Serialize;

use super::door::SERVERLESS;

/// What a front end did with one request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Decision {
    /// The request's method.
    pub method: String,
    /// The request's path, without its query.
    pub path: String,
    /// What was answered in the end: by the door, or, for a request that was let in, by the container.
    pub status: u16,
    /// Did it reach the container?
    pub let_in: bool,
    /// In a few words, why: `invoker`, `project editor`, `no invoker check`, `no token`, `wrong audience`, `expired`, …
    pub reason: String,
    /// Whose token it was, as an IAM member; `None` where none was verified.
    pub principal: Option<String>,
}

/// A request as it reached the container.
///
/// The values of the headers that carry tokens are marked as sensitive: `Debug` does not show them.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Received {
    /// The method.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// The headers.
    pub headers: HeaderMap,
}

impl Received {
    /// A header's first value, where it is text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    pub(super) fn of(head: &request::Parts) -> Self {
        let mut headers = head.headers.clone();
        for name in [AUTHORIZATION, SERVERLESS] {
            if let http::header::Entry::Occupied(mut entry) = headers.entry(name) {
                entry.iter_mut().for_each(|value| value.set_sensitive(true));
            }
        }
        Self { method: head.method.to_string(), target: head.uri.to_string(), headers }
    }
}

/// The last entries of a list.
#[derive(Debug)]
pub(super) struct Journal<T>(Mutex<VecDeque<T>>);

impl<T> Default for Journal<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T: Clone> Journal<T> {
    const LONGEST: usize = 256;

    pub(super) fn add(&self, entry: T) {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.len() == Self::LONGEST {
            entries.pop_front();
        }
        entries.push_back(entry);
    }

    pub(super) fn all(&self) -> Vec<T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_journal_keeps_the_last_entries() {
        let journal = Journal::default();
        (0..300).for_each(|n| journal.add(n));
        assert_eq!(journal.all().len(), 256);
        assert_eq!(journal.all().last(), Some(&299));
    }

    #[test]
    fn tokens_do_not_show_in_debug() {
        let request = http::Request::builder()
            .header("authorization", "Bearer secret-one")
            .header("x-serverless-authorization", "bearer secret-two")
            .body(())
            .unwrap();
        let received = Received::of(&request.into_parts().0);
        assert_eq!(received.header("authorization"), Some("Bearer secret-one"));
        assert!(!format!("{received:?}").contains("secret"));
    }
}
