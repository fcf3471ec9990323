//! Calls that break replay, refused where they are written.
//!
//! | file | noun |
//! |---|---|
//! | `rules` | the paths that are refused, and what to use instead |
//! | `scope` | imports and variables of the workflow's text |
//! | `tokens` | looking at tokens |
//!
//! The check looks at tokens, so it sees into the bodies of macros such as `select!` too. It sees the workflow's own text, with the imports in
//! it: what is called through a helper, or through an import above the workflow, is for clippy (`docs/clippy.toml`) and for the replay of
//! each test.

mod rules;
mod scope;
mod tokens;

use proc_macro2::{Delimiter, Group, Span, TokenStream, TokenTree};
use quote::quote_spanned;

use scope::Scope;
use tokens::{attribute, continues_path, is_ascription, is_group, is_ident, is_punct, method_before};

/// The attribute that allows what follows it, up to the end of its statement, item, arm or argument.
const ALLOW: &str = "allow_nondeterminism";

/// Checks a workflow. Gives it back without the attributes that allow, and an error for each call that breaks replay.
pub(crate) fn check(item: TokenStream) -> (TokenStream, Vec<syn::Error>) {
    let mut check = Check::default();
    let kept = check.tokens(item.clone(), Delimiter::None, true);
    // Unless something was taken away the item stays as it is: groups that are made anew lose the places of their brackets.
    (if check.allows { kept } else { item }, check.errors)
}

