//! The code that an attribute leaves behind.

use crate::options::Options;
use crate::signature::{Kind, Parameters, parameters};
use proc_macro2::TokenStream;
use quote::quote;
use syn::{Attribute, ItemFn};

/// The whole attribute; an error becomes a compile error in its place.
pub fn attribute(kind: Kind, options: TokenStream, item: TokenStream) -> TokenStream {
    expand(kind, options, item).unwrap_or_else(|error| error.into_compile_error())
}

fn expand(kind: Kind, options: TokenStream, item: TokenStream) -> syn::Result<TokenStream> {
    let options: Options = syn::parse2(options)?;
    if let Some((key, _)) = &options.time_max {
        return Err(syn::Error::new(key.span(), "`time_max` is an option of entities"));
    }
    let function: ItemFn = syn::parse2(item)?;
    if kind == Kind::Orchestration && options.transactional {
        let text = "only an activity can be transactional";
        return Err(syn::Error::new(function.sig.ident.span(), text));
    }
    let parameters = parameters(kind, options.transactional, &function)?;
    let structure = structure(&options, &function, &parameters);
    if kind == Kind::Orchestration && options.delivery.is_some() {
        let text = "only an activity can be precise or at most once: an orchestration runs exactly once";
        return Err(syn::Error::new(function.sig.ident.span(), text));
    }
    let traits = traits(kind, &options, &function, &parameters);
    Ok(quote!(#structure #traits))
}

/// The type, with the function as its associated function `call`, and a function that makes it. A function can be
/// shadowed by a variable of its name, which a unit struct could not.
fn structure(options: &Options, function: &ItemFn, parameters: &Parameters<'_>) -> TokenStream {
    let ItemFn { attrs, vis, sig, block, .. } = function;
    let (item, cfg, rest) = sort(attrs);
    let ident = &sig.ident;
    let plain = ident.to_string();
    let name = options.name.as_ref().map_or_else(|| plain.trim_start_matches("r#").to_owned(), |n| n.value());
    let version = options.version.as_ref().map_or_else(String::new, |v| v.value());
    let (inputs, output) = (&sig.inputs, parameters.output);
    let asyncness = &sig.asyncness;
    let about_call = format!("Runs `{plain}` directly, as a plain function: for unit tests.");
    quote! {
        #(#item)*
        #[allow(non_camel_case_types)]
        #[derive(Clone, Copy, Debug)]
        #vis struct #ident {}

        #(#cfg)*
        #[doc(hidden)]
        #[allow(dead_code)]
        #vis fn #ident(_: ::perdura::macro_support::MadeByAttribute) -> #ident {
            #ident {}
        }

        #(#cfg)*
        #[allow(dead_code)]
        impl #ident {
            /// Its durable name.
            pub const NAME: &'static str = #name;
            /// Its version; empty if it has none.
            pub const VERSION: &'static str = #version;

            #(#rest)*
            #[doc = #about_call]
            #[allow(clippy::unused_async)]
            pub #asyncness fn call(#inputs) -> #output #block
        }
    }
}

/// Attributes of the item (docs and conditions), the conditions alone, and those of the function.
fn sort(attributes: &[Attribute]) -> (Vec<&Attribute>, Vec<&Attribute>, Vec<&Attribute>) {
    let is = |attribute: &&Attribute, name: &str| attribute.path().is_ident(name);
    let (item, rest): (Vec<_>, Vec<_>) =
        attributes.iter().partition(|a| is(a, "doc") || is(a, "cfg") || is(a, "deprecated"));
    let cfg = item.iter().copied().filter(|a| is(a, "cfg")).collect();
    (item, cfg, rest)
}

fn input_type(parameters: &Parameters<'_>) -> TokenStream {
    parameters.input.map_or_else(|| quote!(()), |ty| quote!(#ty))
}

/// What a transactional activity has beside the rest, and what it has in place of its own code there.
fn transactional(ident: &syn::Ident, parameters: &Parameters<'_>) -> TokenStream {
    let context = parameters.context.then(|| quote!(ctx,));
    let input = parameters.input.map(|_| quote!(input));
    quote! {
        impl ::perdura::TransactionalFn for #ident {
            fn write(
                ctx: ::perdura::ActivityContext,
                transaction: &::perdura::sqlite::Transaction<'_>,
                input: Self::Input,
            ) -> ::perdura::Result<Self::Output> {
                let (_, _): (_, &Self::Input) = (&ctx, &input);
                ::perdura::macro_support::Outcome::into_result(#ident::call(#context transaction, #input))
            }
        }
    }
}

fn call(ident: &syn::Ident, parameters: &Parameters<'_>) -> TokenStream {
    if parameters.transaction {
        return quote! {
            async move {
                let (_, _): (_, &Self::Input) = (&ctx, &input);
                ::perdura::macro_support::without_transaction()
            }
        };
    }
    let context = parameters.context.then(|| quote!(ctx,));
    let input = parameters.input.map(|_| quote!(input));
    quote! {
        async move {
            let (_, _): (_, &Self::Input) = (&ctx, &input);
            ::perdura::macro_support::Outcome::into_result(#ident::call(#context #input).await)
        }
    }
}

fn traits(kind: Kind, options: &Options, function: &ItemFn, parameters: &Parameters<'_>) -> TokenStream {
    let (_, cfg, _) = sort(&function.attrs);
    let (ident, output, input) = (&function.sig.ident, parameters.output, input_type(parameters));
    let call = call(ident, parameters);
    let in_transaction = parameters.transaction.then(|| transactional(ident, parameters));
    let (code, context, bounds, register) = match kind {
        Kind::Activity if parameters.transaction => (
            quote!(ActivityFn),
            quote!(ActivityContext),
            quote!(Send + 'static),
            quote!(add_transactional_activity),
        ),
        Kind::Activity => {
            (quote!(ActivityFn), quote!(ActivityContext), quote!(Send + 'static), quote!(add_activity))
        }
        Kind::Orchestration => {
            (quote!(OrchestrationFn), quote!(Orchestration), quote!('static), quote!(add_orchestration))
        }
    };
    let delivery =
        options.delivery.as_ref().map(|delivery| quote!(const DELIVERY: &'static str = #delivery;));
    quote! {
        #(#cfg)*
        const _: () = {
            impl ::perdura::#code for #ident {
                const NAME: &'static str = #ident::NAME;
                const VERSION: &'static str = #ident::VERSION;
                #delivery
                type Input = #input;
                type Output = <#output as ::perdura::macro_support::Outcome>::Value;
                fn run(
                    ctx: ::perdura::#context,
                    input: Self::Input,
                ) -> impl ::core::future::Future<Output = ::perdura::Result<Self::Output>> + #bounds {
                    #call
                }
            }
            #in_transaction
            impl ::perdura::macro_support::Item for #ident {
                fn register(registry: &mut ::perdura::Registry) {
                    registry.#register::<#ident>();
                }
            }
        };
    }
}
