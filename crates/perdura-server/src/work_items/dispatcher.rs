//! Who gets which item. No clock, no channels, no locks: those are around it.
//!
//! A worker that asked and got nothing is *idle*. No idle worker with credit ever stands beside a waiting item that it
//! takes: an item that finds one is *assigned* at once, and everyone else's item waits in line by age.

use super::suspects::{Suspects, is_suspect};
use super::{Credits, Filters, Kind, Token};
use perdura_core::why::Line;
use rustc_hash::FxHashMap;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// An item, by age: an older one has a lower number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ItemId(u64);

/// A connected worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct WorkerId(u64);

/// What decides who takes an item.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Route {
    pub(crate) kind: Kind,
    pub(crate) name: String,
    /// Empty if it has none.
    pub(crate) version: String,
    /// Too large for one message: only for workers that fetch the history by themselves.
    pub(crate) streamed: bool,
    /// Only this worker can do it: it keeps what the item leaves out.
    pub(crate) only: Option<WorkerId>,
}

impl Route {
    pub(crate) fn new(kind: Kind, name: &str, version: &str) -> Route {
        Route { kind, name: name.to_owned(), version: version.to_owned(), streamed: false, only: None }
    }
}

/// A worker that refuses an item gets it again after this time, and after twice as much each time that it is refused.
const BACK_OFF_FIRST: Duration = Duration::from_millis(250);
const BACK_OFF_MAX: Duration = Duration::from_secs(30);
/// Hand-overs of one item whose completion is still accepted. More than this many workers that hold the same item and
/// are alive, but have lost their stream, is not a case.
const TOKENS_PER_ITEM_MAX: usize = 8;
/// Workers that an item remembers to have refused it.
const REFUSALS_MAX: usize = 16;

fn back_off(times: u32) -> Duration {
    BACK_OFF_FIRST.saturating_mul(1 << times.min(16)).min(BACK_OFF_MAX)
}

struct Worker {
    id: WorkerId,
    filters: Filters,
    credits: Credits,
    streams_history: bool,
    held: [u32; 3],
    idle: bool,
    /// It takes nothing more.
    leaves: bool,
    /// Items that are its own but that it has not fetched yet.
    assigned: BTreeSet<ItemId>,
    /// Items that it was given.
    given: BTreeSet<ItemId>,
}

impl Worker {
    fn takes(&self, route: &Route) -> bool {
        !self.leaves
            && (self.streams_history || !route.streamed)
            && route.only.is_none_or(|only| only == self.id)
            && self.filters.take(route)
    }

    fn may_have(&self, route: &Route) -> bool {
        self.credits.allow(route.kind, self.held[route.kind as usize]) && self.takes(route)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Waiting,
    /// Waits until then.
    BackOff(Instant),
    Assigned(WorkerId),
    Given(WorkerId),
}

struct Item<T> {
    route: Route,
    place: Place,
    work: T,
    /// How often in a row its worker was lost.
    lost: u32,
    /// What it waits for is due to that: it waits whoever comes.
    waits_for_loss: bool,
    /// Which hand-over of all this was.
    given: u64,
    /// How often it came back.
    returned: u32,
    /// Who gave it back undone. They get it again only if nobody else takes it.
    refused_by: Vec<WorkerId>,
    /// Hand-overs, the last one is the latest.
    tokens: Vec<Token>,
}

/// See the module.
pub(crate) struct Dispatcher<T> {
    items: FxHashMap<ItemId, Item<T>>,
    waiting: FxHashMap<Route, BTreeSet<ItemId>>,
    back_off: BTreeSet<(Instant, ItemId)>,
    /// Items that were lost often wait here instead of in line.
    suspects: Suspects,
    tokens: FxHashMap<Token, ItemId>,
    workers: BTreeMap<WorkerId, Worker>,
    /// Workers that shall ask again.
    called: Vec<WorkerId>,
    next: u64,
    now: Instant,
}

impl<T: Clone> Dispatcher<T> {
    pub(crate) fn new(now: Instant) -> Dispatcher<T> {
        Dispatcher {
            items: FxHashMap::default(),
            waiting: FxHashMap::default(),
            back_off: BTreeSet::new(),
            suspects: Suspects::default(),
            tokens: FxHashMap::default(),
            workers: BTreeMap::new(),
            called: Vec::new(),
            next: 1,
            now,
        }
    }

