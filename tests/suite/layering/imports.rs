//! Which source file names what of which other one, and the circles in that.
//!
//! Paths are resolved as the compiler does, through `use` and `pub use`, to the file where the item is; a mere
//! `pub use` is no import, and what stands inside a macro is not seen.

use std::collections::{BTreeMap, BTreeSet};

use syn::visit::{self, Visit};
use syn::{Attribute, Item, ItemMod, ItemUse, Meta, UseTree, Visibility};

/// The name of a module or an item, from the root of its crate.
type Path = Vec<String>;

/// A file as the module that it is.
struct Module {
    path: Path,
    /// Names that `use` brings in, and what they stand for.
    uses: BTreeMap<String, Path>,
    children: BTreeSet<String>,
    /// Every path that the code names, from the root of the crate.
    named: BTreeSet<Path>,
}

/// One arrow: the file that names, the file that is named, and an item of it.
pub(super) type Arrow = (String, String, String);

/// Every arrow between the `files` of one crate, by their places below its `src`, and their texts.
pub(super) fn arrows(files: &BTreeMap<String, String>) -> BTreeSet<Arrow> {
    let parsed: BTreeMap<Path, (&String, Module)> = files
        .iter()
        .map(|(file, text)| {
            let path = module_path(file);
            let code = syn::parse_file(text).unwrap_or_else(|error| panic!("{file}: {error}"));
            (path.clone(), (file, module(path, &code.items)))
        })
        .collect();
    let mut arrows = BTreeSet::new();
    for (file, module) in parsed.values() {
        for path in &module.named {
            let Some((to, item)) = resolve(&parsed, path, 0) else { continue };
            if to != *file {
                arrows.insert(((*file).clone(), to.clone(), item));
            }
        }
    }
    arrows
}

/// `a/b.rs` and `a/b/mod.rs` are the module `a::b`.
fn module_path(file: &str) -> Path {
    let stem = file.trim_end_matches(".rs").trim_end_matches("/mod");
    let is_root = ["lib", "main"].contains(&stem);
    if is_root { Vec::new() } else { stem.split('/').map(str::to_owned).collect() }
}

/// The file that holds the item `path`, and the item's name.
fn resolve<'a>(
    modules: &'a BTreeMap<Path, (&String, Module)>,
    path: &[String],
    depth: u32,
) -> Option<(&'a String, String)> {
    let length = (0..=path.len()).rev().find(|length| modules.contains_key(&path[..*length]))?;
    let (file, module) = &modules[&path[..length]];
    let Some((name, rest)) = path[length..].split_first() else {
        return Some((*file, path.join("::")));
    };
    match module.uses.get(name) {
        // LIMIT: `use` that leads to itself.
        Some(other) if depth < 8 => {
            let path = [other.as_slice(), rest].concat();
            // What comes from another crate is no matter of this one.
            resolve(modules, &path, depth + 1).filter(|_| !other.is_empty())
        }
        _ => Some((*file, name.clone())),
    }
}

fn module(path: Path, items: &[Item]) -> Module {
    let mut module = Module {
        path: path.clone(),
        uses: BTreeMap::new(),
        children: BTreeSet::new(),
        named: BTreeSet::new(),
    };
    for item in items {
        if let Item::Mod(child) = item
            && !is_for_tests(&child.attrs)
        {
            module.children.insert(child.ident.to_string());
        }
    }
    let mut reader = Reader { module, at: path };
    for item in items {
        if let Item::Use(item) = item
            && !is_for_tests(&item.attrs)
        {
            let mut leaves = Vec::new();
            leaf(&item.tree, Vec::new(), &mut leaves);
            for (name, path) in leaves {
                // A path of another crate stands for nothing here.
                let path = reader.absolute(&path).unwrap_or_default();
                reader.module.uses.insert(name, path);
            }
        }
    }
    for item in items {
        reader.visit_item(item);
    }
    reader.module
}

