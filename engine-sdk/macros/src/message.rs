//! `#[signal]` and `#[payload]`: a type that can be recorded.

use proc_macro2::TokenStream;
use quote::quote;
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::{Attribute, DeriveInput, Error, Path, Token};

use crate::options;

pub(crate) fn signal(attribute: TokenStream, item: TokenStream) -> TokenStream {
    let parsed = match parse(&item, "signal") {
        Ok(parsed) => parsed,
        Err(error) => return with_error(&error, &item),
    };
    let name = match options::signal_name(attribute) {
        Ok(name) => name.unwrap_or_else(|| parsed.ident.to_string()),
        Err(error) => return with_error(&error, &item),
    };
    if !parsed.generics.params.is_empty() {
        let message = "a signal cannot be generic: a name stands for one type";
        return with_error(&Error::new(parsed.generics.span(), message), &item);
    }
    let item = recordable(&parsed);
    let ident = &parsed.ident;
    let cfg = parsed.attrs.iter().filter(|attribute| attribute.path().is_ident("cfg"));
    quote! {
        #item

        #(#cfg)*
        #[automatically_derived]
        impl ::engine_sdk::definition::Signal for #ident {
            const NAME: &'static str = #name;
        }
    }
}

pub(crate) fn payload(attribute: TokenStream, item: TokenStream) -> TokenStream {
    if !attribute.is_empty() {
        return with_error(&Error::new(attribute.span(), "`#[payload]` has no options"), &item);
    }
    match parse(&item, "payload") {
        Ok(parsed) => recordable(&parsed),
        Err(error) => with_error(&error, &item),
    }
}

fn parse(item: &TokenStream, word: &str) -> syn::Result<DeriveInput> {
    syn::parse2(item.clone())
        .map_err(|_| Error::new(item.span(), format!("`#[{word}]` belongs above a struct or an enum")))
}

fn with_error(error: &Error, item: &TokenStream) -> TokenStream {
    let error = error.to_compile_error();
    quote! { #error #item }
}

/// The type with serde's derives, as far as it does not have them.
fn recordable(item: &DeriveInput) -> TokenStream {
    let serialize = (!derives(&item.attrs, "Serialize")).then(|| quote! { ::engine_sdk::__private::serde::Serialize });
    let deserialize =
        (!derives(&item.attrs, "Deserialize")).then(|| quote! { ::engine_sdk::__private::serde::Deserialize });
    let wanted: Vec<TokenStream> = serialize.into_iter().chain(deserialize).collect();
    if wanted.is_empty() {
        return quote! { #item };
    }
    // With both derives ours, they are told where serde is. With one of the user's, the user depends on serde.
    let path = (wanted.len() == 2).then(|| quote! { #[serde(crate = "::engine_sdk::__private::serde")] });
    quote! {
        #[derive(#(#wanted),*)]
        #path
        #item
    }
}

fn derives(attributes: &[Attribute], name: &str) -> bool {
    attributes.iter().filter(|attribute| attribute.path().is_ident("derive")).any(|attribute| {
        attribute
            .parse_args_with(Punctuated::<Path, Token![,]>::parse_terminated)
            .is_ok_and(|paths| paths.iter().any(|path| path.segments.last().is_some_and(|last| last.ident == name)))
    })
}
