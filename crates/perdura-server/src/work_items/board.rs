//! The board of a hub: work is pinned to it, workers take it off and bring back what came of it.

mod drain;

pub(crate) use drain::Ending;

use super::late::{LateResults, Lost, TaskName};
use super::stream::Profile;
use super::work::{ActivityWork, EntityWork, OrchestrationWork, Work};
use super::{Credits, Dispatcher, Filters, ItemId, Kind, Route, Token, WorkerId};
use perdura_core::InstanceId;
use perdura_core::entity::OperationBatch;
use perdura_core::why::Line;
use perdura_engine::{ActivityEnd, ActivityTask, BatchEnd, Workers};
use rustc_hash::{FxHashMap, FxHashSet};
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::time::Instant;
use tokio::sync::{Notify, oneshot};
use tokio_util::sync::CancellationToken;

/// See the module.
pub(crate) struct Board {
    state: Mutex<State>,
    /// Rings when an item was answered.
    answered: Notify,
    /// Answers that are under way, from when they come until they are recorded.
    brought: AtomicUsize,
    /// Nothing that was given out is waited for any more.
    over: CancellationToken,
}

struct State {
    dispatcher: Dispatcher<Work>,
    /// What a worker's stream waits with.
    wakers: FxHashMap<WorkerId, Waker>,
    /// Workers that say who they are.
    names: FxHashMap<String, WorkerId>,
    /// Old SDKs answer without a token.
    turns: FxHashMap<InstanceId, ItemId>,
    tasks: FxHashMap<(InstanceId, u32), ItemId>,
    late: LateResults,
    /// Rings when the time that the clock waits for has changed.
    due: Arc<Notify>,
    told: Option<Instant>,
    /// No work is given out any more.
    ending: Option<Ending>,
}

impl State {
    /// To be called after whatever changes who waits.
    fn wake_called(&mut self) {
        let next = self.dispatcher.next_due();
        if std::mem::replace(&mut self.told, next) != next {
            self.due.notify_one();
        }
        for worker in self.dispatcher.take_called() {
            if let Some(waker) = self.wakers.remove(&worker) {
                waker.wake();
            }
        }
    }

    /// Takes an item off the board.
    fn remove(&mut self, id: ItemId) -> Option<Work> {
        let work = self.dispatcher.remove(id)?;
        match &work {
            Work::Orchestration(turn) => {
                if self.turns.get(&turn.turn.id) == Some(&id) {
                    self.turns.remove(&turn.turn.id);
                }
            }
            // Workers always answer these with a token.
            Work::Entity(_) => {}
            Work::Activity(activity) => {
                let key = (activity.task.instance.clone(), activity.task.task);
                if self.tasks.get(&key) == Some(&id) {
                    self.tasks.remove(&key);
                }
            }
        }
        self.wake_called();
        Some(work)
    }
}

impl Workers for Board {
    fn line(&self, instance: &InstanceId, work: perdura_core::why::Work) -> Option<Line> {
        use perdura_core::why::Work;
        let state = self.state();
        let item = match work {
            Work::Turn => state.turns.get(instance),
            Work::Activity(task) => state.tasks.get(&(instance.clone(), task)),
        };
        state.dispatcher.line(*item?)
    }
}

/// What a worker finds when it asks.
pub(crate) enum Offer {
    Work(ItemId, Work),
    /// Nothing, for it leaves.
    Left,
    /// Nothing any more.
    Ending(Ending),
}

/// Why the end of an activity is not taken.
pub(crate) enum NotTaken {
    /// Nobody waits for it.
    Unwanted,
    /// The token is that of another activity: this one.
    Misnamed { instance: InstanceId, task: u32 },
}

/// An attempt of an activity, for a worker that says it runs it.
pub(crate) enum Attempt {
    /// Its end is waited for.
    Awaited(Arc<ActivityWork>),
    /// Its worker was taken for lost, but its result may still count.
    Late,
    /// Nobody waits for it.
    Unwanted,
}