/// The errors, as the compiler shows them.
pub(crate) fn compile_errors(errors: &[syn::Error]) -> TokenStream {
    let errors: Vec<TokenStream> = errors.iter().map(syn::Error::to_compile_error).collect();
    quote_spanned! { Span::call_site() => #(#errors)* }
}

/// How far what is allowed goes.
#[derive(Clone, Copy, PartialEq)]
enum Extent {
    /// To its semicolon.
    Let,
    /// To its last brace.
    Block,
    /// To its comma.
    Field,
    /// To its semicolon; an argument or an arm to its comma.
    Expression { is_arm: bool },
}

impl Extent {
    /// Of what begins here.
    fn of(mut tokens: &[TokenTree]) -> Self {
        while attribute(tokens).is_some() {
            tokens = &tokens[2..];
        }
        if is_ident(tokens.first(), "pub") {
            tokens = if is_group(tokens.get(1), Delimiter::Parenthesis) { &tokens[2..] } else { &tokens[1..] };
        }
        match tokens {
            [TokenTree::Group(group), ..] if group.delimiter() == Delimiter::Brace => Extent::Block,
            // A label.
            [TokenTree::Punct(punct), ..] if punct.as_char() == '\'' => Extent::Block,
            [TokenTree::Ident(ident), rest @ ..] => match &*ident.to_string() {
                "let" | "static" | "type" | "use" => Extent::Let,
                "const" if !is_ident(rest.first(), "fn") => Extent::Let,
                "if" | "match" | "while" | "for" | "loop" | "unsafe" | "async" | "const" | "fn" | "extern" | "impl"
                | "mod" | "struct" | "enum" | "trait" => Extent::Block,
                _ if is_ascription(rest) => Extent::Field,
                _ => Extent::Expression { is_arm: false },
            },
            _ => Extent::Expression { is_arm: false },
        }
    }

    /// Whether it ends with the last token of `before`, `next` being what follows, within `delimiter`.
    fn ends(&mut self, before: &[TokenTree], next: Option<&TokenTree>, delimiter: Delimiter) -> bool {
        let last = before.last();
        let is_arrow = |at: usize| {
            let arrow = before.len().checked_sub(at).map(|end| &before[..end]);
            arrow.is_some_and(|tokens| {
                is_punct(tokens.last(), '>') && tokens.len() > 1 && is_punct(tokens.get(tokens.len() - 2), '=')
            })
        };
        if is_punct(last, ';') {
            return true;
        }
        match self {
            Extent::Let => false,
            Extent::Field => is_punct(last, ','),
            Extent::Block => {
                let goes_on = is_ident(next, "else") || ['=', '.', '?'].iter().any(|punct| is_punct(next, *punct));
                is_group(last, Delimiter::Brace) && !goes_on
            }
            Extent::Expression { is_arm } => {
                *is_arm |= is_arrow(0);
                (is_punct(last, ',') && (*is_arm || delimiter != Delimiter::Brace))
                    || (is_group(last, Delimiter::Brace) && is_arrow(1))
            }
        }
    }
}

#[derive(Default)]
struct Check {
    scope: Scope,
    /// Whether an attribute that allows was taken away.
    allows: bool,
    errors: Vec<syn::Error>,
}

impl Check {
    /// Checks what is within `delimiter`. `is_checked`: whether what breaks replay is refused here.
    fn tokens(&mut self, tokens: TokenStream, delimiter: Delimiter, is_checked: bool) -> TokenStream {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let mut out: Vec<TokenTree> = Vec::with_capacity(tokens.len());
        let mut allowed: Option<Extent> = None;
        let mut at = 0;
        while at < tokens.len() {
            match attribute(&tokens[at..]).as_deref() {
                Some(ALLOW) => {
                    self.allows = true;
                    at += 2;
                    allowed = Some(Extent::of(&tokens[at..]));
                    continue;
                }
                // A query reads what there is, leaves no trace, and is not replayed.
                Some("query") => allowed = Some(Extent::of(&tokens[at..])),
                _ => {}
            }
            let is_refused = is_checked && allowed.is_none();
            match &tokens[at] {
                TokenTree::Group(group) => {
                    // The closure of a step runs once, and what it returns is recorded.
                    let is_step = group.delimiter() == Delimiter::Parenthesis
                        && method_before(&out).is_some_and(|method| method == "step");
                    let outer = (group.delimiter() == Delimiter::Brace).then(|| self.scope.clone());
                    let stream = self.tokens(group.stream(), group.delimiter(), is_refused && !is_step);
                    self.scope = outer.unwrap_or_else(|| std::mem::take(&mut self.scope));
                    let mut inner = Group::new(group.delimiter(), stream);
                    inner.set_span(group.span());
                    out.push(TokenTree::Group(inner));
                }
                TokenTree::Ident(word) if *word == "use" && !is_punct(tokens.get(at + 1), '<') => {
                    let length = tokens[at..].iter().take_while(|token| !is_punct(Some(token), ';')).count();
                    let item = &tokens[at..tokens.len().min(at + length + 1)];
                    let globs = self.scope.import(item.iter().cloned().collect());
                    if is_refused {
                        globs.into_iter().for_each(|module| self.refuse_path(&module, word.span()));
                    }
                    out.extend_from_slice(item);
                    at += item.len() - 1;
                }
                TokenTree::Ident(word) => {
                    match &*word.to_string() {
                        "fn" => self.scope.begin_function(),
                        "let" => self.scope.begin_let(&tokens[at + 1..]),
                        _ => self.scope.argument(&tokens[at..]),
                    }
                    if is_refused {
                        self.word(&out, &tokens[at..], word.span());
                    }
                    out.push(tokens[at].clone());
                }
                token => out.push(token.clone()),
            }
            at += 1;
            if is_punct(out.last(), ';') {
                self.scope.end_statement();
            }
            if allowed.as_mut().is_some_and(|extent| extent.ends(&out, tokens.get(at), delimiter)) {
                allowed = None;
            }
        }
        out.into_iter().collect()
    }

    /// Refuses what begins with this word, if it breaks replay.
    fn word(&mut self, before: &[TokenTree], tokens: &[TokenTree], span: Span) {
        if is_ident(tokens.first(), "elapsed")
            && is_punct(before.last(), '.')
            && matches!(tokens.get(1), Some(TokenTree::Group(group)) if group.stream().is_empty())
        {
            let problem = format!("`elapsed()` {}: use ctx.now().duration_since(..)", rules::CLOCK);
            self.refuse(&problem, "it cannot reach a command", span);
        }
        if continues_path(before) {
            return;
        }
        self.refuse_path(&self.scope.path(tokens), span);
        if self.scope.is_iterated(before, tokens) {
            let problem = format!(
                "`{}` is in the order of its hashes, which differs in each process: use a BTreeMap or BTreeSet, or sort",
                tokens[0]
            );
            self.refuse(&problem, "the order cannot reach a command", span);
        }
    }

    fn refuse_path(&mut self, path: &[String], span: Span) {
        if let Some(rule) = rules::broken_by(path) {
            let problem = format!("`{}` {}: use {}", path.join("::"), rule.why, rule.instead);
            self.refuse(&problem, "it cannot reach a command", span);
        }
    }

    fn refuse(&mut self, problem: &str, harmless: &str, span: Span) {
        let message = format!("{problem}; `#[{ALLOW}]` above the statement allows it where {harmless}");
        self.errors.push(syn::Error::new(span, message));
    }
}

#[cfg(test)]
mod tests;
