//! What is written in the attribute.

use std::time::Duration;

use proc_macro2::{Span, TokenStream};
use quote::quote;
use syn::parse::Parser;
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::{Error, Expr, ExprArray, ExprLit, ExprUnary, Ident, Lit, LitStr, Meta, Path, Token, UnOp};

use crate::definition::Kind;
use crate::signature::Errors;

/// All that an attribute may say.
#[derive(Default)]
pub(crate) struct Options {
    pub(crate) name: Option<String>,
    task_queue: Option<String>,
    /// By option name, in the order of the attribute.
    durations: Vec<(&'static str, Duration)>,
    retry: Option<Retry>,
    /// A variant of `VersioningBehavior`, and where it was written.
    versioning: Option<(&'static str, Span)>,
}

#[derive(Default)]
struct Retry {
    max_attempts: Option<u32>,
    initial_interval: Option<Duration>,
    backoff: Option<f64>,
    max_interval: Option<Duration>,
    jitter: Option<f64>,
    non_retryable: Vec<String>,
}

const ACTIVITY_DURATIONS: [&str; 4] = ["start_to_close", "schedule_to_close", "schedule_to_start", "heartbeat"];
const WORKFLOW_DURATIONS: [&str; 3] = ["execution_timeout", "run_timeout", "task_timeout"];
const RETRY_OPTIONS: &str = "`max_attempts`, `initial_interval`, `backoff`, `max_interval`, `jitter`, `non_retryable`";

impl Options {
    pub(crate) fn parse(kind: Kind, attribute: TokenStream) -> syn::Result<Self> {
        let mut options = Self::default();
        let mut errors = Errors::default();
        let mut seen = Vec::new();
        for meta in items(attribute)? {
            let key = key(meta.path());
            if seen.contains(&key) {
                errors.add(meta.span(), format!("`{key}` is given twice"));
            }
            if let Err(error) = options.set(kind, &key, &meta) {
                errors.push(error);
            }
            seen.push(key);
        }
        errors.finish()?;
        Ok(options)
    }

    fn set(&mut self, kind: Kind, key: &str, meta: &Meta) -> syn::Result<()> {
        let durations: &[&'static str] = match kind {
            Kind::Activity => &ACTIVITY_DURATIONS,
            Kind::Workflow => &WORKFLOW_DURATIONS,
        };
        if let Some(known) = durations.iter().find(|known| **known == key) {
            self.durations.push((known, duration(&text(meta)?)?));
            return Ok(());
        }
        match (key, kind) {
            ("name", _) => self.name = Some(identifier(&text(meta)?)?),
            ("retry", _) => self.retry = Some(Retry::parse(meta)?),
            ("task_queue", Kind::Activity) => self.task_queue = Some(identifier(&text(meta)?)?),
            ("versioning", Kind::Workflow) => self.versioning = Some((versioning(&text(meta)?)?, meta.span())),
            _ => {
                let others = if kind == Kind::Activity { ", `task_queue`" } else { ", `versioning`" };
                let durations: Vec<String> = durations.iter().map(|known| format!("`{known}`")).collect();
                return Err(Error::new(
                    meta.path().span(),
                    format!("unknown option `{key}`; known are `name`, {}{others}, `retry(…)`", durations.join(", ")),
                ));
            }
        }
        Ok(())
    }

    /// The body of `options()`.
    pub(crate) fn expand(&self, kind: Kind) -> TokenStream {
        let options = kind.options();
        let durations = self.durations.iter().map(|(name, duration)| {
            let name = Ident::new(name, Span::call_site());
            let duration = duration_tokens(*duration);
            quote! { __options.#name = ::std::option::Option::Some(#duration); }
        });
        let task_queue = self.task_queue.iter().map(|name| {
            quote! { __options.task_queue = ::std::option::Option::Some(::std::string::String::from(#name)); }
        });
        let retry = self.retry.iter().map(|retry| {
            let retry = retry.expand();
            quote! { __options.retry = ::std::option::Option::Some(#retry); }
        });
        let changes: Vec<TokenStream> = durations.chain(task_queue).chain(retry).collect();
        if changes.is_empty() {
            return quote! { <#options as ::std::default::Default>::default() };
        }
        quote! {
            let mut __options = <#options as ::std::default::Default>::default();
            #(#changes)*
            __options
        }
    }

    /// What the code says of versions, for its impl of `WorkflowCode`.
    pub(crate) fn expand_versioning(&self) -> Option<TokenStream> {
        let variant = Ident::new(self.versioning?.0, Span::call_site());
        Some(quote! {
            const VERSIONING: ::std::option::Option<::engine_sdk::VersioningBehavior> =
                ::std::option::Option::Some(::engine_sdk::VersioningBehavior::#variant);
        })
    }

    /// Refuses what only code can say of itself.
    pub(crate) fn check_declaration(&self) -> syn::Result<()> {
        match self.versioning {
            Some((_, span)) => Err(Error::new(
                span,
                "`versioning` is said where the workflow's code is: a declaration cannot say how another program's runs follow versions",
            )),
            None => Ok(()),
        }
    }
}

impl Retry {
    fn parse(meta: &Meta) -> syn::Result<Self> {
        let Meta::List(list) = meta else {
            return Err(Error::new(meta.span(), "write the retry policy as `retry(max_attempts = 5, …)`"));
        };
        let mut retry = Self::default();
        let mut errors = Errors::default();
        for meta in items(list.tokens.clone())? {
            if let Err(error) = retry.set(&meta) {
                errors.push(error);
            }
        }
        errors.finish()?;
        if let (Some(initial), Some(max)) = (retry.initial_interval, retry.max_interval)
            && max < initial
        {
            return Err(Error::new(list.span(), "`max_interval` must not be less than `initial_interval`"));
        }
        Ok(retry)
    }

    fn set(&mut self, meta: &Meta) -> syn::Result<()> {
        let key = key(meta.path());
        let wrong = |message: &str| Err(Error::new(meta.span(), message));
        match key.as_str() {
            "max_attempts" => match value(meta)? {
                Expr::Lit(ExprLit { lit: Lit::Int(number), .. }) => self.max_attempts = Some(number.base10_parse()?),
                other => return Err(Error::new(other.span(), "`max_attempts` is a whole number; 0 means no limit")),
            },
            "initial_interval" => {
                let interval = duration(&text(meta)?)?;
                if interval.is_zero() {
                    return wrong("`initial_interval` must be more than zero");
                }
                self.initial_interval = Some(interval);
            }
            "max_interval" => self.max_interval = Some(duration(&text(meta)?)?),
            "backoff" => match number(value(meta)?) {
                Some(backoff) if backoff >= 1.0 => self.backoff = Some(backoff),
                _ => return wrong("`backoff` is a number of at least 1, for instance `backoff = 2.0`"),
            },
            "jitter" => match number(value(meta)?) {
                Some(jitter) if (0.0..=1.0).contains(&jitter) => self.jitter = Some(jitter),
                _ => return wrong("`jitter` is a number from 0 to 1, for instance `jitter = 0.1`"),
            },
            "non_retryable" => {
                let Expr::Array(ExprArray { elems, .. }) = value(meta)? else {
                    return wrong(
                        "`non_retryable` is a list of error type names: `non_retryable = [\"CardDeclined\"]`",
                    );
                };
                for element in elems {
                    match element {
                        Expr::Lit(ExprLit { lit: Lit::Str(name), .. }) => self.non_retryable.push(name.value()),
                        other => {
                            return Err(Error::new(
                                other.span(),
                                "the name of an error type, in quotes, is expected here",
                            ));
                        }
                    }
                }
            }
            _ => {
                let message = format!("unknown option `{key}` of `retry`; known are {RETRY_OPTIONS}");
                return Err(Error::new(meta.path().span(), message));
            }
        }
        Ok(())
    }

    fn expand(&self) -> TokenStream {
        let mut changes = Vec::new();
        if let Some(attempts) = self.max_attempts {
            changes.push(quote! { __retry.maximum_attempts = #attempts; });
        }
        if let Some(interval) = self.initial_interval {
            let tokens = duration_tokens(interval);
            changes.push(quote! { __retry.initial_interval = #tokens; });
            if self.max_interval.is_none() {
                // The default cap is a hundred times the default first interval; it keeps that proportion.
                let max = duration_tokens(interval.saturating_mul(100));
                changes.push(quote! { __retry.maximum_interval = #max; });
            }
        }
        if let Some(interval) = self.max_interval {
            let tokens = duration_tokens(interval);
            changes.push(quote! { __retry.maximum_interval = #tokens; });
            if self.initial_interval.is_none() {
                changes.push(quote! { __retry.initial_interval = __retry.initial_interval.min(#tokens); });
            }
        }
        if let Some(backoff) = self.backoff {
            changes.push(quote! { __retry.backoff_coefficient = #backoff; });
        }
        if let Some(jitter) = self.jitter {
            changes.push(quote! { __retry.jitter = #jitter; });
        }
        if !self.non_retryable.is_empty() {
            let names = &self.non_retryable;
            changes.push(quote! {
                __retry.non_retryable_types = ::std::vec![#(::std::string::String::from(#names)),*];
            });
        }
        quote! {{
            #[allow(unused_mut)]
            let mut __retry = <::engine_sdk::__private::RetryPolicy as ::std::default::Default>::default();
            #(#changes)*
            __retry
        }}
    }
}

/// What the attribute of a method may say.
#[derive(Default)]
pub(crate) struct MethodOptions {
    pub(crate) name: Option<String>,
    /// It takes what no other method does.
    pub(crate) any: bool,
}

pub(crate) fn method_options(tokens: TokenStream) -> syn::Result<MethodOptions> {
    let mut options = MethodOptions::default();
    for meta in items(tokens)? {
        match key(meta.path()).as_str() {
            "name" => options.name = Some(identifier(&text(&meta)?)?),
            "any" if matches!(meta, Meta::Path(_)) => options.any = true,
            key => {
                let message = format!("unknown option `{key}`; known are `name` and `any`");
                return Err(Error::new(meta.path().span(), message));
            }
        }
    }
    Ok(options)
}

/// The name of a signal or query, from `name = "…"`.
pub(crate) fn message_name(attribute: TokenStream) -> syn::Result<Option<String>> {
    let mut name = None;
    for meta in items(attribute)? {
        let key = key(meta.path());
        if key != "name" {
            return Err(Error::new(meta.path().span(), format!("unknown option `{key}`; known is `name`")));
        }
        name = Some(identifier(&text(&meta)?)?);
    }
    Ok(name)
}

fn items(tokens: TokenStream) -> syn::Result<Punctuated<Meta, Token![,]>> {
    Punctuated::<Meta, Token![,]>::parse_terminated.parse2(tokens)
}

fn key(path: &Path) -> String {
    path.segments.iter().map(|segment| segment.ident.to_string()).collect::<Vec<_>>().join("::")
}

fn value(meta: &Meta) -> syn::Result<&Expr> {
    match meta {
        Meta::NameValue(pair) => Ok(&pair.value),
        Meta::Path(_) | Meta::List(_) => {
            let key = key(meta.path());
            Err(Error::new(meta.span(), format!("`{key}` needs a value: `{key} = …`")))
        }
    }
}

fn text(meta: &Meta) -> syn::Result<LitStr> {
    match value(meta)? {
        Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => Ok(text.clone()),
        other => {
            let key = key(meta.path());
            let example = match key.as_str() {
                "name" | "task_queue" => "…",
                "versioning" => "pinned",
                _ => "30s",
            };
            Err(Error::new(other.span(), format!("`{key}` is a text: `{key} = \"{example}\"`")))
        }
    }
}

/// The variant of `VersioningBehavior`.
fn versioning(text: &LitStr) -> syn::Result<&'static str> {
    match text.value().as_str() {
        "pinned" => Ok("Pinned"),
        "auto_upgrade" => Ok("AutoUpgrade"),
        other => Err(Error::new(
            text.span(),
            format!(
                "`{other}` is no way to follow versions: \"pinned\" stays with the version that has the run, \"auto_upgrade\" goes to the one \
                 that new runs go to"
            ),
        )),
    }
}

fn number(value: &Expr) -> Option<f64> {
    match value {
        Expr::Lit(ExprLit { lit: Lit::Float(number), .. }) => number.base10_parse().ok(),
        Expr::Lit(ExprLit { lit: Lit::Int(number), .. }) => number.base10_parse().ok(),
        Expr::Unary(ExprUnary { op: UnOp::Neg(_), expr, .. }) => number(expr).map(|number| -number),
        _ => None,
    }
}

/// A name that the engine accepts: see `engine_core::ids`.
pub(crate) fn identifier(text: &LitStr) -> syn::Result<String> {
    let name = text.value();
    if name.is_empty() {
        return Err(Error::new(text.span(), "the name must not be empty"));
    }
    if name.len() > 1000 || name.chars().any(char::is_control) {
        return Err(Error::new(text.span(), "the name must have at most 1000 bytes and no control characters"));
    }
    Ok(name)
}

pub(crate) fn duration(text: &LitStr) -> syn::Result<Duration> {
    let written = text.value();
    let wrong = || {
        let message =
            format!("`{written}` is not a duration: write a whole number and a unit, such as 250ms, 30s, 5m, 2h or 7d");
        Error::new(text.span(), message)
    };
    let digits = written.len() - written.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = written.split_at(digits);
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let millis = match unit.trim() {
        "ms" => 1,
        "s" => 1000,
        "m" => 60 * 1000,
        "h" => 3600 * 1000,
        "d" => 24 * 3600 * 1000,
        _ => return Err(wrong()),
    };
    let millis = number.checked_mul(millis).filter(|millis| *millis <= 100 * 365 * 24 * 3600 * 1000);
    millis.map(Duration::from_millis).ok_or_else(|| Error::new(text.span(), "a duration is at most 100 years (36500d)"))
}

pub(crate) fn duration_tokens(duration: Duration) -> TokenStream {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    quote! { ::std::time::Duration::from_millis(#millis) }
}
