//! The entities of the examples in virtual time.

use crate::bank_transfer::{Account, Transfer, audit, transfer};
use crate::counter::{Visits, report};
use crate::rate_limiter::{RateLimiter, crawl, fetch, polite_fetch};
use crate::shopping_cart::{Cart, PATIENCE, purchase, reminder, write};
use perdura::prelude::*;
use perdura::testing::TestRun;
use std::time::Duration;

#[orchestration]
async fn visits(ctx: Orchestration) -> Result<u64> {
    for page in ["/", "/", "/about"] {
        ctx.signal::<Visits>(page).add(1)?;
    }
    let refused = ctx.entity::<Visits>("/").add(u64::MAX).await.expect_err("two are there already");
    assert_eq!(refused.to_string(), "that is too many");
    ctx.sub_orchestration(report, vec!["/".into(), "/about".into(), "/none".into()]).await
}

#[tokio::test]
async fn a_counter_counts_each_signal_once_and_a_failed_operation_changes_nothing() {
    let end = TestRun::new(visits, ()).register(report).entity::<Visits>().run().await;
    assert_eq!(end.output().unwrap(), 3);
    assert_eq!(end.entity::<Visits>("/"), Some(Visits { count: 2 }));
}

#[orchestration]
async fn day_at_the_bank(ctx: Orchestration) -> Result<(Vec<String>, u64)> {
    ctx.signal::<Account>("a").open(100)?;
    ctx.signal::<Account>("b").open(50)?;
    let of = |from: &str, to: &str, cents| Transfer { from: from.into(), to: to.into(), cents };
    let wanted = [of("a", "b", 70), of("a", "b", 70), of("b", "a", 1), of("a", "nobody", 5), of("a", "a", 5)];
    let transfers = join_all(wanted.into_iter().map(|wanted| ctx.sub_orchestration(transfer, wanted)));
    let refused = transfers.await.into_iter().filter_map(Result::err).map(|error| error.kind().to_owned());
    Ok((refused.collect(), ctx.sub_orchestration(audit, vec!["a".into(), "b".into()]).await?))
}

#[tokio::test]
async fn a_transfer_moves_all_or_nothing_and_lets_go_of_both_accounts() {
    let run = TestRun::new(day_at_the_bank, ()).register(transfer).register(audit);
    let end = run.entity::<Account>().run().await;
    let refused = ["TooLittle", "NoAccount", "perdura.InvalidArgument"].map(str::to_owned).to_vec();
    assert_eq!(end.output().unwrap(), (refused, 150));
    assert_eq!(end.entity::<Account>("a"), Some(Account { cents: Some(31) }));
    assert_eq!(end.entity::<Account>("b"), Some(Account { cents: Some(119) }));
}

#[tokio::test]
async fn a_rate_limiter_lets_a_burst_through_and_then_one_after_each_pause() {
    let run = TestRun::new(crawl, 25).register(polite_fetch).register(fetch).entity::<RateLimiter>();
    let end = run.run().await;
    assert_eq!(end.output().unwrap(), (0..25).map(|page| page * page).sum::<u64>());
    // Five at once, then one each tenth of a second.
    assert_eq!(end.elapsed(), Duration::from_secs(2));
}

#[orchestration]
async fn forgetful(ctx: Orchestration, buys: bool) -> Result<()> {
    ctx.signal::<Cart>("ada").put(("a boat".into(), 1))?;
    ctx.timer(PATIENCE / 2).await?;
    ctx.signal::<Cart>("ada").put(("an oar".into(), 2))?;
    ctx.timer(PATIENCE * 3 / 4).await?;
    if buys {
        ctx.sub_orchestration(purchase, "ada".into()).await?;
    }
    ctx.timer(PATIENCE * 10).await?;
    Ok(())
}

#[tokio::test]
async fn a_cart_that_is_left_alone_reminds_its_customer_once() {
    let mails = std::rc::Rc::new(std::cell::RefCell::new(Vec::new()));
    let seen = mails.clone();
    let run = TestRun::new(forgetful, false).entity::<Cart>().register(reminder).register(purchase);
    let writes = move |mail| {
        seen.borrow_mut().push(mail);
        Ok(())
    };
    let end = run.mock(write, writes).run().await;
    end.output().unwrap();
    assert_eq!(*mails.borrow(), ["to ada: do you still want a boat and an oar?"]);
    assert!(end.entity::<Cart>("ada").is_some());
}

#[tokio::test]
async fn a_cart_that_was_bought_reminds_nobody_and_is_gone() {
    let mails = std::rc::Rc::new(std::cell::RefCell::new(Vec::new()));
    let seen = mails.clone();
    let run = TestRun::new(forgetful, true).entity::<Cart>().register(reminder).register(purchase);
    let writes = move |mail| {
        seen.borrow_mut().push(mail);
        Ok(())
    };
    let end = run.mock(write, writes).run().await;
    end.output().unwrap();
    assert_eq!(*mails.borrow(), ["to ada: a boat and an oar on the way"]);
    assert_eq!(end.entity::<Cart>("ada"), None);
}
