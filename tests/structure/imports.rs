// SPDX-License-Identifier: Apache-2.0
//! Which file of a crate imports which other.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use syn::visit::Visit;
use syn::{Attribute, Item, ItemUse, UseTree};

/// Files, named from the crate's root, and the files that they import from.
pub struct Graph(BTreeSet<(String, String)>);

/// Paths of one module as segments from the crate's root.
struct Module {
    file: String,
    path: Vec<String>,
    /// Paths that it names, with those of its imports.
    named: Vec<Vec<String>>,
    /// What its imports bring into it: a name and where that is from.
    imported: BTreeMap<String, Vec<String>>,
}

impl Graph {
    pub fn of(root: &Path) -> Graph {
        let mut files = Vec::new();
        list(root, &mut files);
        let modules: Vec<Module> =
            files.iter().filter_map(|file| Module::read(root, file)).collect();
        let by_path: BTreeMap<&[String], &Module> =
            modules.iter().map(|module| (&module.path[..], module)).collect();
        let mut edges = BTreeSet::new();
        for module in modules.iter().filter(|module| module.file != "lib.rs") {
            for path in &module.named {
                if let Some(file) = home(&by_path, path, 0)
                    && file != module.file
                    && file != "lib.rs"
                {
                    edges.insert((module.file.clone(), file));
                }
            }
        }
        Graph(edges)
    }

    pub fn edges(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(from, to)| (&from[..], &to[..]))
    }
}

/// The file in which what a path names is written: past modules that only hand it on.
fn home(
    modules: &BTreeMap<&[String], &Module>,
    path: &[String],
    followed: usize,
) -> Option<String> {
    let length = (0..=path.len()).rev().find(|length| modules.contains_key(&path[..*length]))?;
    let module = modules[&path[..length]];
    let next = path.get(length).and_then(|name| module.imported.get(name));
    match next {
        Some(next) if followed < 8 => {
            home(modules, next, followed + 1).or(Some(module.file.clone()))
        }
        _ => Some(module.file.clone()),
    }
}

fn list(dir: &Path, files: &mut Vec<std::path::PathBuf>) {
    let mut entries: Vec<_> =
        fs::read_dir(dir).expect("a folder").map(|entry| entry.expect("listed").path()).collect();
    entries.sort();
    for path in entries {
        match path.is_dir() {
            true if path.ends_with("tests") => {}
            true => list(&path, files),
            false if path.extension().is_some_and(|end| end == "rs") => files.push(path),
            false => {}
        }
    }
}

impl Module {
    fn read(root: &Path, path: &Path) -> Option<Module> {
        let file = path.strip_prefix(root).expect("listed below it").to_string_lossy().into_owned();
        let mut segments: Vec<String> =
            file.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
        if matches!(segments.last().map(String::as_str), Some("mod" | "lib")) {
            segments.pop();
        }
        let text = fs::read_to_string(path).expect("readable");
        let parsed = syn::parse_file(&text).unwrap_or_else(|error| panic!("{file}: {error}"));
        let mut module =
            Module { file, path: segments.clone(), named: Vec::new(), imported: BTreeMap::new() };
        let mut reader = Reader { at: segments, depth: 0, module: &mut module };
        reader.visit_file(&parsed);
        Some(module)
    }
}

struct Reader<'m> {
    /// The file's own module, and inline modules inside of it.
    at: Vec<String>,
    depth: usize,
    module: &'m mut Module,
}

