//! A thousand transfers at once, on a file.

use crate::bank_transfer::{Account, OPENED_WITH, accounts, audit, nth_transfer, transfer};
use perdura::{Engine, InstanceKind, InstanceQuery};
use tempfile::TempDir;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_thousand_transfers_at_once_none_changes_the_sum_and_no_lock_is_left() {
    let dir = TempDir::new().unwrap();
    let builder = Engine::sqlite(dir.path().join("hub.db")).entity::<Account>();
    let engine = builder.register(transfer).register(audit).start().await.unwrap();
    let accounts = accounts(20);
    for account in &accounts {
        engine.signal::<Account>(account).open(OPENED_WITH).await.unwrap();
    }
    let callers: Vec<_> = (0..1000)
        .map(|n| {
            let (client, transfer_of) = (engine.client(), nth_transfer(n, &accounts));
            tokio::spawn(async move { client.start(transfer, transfer_of).await.unwrap().wait().await })
        })
        .collect();
    let sum = OPENED_WITH * accounts.len() as u64;
    for _ in 0..5 {
        assert_eq!(engine.run(audit, accounts.clone()).await.unwrap(), sum);
    }
    let mut done = 0;
    for caller in callers {
        match caller.await.unwrap() {
            Ok(()) => done += 1,
            Err(error) => assert_eq!(error.failure().unwrap().kind, "TooLittle"),
        }
    }
    assert!(done > 500, "{done}");
    assert_eq!(engine.run(audit, accounts).await.unwrap(), sum);
    // A release is a message: it comes a moment after its sender has ended, but before the next holder.
    let all = InstanceQuery { kind: InstanceKind::Entity, ..InstanceQuery::default() };
    let is_held = |entity: &perdura::EntityState| entity.locked_by.is_some() || entity.backlog > 0;
    while engine.client().entities(all.clone(), 100, None).await.unwrap().entities.iter().any(is_held) {
        tokio::task::yield_now().await;
    }
    engine.shutdown().await;
}
