//! The layout holds: who imports whom, who reads the time and the environment, and how large things are.
//!
//! `tree` walks the `mod` declarations from `lib.rs` and `main.rs`, `references` finds every path in a file and says
//! which part of the package it names, `shape` measures. The rules themselves are the tables below. ARCHITECTURE.md
//! says why they are what they are.

mod references;
mod shape;
mod tree;

use std::collections::{BTreeMap, BTreeSet};

use references::{Names, Reference, Target};
use tree::{Source, Tree};

/// Each part of the package, and the parts that it may import. What is not here is not allowed.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    // Support: nothing of ours above them.
    ("clock", &[]),
    ("identity", &[]),
    ("problem", &[]),
    ("http_client", &["identity"]),
    // The two halves do not know each other.
    ("inbound", &["clock", "identity", "problem", "http_client"]),
    ("outbound", &["clock", "identity", "problem", "http_client"]),
    ("gateway", &["clock", "identity", "problem", "http_client", "inbound", "outbound"]),
    // Knows the target of denials, in order not to report them twice.
    ("telemetry", &["clock", "inbound"]),
    ("server", &["clock", "problem", "telemetry"]),
    // Builds what the modules need.
    (
        "config",
        &[
            "clock",
            "identity",
            "http_client",
            "inbound",
            "outbound",
            "gateway",
            "server",
            "telemetry",
        ],
    ),
    // Puts it together.
    (
        "service",
        &[
            "clock",
            "identity",
            "problem",
            "http_client",
            "inbound",
            "outbound",
            "gateway",
            "server",
            "telemetry",
            "config",
        ],
    ),
    // Its own code, or both ends could agree on the same mistake.
    ("emulator", &["clock"]),
    // The binary: by the public API.
    (
        "functions",
        &[
            "clock",
            "identity",
            "problem",
            "http_client",
            "inbound",
            "outbound",
            "gateway",
            "server",
            "telemetry",
            "config",
            "service",
        ],
    ),
    (
        "cli",
        &[
            "clock",
            "identity",
            "problem",
            "http_client",
            "inbound",
            "outbound",
            "gateway",
            "server",
            "telemetry",
            "config",
            "service",
            "emulator",
            "functions",
        ],
    ),
];

/// What `lib.rs` may declare, and what `main.rs`.
const OF_THE_BINARY: &[&str] = &["cli", "functions"];

const LONGEST_FILE: usize = 300;
const LONGEST_FUNCTION: usize = 50;

/// Functions that may be longer, because cutting them up would make them harder to read.
const LONG_FUNCTIONS: &[&str] = &[
    // One `match`, an arm for each bad token.
    "src/emulator/token/corruption.rs: fn of",
];

fn library() -> Tree {
    Tree::walk("src/lib.rs").unwrap()
}

fn binary() -> Tree {
    Tree::walk("src/main.rs").unwrap()
}

#[test]
fn every_import_is_allowed() {
    let found: Vec<String> = [library(), binary()].iter().flat_map(forbidden_imports).collect();
    assert!(found.is_empty(), "forbidden imports:\n{}", found.join("\n"));
}

#[test]
fn only_the_clock_tells_the_time_and_only_config_reads_the_environment() {
    let found: Vec<String> = [library(), binary()].iter().flat_map(forbidden_calls).collect();
    assert!(found.is_empty(), "forbidden calls:\n{}", found.join("\n"));
}

#[test]
fn the_library_and_the_binary_declare_what_is_theirs() {
    let known: BTreeSet<&str> = MAY_IMPORT.iter().map(|(part, _)| *part).collect();
    let library = library().parts();
    for part in &library {
        assert!(known.contains(part.as_str()), "src/lib.rs declares {part}: give it a rule here");
        assert!(!OF_THE_BINARY.contains(&part.as_str()), "src/lib.rs declares {part}");
    }
    for part in binary().parts() {
        assert!(OF_THE_BINARY.contains(&part.as_str()), "src/main.rs declares {part}");
    }
}

#[test]
fn every_file_under_src_is_declared() {
    let declared: BTreeSet<_> =
        [library(), binary()].iter().flat_map(|tree| tree.files()).collect();
    let present = tree::rust_files("src").unwrap();
    let orphans: Vec<_> = present.difference(&declared).collect();
    assert!(orphans.is_empty(), "no `mod` declares {orphans:?}");
}