impl Reader<'_> {
    /// From the crate's root; none if it leads into another crate.
    fn resolve(&self, path: &[String]) -> Option<Vec<String>> {
        let mut base = self.at.clone();
        let mut rest = path;
        match rest.first().map(String::as_str)? {
            "crate" => (base, rest) = (Vec::new(), &rest[1..]),
            "self" => rest = &rest[1..],
            "super" => {
                while rest.first().is_some_and(|part| part == "super") {
                    base.pop()?;
                    rest = &rest[1..];
                }
            }
            // A child of this module, or another crate: the look-up of files tells.
            _ => {}
        }
        base.extend(rest.iter().cloned());
        Some(base)
    }

    fn import(&mut self, tree: &UseTree, prefix: &mut Vec<String>) {
        match tree {
            UseTree::Path(path) => {
                prefix.push(path.ident.to_string());
                self.import(&path.tree, prefix);
                prefix.pop();
            }
            UseTree::Group(group) => group.items.iter().for_each(|tree| self.import(tree, prefix)),
            UseTree::Glob(_) => self.note(prefix, None),
            UseTree::Name(name) if name.ident == "self" => {
                self.note(prefix, prefix.last().cloned())
            }
            UseTree::Name(name) => {
                prefix.push(name.ident.to_string());
                self.note(prefix, prefix.last().cloned());
                prefix.pop();
            }
            UseTree::Rename(rename) => {
                prefix.push(rename.ident.to_string());
                self.note(prefix, Some(rename.rename.to_string()));
                prefix.pop();
            }
        }
    }

    fn note(&mut self, path: &[String], name: Option<String>) {
        let Some(path) = self.resolve(path) else { return };
        if let (0, Some(name)) = (self.depth, name) {
            self.module.imported.insert(name, path.clone());
        }
        self.module.named.push(path);
    }
}

/// `#[cfg(test)]`, and combinations that ask for it.
fn only_in_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let syn::Meta::List(list) = &attribute.meta else { return false };
        list.path.is_ident("cfg") && {
            let text = list.tokens.to_string();
            let asked = text.replace("not (test)", "").replace("any (test", "");
            asked.split(|c: char| !c.is_alphanumeric()).any(|word| word == "test")
        }
    })
}

impl<'ast> Visit<'ast> for Reader<'_> {
    fn visit_item(&mut self, item: &'ast Item) {
        let attributes: &[Attribute] = match item {
            Item::Mod(item) => &item.attrs,
            Item::Use(item) => &item.attrs,
            Item::Fn(item) => &item.attrs,
            Item::Impl(item) => &item.attrs,
            _ => &[],
        };
        if !only_in_tests(attributes) {
            syn::visit::visit_item(self, item);
        }
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if item.content.is_some() {
            self.at.push(item.ident.to_string());
            self.depth += 1;
            syn::visit::visit_item_mod(self, item);
            self.depth -= 1;
            self.at.pop();
        }
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        if !only_in_tests(&item.attrs) {
            self.import(&item.tree, &mut Vec::new());
        }
    }

    /// `pub(in path)` imports nothing.
    fn visit_vis_restricted(&mut self, _: &'ast syn::VisRestricted) {}

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments: Vec<_> = path.segments.iter().map(|part| part.ident.to_string()).collect();
        if segments.len() > 1 && matches!(&segments[0][..], "crate" | "super" | "self") {
            self.note(&segments, None);
        }
        syn::visit::visit_path(self, path);
    }
}

/// Sets of more than one node that all lead to each other.
pub fn circles<'n>(edges: &BTreeMap<&'n str, BTreeSet<&'n str>>) -> Vec<BTreeSet<&'n str>> {
    let reach = |from: &'n str| {
        let (mut seen, mut todo) = (BTreeSet::new(), vec![from]);
        while let Some(at) = todo.pop() {
            for next in edges.get(at).into_iter().flatten() {
                if seen.insert(*next) {
                    todo.push(next);
                }
            }
        }
        seen
    };
    let reached: BTreeMap<&str, BTreeSet<&str>> =
        edges.keys().map(|node| (*node, reach(node))).collect();
    let mut circles = BTreeSet::new();
    for (node, seen) in &reached {
        let mutual: BTreeSet<&str> = seen
            .iter()
            .copied()
            .filter(|other| reached.get(other).is_some_and(|back| back.contains(node)))
            .collect();
        if mutual.len() > 1 {
            circles.insert(mutual);
        }
    }
    circles.into_iter().collect()
}