/// Every leaf of a tree of `use`: its name here, and its path.
fn leaf(tree: &UseTree, before: Path, found: &mut Vec<(String, Path)>) {
    let with = |name: &syn::Ident| [before.as_slice(), &[name.to_string()]].concat();
    match tree {
        UseTree::Path(path) => leaf(&path.tree, with(&path.ident), found),
        UseTree::Group(group) => {
            group.items.iter().for_each(|tree| leaf(tree, before.clone(), found));
        }
        UseTree::Name(name) if name.ident == "self" => {
            let last = before.last().cloned().unwrap_or_default();
            found.push((last, before));
        }
        UseTree::Name(name) => found.push((name.ident.to_string(), with(&name.ident))),
        UseTree::Rename(name) => found.push((name.rename.to_string(), with(&name.ident))),
        UseTree::Glob(_) => found.push(("*".to_owned(), before)),
    }
}

pub(super) fn is_for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| match &attribute.meta {
        Meta::List(list) if list.path.is_ident("cfg") => {
            list.parse_args::<syn::Path>().is_ok_and(|path| path.is_ident("test"))
        }
        _ => false,
    })
}

/// Walks through a file and collects what it names.
struct Reader {
    module: Module,
    /// The module that the walk is in; one inside the file may be deeper than the file.
    at: Path,
}

impl Reader {
    /// `path` from the root of the crate; `None` for what is of another crate or of the language.
    fn absolute(&self, path: &[String]) -> Option<Path> {
        let (first, rest) = path.split_first()?;
        match first.as_str() {
            "crate" => Some(rest.to_vec()),
            "self" => Some([self.at.as_slice(), rest].concat()),
            "super" => {
                let ups = path.iter().take_while(|part| *part == "super").count();
                let above = self.at.get(..self.at.len().checked_sub(ups)?)?;
                Some([above, &path[ups..]].concat())
            }
            name if self.module.children.contains(name) => {
                Some([self.module.path.as_slice(), path].concat())
            }
            name => {
                let stands_for = self.module.uses.get(name).filter(|path| !path.is_empty())?;
                Some([stands_for.as_slice(), rest].concat())
            }
        }
    }

    fn name(&mut self, path: &[String]) {
        if let Some(path) = self.absolute(path) {
            self.module.named.insert(path);
        }
    }
}

impl<'ast> Visit<'ast> for Reader {
    fn visit_item(&mut self, item: &'ast Item) {
        let attributes: &[Attribute] = match item {
            Item::Fn(item) => &item.attrs,
            Item::Impl(item) => &item.attrs,
            Item::Struct(item) => &item.attrs,
            Item::Const(item) => &item.attrs,
            _ => &[],
        };
        if !is_for_tests(attributes) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        if !is_for_tests(&item.attrs) {
            self.at.push(item.ident.to_string());
            visit::visit_item_mod(self, item);
            self.at.pop();
        }
    }

    fn visit_visibility(&mut self, _visibility: &'ast Visibility) {}

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        if is_for_tests(&item.attrs) || !matches!(item.vis, Visibility::Inherited) {
            return;
        }
        let mut leaves = Vec::new();
        leaf(&item.tree, Vec::new(), &mut leaves);
        for (_, path) in leaves {
            self.name(&path);
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let parts: Path = path.segments.iter().map(|part| part.ident.to_string()).collect();
        if parts.len() > 1 {
            self.name(&parts);
        }
        visit::visit_path(self, path);
    }
}

/// The files that lead back to themselves: one group for each knot, with the arrows inside it.
pub(super) fn circles(arrows: &BTreeSet<Arrow>) -> Vec<Vec<&Arrow>> {
    let mut next: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (from, to, _) in arrows {
        next.entry(from).or_default().insert(to);
    }
    let reached = |from: &str| {
        let mut seen = BTreeSet::new();
        let mut open = vec![from];
        while let Some(file) = open.pop() {
            for to in next.get(file).into_iter().flatten() {
                if seen.insert(*to) {
                    open.push(to);
                }
            }
        }
        seen
    };
    let reach: BTreeMap<&str, BTreeSet<&str>> =
        next.keys().map(|from| (*from, reached(from))).collect();
    let is_mutual = |a: &str, b: &str| {
        let leads = |a: &str, b: &str| reach.get(a).is_some_and(|seen| seen.contains(b));
        leads(a, b) && leads(b, a)
    };
    let mut knots: BTreeMap<&str, Vec<&Arrow>> = BTreeMap::new();
    for arrow in arrows.iter().filter(|(from, to, _)| is_mutual(from, to)) {
        let first = next.keys().copied().find(|file| is_mutual(file, &arrow.0));
        knots.entry(first.unwrap_or(&arrow.0)).or_default().push(arrow);
    }
    knots.into_values().collect()
}
