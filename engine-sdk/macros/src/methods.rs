//! `#[workflow]` on an `impl`: a struct whose methods are run, signal and query handlers.
//!
//! Synchronous methods stay as they are. An asynchronous one with `self` gets a `Running<Self>` in its place (see
//! `engine_sdk::workflow::Running`): its body is rewritten token by token, inside of macros too.
//!
//! | written | becomes |
//! |---|---|
//! | `self` | `__self` |
//! | `future.await` | `future.give_back(&mut *__self).await`, so that other methods have the state meanwhile |
//! | `self.other(..)`, an asynchronous method | `Self::other(&mut *__self, ..)`, which gives the state back itself |
//! | `select! { .. }` | the same with a hook before it waits |

use std::collections::BTreeSet;

use proc_macro2::{Delimiter, Group, Ident, Span, TokenStream, TokenTree};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Attribute, Error, FnArg, ImplItem, ImplItemFn, ItemImpl, Meta, PatType, ReturnType, Type};

use crate::arguments::Arguments;
use crate::definition::Kind;
use crate::options::{self, MethodOptions, Options};
use crate::query::{self, QueryShape, is_context};
use crate::signature::{Errors, check_argument};

/// What a method is to the workflow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Init,
    Run,
    Signal,
    Query,
    Update,
    /// Of the update with this method.
    Validator,
    /// For the others to call.
    Helper,
}

struct Method {
    role: Role,
    options: MethodOptions,
    /// The update's method, of a validator.
    validates: Option<Ident>,
    item: ImplItemFn,
}

impl Method {
    fn is_rewritten(&self) -> bool {
        self.item.sig.asyncness.is_some() && self.item.sig.receiver().is_some()
    }

    /// The types of the arguments behind `self` and a context, and whether there is a context.
    fn arguments(&self) -> (bool, Vec<&Type>) {
        let types = self.item.sig.inputs.iter().filter_map(|input| match input {
            FnArg::Typed(PatType { ty, .. }) => Some(&**ty),
            FnArg::Receiver(_) => None,
        });
        let mut types: Vec<&Type> = types.collect();
        let has_context = types.first().is_some_and(|first| is_context(first));
        if has_context {
            types.remove(0);
        }
        (has_context, types)
    }

    /// `approve_order` as `APPROVE_ORDER`.
    fn constant(&self) -> Ident {
        let name = plain(&self.item.sig.ident).to_uppercase();
        Ident::new(&name, self.item.sig.ident.span())
    }

    fn recorded(&self) -> String {
        self.options.name.clone().unwrap_or_else(|| plain(&self.item.sig.ident))
    }
}

fn plain(ident: &Ident) -> String {
    ident.to_string().trim_start_matches("r#").to_owned()
}

