//! The attributes `#[orchestration]`, `#[activity]` and `#[entity]`. They are thin: each turns an async function into a zero-sized
//! item of the same name that carries the function's durable name and its types.

mod entity;
mod expand;
mod options;
mod signature;

use proc_macro::TokenStream;
use signature::Kind;

/// Makes an orchestration of an async function. Documented at `perdura::orchestration`.
#[proc_macro_attribute]
pub fn orchestration(options: TokenStream, item: TokenStream) -> TokenStream {
    expand::attribute(Kind::Orchestration, options.into(), item.into()).into()
}

/// Makes an activity of an async function. Documented at `perdura::activity`.
#[proc_macro_attribute]
pub fn activity(options: TokenStream, item: TokenStream) -> TokenStream {
    expand::attribute(Kind::Activity, options.into(), item.into()).into()
}

/// Makes an entity of a type. Documented at `perdura::entity`.
#[proc_macro_attribute]
pub fn entity(options: TokenStream, item: TokenStream) -> TokenStream {
    entity::attribute(options.into(), item.into()).into()
}
