//! `#[query]` on a function: it becomes a unit struct of its name that can be asked for and answered.

use proc_macro2::TokenStream;
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Attribute, Error, FnArg, ItemFn, PatType, ReturnType, Signature, Type};

use crate::options;
use crate::signature::{Errors, check_argument};

/// What a query's signature says.
pub(crate) struct QueryShape<'a> {
    pub(crate) arguments: Vec<&'a Type>,
    pub(crate) returned: TokenStream,
    /// Whether it returns a `Result`.
    pub(crate) may_fail: bool,
}

/// `inputs` are those behind the state.
pub(crate) fn shape<'a>(
    signature: &'a Signature,
    inputs: impl Iterator<Item = &'a FnArg>,
    errors: &mut Errors,
) -> QueryShape<'a> {
    if let Some(asyncness) = signature.asyncness {
        errors.add(
            asyncness.span,
            "a query cannot be `async`: it answers at once, from what the workflow has; remove `async`",
        );
    }
    if !signature.generics.params.is_empty() || signature.generics.where_clause.is_some() {
        errors.add(
            signature.generics.span(),
            "a query cannot be generic: its arguments and answer are sent, so their types must be known",
        );
    }
    let mut arguments = Vec::new();
    for input in inputs {
        if let FnArg::Typed(PatType { ty, .. }) = input {
            if is_context(ty) {
                errors.add(
                    ty.span(),
                    "a query can only read, so it has no context: what it may tell must be in the workflow's state",
                );
            } else {
                check_argument("query", ty, errors);
            }
            arguments.push(&**ty);
        }
    }
    if arguments.len() > 12 {
        errors.add(arguments[12].span(), "a query takes at most 12 arguments: put some into a struct");
    }
    let (returned, may_fail) = match &signature.output {
        ReturnType::Default => {
            errors.add(signature.paren_token.span.close(), "a query answers something: add `-> T`");
            (quote! { () }, false)
        }
        ReturnType::Type(_, ty) => (ty.to_token_stream(), is_result(ty)),
    };
    QueryShape { arguments, returned, may_fail }
}

/// Whether the type's name ends with `Context`.
pub(crate) fn is_context(ty: &Type) -> bool {
    let ty = if let Type::Reference(reference) = ty { &*reference.elem } else { ty };
    let Type::Path(path) = ty else { return false };
    path.path.segments.last().is_some_and(|last| last.ident.to_string().ends_with("Context"))
}

pub(crate) fn is_result(ty: &Type) -> bool {
    let Type::Path(path) = ty else { return false };
    path.path.segments.last().is_some_and(|last| last.ident.to_string().ends_with("Result"))
}

pub(crate) fn expand(attribute: TokenStream, item: TokenStream) -> TokenStream {
    let Ok(function) = syn::parse2::<ItemFn>(item.clone()) else {
        let message =
            "`#[query]` belongs above a `fn`: a query is a function of the workflow's state, `fn name(state: &T) -> U`";
        let error = Error::new(item.span(), message).to_compile_error();
        return quote! { #error #item };
    };
    let name = options::message_name(attribute);
    let mut errors = Errors::default();
    let signature = &function.sig;
    let mut inputs = signature.inputs.iter();
    let state = state_of(signature, inputs.next(), &mut errors);
    let shape = shape(signature, inputs, &mut errors);
    match (name, errors.finish(), state) {
        (Ok(name), Ok(()), Some(state)) => {
            let ident = &function.sig.ident;
            let name = name.unwrap_or_else(|| ident.to_string().trim_start_matches("r#").to_owned());
            definition(&function, state, &shape, &name)
        }
        (name, shape, _) => {
            let errors = [name.err(), shape.err()];
            let errors = errors.iter().flatten().map(Error::to_compile_error);
            let (visibility, ident) = (&function.vis, &function.sig.ident);
            quote! {
                #(#errors)*
                #[allow(non_camel_case_types, missing_docs, dead_code)]
                #[derive(Clone, Copy, Debug)]
                #visibility struct #ident;
            }
        }
    }
}

/// The type of the first parameter, which is the state.
fn state_of<'a>(signature: &Signature, first: Option<&'a FnArg>, errors: &mut Errors) -> Option<&'a Type> {
    const WANTED: &str = "the first parameter of a query is the workflow's state: `state: &T`";
    match first {
        None => errors.add(signature.paren_token.span.join(), WANTED),
        Some(FnArg::Receiver(receiver)) => errors.add(
            receiver.span(),
            "a query with `self` belongs into the `#[workflow] impl` of its state; a function takes `state: &T`",
        ),
        Some(FnArg::Typed(PatType { ty, .. })) => match &**ty {
            ty if is_context(ty) => errors.add(
                ty.span(),
                "a query can only read, so it has no context: its first parameter is the workflow's state, `state: &T`",
            ),
            Type::Reference(reference) => {
                if let Some(mutability) = reference.mutability {
                    errors.add(mutability.span, "a query can only read: take the state as `&T`, without `mut`");
                }
                return Some(&reference.elem);
            }
            ty => errors.add(ty.span(), WANTED),
        },
    }
    None
}

