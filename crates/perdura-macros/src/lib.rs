//! The attributes `#[orchestration]` and `#[activity]`. They are thin: each turns an async function into a zero-sized
//! item of the same name that carries the function's durable name and its types.

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
