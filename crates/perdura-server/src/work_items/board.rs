//! The board of a hub: work is pinned to it, workers take it off and bring back what came of it.

use super::late::{LateResults, Lost};
use super::stream::Profile;
use super::work::{ActivityWork, EntityWork, OrchestrationWork, Work};
use super::{Credits, Dispatcher, Filters, ItemId, Kind, Route, Token, WorkerId};
use perdura_core::InstanceId;
use perdura_core::entity::OperationBatch;
use perdura_core::why::Line;
use perdura_engine::{ActivityEnd, ActivityTask, BatchEnd, Workers};
use rustc_hash::FxHashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::time::Instant;
use tokio::sync::{Notify, oneshot};
use tokio_util::sync::CancellationToken;

/// See the module.
pub(crate) struct Board {
    state: Mutex<State>,
    /// Rings when an item waits for a time.
    due: Notify,
    /// Rings when an item was answered.
    answered: Notify,
    /// Nothing that was given out is waited for any more.
    over: CancellationToken,
}

struct State {
    dispatcher: Dispatcher<Work>,
    /// What a worker's stream waits with.
    wakers: FxHashMap<WorkerId, Waker>,
    /// Old SDKs answer without a token.
    turns: FxHashMap<InstanceId, ItemId>,
    tasks: FxHashMap<(InstanceId, u32), ItemId>,
    late: LateResults,
    draining: bool,
}

impl State {
    fn wake_called(&mut self) {
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
    Closing,
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
            dispatcher: Dispatcher::new(),
            wakers: FxHashMap::default(),
            turns: FxHashMap::default(),
            tasks: FxHashMap::default(),
            late: LateResults::default(),
            draining: false,
        };
        let over = CancellationToken::new();
        Arc::new(Board { state: Mutex::new(state), due: Notify::new(), answered: Notify::new(), over })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts items that wait for a time back in line when it has come. Runs as long as the hub.
    pub(crate) async fn run_clock(&self) {
        loop {
            let next = self.state().dispatcher.next_due();
            match next {
                None => self.due.notified().await,
                Some(at) => tokio::select! {
                    () = tokio::time::sleep_until(at.into()) => {}
                    () = self.due.notified() => {}
                },
            }
            let mut state = self.state();
            state.dispatcher.release_due(Instant::now());
            state.wake_called();
        }
    }

    /// Pins up a turn, for `only` one worker if it leaves its history out; `None` if that one is gone.
    pub(crate) fn submit_turn(&self, turn: OrchestrationWork, only: Option<WorkerId>) -> Option<ItemId> {
        let mut route = Route::new(Kind::Orchestration, &turn.turn.name, &turn.turn.version);
        route.only = only;
        let instance = turn.turn.id.clone();
        let mut state = self.state();
        if only.is_some_and(|only| !state.dispatcher.is_connected(only)) {
            return None;
        }
        let id = state.dispatcher.submit(route, Work::Orchestration(Arc::new(turn)));
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
        if state.draining {
            return Err(ActivityEnd::NotStarted);
        }
        let name = (task.instance.clone(), task.execution, task.task);
        if task.hand_over.is_none()
            && let Some(end) = state.late.take_result(&name)
        {
            return Err(end);
        }
        let (work, end) = ActivityWork::new(task);
        let route = Route::new(Kind::Activity, &work.task.name, work.version());
        let id = state.dispatcher.submit(route, Work::Activity(Arc::new(work)));
        state.tasks.insert((name.0, name.2), id);
        state.wake_called();
        Ok((id, end))
    }

    /// Pins up operations of an entity. An end at once if no work is given out any more.
    pub(crate) fn submit_batch(
        &self,
        batch: OperationBatch,
    ) -> Result<(ItemId, Arc<EntityWork>, oneshot::Receiver<BatchEnd>), BatchEnd> {
        let mut state = self.state();
        if state.draining {
            return Err(closing());
        }
        // Filters are in lower case: the SDKs write all names of entities so, and a Rust program as its code does.
        let route = Route::new(Kind::Entity, &batch.id.name().to_lowercase(), "");
        let (work, end) = EntityWork::new(batch);
        let work = Arc::new(work);
        let id = state.dispatcher.submit(route, Work::Entity(work.clone()));
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
        let work = self.state().remove(id);
        self.answered.notify_waiters();
        work
    }

    /// The item was not done and goes to somebody else, or to the same worker a little later.
    pub(crate) fn refuse(&self, id: ItemId) {
        let mut state = self.state();
        if let Some(Work::Entity(entity)) = state.dispatcher.work(id) {
            entity.is_given(false);
        }
        state.dispatcher.put_back(id, Instant::now(), false);
        state.wake_called();
        self.due.notify_one();
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

    pub(crate) fn connect(&self, filters: Filters, credits: Credits, profile: &Profile) -> WorkerId {
        self.state().dispatcher.connect(filters, credits, profile.streams_history)
    }

    /// The next item for a worker.
    pub(crate) fn poll_take(&self, worker: WorkerId, token: Token, waker: &Waker) -> Poll<Offer> {
        let mut state = self.state();
        if state.draining {
            return Poll::Ready(Offer::Closing);
        }
        match state.dispatcher.take(worker, token) {
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
                Poll::Pending
            }
        }
    }

