//! The names that the workflow's text gives a meaning to: imports, and variables that hold a map or set in the order of its hashes.

use std::collections::{BTreeMap, BTreeSet};

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use syn::UseTree;

use super::tokens::{is_ascription, is_group, is_ident, is_punct, segments};

/// What goes over all entries of a map or set, in its order.
const ITERATING: &[&str] =
    &["iter", "iter_mut", "keys", "values", "values_mut", "into_iter", "into_keys", "into_values", "drain"];

/// What gives the map or set itself.
const TRANSPARENT: &[&str] = &["clone", "to_owned", "borrow", "borrow_mut", "as_ref", "as_mut"];

/// What ends an iteration with a value that does not depend on its order.
const ORDERLESS: &[&str] = &["count", "all", "any", "min", "max", "len", "is_empty", "contains", "sorted"];

/// Names within one pair of braces, with those around it.
#[derive(Default, Clone)]
pub(super) struct Scope {
    /// What a name was imported as.
    imports: BTreeMap<String, Vec<String>>,
    /// Variables that hold a `HashMap` or `HashSet`.
    hashed: BTreeSet<String>,
    /// A variable that its `let` is about to make, and whether it is such a one.
    pending: Option<(String, bool)>,
}

impl Scope {
    /// Notes what `use ..;` imports. Gives the modules of which it imports all.
    pub(super) fn import(&mut self, item: TokenStream) -> Vec<Vec<String>> {
        let mut globs = Vec::new();
        if let Ok(item) = syn::parse2::<syn::ItemUse>(item) {
            self.import_tree(&item.tree, &mut Vec::new(), &mut globs);
        }
        globs
    }

    fn import_tree(&mut self, tree: &UseTree, module: &mut Vec<String>, globs: &mut Vec<Vec<String>>) {
        let mut add = |name: &syn::Ident, known_as: &syn::Ident| {
            let mut path = module.clone();
            if name != "self" {
                path.push(name.to_string());
            }
            let known_as = if known_as == "self" { path.last().cloned() } else { Some(known_as.to_string()) };
            self.imports.extend(known_as.map(|known_as| (known_as, path)));
        };
        match tree {
            UseTree::Name(name) => add(&name.ident, &name.ident),
            UseTree::Rename(rename) => add(&rename.ident, &rename.rename),
            UseTree::Glob(_) => globs.push(module.clone()),
            UseTree::Path(path) => {
                module.push(path.ident.to_string());
                self.import_tree(&path.tree, module, globs);
                module.pop();
            }
            UseTree::Group(group) => {
                group.items.iter().for_each(|tree| self.import_tree(tree, module, globs));
            }
        }
    }

    /// The path that begins here, with its first segment as it was imported.
    pub(super) fn path(&self, tokens: &[TokenTree]) -> Vec<String> {
        let mut path: Vec<String> = segments(tokens).iter().map(ToString::to_string).collect();
        if let Some(imported) = path.first().and_then(|first| self.imports.get(first)) {
            path.splice(..1, imported.iter().cloned());
        }
        path
    }

    /// Variables of one function are not those of the next.
    pub(super) fn begin_function(&mut self) {
        self.hashed.clear();
        self.pending = None;
    }

    /// An argument's name: `name: HashMap<K, V>`.
    pub(super) fn argument(&mut self, tokens: &[TokenTree]) {
        if let TokenTree::Ident(name) = &tokens[0]
            && is_ascription(&tokens[1..])
            && self.is_hashed_type(&tokens[2..])
        {
            self.hashed.insert(name.to_string());
        }
    }

    /// Behind `let`. What it makes is known from its semicolon on.
    pub(super) fn begin_let(&mut self, tokens: &[TokenTree]) {
        let tokens = if is_ident(tokens.first(), "mut") { &tokens[1..] } else { tokens };
        let Some(TokenTree::Ident(name)) = tokens.first() else { return };
        let is_hashed = if is_ascription(&tokens[1..]) {
            self.is_hashed_type(&tokens[2..])
        } else if is_punct(tokens.get(1), '=') {
            self.is_hashed_value(&tokens[2..])
        } else {
            return;
        };
        self.pending = Some((name.to_string(), is_hashed));
    }

