//! Activities whose writes are committed together with their completion.

use super::{ActivityContext, ActivityFn};
use crate::error::Result;
use crate::payload::{ToPayload, read};
use bytes::Bytes;
use perdura_core::Failure;
use perdura_core::failure::kind;
use perdura_engine::ActivityEnd;
use perdura_sqlite::Transaction;
use perdura_store::Work;

/// An activity that writes in the transaction of its completion. Made by
/// [`#[activity(transactional)]`](crate::activity).
pub trait TransactionalFn: ActivityFn {
    /// Runs one attempt. It may run again before one of them is committed.
    fn write(ctx: ActivityContext, transaction: &Transaction<'_>, input: Self::Input)
    -> Result<Self::Output>;
}

/// What the engine is told of an attempt: what it shall run when it commits.
pub(crate) fn in_transaction<A: TransactionalFn>(ctx: ActivityContext, input: Option<Bytes>) -> ActivityEnd {
    ActivityEnd::Transaction(Work::new(move |given| {
        let Some(transaction) = Transaction::of(given) else {
            let text =
                "a transactional activity writes to the file of an SQLite hub, and the hub is not in one";
            return Err(Failure::new(kind::INVALID, text).non_retryable());
        };
        let written = read(input.clone(), || format!("input of activity {:?}", ctx.name()))
            .and_then(|input| A::write(ctx.clone(), &transaction, input)?.to_payload());
        written.map_err(Failure::from)
    }))
}
