use super::*;
use perdura_proto::{ActivityFilter, WorkItemFilters};

type Work = &'static str;

struct World {
    dispatcher: Dispatcher<Work>,
    now: Instant,
    tokens: u128,
}

impl World {
    fn new() -> World {
        let now = Instant::now();
        World { dispatcher: Dispatcher::new(now), now, tokens: 0 }
    }

    fn worker(&mut self, credits: i32) -> WorkerId {
        let credits = Credits::from_wire(credits, credits, credits);
        self.dispatcher.connect(Filters::default(), credits, false)
    }

    fn submit(&mut self, work: Work) -> ItemId {
        self.submit_lost(work, 0)
    }

    fn submit_lost(&mut self, work: Work, times: u32) -> ItemId {
        self.dispatcher.submit(Route::new(Kind::Activity, work, ""), work, times)
    }

    /// The worker is lost, and what it had goes to others.
    fn lose(&mut self, worker: WorkerId) {
        let returned = self.dispatcher.disconnect(worker);
        let innocent = self.dispatcher.innocent(&returned);
        for item in returned {
            self.dispatcher.put_back_lost(item, !innocent.contains(&item));
        }
    }

    fn take(&mut self, worker: WorkerId) -> Option<(ItemId, Work, Token)> {
        self.tokens += 1;
        let token = Token::numbered(self.tokens);
        self.dispatcher.take(worker, token).map(|(id, work)| (id, work, token))
    }

    fn later(&mut self, by: Duration) {
        self.now += by;
        self.dispatcher.at(self.now);
        self.dispatcher.release_due();
    }
}

fn only(name: &str) -> Filters {
    let activity = ActivityFilter { name: name.into(), versions: vec![] };
    Filters::from_wire(Some(WorkItemFilters { activities: vec![activity], ..WorkItemFilters::default() }))
}

#[test]
fn an_item_goes_to_one_worker_the_oldest_first() {
    let mut world = World::new();
    let (a, b) = (world.worker(0), world.worker(0));
    world.submit("first");
    world.submit("second");
    assert_eq!(world.take(a).unwrap().1, "first");
    assert_eq!(world.take(b).unwrap().1, "second");
    assert!(world.take(a).is_none() && world.take(b).is_none());
}

#[test]
fn an_idle_worker_is_called_for_work_it_takes_and_only_one_is() {
    let mut world = World::new();
    let (a, b) = (world.worker(0), world.dispatcher.connect(only("x"), Credits::default(), false));
    assert!(world.take(a).is_none() && world.take(b).is_none());
    world.submit("y");
    assert_eq!(world.dispatcher.take_called(), [a]);
    world.submit("y");
    assert!(world.dispatcher.take_called().is_empty(), "a comes back by itself, b does not take it");
    world.submit("x");
    assert_eq!(world.dispatcher.take_called(), [b]);
    assert_eq!(world.take(b).unwrap().1, "x");
}

#[test]
fn no_worker_holds_more_than_its_credit_and_a_result_gives_it_back() {
    let mut world = World::new();
    let a = world.worker(1);
    world.submit("first");
    world.submit("second");
    let (first, ..) = world.take(a).unwrap();
    assert!(world.take(a).is_none());
    assert!(world.dispatcher.take_called().is_empty());
    assert_eq!(world.dispatcher.remove(first), Some("first"));
    assert_eq!(world.dispatcher.take_called(), [a]);
    assert_eq!(world.take(a).unwrap().1, "second");
}

#[test]
fn idle_workers_share_the_work() {
    let mut world = World::new();
    let (a, b) = (world.worker(0), world.worker(0));
    assert!(world.take(a).is_none() && world.take(b).is_none());
    world.submit("first");
    let first_at = world.dispatcher.take_called();
    assert!(world.take(first_at[0]).is_some() && world.take(first_at[0]).is_none());
    world.submit("second");
    assert_ne!(world.dispatcher.take_called(), first_at, "the other one holds less");
}

