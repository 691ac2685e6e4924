//! A token before it is signed: JSON members in order, so that it can hold what a map could not.

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use crate::emulator::keys::SigningKey;

/// The members of a JSON object, each value already serialised: names may come twice, values may be deeper than a
/// parser likes.
#[derive(Clone, Debug, Default)]
pub(super) struct Members(Vec<(String, String)>);

impl Members {
    /// Gives a member this value, in its place if it is there already.
    pub(super) fn set(&mut self, name: &str, value: Value) {
        self.set_raw(name, value.to_string());
    }

    /// The same with JSON text that is taken as it is.
    pub(super) fn set_raw(&mut self, name: &str, json: String) {
        match self.0.iter_mut().find(|(known, _)| known == name) {
            Some((_, value)) => *value = json,
            None => self.0.push((name.to_owned(), json)),
        }
    }

    /// Puts a member first, whether or not there is another one of this name.
    pub(super) fn prepend(&mut self, name: &str, value: Value) {
        self.0.insert(0, (name.to_owned(), value.to_string()));
    }

    pub(super) fn remove(&mut self, name: &str) {
        self.0.retain(|(known, _)| known != name);
    }

    pub(super) fn merge(&mut self, set: &Map<String, Value>, removed: &[String]) {
        for (name, value) in set {
            self.set(name, value.clone());
        }
        for name in removed {
            self.remove(name);
        }
    }

    /// A member's value, where it is a string.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        let (_, json) = self.0.iter().find(|(known, _)| known == name)?;
        serde_json::from_str(json).ok()
    }

    pub(super) fn json(&self) -> String {
        let members: Vec<String> = self
            .0
            .iter()
            .map(|(name, value)| format!("{}:{value}", Value::from(name.as_str())))
            .collect();
        format!("{{{}}}", members.join(","))
    }
}

/// A header and claims.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    pub(super) header: Members,
    pub(super) claims: Members,
}

impl Draft {
    /// What is signed: RFC 7515 section 5.1.
    pub(super) fn signing_input(&self) -> String {
        format!("{}.{}", encode(self.header.json()), encode(self.claims.json()))
    }

    /// The compact serialisation, with this signature.
    pub(super) fn with_signature(&self, signature: impl AsRef<[u8]>) -> String {
        format!("{}.{}", self.signing_input(), encode(signature))
    }

    /// The compact serialisation, signed with RS256 whatever the header says.
    pub(super) fn signed(&self, key: &SigningKey) -> String {
        self.with_signature(key.sign(self.signing_input().as_bytes()))
    }
}

pub(super) fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// `at_hash` of OpenID Connect Core 3.1.3.6.
pub(super) fn left_half_hash(of: &str) -> String {
    let hash = digest(&SHA256, of.as_bytes());
    encode(hash.as_ref().get(..16).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn members_keep_their_order_and_may_come_twice() {
        let mut members = Members::default();
        members.set("b", json!(1));
        members.set("a", json!("x\"y"));
        members.set("b", json!(2));
        members.prepend("a", json!(null));
        assert_eq!(members.json(), r#"{"a":null,"b":2,"a":"x\"y"}"#);
        members.remove("a");
        assert_eq!(members.json(), r#"{"b":2}"#);
    }

    #[test]
    fn the_compact_form_is_that_of_rfc_7515() {
        let mut draft = Draft { header: Members::default(), claims: Members::default() };
        draft.header.set("alg", json!("none"));
        draft.claims.set_raw("deep", "[[]]".to_owned());
        assert_eq!(draft.with_signature(b"\xff"), "eyJhbGciOiJub25lIn0.eyJkZWVwIjpbW11dfQ._w");
    }

    proptest::proptest! {
        #[test]
        fn any_name_and_text_survive(name: String, text: String) {
            let mut members = Members::default();
            members.set(&name, json!(text));
            let parsed: Value = serde_json::from_str(&members.json()).unwrap();
            proptest::prop_assert_eq!(parsed, json!({ &name: &text }));
            proptest::prop_assert_eq!(members.text(&name), Some(text));
        }
    }
}