    /// The stream of a worker has ended. What it had goes to others, unless the whole server is about to end: then its
    /// results are waited for.
    pub(crate) fn disconnect(&self, worker: WorkerId) {
        let mut state = self.state();
        state.wakers.remove(&worker);
        let returned = state.dispatcher.disconnect(worker);
        if state.draining {
            return;
        }
        for id in state.dispatcher.only_for(worker) {
            if let Some(Work::Orchestration(turn)) = state.remove(id) {
                if returned.contains(&id) { turn.lost(true) } else { turn.unrun() }
            }
        }
        for id in returned {
            let Some((token, work)) = state.dispatcher.handed_over(id) else { continue };
            match work.clone() {
                Work::Orchestration(turn) => {
                    turn.drop_parts();
                    turn.lost(false);
                    state.dispatcher.put_back(id, Instant::now(), true);
                }
                Work::Entity(entity) => {
                    state.remove(id);
                    let why = "the stream of the worker that ran them has ended".to_owned();
                    entity.finish(BatchEnd::Lost { why });
                }
                // The engine counts deliveries, so it hands the activity out again.
                Work::Activity(activity) => {
                    let task = &activity.task;
                    let name = (task.instance.clone(), task.execution, task.task);
                    state.late.lost(token, Lost { name, hand_over: task.hand_over.clone() });
                    state.remove(id);
                    let reason = "the stream of the worker that ran it has ended".to_owned();
                    activity.finish(ActivityEnd::Lost { reason });
                }
            }
        }
        state.wake_called();
        self.due.notify_one();
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
                    is_it(&lost.name.0, lost.name.2)?;
                    let Some(Lost { name, hand_over }) = state.late.take_lost(token) else {
                        return Err(NotTaken::Unwanted);
                    };
                    if let Some(hand_over) = hand_over {
                        return if hand_over.bring_late(end) { Ok(()) } else { Err(NotTaken::Unwanted) };
                    }
                    let present = state.tasks.get(&(name.0.clone(), name.2)).copied();
                    let present = present.filter(|id| {
                        let is_same = |work: &Work| {
                            matches!(work, Work::Activity(activity)
                            if activity.task.execution == name.1 && activity.task.hand_over.is_none())
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
            Work::Orchestration(turn) => turn.drop_parts(),
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
                return true;
            }
            Work::Entity(entity) => entity.is_given(false),
        }
        state.dispatcher.put_back(id, Instant::now(), false);
        state.wake_called();
        self.due.notify_one();
        true
    }

    /// The turn of an instance that a worker holds now.
    pub(crate) fn held_turn(&self, instance: &str) -> Option<Arc<OrchestrationWork>> {
        self.find_turn("", instance).map(|(_, _, turn)| turn)
    }

    /// No work is given out any more, and all streams end.
    pub(crate) fn drain(&self) {
        let mut state = self.state();
        state.draining = true;
        state.wakers.drain().for_each(|(_, waker)| waker.wake());
        let waiting: Vec<ItemId> = state.dispatcher.not_given();
        for id in waiting {
            match state.remove(id) {
                Some(Work::Activity(activity)) => activity.finish(ActivityEnd::NotStarted),
                Some(Work::Entity(entity)) => entity.finish(closing()),
                Some(Work::Orchestration(_)) | None => {}
            }
        }
    }

    /// Nobody waits for what was given out any more.
    pub(crate) fn let_go(&self) {
        self.over.cancel();
        let mut state = self.state();
        let given: Vec<ItemId> = state.dispatcher.all();
        for id in given {
            match state.remove(id) {
                Some(Work::Activity(activity)) => {
                    activity.finish(ActivityEnd::Lost { reason: "the server was shut down".to_owned() });
                }
                Some(Work::Entity(entity)) => entity.finish(closing()),
                Some(Work::Orchestration(_)) | None => {}
            }
        }
    }

    /// Waits until everything that was given out has been answered.
    pub(crate) async fn all_answered(&self) {
        loop {
            let answered = self.answered.notified();
            if self.state().dispatcher.given() == 0 {
                return;
            }
            answered.await;
        }
    }
}

fn closing() -> BatchEnd {
    BatchEnd::Lost { why: "the server is shutting down".to_owned() }
}

fn turn_of(work: &Work) -> Option<Arc<OrchestrationWork>> {
    match work {
        Work::Orchestration(turn) => Some(turn.clone()),
        Work::Activity(_) | Work::Entity(_) => None,
    }
}
