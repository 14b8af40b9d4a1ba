//! Turns that end whoever runs them: counted, and set aside as dead letters, while the others go on.

use crate::bed::*;
use perdura_core::partition::{Need, Request, RequestError, Response, StartRequest};
use perdura_core::rewind::{RewindSpec, RewindTo};
use perdura_core::why::{Unknown, why};
use perdura_core::{InstanceKey, Limits, Status};
use std::collections::BTreeSet;

const LIMIT: usize = 10;

/// A process begins and runs until it ends in a turn of `killer`, if it comes to that. Says whether it did.
fn process(bed: &mut Bed, killer: &str) -> bool {
    bed.forget_all();
    bed.partition.begins_process();
    recover(bed);
    runs_into(bed, killer)
}

fn recover(bed: &mut Bed) {
    let rows: Vec<_> = bed.rows.values().filter(|row| !row.status.is_terminal()).cloned().collect();
    let now = bed.now();
    bed.partition.recover(rows, now);
    assert!(bed.partition.deliver(Vec::new(), now).is_empty());
}

fn runs_into(bed: &mut Bed, killer: &str) -> bool {
    loop {
        while let Some(turn) = bed.partition.next_turn() {
            if turn.id.as_str() == killer {
                return true;
            }
            bed.run_turn(turn);
        }
        if !bed.commit() {
            return false;
        }
    }
}

fn started(ids: &[&str]) -> Bed {
    let mut bed = Bed::new();
    bed.script("quick", |_| vec![complete()]);
    for id in ids {
        bed.ask(Request::Start(StartRequest { fresh: true, ..start(id, "quick") }));
    }
    // The starts are durable before any turn.
    bed.commit();
    bed
}

fn resume(bed: &mut Bed, text: &str) -> Result<Response, RequestError> {
    bed.call(Request::Resume { id: id(text), reason: "the code is mended".into() })
}

#[test]
fn a_turn_that_ends_ten_processes_is_a_dead_letter_and_a_resume_replays_it() {
    let mut bed = started(&["a", "killer", "z"]);
    assert!(runs_into(&mut bed, "killer"));
    let mut deaths = 0;
    while process(&mut bed, "killer") {
        deaths += 1;
        assert!(deaths <= LIMIT, "it is tried for ever");
    }
    assert_eq!(deaths, LIMIT);
    assert_eq!((bed.status("a"), bed.status("z")), (Status::Completed, Status::Completed));
    let record = bed.record("killer");
    assert_eq!(bed.status("killer"), Status::Suspended);
    let reason = record.dead_letter().expect("a dead letter").to_owned();
    assert!(reason.contains("10 processes ended one after another"), "{reason}");
    let told = why(&record, bed.now(), &Unknown);
    assert!(told[0].to_string().contains("resume it"), "{}", told[0]);
    // It survives another start.
    assert!(!process(&mut bed, "killer"));
    assert_eq!(bed.status("killer"), Status::Suspended);
    resume(&mut bed, "killer").unwrap();
    bed.settle();
    assert_eq!((bed.status("killer"), bed.record("killer").dead_letter()), (Status::Completed, None));
}

#[test]
fn many_that_wait_beside_it_are_not_taken_for_it() {
    let names: Vec<String> = (0..600).map(|n| format!("i{n}")).collect();
    let mut ids: Vec<&str> = names.iter().map(String::as_str).collect();
    ids.insert(0, "killer");
    let mut bed = started(&ids);
    let mut deaths = 0;
    while process(&mut bed, "killer") {
        deaths += 1;
        assert!(deaths <= LIMIT, "it is tried for ever");
    }
    let suspended: BTreeSet<&str> =
        ids.iter().copied().filter(|id| bed.status(id) != Status::Completed).collect();
    assert_eq!(suspended, BTreeSet::from(["killer"]));
    assert!(names.iter().all(|id| bed.record(id).trial.is_none()));
}

