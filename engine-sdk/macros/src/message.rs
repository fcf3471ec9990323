//! `#[signal]`, `#[update]` and `#[payload]`: a type that can be recorded.

use proc_macro2::TokenStream;
use quote::quote;
use syn::ext::IdentExt as _;
use syn::parse::{Parse, ParseStream};
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::{Attribute, DeriveInput, Error, Ident, Path, Token, Type};

use crate::options;

pub(crate) fn signal(attribute: TokenStream, item: TokenStream) -> TokenStream {
    let parsed = match parse(&item, "signal") {
        Ok(parsed) => parsed,
        Err(error) => return with_error(&error, &item),
    };
    let name = match options::message_name(attribute) {
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

pub(crate) fn update(attribute: TokenStream, item: TokenStream) -> TokenStream {
    let parsed = match parse(&item, "update") {
        Ok(parsed) => parsed,
        Err(error) => return with_error(&error, &item),
    };
    let UpdateOptions { name, returns } = match syn::parse2(attribute) {
        Ok(options) => options,
        Err(error) => return with_error(&error, &item),
    };
    if !parsed.generics.params.is_empty() {
        let message = "an update cannot be generic: a name stands for one type";
        return with_error(&Error::new(parsed.generics.span(), message), &item);
    }
    let item = recordable(&parsed);
    let ident = &parsed.ident;
    let name = name.unwrap_or_else(|| ident.to_string());
    let cfg = parsed.attrs.iter().filter(|attribute| attribute.path().is_ident("cfg"));
    let returns = returns.map_or_else(|| quote! { () }, |returns| quote! { #returns });
    quote! {
        #item

        #(#cfg)*
        #[automatically_derived]
        impl ::engine_sdk::definition::Update for #ident {
            type Output = #returns;
            const NAME: &'static str = #name;
        }
    }
}

/// What is written in `#[update(…)]`. Its own syntax, because a type is no expression.
struct UpdateOptions {
    name: Option<String>,
    returns: Option<Type>,
}

impl Parse for UpdateOptions {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let mut options = Self { name: None, returns: None };
        while !input.is_empty() {
            let key = input.call(Ident::parse_any)?;
            input
                .parse::<Token![=]>()
                .map_err(|_| Error::new(key.span(), format!("`{key}` needs a value: `{key} = …`")))?;
            match key.to_string().as_str() {
                "returns" => options.returns = Some(input.parse()?),
                "name" => options.name = Some(options::identifier(&input.parse()?)?),
                _ => {
                    let message = format!("unknown option `{key}`; known are `returns` and `name`");
                    return Err(Error::new(key.span(), message));
                }
            }
            if !input.is_empty() {
                input.parse::<Token![,]>()?;
            }
        }
        Ok(options)
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
