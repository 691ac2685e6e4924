//! Every path of a file, wherever it stands, and which part of the package it names.
//!
//! `use` lines alone would miss most: paths stand in expressions, types, visibilities, attributes (as paths and as
//! strings) and in the tokens of macros. Typed paths come from `syn`; tokens are scanned for `a::b::{c, d}`.

use std::collections::{BTreeMap, BTreeSet};

use proc_macro2::{Delimiter, Span, TokenStream, TokenTree};
use syn::spanned::Spanned as _;
use syn::visit::{self, Visit};
use syn::{Attribute, Expr, ExprLit, Item, ItemExternCrate, ItemMod, ItemUse, Lit, Macro, Meta};
use syn::{Path, UseTree, VisRestricted};

use crate::tree::{Source, is_test_only};

/// What paths can name.
pub(crate) struct Names {
    /// The modules of the roots.
    pub(crate) parts: BTreeSet<String>,
    /// What the library's root exports by `pub use`: name and part.
    pub(crate) exports: BTreeMap<String, String>,
}

/// What a path names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    /// A part of the package.
    Part(String),
    /// The root itself, so that anything can be reached from it.
    WholeCrate,
    /// Something at the root that this test does not know.
    Unknown(String),
    /// Another crate, or a name that a `use` line brought in, which is looked at by itself.
    Elsewhere,
}

/// A path, where it stands, and what it names.
#[derive(Debug)]
pub(crate) struct Reference {
    pub(crate) target: Target,
    pub(crate) text: String,
    pub(crate) line: usize,
    pub(crate) in_test: bool,
    /// By `as`.
    pub(crate) renamed: bool,
    segments: Vec<String>,
}

impl Reference {
    pub(crate) fn describe(&self, source: &Source) -> String {
        format!("{}:{}: {} ({:?})", source.path.display(), self.line, self.text, self.target)
    }

    pub(crate) fn ends_with(&self, tail: &[&str]) -> bool {
        let segments: Vec<&str> = self.segments.iter().map(String::as_str).collect();
        segments.ends_with(tail)
    }
}

/// All references of a file.
pub(crate) fn of(source: &Source, names: &Names) -> Vec<Reference> {
    let mut finder =
        Finder { names, module: source.module.clone(), in_test: source.in_test, found: Vec::new() };
    finder.visit_file(&source.file);
    finder.found
}

struct Finder<'n> {
    names: &'n Names,
    module: Vec<String>,
    in_test: bool,
    found: Vec<Reference>,
}