impl Board {
    pub(crate) fn new() -> Arc<Board> {
        let state = State {
            dispatcher: Dispatcher::new(Instant::now()),
            wakers: FxHashMap::default(),
            names: FxHashMap::default(),
            turns: FxHashMap::default(),
            tasks: FxHashMap::default(),
            late: LateResults::default(),
            due: Arc::default(),
            told: None,
            ending: None,
        };
        let over = CancellationToken::new();
        let (answered, brought) = (Notify::new(), AtomicUsize::new(0));
        Arc::new(Board { state: Mutex::new(state), answered, brought, over })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.dispatcher.at(Instant::now());
        state
    }

    /// Puts items that wait for a time back in line when it has come. Runs as long as the hub.
    pub(crate) async fn run_clock(&self) {
        let due = self.state().due.clone();
        loop {
            let next = self.state().dispatcher.next_due();
            match next {
                None => due.notified().await,
                Some(at) => tokio::select! {
                    () = tokio::time::sleep_until(at.into()) => {}
                    () = due.notified() => {}
                },
            }
            let mut state = self.state();
            state.dispatcher.release_due();
            state.wake_called();
        }
    }

    /// Pins up a turn, for `only` one worker if it leaves its history out; `None` if that one is gone.
    pub(crate) fn submit_turn(&self, turn: OrchestrationWork, only: Option<WorkerId>) -> Option<ItemId> {
        let mut route = Route::new(Kind::Orchestration, &turn.turn.name, &turn.turn.version);
        route.only = only;
        let instance = turn.turn.id.clone();
        let mut state = self.state();
        if only.is_some_and(|only| !state.dispatcher.is_there(only)) {
            return None;
        }
        let lost = turn.turn.lost;
        let id = state.dispatcher.submit(route, Work::Orchestration(Arc::new(turn)), lost);
        state.turns.insert(instance, id);
        state.wake_called();
        Some(id)
    }

    /// Pins up an attempt of an activity. Its end comes at once if a worker that was taken for lost has finished it.
    pub(crate) fn submit_activity(
        &self,
        task: ActivityTask,
    ) -> Result<(ItemId, oneshot::Receiver<ActivityEnd>), ActivityEnd> {
        let mut state = self.state();
        if state.ending.is_some() {
            return Err(ActivityEnd::NotStarted);
        }
        let name = TaskName::of(&task);
        if task.hand_over.is_none()
            && let Some(end) = state.late.take_result(&name)
        {
            state.late.over(&name);
            return Err(end);
        }
        let (work, end) = ActivityWork::new(task);
        let route = Route::new(Kind::Activity, &work.task.name, work.version());
        let lost = work.task.lost;
        let id = state.dispatcher.submit(route, Work::Activity(Arc::new(work)), lost);
        state.tasks.insert(name.in_instance(), id);
        state.wake_called();
        Ok((id, end))
    }

    /// Pins up operations of an entity. An end at once if no work is given out any more.
    pub(crate) fn submit_batch(
        &self,
        batch: OperationBatch,
    ) -> Result<(ItemId, Arc<EntityWork>, oneshot::Receiver<BatchEnd>), BatchEnd> {
        let mut state = self.state();
        if state.ending.is_some() {
            return Err(drain::closing());
        }
        // Filters are in lower case: the SDKs write all names of entities so, and a Rust program as its code does.
        let route = Route::new(Kind::Entity, &batch.id.name().to_lowercase(), "");
        let lost = batch.lost;
        let (work, end) = EntityWork::new(batch);
        let work = Arc::new(work);
        let id = state.dispatcher.submit(route, Work::Entity(work.clone()), lost);
        state.wake_called();
        Ok((id, work, end))
    }

    /// The operations that were handed over with this token.
    pub(crate) fn find_batch(&self, token: &str) -> Option<(ItemId, Arc<EntityWork>)> {
        let state = self.state();
        match state.dispatcher.find(Token::parse(token)?)? {
            (id, Work::Entity(entity)) => Some((id, entity.clone())),
            _ => None,
        }
    }