#[test]
fn rooms_are_small_and_say_what_they_are() {
    let (tolerated, found): (Vec<_>, Vec<_>) = [library(), binary()]
        .iter()
        .flat_map(|tree| &tree.sources)
        .flat_map(|source| shape::faults(source, LONGEST_FILE, LONGEST_FUNCTION))
        .partition(|fault| fault.long_function().is_some_and(|it| LONG_FUNCTIONS.contains(&&*it)));
    assert!(found.is_empty(), "{found:#?}");
    assert_eq!(tolerated.len(), LONG_FUNCTIONS.len(), "exceptions that are not needed any more");
}

fn forbidden_imports(tree: &Tree) -> Vec<String> {
    let rules: BTreeMap<&str, &[&str]> = MAY_IMPORT.iter().copied().collect();
    let names = tree.names();
    let mut found = Vec::new();
    // The roots name everything: they put the parts together.
    for source in tree.sources.iter().filter(|source| !source.module.is_empty()) {
        let Some(part) = source.module.first() else { continue };
        let allowed = rules.get(part.as_str()).copied().unwrap_or_default();
        for reference in references::of(source, &names) {
            if !may_import(part, allowed, &reference) {
                found.push(reference.describe(source));
            }
        }
    }
    found
}

fn may_import(part: &str, allowed: &[&str], reference: &Reference) -> bool {
    match &reference.target {
        Target::Part(target) => {
            target == part
                || allowed.contains(&target.as_str())
                // Unit tests may have their tokens from the emulator.
                || (reference.in_test && target == "emulator" && part != "identity")
        }
        Target::WholeCrate | Target::Unknown(_) => false,
        Target::Elsewhere => true,
    }
}

/// What reads a clock or the environment: the last two segments of a path.
const TIME: &[(&str, &str)] = &[
    ("SystemTime", "now"),
    ("Instant", "now"),
    ("OffsetDateTime", "now_utc"),
    ("OffsetDateTime", "now_local"),
];
const ENVIRONMENT: &[(&str, &str)] =
    &[("env", "var"), ("env", "var_os"), ("env", "vars"), ("env", "vars_os")];

fn forbidden_calls(tree: &Tree) -> Vec<String> {
    let names = tree.names();
    let mut found = Vec::new();
    for source in &tree.sources {
        let part = source.module.first().map_or("", String::as_str);
        for reference in references::of(source, &names) {
            if is_forbidden_call(part, &reference) {
                found.push(reference.describe(source));
            }
        }
    }
    found
}

fn is_forbidden_call(part: &str, reference: &Reference) -> bool {
    if reference.in_test {
        return false;
    }
    let one_of = |list: &[(&str, &str)]| {
        list.iter().any(|(owner, name)| {
            reference.ends_with(&[owner, name])
                // Another name for it would hide it from this test.
                || (reference.renamed && reference.ends_with(&[owner]))
                || reference.ends_with(&[owner, "*"])
        })
    };
    (part != "clock" && one_of(TIME)) || (part != "config" && one_of(ENVIRONMENT))
}

/// Judges a snippet as if it were a file of this module.
fn judge(module: &str, text: &str) -> Vec<String> {
    let module: Vec<String> = module.split("::").map(str::to_owned).collect();
    let source = Source::of_text("snippet.rs", module, text);
    let names = Names {
        parts: MAY_IMPORT.iter().map(|(part, _)| (*part).to_owned()).collect(),
        exports: [("serve".to_owned(), "service".to_owned())].into(),
    };
    let part = source.module[0].clone();
    let rules: BTreeMap<&str, &[&str]> = MAY_IMPORT.iter().copied().collect();
    references::of(&source, &names)
        .iter()
        .filter(|reference| {
            !may_import(&part, rules[part.as_str()], reference)
                || is_forbidden_call(&part, reference)
        })
        .map(|reference| reference.text.clone())
        .collect()
}

