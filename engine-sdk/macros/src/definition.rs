//! `#[activity]` and `#[workflow]`: a function becomes a unit struct of its name that implements the trait; one without a body is known
//! by name and types only, because its code is in another program.

use proc_macro2::TokenStream;
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::parse::{Parse, ParseStream};
use syn::spanned::Spanned;
use syn::{Attribute, Block, ItemFn, ItemImpl, Token};

use crate::arguments::Arguments;
use crate::options::Options;
use crate::signature::Signature;

/// What the function becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Activity,
    Workflow,
}

impl Kind {
    pub(crate) fn article(self) -> &'static str {
        match self {
            Kind::Activity => "an",
            Kind::Workflow => "a",
        }
    }

    pub(crate) fn word(self) -> &'static str {
        match self {
            Kind::Activity => "activity",
            Kind::Workflow => "workflow",
        }
    }

    pub(crate) fn context(self) -> &'static str {
        match self {
            Kind::Activity => "ActivityContext",
            Kind::Workflow => "WorkflowContext",
        }
    }

    pub(crate) fn error(self) -> &'static str {
        match self {
            Kind::Activity => "ActivityError",
            Kind::Workflow => "WorkflowError",
        }
    }

    pub(crate) fn options(self) -> TokenStream {
        match self {
            Kind::Activity => quote! { ::engine_sdk::definition::ActivityOptions },
            Kind::Workflow => quote! { ::engine_sdk::definition::WorkflowOptions },
        }
    }
}

