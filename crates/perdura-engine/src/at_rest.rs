//! A request to a hub that no engine serves: it is decided and written without running any code. What follows from it (a
//! turn, an activity, the rewind of a child elsewhere) happens when an engine is started.

use crate::error::EngineError;
use crate::processor::random;
use perdura_core::Limits;
use perdura_core::partition::{Effect, Need, Partition, PartitionConfig, ReplyToken, Request, Response};
use perdura_core::rewind::assemble;
use perdura_store::{CommitOutcome, Lookup, Store, StoreError, read_history};

const TOKEN: ReplyToken = ReplyToken(1);

/// Makes a request to a hub that is at rest, and gives the answer when it is durable. A wait is answered only if the
/// instance has ended. An engine that serves the hub at the same time loses the partition and loads it again.
pub(crate) async fn ask_at_rest(store: &dyn Store, request: Request) -> Result<Response, EngineError> {
    let id = request.id().partition(store.partitions());
    let grant = store.acquire(id, random()?).await?;
    let mut partition = Partition::new(PartitionConfig {
        id,
        partitions: store.partitions(),
        next_key: grant.next_key,
        next_envelope: grant.next_envelope,
        seed: random()?,
        limits: Limits::default(),
        deliveries: Default::default(),
        bug: None,
    });
    partition.hand_out_no_operations();
    partition.request(TOKEN, request, store.now());
    let mut answer = None;
    loop {
        let needs = partition.needs();
        let is_idle = needs.is_empty();
        for need in needs {
            read(store, &mut partition, need).await?;
        }
        let damaged = |what| EngineError::Damaged { id: "?".into(), what };
        let (batch, mut effects) = partition.seal().map_err(damaged)?;
        let is_done = is_idle && batch.is_none() && effects.is_empty();
        if let Some(batch) = batch {
            match store.commit(&grant, batch).await {
                CommitOutcome::Committed => effects.extend(partition.committed()),
                CommitOutcome::Unknown(why) => return Err(EngineError::OutcomeUnknown { why }),
                other => return Err(EngineError::Unavailable { why: format!("{other:?}") }),
            }
        }
        for effect in effects {
            if let Effect::Reply(TOKEN, reply) = effect {
                answer = Some(reply);
            }
        }
        if is_done {
            let no_answer =
                || EngineError::Unavailable { why: "nothing answers until an engine runs".into() };
            return Ok(answer.ok_or_else(no_answer)??);
        }
    }
}

async fn read(store: &dyn Store, partition: &mut Partition, need: Need) -> Result<(), StoreError> {
    let now = store.now();
    match need {
        Need::FindId(id) => {
            let row = store.find(vec![Lookup::Id(id.clone())]).await?.pop().flatten();
            partition.found_id(&id, row, now);
        }
        Need::FindKey(key) => {
            let row = store.find(vec![Lookup::Key(key)]).await?.pop().flatten();
            partition.found_key(key, row, now);
        }
        Need::History { key, generation, branch, parts } => {
            let of = (key, generation, branch);
            match read_history(store, key, generation, &parts).await {
                Ok(rows) => match assemble(&rows) {
                    Ok(events) => {
                        let turn = partition.history_read(of, &events, now);
                        debug_assert!(turn.is_none(), "no turn was begun");
                    }
                    Err(damage) => partition.history_damaged(of, &damage.to_string(), now),
                },
                Err(StoreError::Damaged { what, .. }) => partition.history_damaged(of, &what, now),
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}