    /// It is this late. To be told before anything else.
    pub(crate) fn at(&mut self, now: Instant) {
        self.now = self.now.max(now);
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    pub(crate) fn connect(&mut self, filters: Filters, credits: Credits, streams_history: bool) -> WorkerId {
        let id = WorkerId(self.number());
        let worker = Worker {
            id,
            filters,
            credits,
            streams_history,
            held: [0; 3],
            idle: false,
            leaves: false,
            assigned: BTreeSet::new(),
            given: BTreeSet::new(),
        };
        self.workers.insert(id, worker);
        self.offer_refused_to(id);
        id
    }

    /// A new worker may take what others have refused: it need not wait any longer.
    fn offer_refused_to(&mut self, id: WorkerId) {
        let Some(worker) = self.workers.get(&id) else { return };
        let wanted = |id: &ItemId| {
            let item = self.items.get(id);
            item.is_some_and(|item| {
                !item.waits_for_loss && !item.refused_by.is_empty() && worker.takes(&item.route)
            })
        };
        let delayed: Vec<_> = self.back_off.iter().filter(|(_, item)| wanted(item)).copied().collect();
        for (at, item) in delayed {
            self.back_off.remove(&(at, item));
            self.place(item);
        }
    }

    /// The worker is gone. What it had not fetched goes to others; what it had been given is returned: the caller
    /// gives it [back](Self::put_back_lost) or [removes](Self::remove) it.
    pub(crate) fn disconnect(&mut self, id: WorkerId) -> Vec<ItemId> {
        let Some(worker) = self.workers.remove(&id) else { return Vec::new() };
        for item in worker.assigned {
            self.displace(item);
            self.place(item);
        }
        self.offer_refused();
        worker.given.into_iter().collect()
    }

    /// The worker takes nothing more. What it had not fetched goes to others; what it had been given stays with it.
    pub(crate) fn leave(&mut self, id: WorkerId) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        (worker.leaves, worker.idle) = (true, false);
        for item in worker.assigned.clone() {
            self.displace(item);
            self.place(item);
        }
        self.offer_refused();
    }

    /// Whether this worker takes nothing more.
    pub(crate) fn has_left(&self, worker: WorkerId) -> bool {
        self.workers.get(&worker).is_some_and(|worker| worker.leaves)
    }

    /// A worker is gone.
    fn offer_refused(&mut self) {
        // Those who have refused an item may be all that is left for it.
        let lines = self.waiting.values().flatten().copied().chain(self.suspects.waiting());
        let refused = lines.filter(|id| self.items.get(id).is_some_and(|item| !item.refused_by.is_empty()));
        for item in refused.collect::<Vec<_>>() {
            self.displace(item);
            self.place(item);
        }
    }

    /// New work, or such that was `lost` so often in a row with its workers: that waits a little, the longer the more often.
    pub(crate) fn submit(&mut self, route: Route, work: T, lost: u32) -> ItemId {
        let id = ItemId(self.number());
        let item = Item {
            route,
            place: Place::Waiting,
            work,
            lost,
            waits_for_loss: false,
            given: 0,
            returned: 0,
            refused_by: Vec::new(),
            tokens: Vec::new(),
        };
        self.items.insert(id, item);
        self.place_after_loss(id);
        id
    }

    fn place_after_loss(&mut self, id: ItemId) {
        let Some(item) = self.items.get_mut(&id) else { return };
        // Operations of entities have waited in the engine.
        if item.lost < 2 || item.route.kind == Kind::Entity {
            return self.place(id);
        }
        let until = self.now + back_off(item.lost - 2);
        (item.place, item.waits_for_loss) = (Place::BackOff(until), true);
        self.back_off.insert((until, id));
    }

