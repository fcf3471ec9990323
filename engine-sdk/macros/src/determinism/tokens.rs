//! Looking at tokens: paths, attributes, calls.

use proc_macro2::{Delimiter, Ident, TokenTree};

/// The segments of the path that begins here: `a::b::c`.
pub(super) fn segments(tokens: &[TokenTree]) -> Vec<Ident> {
    let mut segments = Vec::new();
    let mut at = 0;
    while let Some(TokenTree::Ident(segment)) = tokens.get(at) {
        segments.push(segment.clone());
        if !is_path_separator(&tokens[at + 1..]) {
            break;
        }
        at += 3;
    }
    segments
}

/// The name of the attribute that begins here: its path's last segment.
pub(super) fn attribute(tokens: &[TokenTree]) -> Option<String> {
    match tokens {
        [hash, TokenTree::Group(group), ..] if is_punct(Some(hash), '#') && group.delimiter() == Delimiter::Bracket => {
            segments(&group.stream().into_iter().collect::<Vec<_>>()).last().map(Ident::to_string)
        }
        _ => None,
    }
}

/// Whether what comes next is a segment behind `::`, or a field or method.
pub(super) fn continues_path(before: &[TokenTree]) -> bool {
    if is_punct(before.last(), '.') {
        // `..map` is a range or the rest of a struct.
        return !before.len().checked_sub(2).is_some_and(|dot| is_punct(Some(&before[dot]), '.'));
    }
    let Some(separator) = before.len().checked_sub(2).filter(|at| is_path_separator(&before[*at..])) else {
        return false;
    };
    match separator.checked_sub(1).map(|at| &before[at]) {
        // `return ::std::..` begins a path.
        Some(TokenTree::Ident(ident)) => {
            !["return", "in", "as", "else", "match", "if", "break"].contains(&&*ident.to_string())
        }
        token => is_punct(token, '>'),
    }
}

/// The method whose arguments come next: `.step(`, `.step::<A, B>(`.
pub(super) fn method_before(before: &[TokenTree]) -> Option<String> {
    let mut end = before.len();
    if is_punct(before.last(), '>') {
        let mut depth = 0_i32;
        while end > 0 {
            end -= 1;
            depth += i32::from(is_punct(before.get(end), '>')) - i32::from(is_punct(before.get(end), '<'));
            if depth == 0 {
                break;
            }
        }
        end = end.checked_sub(2).filter(|at| is_path_separator(&before[*at..]))?;
    }
    let name = end.checked_sub(1)?;
    match (name.checked_sub(1).map(|at| &before[at]), &before[name]) {
        (dot, TokenTree::Ident(method)) if is_punct(dot, '.') => Some(method.to_string()),
        _ => None,
    }
}

fn is_path_separator(tokens: &[TokenTree]) -> bool {
    is_punct(tokens.first(), ':') && is_punct(tokens.get(1), ':')
}

/// Whether a type or a `let`'s first value follows a name: `name: T`, but not `name::T`.
pub(super) fn is_ascription(tokens: &[TokenTree]) -> bool {
    is_punct(tokens.first(), ':') && !is_punct(tokens.get(1), ':')
}

pub(super) fn is_punct(token: Option<&TokenTree>, wanted: char) -> bool {
    matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == wanted)
}

pub(super) fn is_ident(token: Option<&TokenTree>, wanted: &str) -> bool {
    matches!(token, Some(TokenTree::Ident(ident)) if *ident == wanted)
}

pub(super) fn is_group(token: Option<&TokenTree>, wanted: Delimiter) -> bool {
    matches!(token, Some(TokenTree::Group(group)) if group.delimiter() == wanted)
}