#[test]
fn what_a_lost_worker_had_goes_to_others_and_its_late_result_still_counts() {
    let mut world = World::new();
    let (a, b) = (world.worker(0), world.worker(0));
    world.submit("given");
    let (id, _, by_a) = world.take(a).unwrap();
    assert!(world.take(a).is_none());
    world.submit("assigned");
    assert!(world.take(b).is_none());
    let returned = world.dispatcher.disconnect(a);
    assert_eq!(returned, [id]);
    world.dispatcher.put_back_lost(id, true);
    let mut got = [world.take(b).unwrap(), world.take(b).unwrap()];
    got.sort();
    assert_eq!([got[0].1, got[1].1], ["given", "assigned"]);
    let by_b = got[0].2;
    assert_eq!(world.dispatcher.find(by_a).unwrap().0, id, "nobody else has done it yet");
    assert!(world.dispatcher.find_held(by_a).is_none() && world.dispatcher.find_held(by_b).is_some());
    world.dispatcher.remove(id);
    assert!(world.dispatcher.find(by_a).is_none() && world.dispatcher.find(by_b).is_none());
}

#[test]
fn what_is_refused_waits_longer_each_time() {
    let mut world = World::new();
    let a = world.worker(0);
    world.submit("item");
    let mut waits = Vec::new();
    for _ in 0..10 {
        let (id, ..) = world.take(a).unwrap();
        world.dispatcher.put_back(id);
        assert!(world.take(a).is_none());
        let wait = world.dispatcher.next_due().unwrap() - world.now;
        waits.push(wait.as_millis());
        world.later(wait - Duration::from_millis(1));
        assert!(world.take(a).is_none());
        world.later(Duration::from_millis(1));
    }
    assert_eq!(waits, [250, 500, 1000, 2000, 4000, 8000, 16000, 30000, 30000, 30000]);
}

#[test]
fn what_one_worker_refuses_goes_to_another_at_once_and_comes_back_only_if_there_is_none() {
    let mut world = World::new();
    let (a, b) = (world.worker(0), world.worker(0));
    world.submit("item");
    let (id, ..) = world.take(a).unwrap();
    world.dispatcher.put_back(id);
    assert!(world.take(a).is_none(), "a has refused it, and there is b");
    assert_eq!(world.take(b).unwrap().0, id);
    world.dispatcher.put_back(id);
    assert!(world.take(b).is_none() && world.take(a).is_none(), "nobody is left: it waits");
    let c = world.worker(0);
    assert_eq!(world.take(c).unwrap().0, id, "somebody new need not wait");
    world.dispatcher.put_back(id);
    world.dispatcher.disconnect(c);
    world.later(BACK_OFF_MAX);
    assert_eq!(world.dispatcher.take_called(), [a]);
    assert_eq!(world.take(a).unwrap().0, id);
}

#[test]
fn an_item_that_kills_every_worker_is_not_a_hot_loop() {
    let mut world = World::new();
    let id = world.submit("poison");
    for round in 0..3 {
        let worker = world.worker(0);
        assert_eq!(world.take(worker).is_some(), round < 2, "round {round}");
        world.lose(worker);
    }
    assert!(world.dispatcher.next_due().is_some());
    assert!(world.dispatcher.remove(id).is_some());
    assert!(world.dispatcher.next_due().is_none());
}

