//! `#[test]`: an `async fn` that takes a test engine becomes a test.

use std::time::Duration;

use proc_macro2::TokenStream;
use quote::quote;
use syn::spanned::Spanned;
use syn::{Error, ItemFn, LitStr};

use crate::options::{duration, duration_tokens};

/// How long a test may take, by the machine's clock, unless it says otherwise.
const TIMEOUT: Duration = Duration::from_secs(60);

pub(crate) fn expand(attribute: TokenStream, item: TokenStream) -> TokenStream {
    let Ok(function) = syn::parse2::<ItemFn>(item.clone()) else {
        let message = "`#[engine_sdk::test]` belongs above an `async fn` that takes a `TestEngine`";
        let error = Error::new(item.span(), message).to_compile_error();
        return quote! { #error #item };
    };
    match (timeout(attribute), check(&function)) {
        (Ok(timeout), Ok(())) => test(&function, timeout),
        (timeout, checked) => {
            let errors = [timeout.err(), checked.err()];
            let errors = errors.iter().flatten().map(Error::to_compile_error);
            quote! { #(#errors)* }
        }
    }
}

fn timeout(attribute: TokenStream) -> syn::Result<Duration> {
    let mut timeout = TIMEOUT;
    let parser = syn::meta::parser(|meta| {
        if !meta.path.is_ident("timeout") {
            return Err(meta.error("`#[engine_sdk::test]` has one option: `timeout = \"60s\"`"));
        }
        timeout = duration(&meta.value()?.parse::<LitStr>()?)?;
        Ok(())
    });
    syn::parse::Parser::parse2(parser, attribute)?;
    Ok(timeout)
}

fn check(function: &ItemFn) -> syn::Result<()> {
    let signature = &function.sig;
    if signature.asyncness.is_none() {
        let message = format!("a test of workflows is an `async fn`: write `async fn {}(…)`", signature.ident);
        return Err(Error::new(signature.fn_token.span, message));
    }
    if signature.inputs.len() != 1 || !signature.generics.params.is_empty() {
        let message = format!("a test of workflows takes its engine: `async fn {}(env: TestEngine)`", signature.ident);
        return Err(Error::new(signature.ident.span(), message));
    }
    Ok(())
}

fn test(function: &ItemFn, timeout: Duration) -> TokenStream {
    let ItemFn { attrs, vis, sig, block } = function;
    let (name, inputs, output) = (&sig.ident, &sig.inputs, &sig.output);
    let timeout = duration_tokens(timeout);
    let text = name.to_string();
    quote! {
        #[::core::prelude::v1::test]
        #(#attrs)*
        #vis fn #name() #output {
            async fn __body(#inputs) #output #block
            ::engine_sdk::testing::run(#text, #timeout, __body)
        }
    }
}