    pub(super) fn end_statement(&mut self) {
        if let Some((name, is_hashed)) = self.pending.take() {
            self.hashed.remove(&name);
            if is_hashed {
                self.hashed.insert(name);
            }
        }
    }

    fn is_hashed_type(&self, mut tokens: &[TokenTree]) -> bool {
        // `&'a mut HashMap<..>`
        while let [first, rest @ ..] = tokens
            && (is_punct(Some(first), '&') || is_ident(Some(first), "mut") || is_punct(Some(first), '\''))
        {
            tokens = if is_punct(Some(first), '\'') { &rest[rest.len().min(1)..] } else { rest };
        }
        self.path(tokens).last().is_some_and(is_hashed)
    }

    /// `HashMap::new()`, `names.collect::<HashSet<_>>()`.
    fn is_hashed_value(&self, tokens: &[TokenTree]) -> bool {
        if self.path(tokens).iter().any(is_hashed) {
            return true;
        }
        let statement = tokens.split(|token| is_punct(Some(token), ';')).next().unwrap_or_default();
        statement.iter().enumerate().any(|(at, token)| {
            // Nothing may follow the collection: `.collect::<HashSet<_>>().len()` is a number.
            is_ident(Some(token), "collect")
                && is_punct(statement.get(at + 3), '<')
                && self.is_hashed_type(&statement[at + 4..])
                && matches!(statement.last(), Some(TokenTree::Group(_)))
                && is_punct(statement.get(statement.len() - 2), '>')
        })
    }

    /// Whether the map or set that is named here is gone over in the order of its hashes, and that order stays: `map.iter()`,
    /// `for x in &map`. `before` and `tokens` are what stands around it.
    pub(super) fn is_iterated(&self, before: &[TokenTree], tokens: &[TokenTree]) -> bool {
        if !matches!(&tokens[0], TokenTree::Ident(name) if self.hashed.contains(&name.to_string())) {
            return false;
        }
        let mut lead =
            before.iter().rev().skip_while(|token| is_punct(Some(token), '&') || is_ident(Some(token), "mut"));
        if is_ident(lead.next(), "in") && is_group(tokens.get(1), Delimiter::Brace) {
            return true;
        }
        let mut call = &tokens[1..];
        while let [dot, TokenTree::Ident(method), TokenTree::Group(_), rest @ ..] = call
            && is_punct(Some(dot), '.')
        {
            let method = method.to_string();
            if ITERATING.contains(&method.as_str()) {
                return !is_put_in_order(before, rest);
            }
            if !TRANSPARENT.contains(&method.as_str()) {
                return false;
            }
            call = rest;
        }
        false
    }
}

#[allow(clippy::ptr_arg, reason = "a predicate of `Iterator::any` over names")]
fn is_hashed(name: &String) -> bool {
    name == "HashMap" || name == "HashSet"
}

/// Whether the statement sorts what it goes over, or does not depend on the order, or is followed by one that sorts what it made:
/// `let mut keys: Vec<_> = map.keys().collect(); keys.sort();`.
fn is_put_in_order(before: &[TokenTree], rest: &[TokenTree]) -> bool {
    let is_end = |token: &TokenTree| is_punct(Some(token), ';');
    let begun = before.iter().rposition(is_end).map_or(before, |at| &before[at + 1..]);
    let mut parts = rest.splitn(2, is_end);
    let (rest, next) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let is_ordered = |token: &TokenTree| is_ident(Some(token), "BTreeMap") || is_ident(Some(token), "BTreeSet");
    let is_orderless = |pair: &[TokenTree]| {
        is_punct(pair.first(), '.') && ORDERLESS.iter().any(|method| is_ident(pair.get(1), method))
    };
    let made = begun.iter().skip_while(|token| !is_ident(Some(token), "let")).find(|token| {
        matches!(token, TokenTree::Ident(_)) && !is_ident(Some(token), "let") && !is_ident(Some(token), "mut")
    });
    let is_sorted_next = match (made, next) {
        (Some(TokenTree::Ident(made)), [TokenTree::Ident(name), dot, TokenTree::Ident(method), ..]) => {
            made == name && is_punct(Some(dot), '.') && method.to_string().starts_with("sort")
        }
        _ => false,
    };
    begun.iter().chain(rest).any(is_ordered) || rest.windows(2).any(is_orderless) || is_sorted_next
}
