//! What a function must look like to become an activity or workflow.

use proc_macro2::Span;
use quote::ToTokens;
use syn::spanned::Spanned;
use syn::{Error, FnArg, GenericArgument, ItemFn, PatType, PathArguments, ReturnType, Type};

use crate::definition::Kind;

/// The parts of a function that are needed.
pub(crate) struct Signature<'a> {
    pub(crate) context: &'a Type,
    pub(crate) arguments: Vec<&'a Type>,
    pub(crate) returned: &'a Type,
    /// The `T` of `Result<T, E>`, unless it hides in a type alias.
    pub(crate) output: Option<&'a Type>,
}

impl<'a> Signature<'a> {
    pub(crate) fn of(kind: Kind, function: &'a ItemFn) -> syn::Result<Self> {
        let mut errors = Errors::default();
        let signature = &function.sig;
        let (article, word, context_name) = (kind.article(), kind.word(), kind.context());
        if signature.asyncness.is_none() {
            errors.add(
                signature.fn_token.span,
                format!("{article} {word} is an `async fn`: write `async fn {}(…)`", signature.ident),
            );
        }
        if let Some(constness) = signature.constness {
            errors.add(constness.span, format!("{article} {word} cannot be `const`"));
        }
        if let Some(unsafety) = signature.unsafety {
            errors.add(unsafety.span, format!("{article} {word} cannot be `unsafe`"));
        }
        if !signature.generics.params.is_empty() || signature.generics.where_clause.is_some() {
            errors.add(
                signature.generics.span(),
                format!("{article} {word} cannot be generic: its arguments are recorded, so their types must be known"),
            );
        }
        let mut inputs = signature.inputs.iter();
        let mut context = None;
        match inputs.next() {
            Some(FnArg::Typed(first)) => {
                check_context(kind, first, &mut errors);
                context = Some(&*first.ty);
            }
            Some(FnArg::Receiver(receiver)) => errors.add(
                receiver.span(),
                format!("{article} {word} is a function of its own, not a method: remove `self` and move it out of the `impl`"),
            ),
            None => errors.add(
                signature.paren_token.span.join(),
                format!("the first parameter of {article} {word} is its context: `ctx: {context_name}`"),
            ),
        }
        let mut arguments = Vec::new();
        for input in inputs {
            if let FnArg::Typed(PatType { ty, .. }) = input {
                check_argument(word, ty, &mut errors);
                arguments.push(&**ty);
            }
        }
        if arguments.len() > 12 {
            errors.add(
                arguments[12].span(),
                format!("{article} {word} takes at most 12 arguments: put some into a struct"),
            );
        }
        let result = match &signature.output {
            ReturnType::Type(_, returned) => Some((&**returned, result_of(returned))),
            ReturnType::Default => None,
        };
        let wanted = format!("{article} {word} returns `Result<T, {}>`", kind.error());
        match result {
            Some((_, ResultType::None)) => errors.add(signature.output.span(), wanted),
            None => errors
                .add(signature.paren_token.span.close(), format!("{wanted}: add `-> Result<(), {}>`", kind.error())),
            Some((_, ResultType::Alias | ResultType::Output(_))) => {}
        }
        errors.finish()?;
        match (context, result) {
            (Some(context), Some((returned, result))) => {
                let output = if let ResultType::Output(output) = result { Some(output) } else { None };
                Ok(Self { context, arguments, returned, output })
            }
            _ => Err(Error::new(signature.ident.span(), format!("not {article} {word}"))),
        }
    }
}

fn check_context(kind: Kind, parameter: &PatType, errors: &mut Errors) {
    let (article, word, wanted) = (kind.article(), kind.word(), kind.context());
    let ty = match &*parameter.ty {
        Type::Reference(reference) => {
            errors.add(reference.span(), format!("the context is taken by value: `{wanted}`"));
            return;
        }
        ty => ty,
    };
    let name = match ty {
        Type::Path(path) => path.path.segments.last().map(|segment| segment.ident.to_string()),
        _ => None,
    };
    if name.as_deref() != Some(wanted) {
        let actual = ty.to_token_stream();
        errors.add(
            ty.span(),
            format!("the first parameter of {article} {word} is its context, `{wanted}`, not `{actual}`"),
        );
    }
}

pub(crate) fn check_argument(word: &str, ty: &Type, errors: &mut Errors) {
    match ty {
        Type::Reference(reference) => {
            let referent = reference.elem.to_token_stream().to_string();
            let owned = match (&*reference.elem, referent.as_str()) {
                (_, "str") => "String".to_owned(),
                (Type::Slice(slice), _) => format!("Vec<{}>", slice.elem.to_token_stream()),
                (_, other) => other.to_owned(),
            };
            errors.add(
                reference.span(),
                format!("an argument of this {word} is recorded, so it cannot be a reference: take `{owned}`"),
            );
        }
        Type::ImplTrait(it) => errors.add(
            it.span(),
            format!("an argument of this {word} is recorded, so its type must be known: no `impl Trait`"),
        ),
        _ => {}
    }
}

#[derive(Clone, Copy)]
enum ResultType<'a> {
    Output(&'a Type),
    /// Its name says that it is a result, its `T` is not to be seen.
    Alias,
    None,
}

fn result_of(ty: &Type) -> ResultType<'_> {
    let Type::Path(path) = ty else { return ResultType::None };
    let Some(last) = path.path.segments.last() else { return ResultType::None };
    if !last.ident.to_string().ends_with("Result") {
        return ResultType::None;
    }
    if last.ident == "Result"
        && let PathArguments::AngleBracketed(arguments) = &last.arguments
        && let Some(GenericArgument::Type(output)) = arguments.args.first()
    {
        return ResultType::Output(output);
    }
    ResultType::Alias
}

/// Errors of one item, all of which are shown.
#[derive(Default)]
pub(crate) struct Errors(Option<Error>);

impl Errors {
    pub(crate) fn add(&mut self, span: Span, message: impl std::fmt::Display) {
        self.push(Error::new(span, message));
    }

    pub(crate) fn push(&mut self, error: Error) {
        match &mut self.0 {
            Some(first) => first.combine(error),
            none => *none = Some(error),
        }
    }

    pub(crate) fn finish(self) -> syn::Result<()> {
        self.0.map_or(Ok(()), Err)
    }
}
