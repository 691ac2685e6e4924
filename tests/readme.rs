//! README.md names every setting and every code of a refusal: what is not in it does not exist for its readers.

use std::collections::BTreeSet;

use syn::visit::{self, Visit};
use syn::{Expr, ExprCall, ImplItemFn, Lit, LitStr};

const README: &str = include_str!("../README.md");

#[test]
fn every_setting_has_a_row() {
    let settings = Settings::of(include_str!("../src/config/settings.rs"));
    assert!(settings.contains("PORT") && settings.len() > 10, "{settings:?}");
    for name in settings {
        assert!(README.contains(&format!("\n| `{name}` |")), "README.md has no row for {name}");
    }
}

#[test]
fn every_row_is_a_setting() {
    let source = include_str!("../src/config/settings.rs");
    let (_, section) = README.split_once("\n## Settings\n").unwrap();
    let (table, _) = section.split_once("**Principals**").unwrap();
    let rows: Vec<&str> = table
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`').map(|(name, _)| name))
        .collect();
    assert!(rows.len() > 10, "{rows:?}");
    for name in rows {
        assert!(source.contains(&format!("\"{name}\"")), "README.md has a row for {name}");
    }
}

#[test]
fn every_code_is_listed() {
    let codes = Codes::of(include_str!("../src/inbound/cause.rs"));
    assert!(codes.contains("no_token") && codes.len() > 20, "{codes:?}");
    for code in codes {
        assert!(README.contains(&format!("`{code}`")), "README.md does not list {code}");
    }
}

/// The names in `setting("NAME", …)`.
#[derive(Default)]
struct Settings(BTreeSet<String>);

impl Settings {
    fn of(source: &str) -> BTreeSet<String> {
        let mut found = Self::default();
        found.visit_file(&syn::parse_file(source).unwrap());
        found.0
    }
}

impl<'ast> Visit<'ast> for Settings {
    fn visit_expr_call(&mut self, call: &'ast ExprCall) {
        if let Expr::Path(function) = &*call.func
            && function.path.is_ident("setting")
            && let Some(Expr::Lit(name)) = call.args.first()
            && let Lit::Str(name) = &name.lit
        {
            self.0.insert(name.value());
        }
        visit::visit_expr_call(self, call);
    }
}

/// The strings in `fn code`.
#[derive(Default)]
struct Codes {
    inside: bool,
    found: BTreeSet<String>,
}

impl Codes {
    fn of(source: &str) -> BTreeSet<String> {
        let mut codes = Self::default();
        codes.visit_file(&syn::parse_file(source).unwrap());
        codes.found
    }
}

impl<'ast> Visit<'ast> for Codes {
    fn visit_impl_item_fn(&mut self, function: &'ast ImplItemFn) {
        self.inside = function.sig.ident == "code";
        // The body alone: documentation is strings, too.
        self.visit_block(&function.block);
        self.inside = false;
    }

    fn visit_lit_str(&mut self, text: &'ast LitStr) {
        if self.inside {
            self.found.insert(text.value());
        }
    }
}
