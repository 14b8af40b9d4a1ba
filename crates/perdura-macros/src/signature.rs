//! What the functions may look like, and what is said of those that do not.

use syn::spanned::Spanned;
use syn::{Error, FnArg, ItemFn, PatType, Result, ReturnType, Signature, Type};

/// Which attribute stands on the function.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Orchestration,
    Activity,
}

impl Kind {
    fn noun(self) -> &'static str {
        match self {
            Kind::Orchestration => "an orchestration",
            Kind::Activity => "an activity",
        }
    }

    /// The type of the context parameter.
    pub fn context(self) -> &'static str {
        match self {
            Kind::Orchestration => "Orchestration",
            Kind::Activity => "ActivityContext",
        }
    }
}

/// The parameters of a function that was found good.
pub struct Parameters<'a> {
    /// Whether the context comes first.
    pub context: bool,
    /// Whether a transaction comes next.
    pub transaction: bool,
    /// The type of the input; `None` if there is no input.
    pub input: Option<&'a Type>,
    pub output: &'a Type,
}

/// Checks the function and sorts its parameters.
pub fn parameters(kind: Kind, transactional: bool, function: &ItemFn) -> Result<Parameters<'_>> {
    let signature = &function.sig;
    let noun = kind.noun();
    if transactional {
        if let Some(asyncness) = &signature.asyncness {
            let text = "a transactional activity is a plain `fn`: the whole hub waits while it writes";
            return Err(Error::new(asyncness.span(), text));
        }
    } else if signature.asyncness.is_none() {
        return Err(Error::new(signature.fn_token.span(), format!("{noun} is an `async fn`")));
    }
    if !signature.generics.params.is_empty() {
        let text = format!("{noun} cannot be generic: its name stands for one function");
        return Err(Error::new(signature.generics.span(), text));
    }
    let typed = typed(kind, signature)?;
    let context = typed.first().is_some_and(|first| is_named(&first.ty, kind.context()));
    if kind == Kind::Orchestration && !context {
        let span = typed.first().map_or(signature.ident.span(), |first| first.ty.span());
        return Err(Error::new(span, "the first parameter of an orchestration is `ctx: Orchestration`"));
    }
    if transactional && !typed.get(usize::from(context)).is_some_and(|next| is_reference(&next.ty)) {
        let text =
            "a transactional activity takes `tx: &Transaction<'_>`, after the context if it takes that";
        return Err(Error::new(signature.ident.span(), text));
    }
    let inputs = &typed[usize::from(context) + usize::from(transactional)..];
    if let Some(second) = inputs.get(1) {
        let text = format!("{noun} takes one input: put several values into a struct or a tuple");
        return Err(Error::new(second.span(), text));
    }
    let ReturnType::Type(_, output) = &signature.output else {
        return Err(Error::new(signature.ident.span(), format!("{noun} returns a `Result`")));
    };
    Ok(Parameters {
        context,
        transaction: transactional,
        input: inputs.first().map(|input| &*input.ty),
        output,
    })
}

fn typed<'a>(kind: Kind, signature: &'a Signature) -> Result<Vec<&'a PatType>> {
    let typed = |argument: &'a FnArg| match argument {
        FnArg::Typed(typed) => Ok(typed),
        FnArg::Receiver(receiver) => {
            let text = format!("{} is a free function, without `self`", kind.noun());
            Err(Error::new(receiver.span(), text))
        }
    };
    signature.inputs.iter().map(typed).collect()
}

fn is_reference(ty: &Type) -> bool {
    matches!(ty, Type::Reference(to) if to.mutability.is_none() && is_named(&to.elem, "Transaction"))
}

/// Whether the last part of a path type is `name`.
fn is_named(ty: &Type, name: &str) -> bool {
    match ty {
        Type::Path(path) => path.path.segments.last().is_some_and(|last| last.ident == name),
        _ => false,
    }
}