/// Local names in generated code begin with two underscores: a `let` cannot have the name of a unit struct, and every
/// definition of the user's is one.
pub(crate) fn expand(kind: Kind, attribute: TokenStream, item: TokenStream) -> TokenStream {
    if kind == Kind::Workflow {
        let (item, errors) = crate::determinism::check(item);
        let errors = crate::determinism::compile_errors(&errors);
        let expanded = expand_item(kind, attribute, item);
        return quote! { #errors #expanded };
    }
    expand_item(kind, attribute, item)
}

fn expand_item(kind: Kind, attribute: TokenStream, item: TokenStream) -> TokenStream {
    if kind == Kind::Workflow
        && let Ok(item) = syn::parse2::<ItemImpl>(item.clone())
    {
        return crate::methods::expand(attribute, item);
    }
    let Ok(Function { item: function, has_body }) = syn::parse2::<Function>(item.clone()) else {
        let (article, word) = (kind.article(), kind.word());
        let message = format!("`#[{word}]` belongs above an `async fn`: {article} {word} is a function");
        let error = syn::Error::new(item.span(), message).to_compile_error();
        return quote! { #error #item };
    };
    let options = Options::parse(kind, attribute).and_then(|options| {
        if !has_body {
            options.check_declaration()?;
        }
        Ok(options)
    });
    let signature = Signature::of(kind, &function);
    match (options, signature) {
        (Ok(options), Ok(signature)) => definition(kind, &function, has_body, &options, &signature),
        (options, signature) => {
            let errors = [options.err(), signature.err()];
            let errors = errors.iter().flatten().map(syn::Error::to_compile_error);
            let stub = stub(&function);
            quote! { #(#errors)* #stub }
        }
    }
}

/// A function with a body, or a declaration without one.
struct Function {
    item: ItemFn,
    has_body: bool,
}

impl Parse for Function {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let attrs = input.call(Attribute::parse_outer)?;
        let (vis, sig) = (input.parse()?, input.parse()?);
        if input.parse::<Option<Token![;]>>()?.is_some() {
            let block = Box::new(Block { brace_token: syn::token::Brace::default(), stmts: Vec::new() });
            return Ok(Function { item: ItemFn { attrs, vis, sig, block }, has_body: false });
        }
        Ok(Function { item: ItemFn { attrs, vis, sig, block: input.parse()? }, has_body: true })
    }
}

/// Keeps the name known, so that one wrong definition is one error and not one more at each use.
fn stub(function: &ItemFn) -> TokenStream {
    let (visibility, name) = (&function.vis, &function.sig.ident);
    quote! {
        #[allow(non_camel_case_types, missing_docs, dead_code)]
        #[derive(Clone, Copy, Debug)]
        #visibility struct #name;
    }
}

fn definition(
    kind: Kind,
    function: &ItemFn,
    has_body: bool,
    options: &Options,
    signature: &Signature<'_>,
) -> TokenStream {
    let ItemFn { attrs, vis, sig, block } = function;
    let name = &sig.ident;
    let (on_all, on_code): (Vec<&Attribute>, Vec<&Attribute>) = attrs.iter().partition(|attribute| is_cfg(attribute));
    let (docs, on_code): (Vec<&Attribute>, Vec<&Attribute>) =
        on_code.into_iter().partition(|attribute| attribute.path().is_ident("doc"));
    let recorded_name = options.name.clone().unwrap_or_else(|| name.to_string().trim_start_matches("r#").to_owned());
    let versioning = options.expand_versioning();
    let options = options.expand(kind);
    let options_type = kind.options();
    let Signature { context, arguments, returned, output } = signature;
    let inputs = &sig.inputs;

    let output = match output {
        Some(output) => output.to_token_stream(),
        None => quote_spanned! { returned.span() => <#returned as ::engine_sdk::__private::ResultType>::Ok },
    };
    let names: Vec<_> = (0..arguments.len()).map(|index| format_ident!("__argument_{index}")).collect();
    let values = Arguments::new(arguments);
    let (input, unpack, encode, decode) =
        (values.input_type(), values.pattern(&names), values.encode(&names), values.decode(&names));
    let error = format_ident!("{}", kind.error());
    let context_type = format_ident!("{}", kind.context());
    let (trait_name, context_path) = match kind {
        Kind::Activity => (format_ident!("Activity"), quote! { ::engine_sdk::activity::#context_type }),
        Kind::Workflow => (format_ident!("Workflow"), quote! { ::engine_sdk::workflow::#context_type }),
    };
    // Spanned like the function's name: if its future is not `Send`, that is where the compiler points.
    let execute = quote_spanned! { name.span() =>
        ::std::boxed::Box::pin(async move {
            let #unpack = __input;
            #name.call(__ctx, #(#names),*).await.map_err(::std::convert::Into::into)
        })
    };
    let word = kind.word();
    let code_trait = format_ident!("{trait_name}Code");
    let code = has_body.then(|| {
        quote! {
            #(#on_all)*
            #[automatically_derived]
            impl ::engine_sdk::definition::#code_trait for #name {
                #versioning

                #[allow(clippy::useless_conversion)]
                fn execute(
                    &self,
                    __ctx: #context_path,
                    __input: Self::Input,
                ) -> ::engine_sdk::definition::BoxFuture<
                    ::std::result::Result<Self::Output, ::engine_sdk::error::#error>,
                > {
                    #execute
                }
            }
        }
    });
    let call_doc = format!("Runs the {word}'s code directly, without an engine: for tests.");
    let call = has_body.then(|| {
        quote! {
            #(#on_all)*
            impl #name {
                #[doc = #call_doc]
                #[allow(dead_code)]
                #vis async fn call(self, __context: #context, #(#names: #arguments),*) -> #returned {
                    #(#on_code)*
                    async fn __code(#inputs) -> #returned #block
                    __code(__context, #(#names),*).await
                }
            }
        }
    });
    quote! {
        #(#on_all)*
        #(#docs)*
        #[allow(non_camel_case_types)]
        #[derive(Clone, Copy, Debug)]
        #vis struct #name;

        #call

        #(#on_all)*
        #[automatically_derived]
        impl ::engine_sdk::definition::#trait_name for #name {
            type Input = #input;
            type Output = #output;
            const NAME: &'static str = #recorded_name;

            fn options(&self) -> #options_type {
                #options
            }

            #[allow(unused_variables, unused_mut)]
            fn encode_input(
                __input: &Self::Input,
            ) -> ::std::result::Result<::std::vec::Vec<::engine_sdk::__private::Payload>, ::engine_sdk::data::DataError> {
                let #unpack = __input;
                #encode
            }

            #[allow(unused_variables, unused_mut)]
            fn decode_input(
                __input: ::std::vec::Vec<::engine_sdk::__private::Payload>,
            ) -> ::std::result::Result<Self::Input, ::engine_sdk::data::DataError> {
                #decode
                ::std::result::Result::Ok(#unpack)
            }
        }

        #code
    }
}

fn is_cfg(attribute: &Attribute) -> bool {
    attribute.path().is_ident("cfg")
}