#[test]
fn items_that_were_lost_often_are_handed_out_one_at_a_time_the_less_often_lost_first() {
    let mut world = World::new();
    for (work, lost) in [("five", 5), ("three", 3), ("three too", 3), ("two", 2), ("new", 0)] {
        world.submit_lost(work, lost);
    }
    world.later(BACK_OFF_MAX);
    let (a, b) = (world.worker(0), world.worker(0));
    let mut got = [world.take(a).unwrap(), world.take(a).unwrap(), world.take(a).unwrap()];
    got.sort_by_key(|(_, work, _)| *work);
    assert_eq!(got.map(|(_, work, _)| work), ["new", "three", "two"]);
    assert!(world.take(a).is_none() && world.take(b).is_none());
    world.dispatcher.remove(got[1].0);
    let next: Vec<_> =
        world.dispatcher.take_called().into_iter().filter_map(|idle| world.take(idle)).collect();
    assert_eq!(next.into_iter().map(|(_, work, _)| work).collect::<Vec<_>>(), ["three too"]);
    assert!(world.take(a).is_none() && world.take(b).is_none());
}

#[test]
fn nobody_waits_for_ever_for_an_item_that_was_lost_often_and_nobody_takes_or_whose_worker_hangs() {
    let mut world = World::new();
    for work in ["nobody's", "slow", "last"] {
        world.submit_lost(work, 3);
    }
    world.later(BACK_OFF_MAX);
    let of = |name: &str| {
        let activity = |name: &str| ActivityFilter { name: name.into(), versions: vec![] };
        let filters = WorkItemFilters { activities: vec![activity(name)], ..WorkItemFilters::default() };
        Filters::from_wire(Some(filters))
    };
    let slow = world.dispatcher.connect(of("slow"), Credits::default(), false);
    let last = world.dispatcher.connect(of("last"), Credits::default(), false);
    assert_eq!(world.take(slow).unwrap().1, "slow");
    assert!(world.take(last).is_none());
    let until = world.dispatcher.next_due().unwrap();
    world.later(until - world.now);
    assert_eq!(world.dispatcher.take_called(), [last]);
    assert_eq!(world.take(last).unwrap().1, "last");
}

#[test]
fn of_the_items_that_were_lost_often_only_the_last_one_that_a_lost_worker_was_given_counts() {
    let mut world = World::new();
    let (first, second) = (world.submit_lost("first", 3), world.submit_lost("second", 3));
    world.later(BACK_OFF_MAX);
    let new = world.submit("new");
    let a = world.worker(0);
    while world.take(a).is_none_or(|(id, ..)| id != second) {
        world.later(BACK_OFF_MAX);
    }
    world.take(a);
    world.lose(a);
    let lost = [first, second, new].map(|id| world.dispatcher.items[&id].lost);
    assert_eq!(lost, [3, 4, 1]);
}

#[test]
fn what_was_lost_waits_its_time_although_somebody_has_refused_it_and_somebody_new_comes() {
    let mut world = World::new();
    let (a, b) = (world.worker(0), world.worker(0));
    world.submit("item");
    let (id, ..) = world.take(a).unwrap();
    world.dispatcher.put_back(id);
    world.take(b).unwrap();
    world.lose(b);
    let c = world.worker(0);
    world.take(c).unwrap();
    world.lose(c);
    let d = world.worker(0);
    assert!(world.take(d).is_none());
    world.later(BACK_OFF_FIRST);
    assert_eq!(world.take(d).unwrap().0, id);
}

#[test]
fn what_is_too_large_for_a_message_goes_only_to_workers_that_stream() {
    let mut world = World::new();
    let plain = world.worker(0);
    let id = world.submit("large");
    assert!(world.take(plain).is_some());
    world.dispatcher.reroute(id, |route| route.streamed = true);
    assert!(world.take(plain).is_none());
    let route = world.dispatcher.route(id).unwrap().clone();
    assert!(!world.dispatcher.is_served(&route));
    let streaming = world.dispatcher.connect(Filters::default(), Credits::default(), true);
    assert!(world.dispatcher.is_served(&route));
    assert_eq!(world.take(streaming).unwrap().0, id);
}

