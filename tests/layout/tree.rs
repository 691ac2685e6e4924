//! The source tree as the compiler sees it: from a root by `mod` declarations, each file with its module path and
//! whether it is test code.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use syn::{Attribute, Item, Meta, UseTree, Visibility};

use crate::references::Names;

/// One file.
pub(crate) struct Source {
    /// Relative to the package.
    pub(crate) path: PathBuf,
    /// Its module, without `crate`.
    pub(crate) module: Vec<String>,
    pub(crate) text: String,
    pub(crate) file: syn::File,
    /// Declared under `#[cfg(test)]`, or by a file that is.
    pub(crate) in_test: bool,
}

impl Source {
    pub(crate) fn of_text(path: impl Into<PathBuf>, module: Vec<String>, text: &str) -> Self {
        let path = path.into();
        let file =
            syn::parse_file(text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Self { path, module, text: text.to_owned(), file, in_test: false }
    }
}

/// All files of a crate.
pub(crate) struct Tree {
    pub(crate) sources: Vec<Source>,
}

impl Tree {
    /// Reads the crate whose root is this file.
    pub(crate) fn walk(root: &str) -> io::Result<Self> {
        let mut sources = Vec::new();
        visit(PathBuf::from(root), Vec::new(), false, &mut sources)?;
        Ok(Self { sources })
    }

    /// The modules that the root declares.
    pub(crate) fn parts(&self) -> BTreeSet<String> {
        self.sources.iter().filter_map(|source| source.module.first().cloned()).collect()
    }

    pub(crate) fn files(&self) -> Vec<PathBuf> {
        self.sources.iter().map(|source| source.path.clone()).collect()
    }

    /// What a path that begins at a root can name: our parts (the library's for the binary, too), and what `lib.rs`
    /// exports of them.
    pub(crate) fn names(&self) -> Names {
        let mut parts = self.parts();
        let library = Self::walk("src/lib.rs").unwrap();
        parts.extend(library.parts());
        Names { parts, exports: exports(&library.sources[0].file) }
    }
}

/// Every Rust file below a directory.
pub(crate) fn rust_files(directory: &str) -> io::Result<BTreeSet<PathBuf>> {
    let mut found = BTreeSet::new();
    let mut open = vec![PathBuf::from(directory)];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(package().join(directory.clone()))? {
            let path = directory.join(entry?.file_name());
            if package().join(&path).is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.insert(path);
            }
        }
    }
    Ok(found)
}

/// Whether an item is compiled for tests only: `cfg(test)`, or `cfg(all(test, …))`.
pub(crate) fn is_test_only(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let Meta::List(list) = &attribute.meta else { return false };
        if !list.path.is_ident("cfg") {
            return false;
        }
        let condition = list.tokens.to_string().replace(' ', "");
        condition == "test" || condition.starts_with("all(test,")
    })
}

fn package() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn visit(
    path: PathBuf,
    module: Vec<String>,
    in_test: bool,
    sources: &mut Vec<Source>,
) -> io::Result<()> {
    let text = fs::read_to_string(package().join(&path))
        .map_err(|error| io::Error::other(format!("{}: {error}", path.display())))?;
    let source = Source { in_test, ..Source::of_text(path, module, &text) };
    // A root has its modules beside it, any other file in a directory of its own name.
    let beside = source.path.parent().unwrap_or(Path::new("")).to_owned();
    let directory = if source.module.is_empty() { beside } else { source.path.with_extension("") };
    let mut declared = Vec::new();
    for item in &source.file.items {
        let Item::Mod(declaration) = item else { continue };
        if declaration.content.is_some() {
            continue;
        }
        let name = declaration.ident.to_string();
        let mut module = source.module.clone();
        module.push(name.clone());
        let file = directory.join(format!("{name}.rs"));
        declared.push((file, module, in_test || is_test_only(&declaration.attrs)));
    }
    sources.push(source);
    for (file, module, in_test) in declared {
        visit(file, module, in_test, sources)?;
    }
    Ok(())
}

/// `pub use part::Name;` of the root: name and part.
fn exports(root: &syn::File) -> BTreeMap<String, String> {
    let mut exports = BTreeMap::new();
    for item in &root.items {
        if let Item::Use(item) = item
            && matches!(item.vis, Visibility::Public(_))
            && let UseTree::Path(path) = &item.tree
        {
            leaves(&path.tree, &path.ident.to_string(), &mut exports);
        }
    }
    exports
}

fn leaves(tree: &UseTree, part: &str, exports: &mut BTreeMap<String, String>) {
    match tree {
        UseTree::Path(path) => leaves(&path.tree, part, exports),
        UseTree::Name(name) => {
            exports.insert(name.ident.to_string(), part.to_owned());
        }
        UseTree::Rename(rename) => {
            exports.insert(rename.rename.to_string(), part.to_owned());
        }
        UseTree::Group(group) => {
            group.items.iter().for_each(|tree| leaves(tree, part, exports));
        }
        // Its names cannot be known, so they count as unknown where they are used.
        UseTree::Glob(_) => {}
    }
}
