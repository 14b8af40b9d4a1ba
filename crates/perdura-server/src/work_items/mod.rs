//! Work items: what waits for a worker, who may have it, and what comes back.

mod credit;
mod dispatcher;
mod filter;
mod token;

pub(crate) use credit::Credits;
pub(crate) use dispatcher::{Dispatcher, ItemId, Route, WorkerId};
pub(crate) use filter::Filters;
pub(crate) use token::Token;

/// The kinds of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Orchestration = 0,
    Activity = 1,
    Entity = 2,
}