/// Checks what must hold between any two calls.
fn check(dispatcher: &Dispatcher<Work>) {
    let mut places = 0;
    for (route, line) in &dispatcher.waiting {
        assert!(!line.is_empty());
        places += line.len();
        for id in line {
            assert_eq!((dispatcher.items[id].place, &dispatcher.items[id].route), (Place::Waiting, route));
        }
        for (id, worker) in &dispatcher.workers {
            let offered = line.iter().any(|item| dispatcher.is_offered(*item, *id));
            let beside = worker.idle && worker.may_have(route) && offered;
            assert!(!beside, "an idle worker stands beside work that it takes");
        }
    }
    let trial = dispatcher.suspects.is_trial(dispatcher.now);
    for item in dispatcher.suspects.waiting() {
        places += 1;
        assert_eq!(dispatcher.items[&item].place, Place::Waiting);
        let route = &dispatcher.items[&item].route;
        for (id, worker) in &dispatcher.workers {
            let beside = worker.idle && worker.may_have(route) && dispatcher.is_offered(item, *id);
            assert!(!beside || trial, "an idle worker stands beside a suspect that may have its trial");
        }
    }
    for (until, id) in &dispatcher.back_off {
        places += 1;
        assert_eq!(dispatcher.items[id].place, Place::BackOff(*until));
    }
    for (id, worker) in &dispatcher.workers {
        let mut held = [0; 3];
        for (items, place) in [(&worker.assigned, Place::Assigned(*id)), (&worker.given, Place::Given(*id))] {
            for item in items {
                places += 1;
                assert_eq!(dispatcher.items[item].place, place);
                held[dispatcher.items[item].route.kind as usize] += 1;
            }
        }
        assert_eq!(held, worker.held);
        assert!(worker.assigned.is_empty() || !worker.idle);
    }
    assert_eq!(places, dispatcher.items.len(), "each item is in one place");
    let tokens: usize = dispatcher.items.values().map(|item| item.tokens.len()).sum();
    assert_eq!(tokens, dispatcher.tokens.len());
}

#[test]
fn whatever_happens_no_item_is_lost_doubled_or_forgotten() {
    for seed in 1..200_u64 {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut draw = move |below: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % below
        };
        let mut world = World::new();
        let mut workers = Vec::new();
        let mut items = Vec::new();
        for _ in 0..300 {
            let pick = |list: &Vec<ItemId>, draw: &mut dyn FnMut(usize) -> usize| {
                (!list.is_empty()).then(|| list[draw(list.len())])
            };
            match draw(9) {
                0 => workers.push(match draw(3) {
                    0 => world.worker(draw(3) as i32),
                    1 => world.dispatcher.connect(only("x"), Credits::from_wire(1, 1, 1), false),
                    _ => world.dispatcher.connect(only("y"), Credits::default(), true),
                }),
                1 if !workers.is_empty() => {
                    let worker = workers.swap_remove(draw(workers.len()));
                    world.lose(worker);
                }
                2 => items.push(world.submit(["x", "y", "z"][draw(3)])),
                3 => items.push(world.submit_lost(["x", "y", "z"][draw(3)], draw(6) as u32)),
                4 | 5 if !workers.is_empty() => {
                    let worker = workers[draw(workers.len())];
                    world.take(worker);
                }
                6 => drop(pick(&items, &mut draw).map(|id| world.dispatcher.remove(id))),
                7 => drop(pick(&items, &mut draw).map(|id| match draw(2) {
                    0 => world.dispatcher.put_back_lost(id, true),
                    _ => world.dispatcher.put_back(id),
                })),
                8 => match draw(2) {
                    0 => world.later(Duration::from_millis(draw(1000) as u64)),
                    _ => drop(
                        pick(&items, &mut draw)
                            .map(|id| world.dispatcher.reroute(id, |route| route.streamed = true)),
                    ),
                },
                _ => {}
            }
            check(&world.dispatcher);
            for called in world.dispatcher.take_called() {
                // A worker that is called asks again, unless it is gone meanwhile.
                world.take(called);
                check(&world.dispatcher);
            }
        }
    }
}