    /// The oldest item for a worker, which is called again as soon as there is another one if there is none now. Of those that
    /// were lost often, one at a time.
    pub(crate) fn take(&mut self, id: WorkerId, token: Token) -> Option<(ItemId, T)> {
        let worker = self.workers.get_mut(&id)?;
        let item_id = match worker.assigned.pop_first() {
            Some(item) => item,
            None => {
                let oldest = self.oldest_for(id);
                let worker = self.workers.get_mut(&id)?;
                let Some(oldest) = oldest else {
                    worker.idle = true;
                    return None;
                };
                self.assign(oldest, id);
                self.workers.get_mut(&id)?.assigned.remove(&oldest);
                oldest
            }
        };
        let given = self.number();
        let worker = self.workers.get_mut(&id)?;
        worker.idle = false;
        worker.given.insert(item_id);
        let item = self.items.get_mut(&item_id)?;
        (item.place, item.given) = (Place::Given(id), given);
        if item.tokens.len() == TOKENS_PER_ITEM_MAX {
            self.tokens.remove(&item.tokens.remove(0));
        }
        item.tokens.push(token);
        self.tokens.insert(token, item_id);
        Some((item_id, item.work.clone()))
    }

    fn oldest_for(&self, id: WorkerId) -> Option<ItemId> {
        let worker = self.workers.get(&id)?;
        let lines = self.waiting.iter().filter(|(route, _)| worker.may_have(route));
        let oldest = lines.filter_map(|(_, line)| line.iter().find(|item| self.is_offered(**item, id))).min();
        if self.suspects.is_trial(self.now) {
            return oldest.copied();
        }
        let is_for = |item: &ItemId| {
            let route = self.items.get(item).map(|item| &item.route);
            route.is_some_and(|route| worker.may_have(route)) && self.is_offered(*item, id)
        };
        self.suspects.waiting().find(is_for).into_iter().chain(oldest.copied()).min()
    }

    /// Whether a worker that takes such work gets this item: not if it has refused it and there is somebody else.
    fn is_offered(&self, id: ItemId, to: WorkerId) -> bool {
        let Some(item) = self.items.get(&id) else { return false };
        let fresh =
            |(id, worker): (&WorkerId, &Worker)| !item.refused_by.contains(id) && worker.takes(&item.route);
        !item.refused_by.contains(&to) || !self.workers.iter().any(fresh)
    }

    /// The item that was handed over with this token, by this or an earlier hand-over, if it is not finished.
    pub(crate) fn find(&self, token: Token) -> Option<(ItemId, &T)> {
        let id = *self.tokens.get(&token)?;
        self.items.get(&id).map(|item| (id, &item.work))
    }

    /// The item that a worker holds now by this token.
    pub(crate) fn find_held(&self, token: Token) -> Option<(ItemId, &T)> {
        let (id, work) = self.find(token)?;
        let item = self.items.get(&id)?;
        (matches!(item.place, Place::Given(_)) && item.tokens.last() == Some(&token)).then_some((id, work))
    }

    /// The work of an item and its latest token, if it was handed over at all.
    pub(crate) fn handed_over(&self, id: ItemId) -> Option<(Token, &T)> {
        let item = self.items.get(&id)?;
        item.tokens.last().map(|token| (*token, &item.work))
    }

    /// The item is finished, or nobody wants it any more: its tokens are void.
    pub(crate) fn remove(&mut self, id: ItemId) -> Option<T> {
        self.displace(id);
        let item = self.items.remove(&id)?;
        for token in &item.tokens {
            self.tokens.remove(token);
        }
        Some(item.work)
    }

    /// Of the items that a lost worker had and may have begun, those that it was not lost to: each was alone or had proved that
    /// it can run when the next one was handed out, so only the last can have done it.
    pub(crate) fn innocent(&self, returned: &[ItemId]) -> Vec<ItemId> {
        let suspect = |id: &ItemId| {
            self.items.get(id).filter(|item| is_suspect(item.lost)).map(|item| (item.given, *id))
        };
        let mut suspects: Vec<_> = returned.iter().filter_map(suspect).collect();
        suspects.sort_unstable();
        suspects.pop();
        suspects.into_iter().map(|(_, id)| id).collect()
    }

