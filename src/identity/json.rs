//! A strict reading of JSON objects: a member that occurs twice, at any depth, is an error.
//!
//! Two readers of one text must not see two meanings: where `serde_json::Value` keeps the last of two members of one
//! name and a derived struct does not look into members that it does not know, other parsers keep the first
//! (RFC 8259 section 4, RFC 7519 section 4).

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

/// A JSON value, as far as claims and headers need it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Node<'de> {
    Text(Cow<'de, str>),
    Integer(i64),
    /// A number that is not an integer of 64 bits.
    OtherNumber,
    Boolean(bool),
    Null,
    Array {
        length: usize,
        first: Option<Box<Node<'de>>>,
    },
    Object,
}

impl Node<'_> {
    /// What it is, for a message.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) => "a string",
            Self::Integer(_) => "an integer",
            Self::OtherNumber => "a number that is not an integer",
            Self::Boolean(_) => "a boolean",
            Self::Null => "null",
            Self::Array { .. } => "an array",
            Self::Object => "an object",
        }
    }
}

/// Why a text is not one JSON object that can be read in one way only.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JsonError {
    /// Not JSON, or JSON nested too deeply; where it stopped.
    #[error("not JSON (line {line}, column {column})")]
    Syntax {
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
    },
    /// JSON, but not an object.
    #[error("{found} where a JSON object is expected")]
    NotAnObject {
        /// What it is.
        found: &'static str,
    },
    /// A member occurs twice.
    #[error("the member {name:?} occurs twice")]
    Duplicate {
        /// Its name, cut short where it is long.
        name: String,
    },
}

/// Reads one object and hands over each of its members.
pub(crate) fn read_object<'de>(
    json: &'de [u8],
    mut member: impl FnMut(&str, Node<'de>),
) -> Result<(), JsonError> {
    let duplicate = RefCell::new(None);
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let walk = Walk { duplicate: &duplicate, member: Some(&mut member) };
    let read = walk.deserialize(&mut deserializer).and_then(|node| {
        deserializer.end()?;
        Ok(node)
    });
    match read {
        Ok(Node::Object) => Ok(()),
        Ok(other) => Err(JsonError::NotAnObject { found: other.kind() }),
        Err(error) => Err(match duplicate.into_inner() {
            Some(name) => JsonError::Duplicate { name },
            None => JsonError::Syntax { line: error.line(), column: error.column() },
        }),
    }
}

/// Visits any value and everything in it; hands over the members of the outermost object.
struct Walk<'w, 'de> {
    duplicate: &'w RefCell<Option<String>>,
    member: Option<&'w mut dyn FnMut(&str, Node<'de>)>,
}

impl<'w, 'de> Walk<'w, 'de> {
    const fn inside(&self) -> Walk<'w, 'de> {
        Walk { duplicate: self.duplicate, member: None }
    }
}

impl<'de> DeserializeSeed<'de> for Walk<'_, 'de> {
    type Value = Node<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node<'de>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_, 'de> {
    type Value = Node<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Node<'de>, E> {
        Ok(Node::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Node<'de>, E> {
        Ok(Node::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Node<'de>, E> {
        Ok(Node::Integer(number))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Node<'de>, E> {
        Ok(i64::try_from(number).map_or(Node::OtherNumber, Node::Integer))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Node<'de>, E> {
        Ok(Node::OtherNumber)
    }

    fn visit_bool<E>(self, boolean: bool) -> Result<Node<'de>, E> {
        Ok(Node::Boolean(boolean))
    }

    fn visit_unit<E>(self) -> Result<Node<'de>, E> {
        Ok(Node::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node<'de>, A::Error> {
        let first = items.next_element_seed(self.inside())?.map(Box::new);
        let mut length = usize::from(first.is_some());
        if first.is_some() {
            while items.next_element_seed(self.inside())?.is_some() {
                length += 1;
            }
        }
        Ok(Node::Array { length, first })
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut members: A) -> Result<Node<'de>, A::Error> {
        let mut seen = Seen::new();
        while let Some(Name(name)) = members.next_key()? {
            let value = members.next_value_seed(self.inside())?;
            if let Some(member) = &mut self.member {
                member(&name, value);
            }
            if let Some(twice) = seen.insert(name) {
                *self.duplicate.borrow_mut() = Some(twice.chars().take(64).collect());
                return Err(A::Error::custom("duplicate member"));
            }
        }
        Ok(Node::Object)
    }
}

