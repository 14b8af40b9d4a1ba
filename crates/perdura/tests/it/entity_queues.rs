//! What waits at an entity: reads side by side, and a queue that is full.

use perdura::prelude::*;
use perdura::{Engine, Limits};
use serde::{Deserialize, Serialize};
use std::time::Duration;

#[derive(Default, Serialize, Deserialize)]
struct Log {
    notes: Vec<i64>,
}

#[entity]
impl Log {
    pub fn note(&mut self, n: i64) -> Result<usize> {
        self.notes.push(n);
        Ok(self.notes.len())
    }

    pub fn fill(&mut self, _text: String) -> Result<()> {
        Ok(())
    }

    pub async fn count_slowly(&self) -> Result<usize> {
        tokio::time::sleep(Duration::from_millis(20)).await;
        Ok(self.notes.len())
    }

    pub async fn count_and_delete(&self, ctx: EntityContext) -> Result<usize> {
        ctx.delete_state();
        Ok(self.notes.len())
    }
}

#[orchestration]
async fn reads_and_deletes(ctx: Orchestration) -> Result<Vec<usize>> {
    let log = ctx.entity::<Log>("a");
    let calls = vec![
        log.note(5).start(),
        log.count_slowly().start(),
        log.count_and_delete().start(),
        log.note(1).start(),
    ];
    join_all(calls).await.into_iter().collect()
}

#[tokio::test]
async fn a_state_that_one_of_two_readers_deletes_is_gone_for_the_write_after_them() {
    let dir = tempfile::tempdir().unwrap();
    let builder = Engine::sqlite(dir.path().join("hub.db")).entity::<Log>().register(reads_and_deletes);
    let engine = builder.operation_time_max(Some(Duration::MAX)).start().await.unwrap();
    assert_eq!(engine.run(reads_and_deletes, ()).await.unwrap(), [1, 1, 1, 1]);
    assert_eq!(engine.entity::<Log>("a").read().await.unwrap().unwrap().notes, [1]);
    engine.shutdown().await;
}

#[orchestration]
async fn notes_one(ctx: Orchestration) -> Result<usize> {
    ctx.entity::<Log>("q").note(1).await
}

/// Holds the entity until told.
#[orchestration]
async fn holds(ctx: Orchestration, has_child: bool) -> Result<String> {
    let _held = ctx.lock([Log::at("q")]).await?;
    ctx.set_status("holds it")?;
    ctx.wait_event::<()>("go").await?;
    if has_child {
        let child = ctx.sub_orchestration(notes_one, ()).await;
        return Ok(child.unwrap_err().to_string());
    }
    ctx.entity::<Log>("q").note(99).await?;
    Ok(String::new())
}

#[orchestration]
async fn fills(ctx: Orchestration) -> Result<()> {
    for _ in 0..100 {
        ctx.signal::<Log>("q").fill("x".repeat(1000))?;
    }
    Ok(())
}

#[orchestration]
async fn signals_locks_and_calls(ctx: Orchestration) -> Result<usize> {
    ctx.set_status("has asked")?;
    ctx.signal::<Log>("q").note(1)?;
    let _held = ctx.lock([Log::at("q")]).await?;
    ctx.entity::<Log>("q").note(2).await
}

/// Calls the entity while its lock is asked for.
#[orchestration]
async fn asks_then_calls(ctx: Orchestration) -> Result<usize> {
    let lock = ctx.lock([Log::at("q")]).start();
    ctx.set_status("has asked")?;
    ctx.wait_event::<()>("call").await?;
    let call = ctx.entity::<Log>("q").note(7).start();
    ctx.set_status("has called")?;
    let _held = lock.await?;
    ctx.entity::<Log>("q").note(8).await?;
    call.await
}

/// An engine with an entity that `h` holds, and whose queue is full of signals.
async fn full_queue(dir: &tempfile::TempDir, has_child: bool) -> Engine {
    let builder = Engine::sqlite(dir.path().join("hub.db")).entity::<Log>().register(notes_one);
    let builder = builder.register(holds).register(fills).register(signals_locks_and_calls);
    let builder = builder.register(asks_then_calls);
    let limits = Limits { inbox_bytes_max: 20_000, ..Limits::default() };
    let engine = builder.limits(limits).start().await.unwrap();
    engine.start(holds, has_child).id("h").await.unwrap();
    says(&engine, "h", "holds it").await;
    engine.start(asks_then_calls, ()).id("w").await.unwrap();
    says(&engine, "w", "has asked").await;
    engine.run(fills, ()).await.unwrap();
    engine
}

async fn says(engine: &Engine, id: &str, status: &str) {
    let said = async || {
        engine
            .instance(id)
            .get()
            .await
            .unwrap()
            .and_then(|state| state.custom_status::<Option<String>>().unwrap())
    };
    while said().await.as_deref() != Some(status) {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn what_one_sender_asks_of_a_full_queue_comes_in_its_order() {
    let dir = tempfile::tempdir().unwrap();
    let engine = full_queue(&dir, false).await;
    engine.instance("w").terminate("not this time", true).await.unwrap();
    let why = engine.entity::<Log>("q").why().await.unwrap().unwrap();
    let why: Vec<String> = why.iter().map(ToString::to_string).collect();
    assert!(
        why.iter().any(|wait| wait.contains("room in its queue") && wait.contains("more at present")),
        "{why:?}"
    );
    engine.start(signals_locks_and_calls, ()).id("s").await.unwrap();
    says(&engine, "s", "has asked").await;
    engine.instance("h").raise("go", &()).await.unwrap();
    assert_eq!(engine.instance("s").wait::<usize>().await.unwrap(), 3);
    assert_eq!(engine.entity::<Log>("q").read().await.unwrap().unwrap().notes, [99, 1, 2]);
    engine.shutdown().await;
}

#[tokio::test]
async fn what_somebody_calls_while_its_lock_is_asked_for_waits_for_no_room_once_it_holds_the_lock() {
    let dir = tempfile::tempdir().unwrap();
    let engine = full_queue(&dir, false).await;
    engine.instance("w").raise("call", &()).await.unwrap();
    says(&engine, "w", "has called").await;
    engine.instance("h").raise("go", &()).await.unwrap();
    assert_eq!(engine.instance("w").wait::<usize>().await.unwrap(), 2);
    assert_eq!(engine.entity::<Log>("q").read().await.unwrap().unwrap().notes, [99, 7, 8]);
    engine.shutdown().await;
}

#[tokio::test]
async fn a_circle_over_a_full_queue_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let engine = full_queue(&dir, true).await;
    engine.instance("h").raise("go", &()).await.unwrap();
    let said = engine.instance("h").wait::<String>().await.unwrap();
    assert!(said.contains("they would wait for ever"), "{said}");
    engine.shutdown().await;
}