pub(crate) fn expand(attribute: TokenStream, item: ItemImpl) -> TokenStream {
    let original = item.to_token_stream();
    match Workflow::of(attribute, item) {
        Ok(workflow) => workflow.expand(),
        Err(error) => {
            let error = error.to_compile_error();
            // The methods stay known, without our attributes, which would be errors of their own.
            let item = syn::parse2::<ItemImpl>(original).map(strip).map(ToTokens::into_token_stream);
            let item = item.unwrap_or_default();
            quote! { #error #item }
        }
    }
}

fn strip(mut item: ItemImpl) -> ItemImpl {
    for item in &mut item.items {
        if let ImplItem::Fn(method) = item {
            method.attrs.retain(|attribute| role_of(attribute).is_none());
        }
    }
    item
}

fn role_of(attribute: &Attribute) -> Option<Role> {
    let last = attribute.path().segments.last()?.ident.to_string();
    match last.as_str() {
        "init" => Some(Role::Init),
        "run" => Some(Role::Run),
        "signal" => Some(Role::Signal),
        "query" => Some(Role::Query),
        "update" => Some(Role::Update),
        "update_validator" => Some(Role::Validator),
        _ => None,
    }
}

struct Workflow {
    options: Options,
    state: Ident,
    methods: Vec<Method>,
    rest: Vec<ImplItem>,
    attributes: Vec<Attribute>,
}

impl Workflow {
    fn of(attribute: TokenStream, item: ItemImpl) -> syn::Result<Self> {
        let mut errors = Errors::default();
        let options = Options::parse(Kind::Workflow, attribute);
        if let Some((_, path, _)) = &item.trait_ {
            errors.add(path.span(), "`#[workflow]` belongs above an `impl` of the struct itself, not of a trait");
        }
        if !item.generics.params.is_empty() {
            errors.add(item.generics.span(), "a workflow cannot be generic: its state must be one type");
        }
        let state = match &*item.self_ty {
            Type::Path(path) if path.qself.is_none() => path.path.get_ident().cloned(),
            _ => None,
        };
        if state.is_none() {
            errors.add(
                item.self_ty.span(),
                "`#[workflow]` belongs above the `impl` of a struct that is named alone: `impl Order`",
            );
        }
        let mut methods = Vec::new();
        let mut rest = Vec::new();
        for item in item.items {
            match item {
                ImplItem::Fn(method) => match classify(method) {
                    Ok(method) => methods.push(method),
                    Err(error) => errors.push(error),
                },
                other => rest.push(other),
            }
        }
        check(&methods, item.self_ty.span(), &mut errors);
        let options = options.map_err(|error| errors.push(error)).ok();
        errors.finish()?;
        match (options, state) {
            (Some(options), Some(state)) => Ok(Self { options, state, methods, rest, attributes: item.attrs }),
            _ => Err(Error::new(Span::call_site(), "not a workflow")),
        }
    }

    fn method(&self, role: Role) -> Option<&Method> {
        self.methods.iter().find(|method| method.role == role)
    }

    fn with_role(&self, role: Role) -> impl Iterator<Item = &Method> {
        self.methods.iter().filter(move |method| method.role == role)
    }

    fn expand(&self) -> TokenStream {
        let (state, rest, attributes) = (&self.state, &self.rest, &self.attributes);
        let asynchronous: BTreeSet<String> = self
            .methods
            .iter()
            .filter(|method| method.is_rewritten())
            .map(|method| plain(&method.item.sig.ident))
            .collect();
        let methods = self.methods.iter().map(|method| self.code(method, &asynchronous));
        let definition = format_ident!("__{state}Workflow");
        let queries: Vec<TokenStream> =
            self.with_role(Role::Query).filter(|it| !it.options.any).map(|it| self.query(it)).collect();
        let signals: Vec<TokenStream> =
            self.with_role(Role::Signal).filter(|it| !it.options.any).map(|it| self.signal(it)).collect();
        let constants = self.constants(&definition);
        let updates: Vec<TokenStream> = self.with_role(Role::Update).map(|it| self.update(it)).collect();
        let workflow = self.definition(&definition);
        quote! {
            #(#attributes)*
            impl #state {
                #(#methods)*
                #(#rest)*
                #constants
            }
            #workflow
            #(#signals)*
            #(#queries)*
            #(#updates)*
        }
    }

    /// The method as it is in the program.
    fn code(&self, method: &Method, asynchronous: &BTreeSet<String>) -> TokenStream {
        let mut item = method.item.clone();
        if !method.is_rewritten() {
            return item.into_token_stream();
        }
        let state = &self.state;
        let body = std::mem::replace(&mut item.block, syn::parse_quote! {{}});
        let body = rewrite(body.to_token_stream(), asynchronous);
        let ImplItemFn { attrs, vis, sig, .. } = &item;
        let inputs = sig.inputs.iter().filter(|input| matches!(input, FnArg::Typed(_)));
        let (name, generics, output) = (&sig.ident, &sig.generics, &sig.output);
        quote! {
            #(#attrs)*
            #[allow(clippy::needless_pass_by_ref_mut, clippy::unused_async)]
            #vis async fn #name #generics (__self: &mut ::engine_sdk::workflow::Running<#state>, #(#inputs),*) #output {
                #[allow(unused_imports)]
                use ::engine_sdk::workflow::GiveBack as _;
                #body
            }
        }
    }

    fn constants(&self, definition: &Ident) -> TokenStream {
        let of = |method: &Method, what: &str| {
            let (constant, ty, visibility) = (method.constant(), self.message(method), &method.item.vis);
            let docs = format!("The {what} `{}`, for who sends it.", method.recorded());
            quote! {
                #[doc = #docs]
                #[allow(dead_code)]
                #visibility const #constant: #ty = #ty;
            }
        };
        let signals = self.with_role(Role::Signal).filter(|it| !it.options.any).map(|it| of(it, "signal"));
        let queries = self.with_role(Role::Query).filter(|it| !it.options.any).map(|it| of(it, "query"));
        let updates = self.with_role(Role::Update).map(|it| of(it, "update"));
        // As visible as its method: a definition shows the state's type.
        let visibility = self.method(Role::Run).map(|run| &run.item.vis);
        quote! {
            /// The workflow, to register on workers and to start.
            #[allow(dead_code)]
            #visibility const WORKFLOW: #definition = #definition;
            #(#signals)*
            #(#queries)*
            #(#updates)*
        }
    }

    /// The type of a message's definition.
    fn message(&self, method: &Method) -> Ident {
        format_ident!("__{}_{}", self.state, plain(&method.item.sig.ident))
    }

    fn definition(&self, definition: &Ident) -> TokenStream {
        let state = &self.state;
        let run = self.method(Role::Run).expect("checked");
        let recorded = self.options.name.clone().unwrap_or_else(|| plain(state));
        let options = self.options.expand(Kind::Workflow);
        let versioning = self.options.expand_versioning();
        let ReturnType::Type(_, returned) = &run.item.sig.output else { unreachable!("checked") };
        let output = quote_spanned! { returned.span() => <#returned as ::engine_sdk::__private::ResultType>::Ok };
        let (_, run_types) = run.arguments();
        let init = self.method(Role::Init);
        let types = init.map_or(run_types, |init| init.arguments().1);
        let arguments = Arguments::new(&types);
        let names: Vec<Ident> = (0..types.len()).map(|index| format_ident!("__argument_{index}")).collect();
        let (input, unpack) = (arguments.input_type(), arguments.pattern(&names));
        let (encode, decode) = (arguments.encode(&names), arguments.decode(&names));
        let initial = match init {
            None => quote! { <#state as ::std::default::Default>::default() },
            Some(init) => {
                let name = &init.item.sig.ident;
                let context = init.arguments().0.then(|| quote! { ::std::clone::Clone::clone(&__ctx), });
                quote! { #state::#name(#context #(#names),*) }
            }
        };
        let run_arguments = if init.is_some() { &[] } else { names.as_slice() };
        let run_name = &run.item.sig.ident;
        let signals = self.with_role(Role::Signal).map(|method| self.handler(method));
        let updates = self.with_role(Role::Update).map(|method| self.update_handler(method));
        let queries = self.with_role(Role::Query).map(|method| match method.options.any {
            true => {
                let name = &method.item.sig.ident;
                let code = quote! { __state.#name(__name, ::engine_sdk::data::RawArguments::from(__input)) };
                let is_fallible = matches!(&method.item.sig.output, ReturnType::Type(_, ty) if query::is_result(ty));
                let fail = is_fallible.then(|| quote! { .map_err(::engine_sdk::error::WorkflowError::from)? });
                quote! {
                    __methods.any_query(|__state, __name, __input| {
                        ::std::result::Result::Ok(::engine_sdk::data::encode_result(&#code #fail)?)
                    });
                }
            }
            false => {
                let ty = self.message(method);
                quote! { __methods.query(#ty); }
            }
        });
        let run_code = quote_spanned! { run_name.span() =>
            ::std::boxed::Box::pin(async move {
                #state::#run_name(&mut __running, __ctx, #(#run_arguments),*).await.map_err(::std::convert::Into::into)
            })
        };
        let docs = format!("The workflow of [`{state}`]: see `{state}::WORKFLOW`.");
        let visibility = &run.item.vis;
        quote! {
            #[doc = #docs]
            #[doc(hidden)]
            #[derive(Clone, Copy, Debug)]
            #visibility struct #definition;

            #[automatically_derived]
            impl ::engine_sdk::definition::Workflow for #definition {
                type Input = #input;
                type Output = #output;
                const NAME: &'static str = #recorded;

                fn options(&self) -> ::engine_sdk::definition::WorkflowOptions {
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

            #[automatically_derived]
            impl ::engine_sdk::definition::WorkflowCode for #definition {
                #versioning

                #[allow(unused_mut, clippy::useless_conversion)]
                fn execute(
                    &self,
                    __ctx: ::engine_sdk::workflow::WorkflowContext,
                    __input: Self::Input,
                ) -> ::engine_sdk::definition::BoxFuture<
                    ::std::result::Result<Self::Output, ::engine_sdk::error::WorkflowError>,
                > {
                    let #unpack = __input;
                    let mut __methods = ::engine_sdk::workflow::Methods::new(&__ctx, #initial);
                    #(#signals)*
                    #(#queries)*
                    #(#updates)*
                    __methods.run(move |mut __running| #run_code)
                }
            }
        }
    }

    /// Registers a signal's method.
    fn handler(&self, method: &Method) -> TokenStream {
        let state = &self.state;
        let (name, recorded) = (&method.item.sig.ident, method.recorded());
        let (has_context, types) = method.arguments();
        let names: Vec<Ident> = (0..types.len()).map(|index| format_ident!("__argument_{index}")).collect();
        let decode = if method.options.any {
            quote! {
                let __argument_0 = ::std::borrow::ToOwned::to_owned(__name);
                let __argument_1 = ::engine_sdk::data::RawArguments::from(__input);
            }
        } else {
            Arguments::new(&types).decode(&names)
        };
        let context = has_context.then(|| quote! { __call.context(), });
        // Spanned like the method: what it may not return is said at its name.
        let result = quote_spanned! { name.span() => ::engine_sdk::workflow::HandlerOutput::into_result };
        let call = if method.is_rewritten() {
            let context_value = has_context.then(|| quote! { let __ctx = __call.context(); });
            let context = has_context.then(|| quote! { __ctx, });
            quote_spanned! { name.span() =>
                let mut __running = __call.running();
                #context_value
                ::engine_sdk::workflow::Handled::Runs(::std::boxed::Box::pin(async move {
                    #result(#state::#name(&mut __running, #context #(#names),*).await)
                }))
            }
        } else {
            let call = quote_spanned! { name.span() => #state::#name(__state, #context #(#names),*) };
            // Not spanned like the user's code: what clippy thinks of a binding to `()` is none of theirs.
            quote! {
                let __output = __call.with(|__state| #call);
                ::engine_sdk::workflow::Handled::Done(#result(__output))
            }
        };
        let register = if method.options.any {
            quote! { any_signal }
        } else {
            quote! { signal }
        };
        let recorded = (!method.options.any).then(|| quote! { #recorded, });
        quote! {
            __methods.#register(#recorded |__call, __name, __input| {
                #decode
                ::std::result::Result::Ok({ #call })
            });
        }
    }

    /// Registers an update's method.
    fn update_handler(&self, method: &Method) -> TokenStream {
        let state = &self.state;
        let (name, recorded) = (&method.item.sig.ident, method.recorded());
        let (has_context, types) = method.arguments();
        let names: Vec<Ident> = (0..types.len()).map(|index| format_ident!("__argument_{index}")).collect();
        let arguments = Arguments::new(&types);
        let (input, unpack) = (arguments.input_type(), arguments.pattern(&names));
        let may_fail = matches!(&method.item.sig.output, ReturnType::Type(_, ty) if query::is_result(ty));
        let fail = may_fail.then(|| quote! { .map_err(::engine_sdk::error::WorkflowError::from)? });
        let context = has_context.then(|| quote! { __ctx, });
        let call = if method.is_rewritten() {
            quote_spanned! { name.span() => #state::#name(&mut __running, #context #(#names),*).await }
        } else {
            quote_spanned! { name.span() => __call.with(|__state| #state::#name(__state, #context #(#names),*)) }
        };
        let running = method.is_rewritten().then(|| quote! { let mut __running = __call.running(); });
        let context = has_context.then(|| quote! { let __ctx = __call.context(); });
        let validators = self.with_role(Role::Validator).filter(|it| it.validates.as_ref() == Some(name));
        let validators = validators.map(|validator| {
            let name = &validator.item.sig.ident;
            quote! { __state.#name(#(&#names),*).map_err(::engine_sdk::error::WorkflowError::from)?; }
        });
        quote! {
            __methods.update(#recorded, ::engine_sdk::workflow::UpdateMethod {
                validate: |__state, __input| {
                    #[allow(unused_variables, clippy::let_unit_value)]
                    let #unpack = ::engine_sdk::data::decode_signal::<#input>(__input)?;
                    #(#validators)*
                    ::std::result::Result::Ok(())
                },
                handle: |__call, __input| {
                    #[allow(clippy::let_unit_value)]
                    let #unpack = ::engine_sdk::data::decode_signal::<#input>(&__input)?;
                    let __call = ::std::clone::Clone::clone(__call);
                    ::std::result::Result::Ok(::std::boxed::Box::pin(async move {
                        #running
                        #context
                        #[allow(clippy::let_unit_value)]
                        let __output = #call #fail;
                        ::engine_sdk::workflow::encode_output(&__output)
                    }))
                },
            });
        }
    }

    fn update(&self, method: &Method) -> TokenStream {
        let (ty, recorded, visibility) = (self.message(method), method.recorded(), &method.item.vis);
        let (_, types) = method.arguments();
        let input = Arguments::new(&types).input_type();
        let output = match &method.item.sig.output {
            ReturnType::Default => quote! { () },
            ReturnType::Type(_, ty) if query::is_result(ty) => {
                quote_spanned! { ty.span() => <#ty as ::engine_sdk::__private::ResultType>::Ok }
            }
            ReturnType::Type(_, ty) => ty.to_token_stream(),
        };
        quote! {
            #[doc(hidden)]
            #[allow(non_camel_case_types)]
            #[derive(Clone, Copy, Debug)]
            #visibility struct #ty;

            #[automatically_derived]
            impl ::engine_sdk::definition::MethodUpdate for #ty {
                type Input = #input;
                type Output = #output;
                const NAME: &'static str = #recorded;
            }
        }
    }

    fn signal(&self, method: &Method) -> TokenStream {
        let (ty, recorded, visibility) = (self.message(method), method.recorded(), &method.item.vis);
        let (_, types) = method.arguments();
        let arguments = Arguments::new(&types);
        let names: Vec<Ident> = (0..types.len()).map(|index| format_ident!("__argument_{index}")).collect();
        let (input, unpack, encode) = (arguments.input_type(), arguments.pattern(&names), arguments.encode(&names));
        quote! {
            #[doc(hidden)]
            #[allow(non_camel_case_types)]
            #[derive(Clone, Copy, Debug)]
            #visibility struct #ty;

            #[automatically_derived]
            impl ::engine_sdk::definition::MethodSignal for #ty {
                type Input = #input;
                const NAME: &'static str = #recorded;

                #[allow(unused_variables, unused_mut)]
                fn encode_input(
                    __input: &Self::Input,
                ) -> ::std::result::Result<::std::vec::Vec<::engine_sdk::__private::Payload>, ::engine_sdk::data::DataError> {
                    let #unpack = __input;
                    #encode
                }
            }
        }
    }

    fn query(&self, method: &Method) -> TokenStream {
        let (state, ty, recorded) = (&self.state, self.message(method), method.recorded());
        let visibility = &method.item.vis;
        let mut ignored = Errors::default();
        let behind_self = method.item.sig.inputs.iter().skip(1);
        let shape: QueryShape<'_> = query::shape(&method.item.sig, behind_self, &mut ignored);
        let names: Vec<Ident> = (0..shape.arguments.len()).map(|index| format_ident!("__argument_{index}")).collect();
        let name = &method.item.sig.ident;
        let code = quote_spanned! { name.span() => __state.#name(#(#names),*) };
        let implementation =
            query::implementation(&ty.to_token_stream(), &state.to_token_stream(), &shape, &recorded, &code);
        quote! {
            #[doc(hidden)]
            #[allow(non_camel_case_types)]
            #[derive(Clone, Copy, Debug)]
            #visibility struct #ty;

            #implementation
        }
    }
}

fn classify(mut item: ImplItemFn) -> syn::Result<Method> {
    let mut found: Option<(Role, MethodOptions)> = None;
    let mut validates = None;
    let mut kept = Vec::new();
    for attribute in std::mem::take(&mut item.attrs) {
        let Some(role) = role_of(&attribute) else {
            kept.push(attribute);
            continue;
        };
        if found.is_some() {
            let message = "a method has one role: `#[init]`, `#[run]`, `#[signal]`, `#[query]`, `#[update]` or `#[update_validator]`";
            return Err(Error::new(attribute.span(), message));
        }
        let tokens = match &attribute.meta {
            Meta::List(list) => list.tokens.clone(),
            Meta::Path(_) | Meta::NameValue(_) => TokenStream::new(),
        };
        if role == Role::Validator {
            let wanted = "name the method of the update that it validates: `#[update_validator(pay)]`";
            validates = Some(syn::parse2::<Ident>(tokens).map_err(|_| Error::new(attribute.span(), wanted))?);
            found = Some((role, MethodOptions::default()));
            continue;
        }
        let may_have_options = matches!(role, Role::Signal | Role::Query | Role::Update);
        if !may_have_options && !tokens.is_empty() {
            return Err(Error::new(attribute.span(), "this attribute has no options"));
        }
        found = Some((role, options::method_options(tokens)?));
    }
    item.attrs = kept;
    let (role, options) = found.unwrap_or((Role::Helper, MethodOptions::default()));
    if role == Role::Update && options.any {
        return Err(Error::new(
            item.sig.ident.span(),
            "an update has a name and a type: there is no `any` for updates",
        ));
    }
    Ok(Method { role, options, validates, item })
}

fn check(methods: &[Method], span: Span, errors: &mut Errors) {
    let of = |role| methods.iter().filter(move |method| method.role == role);
    for (role, word) in [(Role::Run, "run"), (Role::Init, "init")] {
        for second in of(role).skip(1) {
            errors.add(second.item.sig.ident.span(), format!("a workflow has one method with `#[{word}]`"));
        }
    }
    if of(Role::Run).next().is_none() {
        errors.add(span, "a workflow needs a method with `#[run]`: `#[run] async fn run(&mut self, ctx: WorkflowContext) -> Result<T, WorkflowError>`");
    }
    let has_init = of(Role::Init).next().is_some();
    for method in methods {
        match method.role {
            Role::Init => check_init(method, errors),
            Role::Run => check_run(method, has_init, errors),
            Role::Signal => check_signal(method, errors),
            Role::Query => check_query(method, errors),
            Role::Update => check_update(method, errors),
            Role::Validator => check_validator(method, methods, errors),
            Role::Helper => {}
        }
        if method.is_rewritten() {
            refuse_other_macros(method.item.block.to_token_stream(), errors);
            if let Some(receiver) = method.item.sig.receiver()
                && receiver.reference.is_none()
            {
                errors.add(receiver.span(), "an `async` method of a workflow borrows its state: `&mut self`");
            }
        }
    }
}

fn check_init(method: &Method, errors: &mut Errors) {
    let signature = &method.item.sig;
    if let Some(receiver) = signature.receiver() {
        errors.add(receiver.span(), "`#[init]` makes the state from the workflow's arguments: it has no `self`");
    }
    if let Some(asyncness) = signature.asyncness {
        errors.add(asyncness.span, "`#[init]` cannot be `async`: it runs before the workflow does; wait in `#[run]`");
    }
    method.arguments().1.iter().for_each(|ty| check_argument("workflow", ty, errors));
}

fn check_run(method: &Method, has_init: bool, errors: &mut Errors) {
    let signature = &method.item.sig;
    if signature.asyncness.is_none() {
        errors.add(
            signature.fn_token.span,
            format!("`#[run]` is an `async fn`: write `async fn {}(…)`", signature.ident),
        );
    }
    if signature.receiver().is_none() {
        errors.add(signature.paren_token.span.join(), "the first parameter of `#[run]` is the state: `&mut self`");
    }
    let (has_context, types) = method.arguments();
    if !has_context {
        errors.add(
            signature.paren_token.span.join(),
            "`#[run]` has the workflow's context behind `self`: `ctx: WorkflowContext`",
        );
    }
    if has_init && !types.is_empty() {
        errors.add(types[0].span(), "the workflow's arguments are those of `#[init]`: `#[run]` takes none");
    }
    types.iter().for_each(|ty| check_argument("workflow", ty, errors));
    if !matches!(&signature.output, ReturnType::Type(_, ty) if query::is_result(ty)) {
        errors.add(signature.ident.span(), "`#[run]` returns `Result<T, WorkflowError>`");
    }
}

fn check_signal(method: &Method, errors: &mut Errors) {
    let signature = &method.item.sig;
    match signature.receiver() {
        None => errors.add(
            signature.paren_token.span.join(),
            "the first parameter of a signal's method is the state: `&mut self`",
        ),
        Some(receiver) if receiver.reference.is_none() => {
            errors.add(receiver.span(), "a signal's method borrows the state: `&mut self`");
        }
        Some(_) => {}
    }
    let (_, types) = method.arguments();
    if method.options.any {
        if types.len() != 2 {
            errors.add(
                signature.ident.span(),
                "a method for all other signals takes their name and content: `name: String, content: RawArguments`",
            );
        }
    } else {
        types.iter().for_each(|ty| check_argument("signal", ty, errors));
    }
}

fn check_query(method: &Method, errors: &mut Errors) {
    let signature = &method.item.sig;
    match signature.receiver() {
        None => errors
            .add(signature.paren_token.span.join(), "the first parameter of a query's method is the state: `&self`"),
        Some(receiver) if receiver.reference.is_none() || receiver.mutability.is_some() => {
            errors.add(receiver.span(), "a query can only read: it takes `&self`");
        }
        Some(_) => {}
    }
    if method.options.any {
        if signature.inputs.len() != 3 {
            errors.add(
                signature.ident.span(),
                "a method for all other queries takes their name and arguments: `name: &str, args: RawArguments`",
            );
        }
        return;
    }
    query::shape(signature, signature.inputs.iter().skip(1), errors);
}

fn check_update(method: &Method, errors: &mut Errors) {
    let signature = &method.item.sig;
    match signature.receiver() {
        None => errors.add(
            signature.paren_token.span.join(),
            "the first parameter of an update's method is the state: `&mut self`",
        ),
        Some(receiver) if receiver.reference.is_none() => {
            errors.add(receiver.span(), "an update's method borrows the state: `&mut self`");
        }
        Some(_) => {}
    }
    method.arguments().1.iter().for_each(|ty| check_argument("update", ty, errors));
}

fn check_validator(method: &Method, methods: &[Method], errors: &mut Errors) {
    let signature = &method.item.sig;
    let is_read_only =
        signature.receiver().is_some_and(|receiver| receiver.reference.is_some() && receiver.mutability.is_none());
    if !is_read_only {
        errors.add(signature.ident.span(), "a validator can only read: it takes `&self`");
    }
    if let Some(asyncness) = signature.asyncness {
        errors.add(asyncness.span, "a validator cannot be `async`: it decides at once");
    }
    if !matches!(&signature.output, ReturnType::Type(_, ty) if query::is_result(ty)) {
        errors.add(signature.ident.span(), "a validator returns `Result<(), E>`: an error refuses the update");
    }
    let Some(target) = &method.validates else { return };
    let update = methods.iter().find(|update| update.role == Role::Update && update.item.sig.ident == *target);
    match update {
        None => errors.add(target.span(), format!("there is no method `{target}` with `#[update]`")),
        Some(update) => {
            let (has_context, own) = method.arguments();
            if has_context || own.len() != update.arguments().1.len() {
                let message = "a validator takes the update's arguments by reference, and nothing else";
                errors.add(signature.ident.span(), message);
            }
        }
    }
}

/// Macros that wait would keep the state meanwhile.
fn refuse_other_macros(tokens: TokenStream, errors: &mut Errors) {
    let mut tokens = tokens.into_iter().peekable();
    while let Some(token) = tokens.next() {
        match token {
            TokenTree::Ident(ident) if ["join", "try_join"].iter().any(|name| ident == name) => {
                if matches!(tokens.peek(), Some(TokenTree::Punct(punct)) if punct.as_char() == '!') {
                    errors.add(
                        ident.span(),
                        format!(
                            "`{ident}!` would keep the workflow's state while it waits: await `join_all([…])`, or `futures::future::{ident}(a, b)`"
                        ),
                    );
                }
            }
            TokenTree::Group(group) => refuse_other_macros(group.stream(), errors),
            TokenTree::Ident(_) | TokenTree::Punct(_) | TokenTree::Literal(_) => {}
        }
    }
}

fn is_punct(token: Option<&TokenTree>, wanted: char) -> bool {
    matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == wanted)
}

/// The body of an asynchronous method: see the module's table.
fn rewrite(tokens: TokenStream, asynchronous: &BTreeSet<String>) -> TokenStream {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let mut output = TokenStream::new();
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        at += 1;
        match token {
            TokenTree::Ident(ident) if ident == "self" => {
                let running = Ident::new("__self", ident.span());
                match (tokens.get(at), tokens.get(at + 1), tokens.get(at + 2)) {
                    (Some(TokenTree::Punct(dot)), Some(TokenTree::Ident(name)), Some(TokenTree::Group(arguments)))
                        if dot.as_char() == '.'
                            && arguments.delimiter() == Delimiter::Parenthesis
                            && asynchronous.contains(&plain(name)) =>
                    {
                        let arguments = rewrite(arguments.stream(), asynchronous);
                        output.extend(quote_spanned! { name.span() => Self::#name(&mut *#running, #arguments) });
                        at += 3;
                        // It gives the state back itself.
                        if is_punct(tokens.get(at), '.')
                            && matches!(tokens.get(at + 1), Some(TokenTree::Ident(word)) if word == "await")
                        {
                            output.extend(tokens[at..at + 2].iter().cloned());
                            at += 2;
                        }
                    }
                    _ => output.extend(running.into_token_stream()),
                }
            }
            TokenTree::Punct(dot)
                if dot.as_char() == '.'
                    && matches!(tokens.get(at), Some(TokenTree::Ident(word)) if word == "await")
                    && !is_punct(at.checked_sub(2).and_then(|before| tokens.get(before)), '.') =>
            {
                let word = &tokens[at];
                output.extend(quote_spanned! { word.span() => .give_back(&mut *__self) });
                output.extend([token.clone(), word.clone()]);
                at += 1;
            }
            TokenTree::Ident(ident) if ident == "select" && is_punct(tokens.get(at), '!') => {
                let Some(TokenTree::Group(arms)) = tokens.get(at + 1) else {
                    output.extend([token.clone()]);
                    continue;
                };
                let is_path = is_punct(at.checked_sub(2).and_then(|before| tokens.get(before)), ':');
                let name = Ident::new("__select_giving_back", ident.span());
                let arms = rewrite(arms.stream(), asynchronous);
                let path = if is_path {
                    quote! { #name }
                } else {
                    quote! { ::engine_sdk::#name }
                };
                let content = quote! { (&mut *__self) #arms };
                let mut group = Group::new(Delimiter::Brace, content);
                group.set_span(ident.span());
                output.extend(quote! { #path ! #group });
                at += 2;
            }
            TokenTree::Group(group) => {
                let mut rewritten = Group::new(group.delimiter(), rewrite(group.stream(), asynchronous));
                rewritten.set_span(group.span());
                output.extend([TokenTree::Group(rewritten)]);
            }
            TokenTree::Ident(_) | TokenTree::Punct(_) | TokenTree::Literal(_) => output.extend([token.clone()]),
        }
    }
    output
}