    /// Nobody wants the item any more, or it is done.
    pub(crate) fn remove(&self, id: ItemId) -> Option<Work> {
        let mut state = self.state();
        let work = state.remove(id);
        if let Some(Work::Activity(activity)) = &work {
            state.late.over(&TaskName::of(&activity.task));
        }
        drop(state);
        self.answered.notify_waiters();
        work
    }

    /// The item was not done and goes to somebody else, or to the same worker a little later.
    pub(crate) fn refuse(&self, id: ItemId) {
        let mut state = self.state();
        if let Some(Work::Entity(entity)) = state.dispatcher.work(id) {
            entity.is_given(false);
        }
        state.dispatcher.put_back(id);
        state.wake_called();
        self.answered.notify_waiters();
    }

    /// As [`refuse`](Self::refuse), if the worker with this token has the item now: what another one has meanwhile stays there.
    pub(crate) fn refuse_of(&self, token: Token) {
        let held = self.state().dispatcher.find_held(token).map(|(id, _)| id);
        if let Some(id) = held {
            self.refuse(id);
        }
    }

    /// Only workers that fetch histories can have this item. False if there is none.
    pub(crate) fn leave_to_streaming(&self, id: ItemId) -> bool {
        let mut state = self.state();
        let Some(mut route) = state.dispatcher.route(id).cloned() else { return true };
        route.streamed = true;
        if !state.dispatcher.is_served(&route) {
            return false;
        }
        state.dispatcher.reroute(id, |route| route.streamed = true);
        state.wake_called();
        true
    }

    /// A worker that takes work from now on; its `name` is empty if it does not say who it is.
    pub(crate) fn connect(
        &self,
        filters: Filters,
        credits: Credits,
        profile: &Profile,
        name: String,
    ) -> WorkerId {
        let mut state = self.state();
        let id = state.dispatcher.connect(filters, credits, profile.streams_history);
        if !name.is_empty() {
            state.names.insert(name, id);
        }
        id
    }

    /// The worker with this name gets no more work. It keeps what it was given, and is not lost. False if there is none.
    pub(crate) fn leave(&self, name: &str) -> bool {
        let mut state = self.state();
        let Some(worker) = state.names.remove(name) else { return false };
        state.dispatcher.leave(worker);
        let not_given = state.dispatcher.not_given();
        for id in state.dispatcher.only_for(worker) {
            if not_given.contains(&id)
                && let Some(Work::Orchestration(turn)) = state.remove(id)
            {
                turn.unrun();
            }
        }
        if let Some(waker) = state.wakers.remove(&worker) {
            waker.wake();
        }
        state.wake_called();
        true
    }

    /// The next item for a worker.
    pub(crate) fn poll_take(&self, worker: WorkerId, token: Token, waker: &Waker) -> Poll<Offer> {
        let mut state = self.state();
        if let Some(ending) = state.ending {
            return Poll::Ready(Offer::Ending(ending));
        }
        let taken = state.dispatcher.take(worker, token);
        state.wake_called();
        match taken {
            Some((id, work)) => {
                match &work {
                    Work::Entity(entity) => entity.is_given(true),
                    Work::Activity(activity) => (activity.task.began)(),
                    Work::Orchestration(_) => {}
                }
                Poll::Ready(Offer::Work(id, work))
            }
            None => {
                state.wakers.insert(worker, waker.clone());
                if state.dispatcher.has_left(worker) { Poll::Ready(Offer::Left) } else { Poll::Pending }
            }
        }
    }

