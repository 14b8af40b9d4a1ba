//! Shopping cart: an entity that reminds its customer of what is in it, by a signal to itself that comes later.
//!
//! Run it with `cargo run -p perdura-examples --bin shopping_cart`.

use perdura::prelude::*;
use perdura::{InstanceQuery, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// A customer who does nothing for so long is reminded. A day, in a shop.
pub const PATIENCE: Duration = Duration::from_millis(300);

/// What a customer wants. The key is the customer.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cart {
    items: BTreeMap<String, u32>,
    /// In ms since 1970.
    changed_at: i64,
}

#[entity]
impl Cart {
    /// Puts something in, and asks itself for a reminder.
    pub fn put(&mut self, ctx: EntityContext, (item, pieces): (String, u32)) -> Result<()> {
        *self.items.entry(item).or_default() += pieces;
        self.changed_at = ctx.now().0;
        // It leaves with the new state: no cart without its reminder, no reminder without its cart.
        ctx.signal_at::<Cart>(ctx.key(), ctx.now().after(PATIENCE)).remind()
    }

    /// Reminds the customer, unless something was put in since this was asked for.
    pub fn remind(&mut self, ctx: EntityContext) -> Result<()> {
        if self.items.is_empty() {
            // It was bought. A cart that has no state either does not exist any more.
            ctx.delete_state();
        } else if ctx.now() >= Timestamp(self.changed_at).after(PATIENCE) {
            // An operation only decides. What is done to the world is done by an orchestration, with its retries.
            let (id, items) =
                (format!("reminder-{}-{}", ctx.key(), self.changed_at), self.items.keys().cloned());
            return ctx.start(reminder, &id, (ctx.key().to_owned(), items.collect()));
        }
        Ok(())
    }

    /// Gives what is in it and empties it.
    pub fn check_out(&mut self, ctx: EntityContext) -> Result<Vec<String>> {
        if self.items.is_empty() {
            return Err(Error::new("EmptyCart", "there is nothing in it"));
        }
        ctx.delete_state();
        Ok(std::mem::take(&mut self.items).into_keys().collect())
    }
}

/// Writes to the customer.
#[activity]
pub async fn write(mail: String) -> Result<()> {
    println!("{mail}");
    Ok(())
}

/// Sends the reminder.
#[orchestration]
pub async fn reminder(ctx: Orchestration, (customer, items): (String, Vec<String>)) -> Result<()> {
    let mail = format!("to {customer}: do you still want {}?", items.join(" and "));
    ctx.call(write, mail).retry(Retry::attempts(10)).await
}

/// Buys what is in the cart.
#[orchestration]
pub async fn purchase(ctx: Orchestration, customer: String) -> Result<()> {
    let items = ctx.entity::<Cart>(&customer).check_out().await?;
    ctx.call(write, format!("to {customer}: {} on the way", items.join(" and "))).await
}

#[tokio::main]
async fn main() -> Result<()> {
    let engine = Engine::sqlite("shopping_cart.db").entity::<Cart>().register(write);
    let engine = engine.register(reminder).register(purchase).start().await?;
    engine.signal::<Cart>("ada").put(("a boat".into(), 1)).await?;
    tokio::time::sleep(PATIENCE / 2).await;
    // The first reminder finds that something has happened since.
    engine.signal::<Cart>("ada").put(("an oar".into(), 2)).await?;
    wait_for_reminder(&engine).await?;
    engine.run(purchase, "ada".into()).await?;
    let again = engine.run(purchase, "ada".into()).await.expect_err("it is empty");
    println!("{}", again.failure().expect("it ran"));
    engine.shutdown().await;
    Ok(())
}

/// Waits until a reminder was sent, and removes it.
async fn wait_for_reminder(engine: &Engine) -> Result<()> {
    let query = || InstanceQuery { name: Some("reminder".into()), ..InstanceQuery::default() };
    loop {
        if let Some(found) = engine.list(query(), 1).await?.pop() {
            let sent = engine.instance(found.id().as_str());
            sent.wait::<()>().await?;
            sent.purge().await?;
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