fn definition(function: &ItemFn, state: &Type, shape: &QueryShape<'_>, recorded: &str) -> TokenStream {
    let ItemFn { attrs, vis, sig, block } = function;
    let name = &sig.ident;
    let is_cfg = |attribute: &&Attribute| attribute.path().is_ident("cfg");
    let (on_all, rest): (Vec<&Attribute>, Vec<&Attribute>) = attrs.iter().partition(is_cfg);
    let (docs, on_code): (Vec<&Attribute>, Vec<&Attribute>) =
        rest.into_iter().partition(|attribute| attribute.path().is_ident("doc"));
    let QueryShape { arguments, returned, .. } = shape;
    let inputs = &sig.inputs;
    let names: Vec<_> = (0..arguments.len()).map(|index| format_ident!("__argument_{index}")).collect();
    let code = quote_spanned! { name.span() => #name.call(__state, #(#names),*) };
    let implementation = implementation(&name.to_token_stream(), &state.to_token_stream(), shape, recorded, &code);
    quote! {
        #(#on_all)*
        #(#docs)*
        #[allow(non_camel_case_types)]
        #[derive(Clone, Copy, Debug)]
        #vis struct #name;

        #(#on_all)*
        impl #name {
            /// Runs the query's code directly, without a workflow: for tests.
            #[allow(dead_code)]
            #vis fn call(self, __state: &#state, #(#names: #arguments),*) -> #returned {
                #(#on_code)*
                fn __code(#inputs) -> #returned #block
                __code(__state, #(#names),*)
            }
        }

        #(#on_all)*
        #implementation
    }
}

/// The trait for a definition of type `ty` whose answer is computed by `code` from `__state` and `__argument_N`.
pub(crate) fn implementation(
    ty: &TokenStream,
    state: &TokenStream,
    shape: &QueryShape<'_>,
    recorded: &str,
    code: &TokenStream,
) -> TokenStream {
    let QueryShape { arguments, returned, may_fail } = shape;
    let names: Vec<_> = (0..arguments.len()).map(|index| format_ident!("__argument_{index}")).collect();
    let messages = crate::arguments::Arguments::new(arguments);
    let (input, unpack, encode, decode) =
        (messages.input_type(), messages.pattern(&names), messages.encode(&names), messages.decode(&names));
    let output = if *may_fail {
        quote_spanned! { returned.span() => <#returned as ::engine_sdk::__private::ResultType>::Ok }
    } else {
        returned.clone()
    };
    let code = if *may_fail {
        quote! { #code.map_err(::std::convert::Into::into) }
    } else {
        quote! { ::std::result::Result::Ok(#code) }
    };
    quote! {
        #[automatically_derived]
        impl ::engine_sdk::definition::Query for #ty {
            type State = #state;
            type Input = #input;
            type Output = #output;
            const NAME: &'static str = #recorded;

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

            #[allow(clippy::useless_conversion)]
            fn answer(
                &self,
                __state: &Self::State,
                __input: Self::Input,
            ) -> ::std::result::Result<Self::Output, ::engine_sdk::error::WorkflowError> {
                let #unpack = __input;
                #code
            }
        }
    }
}