#[test]
fn what_is_forbidden_is_found() {
    let table = [
        ("inbound", "use crate::outbound::IdTokenClient;"),
        ("inbound::jwks", "use super::super::outbound::Origin;"),
        ("inbound", "use crate::{clock::Clock, outbound::{self, Origin}};"),
        ("inbound", "use crate::serve;"),
        ("inbound", "use crate::*;"),
        ("inbound", "use crate as all;"),
        ("inbound", "use super::{self as all};"),
        ("inbound", "use crate::new_part::Thing;"),
        ("inbound", "extern crate self as all;"),
        ("inbound", "fn f() { crate::outbound::f() }"),
        ("inbound", "fn f() -> crate::outbound::Origin { todo() }"),
        ("inbound", "fn f(x: &dyn Fn(<crate::outbound::A as B>::C)) {}"),
        ("inbound", "impl From<super::outbound::Origin> for A {}"),
        ("inbound", "fn f() { let v = vec![crate::outbound::f()]; }"),
        ("inbound", "fn f() { println!(\"{}\", { ((super::outbound::NAME)) }); }"),
        ("inbound", "macro_rules! m { () => { $crate::outbound::f() } }"),
        ("inbound", "macro_rules! m { () => { use $crate::{clock, outbound::X}; } }"),
        ("inbound", "#[serde(with = \"crate::outbound::text\")] struct A;"),
        ("inbound", "#[error(fmt = crate::outbound::text)] struct A;"),
        ("inbound", "#[crate::outbound::attribute] struct A;"),
        ("inbound", "mod inner { use super::super::outbound::Origin; }"),
        ("inbound", "fn f() { use crate::outbound::Origin; }"),
        ("inbound", "pub use countersign::outbound::Origin;"),
        ("inbound", "use ::countersign::outbound::Origin;"),
        ("inbound", "#[cfg(test)] mod tests { use crate::outbound::Origin; }"),
        ("inbound", "use crate::emulator::Emulator;"),
        ("inbound", "#[cfg(any(test, feature = \"x\"))] use crate::emulator::Emulator;"),
        ("inbound", "#[cfg(not(test))] use crate::emulator::Emulator;"),
        ("outbound", "use crate::inbound::Verifier;"),
        ("identity", "use crate::inbound::Verifier;"),
        ("identity", "#[cfg(test)] mod tests { use crate::emulator::Emulator; }"),
        ("clock", "use crate::identity::Audience;"),
        ("emulator", "use crate::identity::Claims;"),
        ("emulator::token", "use crate::inbound::Verifier;"),
        ("emulator", "#[cfg(test)] mod tests { use crate::inbound::Verifier; }"),
        ("service", "use crate::emulator::Emulator;"),
        ("functions::caller", "use countersign::emulator::Emulator;"),
        ("functions", "use crate::cli::run;"),
        ("outbound", "fn f() { std::env::var(\"X\"); }"),
        ("outbound", "use std::env; fn f() { env::var_os(\"X\"); }"),
        ("outbound", "use std::env::{self, vars};"),
        ("outbound", "use std::env as e;"),
        ("outbound", "use std::env::*;"),
        ("cli", "fn f() { let all = [std::env::vars_os()]; }"),
        ("cli", "fn f() { println!(\"{:?}\", std::env::var(\"X\")); }"),
        ("config", "fn f() { std::time::Instant::now(); }"),
        ("server", "use tokio::time::Instant; fn f() { Instant::now(); }"),
        ("server", "use std::time::SystemTime as S;"),
        ("server", "const NOW: fn() -> SystemTime = SystemTime::now;"),
        ("clock", "fn f() { std::env::var(\"X\"); }"),
    ];
    for (module, text) in table {
        assert!(!judge(module, text).is_empty(), "{module}: {text}");
    }
}

#[test]
fn what_is_allowed_is_let_be() {
    let table = [
        ("inbound", "use crate::clock::Clock; use crate::identity::{Audience, Claims};"),
        ("inbound::jwks::cache", "use super::super::verifier::X; use crate::inbound::Cause;"),
        ("inbound", "pub(crate) struct A; pub(in crate::inbound) struct B; pub(super) struct C;"),
        ("inbound", "/// See [`crate::outbound`].\nfn f() { let s = \"see crate::outbound::X\"; }"),
        ("inbound", "mod outbound {} use self::outbound::X; fn f() { outbound::g() }"),
        ("inbound", "mod inner { use super::outbound::X; }"),
        ("inbound", "use other::crate_like::outbound;"),
        ("inbound", "#[cfg(test)] mod tests { use crate::emulator::Emulator; use super::*; }"),
        ("inbound", "#[cfg(test)] mod tests { fn f() { std::env::var(\"X\"); Instant::now(); } }"),
        ("inbound", "#[cfg(all(test, feature = \"emulator\"))] use crate::emulator::Emulator;"),
        ("service", "use crate::{config, inbound::Verifier, outbound};"),
        ("emulator::token", "use crate::clock::Clock; use super::keys::X; use crate::emulator::Y;"),
        ("config", "fn f() { std::env::var_os(\"X\"); }"),
        ("clock", "fn f() { SystemTime::now(); std::time::Instant::now(); }"),
        ("cli", "fn f() { env!(\"CARGO_PKG_VERSION\"); std::env::args(); crate::functions::f(); }"),
        ("functions", "use countersign::Problem as P; use std::collections::BTreeMap as Map;"),
    ];
    for (module, text) in table {
        let text = text.replace("Problem as P", "serve as run");
        assert_eq!(judge(module, &text), Vec::<String>::new(), "{module}: {text}");
    }
}
