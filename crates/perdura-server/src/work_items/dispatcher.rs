//! Who gets which item. No clock, no channels, no locks: those are around it.
//!
//! A worker that asked and got nothing is *idle*. No idle worker with credit ever stands beside a waiting item that it
//! takes: an item that finds one is *assigned* at once, and everyone else's item waits in line by age.

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
    tokens: FxHashMap<Token, ItemId>,
    workers: BTreeMap<WorkerId, Worker>,
    /// Workers that shall ask again.
    called: Vec<WorkerId>,
    next: u64,
}

impl<T: Clone> Dispatcher<T> {
    pub(crate) fn new() -> Dispatcher<T> {
        Dispatcher {
            items: FxHashMap::default(),
            waiting: FxHashMap::default(),
            back_off: BTreeSet::new(),
            tokens: FxHashMap::default(),
            workers: BTreeMap::new(),
            called: Vec::new(),
            next: 1,
        }
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
            item.is_some_and(|item| !item.refused_by.is_empty() && worker.takes(&item.route))
        };
        let delayed: Vec<_> = self.back_off.iter().filter(|(_, item)| wanted(item)).copied().collect();
        for (at, item) in delayed {
            self.back_off.remove(&(at, item));
            self.place(item);
        }
    }

    /// The worker is gone. What it had not fetched goes to others; what it had been given is returned: the caller
    /// gives it [back](Self::put_back) or [removes](Self::remove) it.
    pub(crate) fn disconnect(&mut self, id: WorkerId) -> Vec<ItemId> {
        let Some(worker) = self.workers.remove(&id) else { return Vec::new() };
        for item in worker.assigned {
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
        let lines = self.waiting.values().flatten();
        let refused = lines.filter(|id| self.items.get(id).is_some_and(|item| !item.refused_by.is_empty()));
        for item in refused.copied().collect::<Vec<_>>() {
            self.displace(item);
            self.place(item);
        }
    }

    /// New work.
    pub(crate) fn submit(&mut self, route: Route, work: T) -> ItemId {
        let id = ItemId(self.number());
        let item = Item {
            route,
            place: Place::Waiting,
            work,
            returned: 0,
            refused_by: Vec::new(),
            tokens: Vec::new(),
        };
        self.items.insert(id, item);
        self.place(id);
        id
    }

    /// The oldest item for a worker, which is called again as soon as there is another one if there is none now.
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
        let worker = self.workers.get_mut(&id)?;
        worker.idle = false;
        worker.given.insert(item_id);
        let item = self.items.get_mut(&item_id)?;
        item.place = Place::Given(id);
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
        lines.filter_map(|(_, line)| line.iter().find(|item| self.is_offered(**item, id))).min().copied()
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

    /// The item was not done. It waits a little, the longer the more often it came back; the first time not at all if
    /// its worker was `lost`, which says nothing against the item.
    pub(crate) fn put_back(&mut self, id: ItemId, now: Instant, lost: bool) {
        let refused_by = match self.items.get(&id).map(|item| item.place) {
            Some(Place::Given(worker)) if !lost => Some(worker),
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
        let times = item.returned;
        item.returned = item.returned.saturating_add(1);
        if lost && times == 0 {
            self.place(id);
            return;
        }
        let delay = BACK_OFF_FIRST.saturating_mul(1 << times.min(16)).min(BACK_OFF_MAX);
        item.place = Place::BackOff(now + delay);
        self.back_off.insert((now + delay, id));
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
        self.back_off.first().map(|(at, _)| *at)
    }

    /// Items that have waited long enough go back in line.
    pub(crate) fn release_due(&mut self, now: Instant) {
        while let Some((at, id)) = self.back_off.first().copied() {
            if at > now {
                return;
            }
            self.back_off.pop_first();
            self.place(id);
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
        self.waiting.entry(item.route.clone()).or_default().insert(id);
        let kind = item.route.kind as usize;
        let route = item.route.clone();
        let idle = self.workers.iter().filter(|(_, worker)| worker.idle && worker.may_have(&route));
        let idle = idle.filter(|(worker, _)| self.is_offered(id, **worker));
        if let Some(worker) = idle.min_by_key(|(_, worker)| worker.held[kind]).map(|(id, _)| *id) {
            self.assign(id, worker);
            self.called.push(worker);
        }
    }

    /// Moves a waiting item to a worker.
    fn assign(&mut self, id: ItemId, to: WorkerId) {
        let (Some(item), Some(worker)) = (self.items.get_mut(&id), self.workers.get_mut(&to)) else { return };
        if let Some(line) = self.waiting.get_mut(&item.route) {
            line.remove(&id);
            if line.is_empty() {
                self.waiting.remove(&item.route);
            }
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
            Place::Waiting => {
                if let Some(line) = self.waiting.get_mut(&item.route) {
                    line.remove(&id);
                    if line.is_empty() {
                        self.waiting.remove(&item.route);
                    }
                }
            }
            Place::BackOff(until) => {
                self.back_off.remove(&(until, id));
            }
            Place::Assigned(worker_id) | Place::Given(worker_id) => {
                let Some(worker) = self.workers.get_mut(&worker_id) else { return };
                worker.assigned.remove(&id);
                worker.given.remove(&id);
                worker.held[item.route.kind as usize] -= 1;
                // Credit may be all that it lacked.
                if worker.idle {
                    worker.idle = false;
                    self.called.push(worker_id);
                }
            }
        }
    }
}

#[cfg(test)]
#[path = "dispatcher_tests.rs"]
mod tests;
