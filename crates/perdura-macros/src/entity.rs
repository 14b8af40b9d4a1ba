//! `#[entity]` on an `impl` block: its methods become operations.

use crate::options::Options;
use proc_macro2::TokenStream;
use quote::quote;
use syn::spanned::Spanned;
use syn::{Error, FnArg, ImplItem, ImplItemFn, ItemImpl, ReceiverKind, Result, ReturnType, Type, Visibility};

/// The whole attribute; an error becomes a compile error in its place.
pub fn attribute(options: TokenStream, item: TokenStream) -> TokenStream {
    expand(options, item).unwrap_or_else(|error| error.into_compile_error())
}

/// A method that is an operation.
struct Operation<'a> {
    method: &'a ImplItemFn,
    name: String,
    only_reads: bool,
    is_async: bool,
    context: bool,
    input: Option<&'a Type>,
    output: &'a Type,
}

fn expand(options: TokenStream, item: TokenStream) -> Result<TokenStream> {
    let options: Options = syn::parse2(options)?;
    if let Some(version) = &options.version {
        return Err(Error::new(
            version.span(),
            "an entity has no version; the options are `name` and `time_max`",
        ));
    }
    if options.delivery.is_some() {
        let text = "operations of an entity run exactly once, as far as its state shows; the options are `name` and `time_max`";
        return Err(Error::new(proc_macro2::Span::call_site(), text));
    }
    let block: ItemImpl = syn::parse2(item)?;
    if let Some((path, _)) = &block.trait_ {
        return Err(Error::new(
            path.span(),
            "the operations of an entity are its own methods, not those of a trait",
        ));
    }
    if !block.generics.params.is_empty() {
        return Err(Error::new(
            block.generics.span(),
            "an entity cannot be generic: its name stands for one type",
        ));
    }
    let Type::Path(path) = &*block.self_ty else {
        return Err(Error::new(block.self_ty.span(), "an entity is a type of your own"));
    };
    let ident = path.path.segments.last().map(|last| last.ident.to_string()).unwrap_or_default();
    let name = options.name.as_ref().map_or_else(|| ident.clone(), |name| name.value());
    if name.contains('@') {
        return Err(Error::new(block.self_ty.span(), "the name of an entity must not contain `@`"));
    }
    let operations: Vec<Operation<'_>> = methods(&block).map(operation).collect::<Result<_>>()?;
    let entity = &*block.self_ty;
    let proxies = operations.iter().map(proxy);
    let arms = operations.iter().map(arm);
    let readers = operations.iter().filter(|operation| operation.only_reads).map(|operation| &operation.name);
    let time_max = options.time_max.map(|(_, ms)| {
        quote! {
            const TIME_MAX: ::core::option::Option<::core::time::Duration> =
                ::core::option::Option::Some(::core::time::Duration::from_millis(#ms));
        }
    });
    let about = format!("The operations of [`{ident}`].");
    Ok(quote! {
        #block

        const _: () = {
            #[doc = #about]
            pub struct Operations<D>(D);

            #[allow(dead_code)]
            impl<D: ::perdura::Door> Operations<D> {
                #(#proxies)*
            }

            impl ::perdura::Entity for #entity {
                const NAME: &'static str = #name;
                #time_max
                type Operations<D: ::perdura::Door> = Operations<D>;

                fn operations<D: ::perdura::Door>(door: D) -> Operations<D> {
                    Operations(door)
                }

                async fn dispatch(
                    &mut self,
                    ctx: ::perdura::EntityContext,
                    operation: &str,
                    input: ::core::option::Option<::perdura::Bytes>,
                ) -> ::core::option::Option<::perdura::Result<::core::option::Option<::perdura::Bytes>>> {
                    let (_, _) = (&ctx, &input);
                    match operation {
                        #(#arms)*
                        _ => ::core::option::Option::None,
                    }
                }

                fn only_reads(operation: &str) -> bool {
                    const READERS: &[&str] = &[#(#readers),*];
                    READERS.contains(&operation)
                }
            }
        };
    })
}

/// Public methods with `self` are operations; others are helpers.
fn methods(block: &ItemImpl) -> impl Iterator<Item = &ImplItemFn> {
    block.items.iter().filter_map(|item| match item {
        ImplItem::Fn(method)
            if method.sig.receiver().is_some() && !matches!(method.vis, Visibility::Inherited) =>
        {
            Some(method)
        }
        _ => None,
    })
}

fn operation(method: &ImplItemFn) -> Result<Operation<'_>> {
    let signature = &method.sig;
    let Some(ReceiverKind::Reference(_, _, mutable)) = signature.receiver().map(|receiver| &receiver.kind)
    else {
        return Err(Error::new(
            signature.span(),
            "an operation takes `&mut self`, or `&self` if it only reads",
        ));
    };
    if !signature.generics.params.is_empty() {
        return Err(Error::new(signature.generics.span(), "an operation cannot be generic"));
    }
    let typed: Vec<_> = signature
        .inputs
        .iter()
        .filter_map(|argument| match argument {
            FnArg::Typed(typed) => Some(typed),
            FnArg::Receiver(_) => None,
        })
        .collect();
    let context = typed.first().is_some_and(|first| is_context(&first.ty));
    let inputs = &typed[usize::from(context)..];
    if let Some(second) = inputs.get(1) {
        let text = "an operation takes one input: put several values into a struct or a tuple";
        return Err(Error::new(second.span(), text));
    }
    let ReturnType::Type(_, output) = &signature.output else {
        return Err(Error::new(signature.ident.span(), "an operation returns a `Result`"));
    };
    let plain = signature.ident.to_string();
    Ok(Operation {
        method,
        name: plain.trim_start_matches("r#").to_owned(),
        only_reads: mutable.is_none(),
        is_async: signature.asyncness.is_some(),
        context,
        input: inputs.first().map(|input| &*input.ty),
        output,
    })
}

fn is_context(ty: &Type) -> bool {
    match ty {
        Type::Path(path) => path.path.segments.last().is_some_and(|last| last.ident == "EntityContext"),
        _ => false,
    }
}

/// The method of the proxy that sends the operation.
fn proxy(operation: &Operation<'_>) -> TokenStream {
    let Operation { method, name, output, .. } = operation;
    let ident = &method.sig.ident;
    let docs = method.attrs.iter().filter(|attribute| attribute.path().is_ident("doc"));
    let parameter = operation.input.map(|ty| quote!(input: #ty));
    let value = if operation.input.is_some() { quote!(input) } else { quote!(()) };
    quote! {
        #(#docs)*
        pub fn #ident(
            &self, #parameter
        ) -> D::Out<<#output as ::perdura::macro_support::Outcome>::Value> {
            self.0.send(#name, ::perdura::ToPayload::to_payload(&#value))
        }
    }
}

/// The arm that runs the operation.
fn arm(operation: &Operation<'_>) -> TokenStream {
    let Operation { method, name, .. } = operation;
    let ident = &method.sig.ident;
    let context = operation.context.then(|| quote!(ctx,));
    let input = operation.input.map(|_| quote!(input));
    let wait = operation.is_async.then(|| quote!(.await));
    let ty = operation.input.map_or_else(|| quote!(()), |ty| quote!(#ty));
    quote! {
        #name => ::core::option::Option::Some({
            match ::perdura::macro_support::read_input::<#ty>(#name, input) {
                ::core::result::Result::Ok(input) => {
                    let _ = &input;
                    let output = self.#ident(#context #input)#wait;
                    ::perdura::macro_support::Outcome::into_result(output)
                        .and_then(|output| ::perdura::ToPayload::to_payload(&output))
                }
                ::core::result::Result::Err(error) => ::core::result::Result::Err(error),
            }
        }),
    }
}
