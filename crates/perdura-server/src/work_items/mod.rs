//! Work items: what waits for a worker, who may have it, and what comes back.

mod board;
mod credit;
mod dispatcher;
mod filter;
mod late;
mod stream;
mod suspects;
mod token;
mod work;

pub(crate) use board::{Attempt, Board, Ending, NotTaken};
pub(crate) use credit::Credits;
pub(crate) use dispatcher::ItemId;
pub(crate) use dispatcher::WorkerId;
use dispatcher::{Dispatcher, Route};
pub(crate) use filter::Filters;
pub(crate) use stream::{Profile, WorkItemStream, operations_bytes_max};
pub(crate) use token::Token;
pub(crate) use work::{EntityWork, OrchestrationWork, Warm};

/// The kinds of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Orchestration = 0,
    Activity = 1,
    Entity = 2,
}
