//! The metadata as a tree of directories, from which paths, listings and `recursive=true` follow.

use serde_json::{Map, Value, json};

use crate::emulator::access_tokens::CLOUD_PLATFORM;
use crate::emulator::accounts::Account;
use crate::emulator::google::{Google, Instance};

/// The scopes that Cloud Run's accounts have.
const SCOPES: [&str; 1] = [CLOUD_PLATFORM];

/// A directory or an entry of one.
#[derive(Clone, Debug)]
pub(super) enum Node {
    Directory(Vec<(String, Node)>),
    Text(String),
    Number(u64),
    /// As text: one per line.
    List(Vec<String>),
    /// Made when asked for: an ID token.
    Identity,
    /// Made when asked for: an access token.
    Token,
}

impl Node {
    /// The whole of what one account's metadata server knows.
    pub(super) fn root(google: &Google, account: &Account) -> Self {
        let project = &google.project;
        let instance = Instance::of(google, account);
        let text = |text: String| Self::Text(text);
        let of_account = Self::directory([
            ("aliases", Self::List(vec!["default".to_owned()])),
            ("email", text(account.email.clone())),
            ("identity", Self::Identity),
            ("scopes", Self::List(SCOPES.map(str::to_owned).to_vec())),
            ("token", Self::Token),
        ]);
        let accounts = Self::directory([
            (account.email.as_str(), of_account.clone()),
            ("default", of_account),
        ]);
        let region = format!("projects/{}/regions/{}", project.number, project.region);
        let zone = format!("projects/{}/zones/{}", project.number, instance.zone());
        let instance = Self::directory([
            ("id", text(instance.id)),
            ("region", text(region)),
            ("service-accounts", accounts),
            ("zone", text(zone)),
        ]);
        let project = Self::directory([
            ("numeric-project-id", Self::Number(project.number)),
            ("project-id", text(project.id.clone())),
        ]);
        let universe = Self::directory([("universe-domain", text("googleapis.com".to_owned()))]);
        let version =
            Self::directory([("instance", instance), ("project", project), ("universe", universe)]);
        Self::directory([("computeMetadata", Self::directory([("v1", version)]))])
    }

    fn directory<const N: usize>(entries: [(&str, Self); N]) -> Self {
        Self::Directory(entries.map(|(name, node)| (name.to_owned(), node)).to_vec())
    }

    /// Goes down the path. Segments may be percent-encoded, as the @ of an address often is.
    pub(super) fn find(&self, segments: &[&str]) -> Option<&Self> {
        let Some((first, rest)) = segments.split_first() else {
            return Some(self);
        };
        let Self::Directory(entries) = self else {
            return None;
        };
        let first = decoded(first);
        entries.iter().find(|(name, _)| *name == first)?.1.find(rest)
    }

    /// The names in a directory, one per line; directories end in a slash.
    pub(super) fn listing(&self) -> String {
        let Self::Directory(entries) = self else {
            return self.text();
        };
        entries
            .iter()
            .map(|(name, node)| match node {
                Self::Directory(_) => format!("{name}/\n"),
                _ => format!("{name}\n"),
            })
            .collect()
    }

    pub(super) fn text(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Number(number) => number.to_string(),
            Self::List(lines) => lines.iter().map(|line| format!("{line}\n")).collect(),
            Self::Directory(_) | Self::Identity | Self::Token => String::new(),
        }
    }

    /// The whole subtree as JSON, with names in camel case; what is made when asked for is not in it.
    pub(super) fn recursive(&self) -> Value {
        match self {
            Self::Text(text) => json!(text),
            Self::Number(number) => json!(number),
            Self::List(lines) => json!(lines),
            Self::Identity | Self::Token => Value::Null,
            Self::Directory(entries) => {
                let members: Map<String, Value> = entries
                    .iter()
                    .filter(|(_, node)| !matches!(node, Self::Identity | Self::Token))
                    .map(|(name, node)| (camel_case(name), node.recursive()))
                    .collect();
                Value::from(members)
            }
        }
    }
}

/// `service-accounts` → `serviceAccounts`. Addresses stay as they are.
fn camel_case(name: &str) -> String {
    if name.contains('@') {
        return name.to_owned();
    }
    let mut upper = false;
    let mut camel = String::with_capacity(name.len());
    for letter in name.chars() {
        match letter {
            '-' => upper = true,
            _ if upper => {
                camel.push(letter.to_ascii_uppercase());
                upper = false;
            }
            _ => camel.push(letter),
        }
    }
    camel
}

fn decoded(segment: &str) -> String {
    // A path knows no plus for a space: shielded, so that the form decoder leaves it alone.
    let shielded = segment.replace('+', "%2B").replace('&', "%26").replace('=', "%3D");
    url::form_urlencoded::parse(shielded.as_bytes())
        .next()
        .map(|(name, _)| name.into_owned())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_camel_case_and_addresses_do_not() {
        assert_eq!(camel_case("numeric-project-id"), "numericProjectId");
        assert_eq!(camel_case("my-caller@demo-1.iam"), "my-caller@demo-1.iam");
    }

    #[test]
    fn segments_are_percent_decoded_only() {
        assert_eq!(decoded("caller%40demo"), "caller@demo");
        assert_eq!(decoded("a+b&c=d"), "a+b&c=d");
    }
}
