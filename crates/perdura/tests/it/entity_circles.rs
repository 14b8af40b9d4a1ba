//! Orchestrations that hold entities and wait for somebody who waits for these.

use perdura::Engine;
use perdura::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Default, Serialize, Deserialize)]
struct Account {
    balance: i64,
}

#[entity]
impl Account {
    pub fn deposit(&mut self, cents: i64) -> Result<i64> {
        self.balance += cents;
        Ok(self.balance)
    }
}

/// A parent that waits, inside of a critical section, for a child that calls an entity of the section.
#[tokio::test]
async fn a_child_that_calls_an_entity_that_its_parent_holds_hears_of_the_circle() {
    #[orchestration]
    async fn deposits(ctx: Orchestration) -> Result<i64> {
        ctx.entity::<Account>("a").deposit(1).await
    }
    #[orchestration]
    async fn locks(ctx: Orchestration) -> Result<()> {
        let _held = ctx.lock([Account::at("a")]).await?;
        Ok(())
    }
    #[orchestration]
    async fn holds_and_waits(ctx: Orchestration, locking: bool) -> Result<String> {
        let _held = ctx.lock([Account::at("a")]).await?;
        let ended = match locking {
            true => ctx.sub_orchestration(locks, ()).await,
            false => ctx.sub_orchestration(deposits, ()).await.map(drop),
        };
        ctx.entity::<Account>("a").deposit(5).await?;
        Ok(ended.unwrap_err().to_string())
    }
    let directory = tempfile::tempdir().unwrap();
    let builder = Engine::sqlite(directory.path().join("hub.db")).entity::<Account>();
    let engine = builder.register(deposits).register(locks).register(holds_and_waits).start().await.unwrap();
    for locking in [false, true] {
        let said = engine.run(holds_and_waits, locking).await.unwrap();
        assert!(said.contains("they would wait for ever"), "{said}");
    }
    assert_eq!(engine.entity::<Account>("a").read().await.unwrap().unwrap().balance, 10);
    engine.shutdown().await;
}

/// What a `select` leaves behind is waited for by nobody.
#[tokio::test]
async fn the_time_limit_of_something_that_is_over_does_not_hide_a_circle() {
    #[orchestration]
    async fn deposits(ctx: Orchestration) -> Result<i64> {
        ctx.entity::<Account>("a").deposit(1).await
    }
    #[orchestration]
    async fn quick(_ctx: Orchestration) -> Result<()> {
        Ok(())
    }
    #[orchestration]
    async fn holds_and_waits(ctx: Orchestration) -> Result<String> {
        let _held = ctx.lock([Account::at("a")]).await?;
        let limit = ctx.timer(std::time::Duration::from_secs(3600));
        let _ = select(ctx.sub_orchestration(quick, ()), limit).await;
        Ok(ctx.sub_orchestration(deposits, ()).await.unwrap_err().to_string())
    }
    let directory = tempfile::tempdir().unwrap();
    let builder = Engine::sqlite(directory.path().join("hub.db")).entity::<Account>();
    let engine = builder.register(deposits).register(quick).register(holds_and_waits).start().await.unwrap();
    let said = engine.run(holds_and_waits, ()).await.unwrap();
    assert!(said.contains("they would wait for ever"), "{said}");
    engine.shutdown().await;
}