    /// The stream of a worker has ended. What it had goes to others, unless the whole server is about to end: then its
    /// results are waited for, but for what the worker cannot have begun.
    pub(crate) fn disconnect(&self, worker: WorkerId, unbegun: &FxHashSet<ItemId>) {
        let mut state = self.state();
        state.wakers.remove(&worker);
        state.names.retain(|_, id| *id != worker);
        let returned = state.dispatcher.disconnect(worker);
        if state.ending.is_some() {
            for id in returned.into_iter().filter(|id| unbegun.contains(id)) {
                if let Some(Work::Activity(activity)) = state.remove(id) {
                    activity.finish(ActivityEnd::NotStarted);
                }
            }
            drop(state);
            self.answered.notify_waiters();
            return;
        }
        let begun: Vec<ItemId> = returned.iter().copied().filter(|id| !unbegun.contains(id)).collect();
        let innocent = state.dispatcher.innocent(&begun);
        for id in state.dispatcher.only_for(worker) {
            let is_lost = returned.contains(&id) && !innocent.contains(&id);
            if let Some(Work::Orchestration(turn)) = state.remove(id) {
                if is_lost { turn.lost(true) } else { turn.unrun() }
            }
        }
        for id in returned {
            let Some((token, work)) = state.dispatcher.handed_over(id) else { continue };
            let is_counted = !innocent.contains(&id);
            match work.clone() {
                Work::Orchestration(turn) => {
                    turn.drop_parts(token);
                    if is_counted {
                        turn.lost(false);
                    }
                    state.dispatcher.put_back_lost(id, is_counted);
                }
                Work::Entity(entity) => {
                    state.remove(id);
                    let why = "the stream of the worker that ran them has ended".to_owned();
                    entity.finish(if is_counted { BatchEnd::Lost { why } } else { BatchEnd::LostBeside });
                }
                // The engine counts deliveries, so it hands the activity out again.
                Work::Activity(activity) => {
                    let task = &activity.task;
                    let lost = Lost { name: TaskName::of(task), hand_over: task.hand_over.clone() };
                    state.late.lost(token, lost);
                    state.remove(id);
                    let reason = "the stream of the worker that ran it has ended".to_owned();
                    activity.finish(match is_counted {
                        true => ActivityEnd::Lost { reason },
                        false => ActivityEnd::LostBeside { reason },
                    });
                }
            }
        }
        state.wake_called();
    }

    /// The turn that was handed over with this token, or without one the latest of the instance.
    pub(crate) fn find_turn(
        &self,
        token: &str,
        instance: &str,
    ) -> Option<(ItemId, Token, Arc<OrchestrationWork>)> {
        let state = self.state();
        if !token.is_empty() {
            let token = Token::parse(token)?;
            let (id, work) = state.dispatcher.find(token)?;
            return turn_of(work).map(|turn| (id, token, turn));
        }
        let id = *state.turns.get(&InstanceId::new(instance).ok()?)?;
        let (token, work) = state.dispatcher.handed_over(id)?;
        turn_of(work).map(|turn| (id, token, turn))
    }