/// A member's name, borrowed from the text unless it has escapes in it.
struct Name<'de>(Cow<'de, str>);

impl<'de> serde::Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NameVisitor;
        impl<'de> Visitor<'de> for NameVisitor {
            type Value = Name<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a member's name")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(NameVisitor)
    }
}

/// The names of one object so far: a list while it is short, a set when somebody makes it long.
struct Seen<'de> {
    few: Vec<Cow<'de, str>>,
    many: HashSet<Cow<'de, str>>,
}

impl<'de> Seen<'de> {
    const FEW: usize = 24;

    fn new() -> Self {
        // What Google's tokens have, and a little: one allocation for most.
        Self { few: Vec::with_capacity(12), many: HashSet::new() }
    }

    /// Takes the name in, or hands it back if it is there already.
    fn insert(&mut self, name: Cow<'de, str>) -> Option<Cow<'de, str>> {
        if self.few.contains(&name) || self.many.contains(&name) {
            return Some(name);
        }
        if self.few.len() < Self::FEW {
            self.few.push(name);
        } else {
            self.many.insert(name);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(json: &str) -> Result<Vec<(String, Node<'_>)>, JsonError> {
        let mut all = Vec::new();
        read_object(json.as_bytes(), |name, node| all.push((name.to_owned(), node)))?;
        Ok(all)
    }

    #[test]
    fn hands_over_each_member_with_its_kind() {
        let json = r#"{"a":"x","b":1,"c":1.5,"d":true,"e":null,"f":["y",2],"g":{},"h":-3,"i":[]}"#;
        let kinds: Vec<_> = members(json).unwrap().iter().map(|(_, node)| node.kind()).collect();
        let expected = [
            "a string",
            "an integer",
            "a number that is not an integer",
            "a boolean",
            "null",
            "an array",
            "an object",
            "an integer",
            "an array",
        ];
        assert_eq!(kinds, expected);
    }

    #[test]
    fn duplicates_are_found_at_any_depth_and_in_any_spelling() {
        for json in [
            r#"{"aud":"a","aud":"b"}"#,
            r#"{"x":{"aud":1,"aud":2}}"#,
            r#"{"x":[{"y":[{"aud":1,"aud":1}]}]}"#,
            r#"{"aud":"a","\u0061ud":"b"}"#,
        ] {
            assert_eq!(
                members(json),
                Err(JsonError::Duplicate { name: "aud".to_owned() }),
                "{json}"
            );
        }
    }

    #[test]
    fn duplicates_are_found_among_many() {
        let mut json: String = (0..500).map(|i| format!("\"k{i}\":{i},")).collect();
        json = format!("{{{json}\"k499\":0}}");
        assert_eq!(members(&json), Err(JsonError::Duplicate { name: "k499".to_owned() }));
    }

    #[test]
    fn one_object_and_nothing_else() {
        for json in ["", "{", "{}x", "\u{feff}{}", "{'a':1}", "{\"a\":1,}", "nul", "{}{}"] {
            assert!(matches!(members(json), Err(JsonError::Syntax { .. })), "{json:?}");
        }
        for json in ["[]", "1", "-1", "1.5", "\"x\"", "null", "true", "18446744073709551615", "5"] {
            assert!(matches!(members(json), Err(JsonError::NotAnObject { .. })), "{json:?}");
        }
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(5_000), "]".repeat(5_000));
        assert!(matches!(members(&deep), Err(JsonError::Syntax { .. })));
        let latin1 = b"{\"a\":\"\xe9\"}";
        assert!(matches!(read_object(latin1, |_, _| {}), Err(JsonError::Syntax { .. })));
    }

    proptest::proptest! {
        #[test]
        fn agrees_with_serde_json_on_what_is_an_object(json in r#"[\[\]{}",:a1 ]{0,24}"#) {
            let ours = members(&json);
            let theirs = serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(&json);
            match ours {
                Ok(members) => proptest::prop_assert_eq!(members.len(), theirs.unwrap().len()),
                Err(JsonError::Duplicate { .. }) => {}
                Err(_) => proptest::prop_assert!(theirs.is_err()),
            }
        }
    }
}