#[test]
fn a_turn_that_ends_well_begins_the_count_anew_and_costs_nothing_more() {
    let mut bed = started(&["x"]);
    for _ in 0..LIMIT - 1 {
        assert!(process(&mut bed, "x"));
    }
    assert!(!process(&mut bed, "nobody"));
    assert_eq!((bed.status("x"), bed.record("x").trial), (Status::Completed, None));
}

#[test]
fn a_grant_that_is_lost_while_the_process_lives_counts_nothing() {
    let mut bed = started(&["x"]);
    assert!(process(&mut bed, "x"));
    for _ in 0..LIMIT {
        bed.forget_all();
        recover(&mut bed);
        assert!(runs_into(&mut bed, "x"));
    }
    bed.crash();
    assert_eq!(bed.status("x"), Status::Completed);
}

#[test]
fn a_turn_that_loses_ten_workers_elsewhere_is_a_dead_letter() {
    let mut bed = Bed::new();
    bed.elsewhere.insert("far".into());
    bed.start("x", "far");
    bed.start("y", "far");
    let (x, y) = (bed.away[0].ticket(), bed.away[1].ticket());
    for lost in 1..=LIMIT {
        let now = bed.now();
        assert_eq!(bed.partition.turn_lost(x, now), lost < LIMIT);
        bed.settle();
    }
    let now = bed.now();
    assert!(!bed.partition.turn_lost(x, now));
    assert!(bed.partition.turn_lost(y, now));
    let reason = bed.record("x").dead_letter().expect("a dead letter").to_owned();
    assert!(reason.contains("10 workers were lost"), "{reason}");
    assert_eq!((bed.status("x"), bed.record("y").dead_letter()), (Status::Suspended, None));
    resume(&mut bed, "x").unwrap();
    assert_eq!(bed.away.len(), 3);
}

/// Instances that wait for an event.
fn waiting(ids: &[&str]) -> Bed {
    let mut bed = Bed::new();
    bed.script("waits", |turn| if news(turn).contains(&"EventRaised") { vec![complete()] } else { vec![] });
    for id in ids {
        bed.start(id, "waits");
    }
    bed
}

/// Runs like the bed, but nobody has kept the code of an instance in memory, and the history of `x` cannot be read.
fn settle_without_history_of(bed: &mut Bed, x: InstanceKey) {
    loop {
        let mut is_idle = true;
        if let Some(turn) = bed.partition.next_turn() {
            is_idle = false;
            if turn.from > 0 { bed.partition.park_turn(turn) } else { bed.run_turn(turn) }
        }
        for need in bed.partition.needs() {
            is_idle = false;
            let (Need::History { key, generation, branch, .. }, now) = (need, bed.now()) else { panic!() };
            let name = (key, generation, branch);
            if key == x {
                bed.partition.history_damaged(name, "rot", now);
                continue;
            }
            let events = bed.history_of(&bed.rows[&key].clone());
            if let Some(turn) = bed.partition.history_read(name, &events, now) {
                bed.run_turn(turn);
            }
        }
        if !bed.commit() && is_idle {
            return;
        }
    }
}

#[test]
fn a_turn_that_is_called_off_while_it_waits_for_its_history_holds_up_no_other() {
    for how in ["damaged", "terminated", "suspended", "rewound"] {
        let mut bed = waiting(&["x", "y"]);
        bed.ask(raise("x", "e"));
        bed.ask(raise("y", "e"));
        bed.commit();
        // From so many losses on its turn is announced alone.
        for _ in 0..3 {
            assert!(process(&mut bed, "x"));
        }
        bed.forget_all();
        bed.partition.begins_process();
        recover(&mut bed);
        let turn = loop {
            match bed.partition.next_turn() {
                Some(turn) => break turn,
                None => assert!(bed.commit()),
            }
        };
        let (name, now) = ((turn.key, turn.generation, turn.branch), bed.now());
        assert_eq!(turn.id, id("x"));
        bed.partition.park_turn(turn);
        match how {
            "damaged" => {
                bed.partition.needs();
                bed.partition.history_damaged(name, "rot", now);
            }
            "terminated" => {
                bed.ask(Request::Terminate { id: id("x"), reason: "r".into(), recurse: false });
            }
            "rewound" => {
                let spec = RewindSpec { to: RewindTo::Beginning, force: true, ..RewindSpec::default() };
                bed.ask(Request::Rewind { id: id("x"), spec: Box::new(spec) });
            }
            _ => {
                bed.ask(Request::Suspend { id: id("x"), reason: "r".into() });
            }
        }
        bed.settle();
        assert_eq!(bed.status("y"), Status::Completed, "{how}");
        let is_announced = bed.record("x").trial.is_some_and(|trial| trial.announced);
        assert!(!is_announced, "{how}");
    }
}