    /// Ends the activity that was handed over with this token, or without one by instance and task. The end is recorded
    /// later.
    pub(crate) fn finish_activity(
        &self,
        token: &str,
        instance: &str,
        task: i32,
        end: ActivityEnd,
    ) -> Result<(), NotTaken> {
        let mut state = self.state();
        let is_it = |of: &InstanceId, number: u32| {
            let is_it = of.as_str() == instance && u32::try_from(task) == Ok(number);
            is_it.then_some(()).ok_or_else(|| NotTaken::Misnamed { instance: of.clone(), task: number })
        };
        let by_name = |state: &State, instance: &InstanceId, task: u32| {
            let id = *state.tasks.get(&(instance.clone(), task))?;
            state.dispatcher.handed_over(id).map(|_| id)
        };
        let id = if token.is_empty() {
            let (Ok(instance), Ok(task)) = (InstanceId::new(instance), u32::try_from(task)) else {
                return Err(NotTaken::Unwanted);
            };
            by_name(&state, &instance, task)
        } else {
            let token = Token::parse(token).ok_or(NotTaken::Unwanted)?;
            match state.dispatcher.find(token) {
                Some((id, Work::Activity(activity))) => {
                    is_it(&activity.task.instance, activity.task.task)?;
                    Some(id)
                }
                Some(_) => None,
                None => {
                    // A worker that was taken for lost has finished after all.
                    let lost = state.late.find_lost(token).ok_or(NotTaken::Unwanted)?;
                    is_it(&lost.name.instance, lost.name.task)?;
                    let Some(Lost { name, hand_over }) = state.late.take_lost(token) else {
                        return Err(NotTaken::Unwanted);
                    };
                    if let Some(hand_over) = hand_over {
                        return if hand_over.bring_late(end) { Ok(()) } else { Err(NotTaken::Unwanted) };
                    }
                    let present = state.tasks.get(&name.in_instance()).copied();
                    let present = present.filter(|id| {
                        let is_same = |work: &Work| {
                            matches!(work, Work::Activity(activity)
                            if activity.task.hand_over.is_none() && TaskName::of(&activity.task) == name)
                        };
                        state.dispatcher.work(*id).is_some_and(is_same)
                    });
                    if present.is_none() {
                        // The engine is about to hand it out again.
                        state.late.keep_result(name, end);
                        return Ok(());
                    }
                    present
                }
            }
        };
        let Some(Work::Activity(activity)) = id.and_then(|id| state.remove(id)) else {
            return Err(NotTaken::Unwanted);
        };
        state.late.over(&TaskName::of(&activity.task));
        drop(state);
        activity.finish(end);
        self.answered.notify_waiters();
        Ok(())
    }

    /// How an attempt stands that a worker says it runs.
    pub(crate) fn attended(&self, token: &str) -> Attempt {
        let state = self.state();
        let Some(token) = Token::parse(token) else { return Attempt::Unwanted };
        match state.dispatcher.find_held(token) {
            Some((_, Work::Activity(activity))) => Attempt::Awaited(activity.clone()),
            _ if state.late.may_come(token) => Attempt::Late,
            _ => Attempt::Unwanted,
        }
    }

    /// Ends with the board.
    pub(crate) fn over(&self) -> &CancellationToken {
        &self.over
    }

    /// A worker gives an item of this kind back. False if it does not hold it.
    pub(crate) fn abandon(&self, token: &str, kind: Kind) -> bool {
        let mut state = self.state();
        let Some(token) = Token::parse(token) else { return false };
        let Some((id, work)) = state.dispatcher.find_held(token) else { return false };
        if work.kind() != kind {
            return false;
        }
        match work {
            Work::Orchestration(turn) => turn.drop_parts(token),
            // Nobody knows whether the worker has begun with it: whoever has it next gets it under the next count, which
            // only the engine can raise.
            Work::Activity(activity) => {
                let activity = activity.clone();
                state.remove(id);
                let reason = "the worker that had it gave it back".to_owned();
                let is_precise = activity.task.hand_over.is_some();
                activity.finish(if is_precise {
                    ActivityEnd::Lost { reason }
                } else {
                    ActivityEnd::NotStarted
                });
                self.answered.notify_waiters();
                return true;
            }
            Work::Entity(entity) => entity.is_given(false),
        }
        state.dispatcher.put_back(id);
        state.wake_called();
        self.answered.notify_waiters();
        true
    }

    /// The turn of an instance that a worker holds now.
    pub(crate) fn held_turn(&self, instance: &str) -> Option<Arc<OrchestrationWork>> {
        self.find_turn("", instance).map(|(_, _, turn)| turn)
    }
}

fn turn_of(work: &Work) -> Option<Arc<OrchestrationWork>> {
    match work {
        Work::Orchestration(turn) => Some(turn.clone()),
        Work::Activity(_) | Work::Entity(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[test]
    fn a_shutdown_waits_for_answers_that_have_left_the_board_and_are_not_recorded() {
        let board = Board::new();
        let bringing = board.bringing();
        let mut all_answered = Box::pin(board.all_answered());
        assert_eq!((&mut all_answered).now_or_never(), None);
        drop(bringing);
        assert_eq!(all_answered.now_or_never(), Some(()));
    }
}
