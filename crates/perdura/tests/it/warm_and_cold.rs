use crate::desk::{Desk, completed, end};
use perdura::prelude::*;
use perdura::{Status, Timestamp};
use perdura_core::InstanceKey;
use perdura_core::history::{Event, TaskScheduled};
use perdura_core::orchestration::{Decision, Run, TurnOutcome};
use std::cell::Cell;

#[activity]
async fn add(pair: (u64, u64)) -> Result<u64> {
    Ok(pair.0 + pair.1)
}

thread_local!(static REPLAYED: Cell<u32> = const { Cell::new(0) });

#[orchestration]
async fn sum(ctx: Orchestration, n: u64) -> Result<u64> {
    let mut sum = 0;
    for i in 0..n {
        if ctx.is_replaying() {
            REPLAYED.set(REPLAYED.get() + 1);
        }
        sum = ctx.call(add, (sum, i)).await?;
        ctx.set_status(&sum)?;
    }
    Ok(sum)
}

fn desk() -> Desk {
    Desk::new(&Registry::new().register(sum).register(add), "sum")
}

#[test]
fn a_warm_execution_sees_only_what_is_new_and_a_cold_one_replays() {
    let mut desk = desk();
    desk.start(Some("4"));
    desk.run([completed(0, "0")]);
    assert_eq!(REPLAYED.take(), 0);
    desk.runner.forget(InstanceKey(7));
    let result = desk.run([completed(1, "1")]);
    assert_eq!(REPLAYED.take(), 2);
    let Decision::ScheduleTask(TaskScheduled { id, input, .. }) = &result.decisions[0] else { panic!() };
    assert_eq!((*id, input.as_deref()), (2, Some(&b"[1,2]"[..])));
    assert_eq!(result.custom_status, Some(Some("1".into())));
    desk.run([completed(2, "3")]);
    assert_eq!(REPLAYED.take(), 0);
    assert_eq!(end(&desk.run([completed(3, "6")])), (Status::Completed, Ok("6".into())));
}

#[test]
fn a_status_set_in_the_past_is_not_reported_again() {
    let mut desk = desk();
    desk.start(Some("4"));
    desk.run([completed(0, "5")]);
    desk.runner.forget(InstanceKey(7));
    assert_eq!(desk.run([completed(9, "0")]).custom_status, None);
}

#[test]
fn an_execution_at_another_place_of_its_history_is_not_used() {
    let mut desk = desk();
    desk.start(Some("4"));
    let mut turn = desk.turn([completed(0, "0")]);
    turn.branch = 1;
    assert_eq!(desk.runner.run(&turn, None), Run::NeedsHistory);
    // It was dropped, and the right turn now needs the history too.
    assert_eq!(desk.runner.run(&desk.turn([completed(0, "0")]), None), Run::NeedsHistory);
}

#[test]
fn a_history_that_the_code_does_not_follow_is_reported_with_its_place() {
    let mut desk = desk();
    desk.start(Some("4"));
    desk.runner.forget(InstanceKey(7));
    let other = TaskScheduled { name: "multiply".into(), ..Default::default() };
    desk.history[2] = Event::new(Timestamp(1000), other);
    let TurnOutcome::Diverged(mismatch) = desk.outcome([completed(0, "0")]) else { panic!() };
    assert_eq!(mismatch.event, 2);
    assert_eq!(mismatch.expected, "activity \"multiply\" (task 0)");
    assert_eq!(mismatch.actual, "activity \"add\" (task 0)");
}

struct Bomb(Orchestration, Option<perdura::WaitEvent<()>>);

impl Drop for Bomb {
    fn drop(&mut self) {
        // All of these borrow the state of the execution.
        let _ = (self.0.now(), self.0.new_uuid(), self.0.set_status("dropped"));
        drop(self.0.call(add, (1, 1)).start());
        self.1.take();
        panic!("in a destructor");
    }
}

#[orchestration]
async fn armed(ctx: Orchestration) -> Result<()> {
    let _bomb = Bomb(ctx.clone(), Some(ctx.wait_event("n").start()));
    join_all([ctx.wait_event::<()>("n"), ctx.wait_event::<()>("m")]).await;
    Ok(())
}

#[test]
fn destructors_may_use_the_context_and_even_panic() {
    let mut desk = Desk::new(&Registry::new().register(armed), "armed");
    desk.start(None);
    desk.runner.forget(InstanceKey(7));
    assert!(desk.run([]).decisions.is_empty());
}