#[test]
fn a_history_that_cannot_be_read_is_no_loss_at_any_start() {
    let mut bed = waiting(&["x", "y"]);
    bed.ask(raise("x", "e"));
    bed.commit();
    let x = bed.rows.values().find(|row| row.id == id("x")).unwrap().key;
    for restart in 0..LIMIT + 2 {
        bed.forget_all();
        bed.partition.begins_process();
        recover(&mut bed);
        settle_without_history_of(&mut bed, x);
        assert_eq!((bed.record("x").dead_letter(), bed.record("x").trial), (None, None), "start {restart}");
    }
    bed.ask(raise("y", "e"));
    settle_without_history_of(&mut bed, x);
    assert_eq!(bed.status("y"), Status::Completed);
}

#[test]
fn a_dead_letter_that_is_rewound_begins_its_count_anew() {
    let mut bed = Bed::new();
    bed.elsewhere.insert("far".into());
    bed.start("x", "far");
    let lose = |bed: &mut Bed| {
        let (turn, now) = (bed.away.last().unwrap().ticket(), bed.now());
        bed.partition.turn_lost(turn, now)
    };
    while lose(&mut bed) {}
    bed.settle();
    assert!(bed.record("x").dead_letter().is_some());
    let spec = RewindSpec { to: RewindTo::Beginning, force: true, ..RewindSpec::default() };
    bed.call(Request::Rewind { id: id("x"), spec: Box::new(spec) }).unwrap();
    assert_eq!((bed.status("x"), bed.record("x").trial), (Status::Pending, None));
    assert!(lose(&mut bed), "it is tried again");
}

#[test]
fn activities_that_run_beside_a_turn_that_ends_its_process_are_not_counted() {
    for limit in [4, 10] {
        let limits = Limits { lost_workers_max: limit, ..Limits::default() };
        let mut bed = Bed::with_limits(limits);
        bed.script("works", |turn| if turn.from == 0 { vec![task(0, "t")] } else { vec![complete()] });
        bed.script("quick", |_| vec![complete()]);
        bed.start("works", "works");
        bed.ask(Request::Start(StartRequest { fresh: true, ..start("killer", "quick") }));
        bed.commit();
        let mut deaths = 1;
        loop {
            bed.forget_all();
            bed.partition.begins_process();
            recover(&mut bed);
            let killed = 'life: loop {
                let needs = bed.partition.needs();
                needs.into_iter().for_each(|need| bed.read_for(need));
                let now = bed.now();
                for start in bed.started.clone().into_iter().filter(|start| start.has_barrier) {
                    bed.partition.task_taken(start.task, "w", now);
                }
                while let Some(turn) = bed.partition.next_turn() {
                    if turn.id.as_str() == "killer" {
                        break 'life true;
                    }
                    bed.run_turn(turn);
                }
                if !bed.commit() {
                    break false;
                }
            };
            if !killed {
                break;
            }
            deaths += 1;
        }
        assert_eq!(deaths, limit + 1);
        let record = bed.record("works");
        assert_eq!((record.tasks.len(), record.failed.len()), (1, 0), "limit {limit}");
    }
}
