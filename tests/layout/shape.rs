//! How large files and functions are, what must not be left in them, and whether they say what they are.

use std::path::PathBuf;

use proc_macro2::{Span, TokenStream, TokenTree};
use syn::visit::{self, Visit};
use syn::{Block, ImplItemFn, Item, ItemFn, Macro, TraitItemFn};

use crate::references::attributes;
use crate::tree::{Source, is_test_only};

const LEFT_OVERS: &[&str] = &["todo", "unimplemented", "dbg"];

/// One thing that is wrong, and where.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) path: PathBuf,
    #[expect(dead_code, reason = "for people, by Debug")]
    pub(crate) line: usize,
    pub(crate) kind: Kind,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// So many lines before the tests.
    LongFile(usize),
    /// A function with so many lines between its braces.
    LongFunction(String, usize),
    /// Does not begin with `//!`.
    NoDocs,
    /// `todo!` and the like.
    LeftOver(String),
}

impl Fault {
    /// `PATH: fn NAME`, where a function is too long.
    pub(crate) fn long_function(&self) -> Option<String> {
        let Kind::LongFunction(name, _) = &self.kind else { return None };
        Some(format!("{}: fn {name}", self.path.display()))
    }
}

/// What is wrong with a file.
pub(crate) fn faults(source: &Source, longest_file: usize, longest_function: usize) -> Vec<Fault> {
    let mut finder = Finder { longest_function, in_test: source.in_test, found: Vec::new() };
    finder.visit_file(&source.file);
    if !source.in_test {
        let length =
            source.text.lines().take_while(|line| !line.starts_with("#[cfg(test)]")).count();
        if length > longest_file {
            finder.found.push((1, Kind::LongFile(length)));
        }
        if !source.text.starts_with("//!") {
            finder.found.push((1, Kind::NoDocs));
        }
    }
    let fault = |(line, kind)| Fault { path: source.path.clone(), line, kind };
    finder.found.into_iter().map(fault).collect()
}

struct Finder {
    longest_function: usize,
    in_test: bool,
    found: Vec<(usize, Kind)>,
}

impl Finder {
    fn function(&mut self, name: &syn::Ident, body: &Block) {
        let braces = body.brace_token.span;
        let lines = braces.close().start().line.saturating_sub(braces.open().start().line + 1);
        if !self.in_test && lines > self.longest_function {
            self.found
                .push((name.span().start().line, Kind::LongFunction(name.to_string(), lines)));
        }
    }

    fn left_over(&mut self, name: &str, span: Span) {
        if LEFT_OVERS.contains(&name) {
            self.found.push((span.start().line, Kind::LeftOver(name.to_owned())));
        }
    }

    fn scan(&mut self, tokens: TokenStream) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        for (at, token) in tokens.iter().enumerate() {
            match (token, tokens.get(at + 1), tokens.get(at + 2)) {
                (
                    TokenTree::Ident(name),
                    Some(TokenTree::Punct(mark)),
                    Some(TokenTree::Group(_)),
                ) if mark.as_char() == '!' => self.left_over(&name.to_string(), name.span()),
                (TokenTree::Group(group), ..) => self.scan(group.stream()),
                _ => {}
            }
        }
    }
}

impl<'ast> Visit<'ast> for Finder {
    fn visit_item(&mut self, item: &'ast Item) {
        let before = self.in_test;
        self.in_test |= is_test_only(attributes(item));
        visit::visit_item(self, item);
        self.in_test = before;
    }

    fn visit_item_fn(&mut self, item: &'ast ItemFn) {
        self.function(&item.sig.ident, &item.block);
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast ImplItemFn) {
        self.function(&item.sig.ident, &item.block);
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast TraitItemFn) {
        if let Some(body) = &item.default {
            self.function(&item.sig.ident, body);
        }
        visit::visit_trait_item_fn(self, item);
    }

    fn visit_macro(&mut self, mac: &'ast Macro) {
        if let Some(last) = mac.path.segments.last() {
            self.left_over(&last.ident.to_string(), last.ident.span());
        }
        self.scan(mac.tokens.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(text: &str) -> Vec<Kind> {
        let source = Source::of_text("snippet.rs", vec!["inbound".to_owned()], text);
        faults(&source, 6, 2).into_iter().map(|fault| fault.kind).collect()
    }

    #[test]
    fn what_is_wrong_is_found() {
        let long = |name: &str| Kind::LongFunction(name.to_owned(), 3);
        let left = |name: &str| Kind::LeftOver(name.to_owned());
        let table = [
            ("fn f() {}", Kind::NoDocs),
            ("//! D.\n\n\n\n\n\nfn f() {}\n", Kind::LongFile(7)),
            ("//! D.\nfn f() {\n1;\n2;\n3;\n}", long("f")),
            ("//! D.\nimpl A { fn f() {\n1;\n2;\n3;\n} }", long("f")),
            ("//! D.\ntrait A { fn f() {\n1;\n2;\n3;\n} }", long("f")),
            ("//! D.\nfn f() { fn g() {\n1;\n2;\n3;\n} }", long("g")),
            ("//! D.\nfn f() { todo!() }", left("todo")),
            ("//! D.\nfn f() { std::unimplemented!() }", left("unimplemented")),
            ("//! D.\nfn f() { vec![(dbg!(1))]; }", left("dbg")),
            ("//! D.\n#[cfg(test)]\nmod tests { fn f() { todo!() } }", left("todo")),
        ];
        for (text, expected) in table {
            let found = judge(text);
            assert!(found.contains(&expected), "{text}: {found:?}");
        }
    }

    #[test]
    fn what_is_fine_is_let_be() {
        let table = [
            "//! D.\nfn f() {\n1;\n2;\n}",
            "//! D.\n#[cfg(test)]\nmod tests {\nfn f() {\n1;\n2;\n3;\n}\n}",
            "//! D.\nfn todo() { todo(); let dbg = !1; assert!(dbg != 1); }",
        ];
        for text in table {
            assert_eq!(judge(text), Vec::new(), "{text}");
        }
    }
}