impl Finder<'_> {
    fn add(&mut self, segments: Vec<String>, span: Span, renamed: bool) {
        self.found.push(Reference {
            target: self.resolve(&segments),
            text: segments.join("::"),
            line: span.start().line,
            in_test: self.in_test,
            renamed,
            segments,
        });
    }

    fn resolve(&self, segments: &[String]) -> Target {
        let Some(first) = segments.first() else { return Target::Elsewhere };
        match first.as_str() {
            "crate" | "countersign" => self.at_root(&segments[1..]),
            "self" => self.below(&self.module, &segments[1..]),
            "super" => {
                let ups = segments.iter().take_while(|segment| *segment == "super").count();
                let depth = self.module.len().saturating_sub(ups);
                self.below(&self.module[..depth], &segments[ups..])
            }
            _ => Target::Elsewhere,
        }
    }

    fn below(&self, module: &[String], rest: &[String]) -> Target {
        match module.first() {
            Some(part) => Target::Part(part.clone()),
            None => self.at_root(rest),
        }
    }

    fn at_root(&self, rest: &[String]) -> Target {
        match rest.first().map(String::as_str) {
            None | Some("*" | "self") => Target::WholeCrate,
            Some(name) if self.names.parts.contains(name) => Target::Part(name.to_owned()),
            Some(name) => self.names.exports.get(name).map_or_else(
                || Target::Unknown(name.to_owned()),
                |part| Target::Part(part.clone()),
            ),
        }
    }

    fn use_tree(&mut self, tree: &UseTree, before: &[String]) {
        let with = |name: &syn::Ident| [before, &[name.to_string()]].concat();
        match tree {
            UseTree::Path(path) => self.use_tree(&path.tree, &with(&path.ident)),
            UseTree::Name(name) if name.ident == "self" => {
                self.add(before.to_vec(), name.ident.span(), false);
            }
            UseTree::Name(name) => self.add(with(&name.ident), name.ident.span(), false),
            UseTree::Rename(rename) if rename.ident == "self" && !before.is_empty() => {
                self.add(before.to_vec(), rename.ident.span(), true);
            }
            UseTree::Rename(rename) => self.add(with(&rename.ident), rename.ident.span(), true),
            UseTree::Glob(glob) => {
                self.add([before, &["*".to_owned()]].concat(), glob.star_token.span(), false);
            }
            UseTree::Group(group) => {
                for tree in &group.items {
                    self.use_tree(tree, before);
                }
            }
        }
    }

    /// Paths in tokens: `a::b`, and `a::b::{c, d::e}` with the prefix before each.
    fn scan(&mut self, tokens: TokenStream, before: &[String]) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let mut at = 0;
        while at < tokens.len() {
            match &tokens[at] {
                TokenTree::Ident(ident) => {
                    let mut segments = before.to_vec();
                    segments.push(ident.to_string());
                    at += 1;
                    while is_colon(tokens.get(at)) && is_colon(tokens.get(at + 1)) {
                        match tokens.get(at + 2) {
                            Some(TokenTree::Ident(next)) => segments.push(next.to_string()),
                            Some(TokenTree::Punct(star)) if star.as_char() == '*' => {
                                segments.push("*".to_owned());
                            }
                            Some(TokenTree::Group(group))
                                if group.delimiter() == Delimiter::Brace =>
                            {
                                self.scan(group.stream(), &segments);
                            }
                            _ => break,
                        }
                        at += 3;
                    }
                    // A single word is no path, unless it stands in a group after one.
                    if segments.len() > 1 {
                        let renamed =
                            matches!(tokens.get(at), Some(TokenTree::Ident(word)) if word == "as");
                        self.add(segments, ident.span(), renamed);
                    }
                }
                TokenTree::Group(group) => {
                    self.scan(group.stream(), &[]);
                    at += 1;
                }
                TokenTree::Literal(literal) => {
                    self.string(&literal.to_string(), literal.span());
                    at += 1;
                }
                TokenTree::Punct(_) => at += 1,
            }
        }
    }

    /// A string that is nothing but a path, as serde and others take them.
    fn string(&mut self, literal: &str, span: Span) {
        let text = literal.trim_matches('"');
        let segments: Vec<String> = text.split("::").map(str::to_owned).collect();
        let is_word = |word: &String| {
            !word.is_empty() && word.chars().all(|c| c.is_alphanumeric() || c == '_')
        };
        if segments.len() > 1 && segments.iter().all(is_word) {
            self.add(segments, span, false);
        }
    }
}

impl<'ast> Visit<'ast> for Finder<'_> {
    fn visit_item(&mut self, item: &'ast Item) {
        let before = self.in_test;
        self.in_test |= is_test_only(attributes(item));
        visit::visit_item(self, item);
        self.in_test = before;
    }

    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        self.module.push(item.ident.to_string());
        visit::visit_item_mod(self, item);
        self.module.pop();
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        item.attrs.iter().for_each(|attribute| self.visit_attribute(attribute));
        self.visit_visibility(&item.vis);
        self.use_tree(&item.tree, &[]);
    }

    fn visit_item_extern_crate(&mut self, item: &'ast ItemExternCrate) {
        if item.ident == "self" {
            self.add(vec!["crate".to_owned()], item.ident.span(), item.rename.is_some());
        }
    }

    /// `pub(crate)` and the like name a place, they import nothing.
    fn visit_vis_restricted(&mut self, _: &'ast VisRestricted) {}

    fn visit_path(&mut self, path: &'ast Path) {
        let segments = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        self.add(segments, path.span(), false);
        // Generic arguments have paths of their own.
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, mac: &'ast Macro) {
        self.visit_path(&mac.path);
        self.scan(mac.tokens.clone(), &[]);
    }

    fn visit_attribute(&mut self, attribute: &'ast Attribute) {
        match &attribute.meta {
            Meta::List(list) => {
                self.visit_path(&list.path);
                self.scan(list.tokens.clone(), &[]);
            }
            Meta::NameValue(pair) if pair.path.is_ident("doc") => {}
            Meta::NameValue(pair) => {
                self.visit_path(&pair.path);
                if let Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) = &pair.value {
                    self.string(&text.value(), text.span());
                }
                self.visit_expr(&pair.value);
            }
            Meta::Path(path) => self.visit_path(path),
        }
    }
}

/// The attributes of an item, where a `cfg(test)` may stand.
pub(crate) fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        // Counts as production, which is the stricter.
        _ => &[],
    }
}

fn is_colon(token: Option<&TokenTree>) -> bool {
    matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == ':')
}
