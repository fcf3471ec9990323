//! The arguments of a definition as one value and as payloads.

use proc_macro2::{Ident, TokenStream};
use quote::{ToTokens, quote, quote_spanned};
use syn::Type;
use syn::spanned::Spanned;

/// The types of a definition's arguments.
pub(crate) struct Arguments<'a> {
    types: &'a [&'a Type],
}

impl<'a> Arguments<'a> {
    pub(crate) fn new(types: &'a [&'a Type]) -> Self {
        Self { types }
    }

    /// Whether the one argument is all that came, undecoded.
    fn is_raw(&self) -> bool {
        let [Type::Path(path)] = self.types else { return false };
        path.path.segments.last().is_some_and(|last| last.ident == "RawArguments")
    }

    /// `()` for none, the type itself for one, a tuple for several.
    pub(crate) fn input_type(&self) -> TokenStream {
        match self.types {
            [] => quote! { () },
            [one] => one.to_token_stream(),
            several => quote! { (#(#several),*) },
        }
    }

    /// The same for their names.
    pub(crate) fn pattern(&self, names: &[Ident]) -> TokenStream {
        match names {
            [] => quote! { () },
            [one] => one.to_token_stream(),
            several => quote! { (#(#several),*) },
        }
    }

    /// Encodes the names, which are references; the value is the function's.
    pub(crate) fn encode(&self, names: &[Ident]) -> TokenStream {
        if self.is_raw() {
            let name = &names[0];
            return quote! { ::std::result::Result::Ok(::std::clone::Clone::clone(#name).into_payloads()) };
        }
        let encode = self
            .types
            .iter()
            .zip(names)
            .map(|(ty, name)| quote_spanned! { ty.span() => __writer.argument::<#ty>(#name)?; });
        quote! {
            let mut __writer = ::engine_sdk::data::ArgumentWriter::new();
            #(#encode)*
            ::std::result::Result::Ok(__writer.finish())
        }
    }

    /// Decodes `__input` into the names.
    pub(crate) fn decode(&self, names: &[Ident]) -> TokenStream {
        if self.is_raw() {
            let name = &names[0];
            return quote! { let #name = ::engine_sdk::data::RawArguments::from(__input); };
        }
        let decode = self
            .types
            .iter()
            .zip(names)
            .map(|(ty, name)| quote_spanned! { ty.span() => let #name = __reader.next::<#ty>()?; });
        let count = self.types.len();
        quote! {
            let mut __reader = ::engine_sdk::data::ArgumentReader::new(__input, #count)?;
            #(#decode)*
        }
    }
}