    /// The worker that had the item is gone, which speaks against the item if it is `counted`. It waits a little, the longer
    /// the more often it was lost; the first time not at all.
    pub(crate) fn put_back_lost(&mut self, id: ItemId, counted: bool) {
        self.displace(id);
        let Some(item) = self.items.get_mut(&id) else { return };
        item.lost = item.lost.saturating_add(u32::from(counted));
        self.place_after_loss(id);
    }

    /// The item was not done. It waits a little, the longer the more often it came back.
    pub(crate) fn put_back(&mut self, id: ItemId) {
        let refused_by = match self.items.get(&id).map(|item| item.place) {
            Some(Place::Given(worker)) => Some(worker),
            _ => None,
        };
        self.displace(id);
        let Some(item) = self.items.get_mut(&id) else { return };
        if let Some(worker) = refused_by.filter(|worker| !item.refused_by.contains(worker)) {
            if item.refused_by.len() == REFUSALS_MAX {
                item.refused_by.remove(0);
            }
            item.refused_by.push(worker);
            let fresh = |(id, worker): (&WorkerId, &Worker)| {
                !item.refused_by.contains(id) && worker.takes(&item.route)
            };
            if self.workers.iter().any(fresh) {
                self.place(id);
                return;
            }
        }
        let until = self.now + back_off(item.returned);
        item.returned = item.returned.saturating_add(1);
        (item.place, item.waits_for_loss) = (Place::BackOff(until), false);
        self.back_off.insert((until, id));
    }

    /// The item goes to another line, at once.
    pub(crate) fn reroute(&mut self, id: ItemId, change: impl FnOnce(&mut Route)) {
        self.displace(id);
        if let Some(item) = self.items.get_mut(&id) {
            change(&mut item.route);
            self.place(id);
        }
    }

    /// Whether somebody connected would take work of this route, now or later.
    pub(crate) fn is_served(&self, route: &Route) -> bool {
        self.workers.values().any(|worker| worker.takes(route))
    }

    /// Whether this worker is connected and takes work.
    pub(crate) fn is_there(&self, worker: WorkerId) -> bool {
        self.workers.get(&worker).is_some_and(|worker| !worker.leaves)
    }

    /// Items that only this worker could do.
    pub(crate) fn only_for(&self, worker: WorkerId) -> Vec<ItemId> {
        let only = self.items.iter().filter(|(_, item)| item.route.only == Some(worker));
        only.map(|(id, _)| *id).collect()
    }

    /// The route of an item.
    pub(crate) fn route(&self, id: ItemId) -> Option<&Route> {
        self.items.get(&id).map(|item| &item.route)
    }

    /// When the next item has waited long enough.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        let back_off = self.back_off.first().map(|(at, _)| *at);
        back_off.into_iter().chain(self.suspects.next_due(self.now)).min()
    }

    /// Items that have waited long enough go back in line.
    pub(crate) fn release_due(&mut self) {
        while let Some((at, id)) = self.back_off.first().copied().filter(|(at, _)| *at <= self.now) {
            self.back_off.remove(&(at, id));
            self.place(id);
        }
        self.release_suspects();
    }

    /// The next item that was lost often goes to an idle worker, if no other one has to prove itself now.
    fn release_suspects(&mut self) {
        if self.suspects.is_empty() || !self.workers.values().any(|worker| worker.idle) {
            return;
        }
        for id in self.suspects.waiting().collect::<Vec<_>>() {
            if self.suspects.is_trial(self.now) {
                return;
            }
            self.offer(id);
        }
    }

    /// Workers for whom there is something, since the last call.
    pub(crate) fn take_called(&mut self) -> Vec<WorkerId> {
        std::mem::take(&mut self.called)
    }

    /// Items that some worker was given and has not answered, even if it is gone.
    pub(crate) fn given(&self) -> usize {
        self.items.values().filter(|item| matches!(item.place, Place::Given(_))).count()
    }

    /// Items that no worker has now.
    pub(crate) fn not_given(&self) -> Vec<ItemId> {
        let not_given = self.items.iter().filter(|(_, item)| !matches!(item.place, Place::Given(_)));
        not_given.map(|(id, _)| *id).collect()
    }

    /// All items.
    pub(crate) fn all(&self) -> Vec<ItemId> {
        self.items.keys().copied().collect()
    }

    /// How an item stands.
    pub(crate) fn line(&self, id: ItemId) -> Option<Line> {
        let item = self.items.get(&id)?;
        Some(match item.place {
            Place::Given(_) | Place::Assigned(_) => Line::WithWorker,
            _ if !self.workers.values().any(|worker| worker.takes(&item.route)) => Line::NoWorker,
            Place::BackOff(_) => Line::Refused,
            Place::Waiting if is_suspect(item.lost) => Line::Queued {
                ahead: self.suspects.waiting().take_while(|ahead| *ahead != id).count() as u64,
            },
            Place::Waiting => {
                let line = self.waiting.get(&item.route);
                Line::Queued { ahead: line.map_or(0, |line| line.range(..id).count() as u64) }
            }
        })
    }

    /// The work of an item.
    pub(crate) fn work(&self, id: ItemId) -> Option<&T> {
        self.items.get(&id).map(|item| &item.work)
    }

    /// Gives the item to an idle worker, or puts it in line. It must not be anywhere else.
    fn place(&mut self, id: ItemId) {
        let Some(item) = self.items.get_mut(&id) else { return };
        item.place = Place::Waiting;
        if is_suspect(item.lost) {
            self.suspects.add(item.lost, id);
            if self.suspects.is_trial(self.now) {
                return;
            }
        } else {
            self.waiting.entry(item.route.clone()).or_default().insert(id);
        }
        self.offer(id);
    }

    /// Gives an item in line to an idle worker, if there is one for it.
    fn offer(&mut self, id: ItemId) {
        let Some(item) = self.items.get(&id) else { return };
        let (kind, route) = (item.route.kind as usize, &item.route);
        let idle = self.workers.iter().filter(|(_, worker)| worker.idle && worker.may_have(route));
        let idle = idle.filter(|(worker, _)| self.is_offered(id, **worker));
        if let Some(worker) = idle.min_by_key(|(_, worker)| worker.held[kind]).map(|(id, _)| *id) {
            self.assign(id, worker);
            self.called.push(worker);
        }
    }

    /// Takes a waiting item out of its line.
    fn leave_line(&mut self, id: ItemId) {
        let Some(item) = self.items.get(&id) else { return };
        if is_suspect(item.lost) {
            return self.suspects.remove(item.lost, id);
        }
        if let Some(line) = self.waiting.get_mut(&item.route) {
            line.remove(&id);
            if line.is_empty() {
                self.waiting.remove(&item.route);
            }
        }
    }

    /// Moves a waiting item to a worker.
    fn assign(&mut self, id: ItemId, to: WorkerId) {
        self.leave_line(id);
        let (Some(item), Some(worker)) = (self.items.get_mut(&id), self.workers.get_mut(&to)) else { return };
        if is_suspect(item.lost) {
            self.suspects.begin_trial(id, item.lost, self.now);
        }
        item.place = Place::Assigned(to);
        worker.idle = false;
        worker.held[item.route.kind as usize] += 1;
        worker.assigned.insert(id);
    }

    /// Takes the item from where it is. A worker that held it has credit again.
    fn displace(&mut self, id: ItemId) {
        let Some(item) = self.items.get_mut(&id) else { return };
        match item.place {
            Place::Waiting => self.leave_line(id),
            Place::BackOff(until) => {
                self.back_off.remove(&(until, id));
            }
            Place::Assigned(worker_id) | Place::Given(worker_id) => {
                if let Some(worker) = self.workers.get_mut(&worker_id) {
                    worker.assigned.remove(&id);
                    worker.given.remove(&id);
                    worker.held[item.route.kind as usize] -= 1;
                    // Credit may be all that it lacked.
                    if worker.idle {
                        worker.idle = false;
                        self.called.push(worker_id);
                    }
                }
                if self.suspects.end_trial(id) {
                    self.release_suspects();
                }
            }
        }
    }
}

#[cfg(test)]
#[path = "dispatcher_tests.rs"]
mod tests;
