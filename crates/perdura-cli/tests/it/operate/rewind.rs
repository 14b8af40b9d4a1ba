//! One instance: the plan, the branches, where to.

use super::bed::*;
use crate::in_every_place;

in_every_place![
    a_failed_order_is_planned_rewound_and_goes_on,
    a_plan_is_printed_as_json,
    two_branches_are_compared_and_one_can_go_back,
    a_rewind_goes_to_a_time_a_turn_a_call_and_a_replaced_result,
    inngest_another_input_for_the_activity_that_runs_again,
    aws_redrive_another_input_for_the_instance_and_for_a_child,
    a_restart_with_results_runs_nothing_again_that_succeeded,
    a_child_is_refused_without_its_parent_and_takes_it_along,
    a_repeated_request_rewinds_once,
    a_plan_names_the_parents_that_come_along,
    a_plan_of_a_restart_with_results_says_that_the_rest_runs_again,
    a_plan_names_what_was_given_by_hand,
];

const BECAUSE: [&str; 4] = ["--reason", "the bank is up", "--by", "ada"];

fn with<'a>(args: &[&'a str]) -> Vec<&'a str> {
    [args, &BECAUSE].concat()
}

async fn a_failed_order_is_planned_rewound_and_goes_on(place: Place) {
    let mut bed = Bed::failed_orders(&["o1"]).await.at(place).await;
    let plan = bed.shown("rewind", &with(&["o1", "--dry-run"])).await;
    assert!(plan.contains("runs again: charge") && plan.contains("nothing was changed"), "{plan}");
    let before = bed.shown("history", &["o1"]).await;
    let done = bed.shown("rewind", &with(&["o1"])).await;
    assert!(done.contains("done; it goes on"), "{done}");
    let why = bed.shown("why", &["o1"]).await;
    assert!(why.contains("waits for activity \"charge\" (task 1), attempt 1, delivery"), "{why}");
    let missing = match place {
        Place::File => "if no engine serves the hub, start one",
        Place::Server => "no worker serves activity \"charge\": start one",
    };
    assert!(why.contains(missing), "{why}");
    let branches = bed.shown("branches", &["o1"]).await;
    assert!(branches.contains("by ada, the bank is up (Failed before), the present one"), "{branches}");
    assert_eq!(bed.shown("history", &["o1", "--branch", "0"]).await, before);
    bed.stop_server().await;
    bed.with_engine(true, async |engine| {
        let output: String = engine.instance("o1").wait().await.unwrap();
        assert_eq!(output, "a book is reserved, a book is paid");
    })
    .await;
}

async fn a_plan_is_printed_as_json(place: Place) {
    let bed = Bed::failed_orders(&["o1"]).await.at(place).await;
    let plan = bed.json("rewind", &with(&["o1", "--dry-run", "--to-beginning"])).await.remove(0);
    assert_eq!((&plan["cut"], &plan["reused"][0]["name"]), (&0.into(), &"reserve".into()));
    let done = bed.json("rewind", &with(&["o1"])).await;
    assert_eq!((&done[0]["what"], &done[1]["what"]), (&"planned".into(), &"rewound".into()));
    assert_eq!((&done[1]["branch"], &done[1]["cut"]), (&1.into(), &done[0]["cut"]));
    let branches = bed.json("branches", &["o1"]).await;
    assert_eq!((&branches[1]["by"], &branches[1]["present"]), (&"ada".into(), &true.into()));
    assert!(bed.json("why", &["o1"]).await[0]["what"].as_str().unwrap().contains("charge"));
    assert_eq!(bed.json("history", &["o1", "--branch", "0"]).await[1]["kind"], "ExecutionStarted");
}

async fn two_branches_are_compared_and_one_can_go_back(place: Place) {
    let bed = Bed::failed_orders(&["o1"]).await.at(place).await;
    bed.shown("rewind", &with(&["o1"])).await;
    let diff = bed.json("diff", &["o1", "--branches", "0", "1"]).await;
    let kinds = |branch: u32| {
        let of = diff.iter().filter(|line| line["branch"] == branch);
        of.map(|line| line["only"]["kind"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert!(diff[0]["common"].as_u64().unwrap() > 3);
    assert!(kinds(0).contains(&"TaskFailed".to_owned()), "{diff:?}");
    assert!(!kinds(1).contains(&"TaskFailed".to_owned()), "{diff:?}");
    let text = bed.shown("diff", &["o1", "--branches", "0", "1"]).await;
    assert!(text.starts_with("  both begin with events 0 to") && text.contains("\n- "), "{text}");
    // Undone: the failure stands again.
    bed.shown("rewind", &with(&["o1", "--to-branch", "0", "--force"])).await;
    assert_eq!(bed.statuses(&["o1"]).await, ["Failed"]);
    let branches = bed.shown("branches", &["o1"]).await;
    assert!(branches.contains("branch 0, the present one\n"), "{branches}");
    assert!(branches.contains("back to branch 0 from branch 1"), "{branches}");
}

async fn a_rewind_goes_to_a_time_a_turn_a_call_and_a_replaced_result(place: Place) {
    let mut bed = Bed::failed_orders(&["o1"]).await.at(place).await;
    let history = bed.json("history", &["o1"]).await;
    let turn = history.iter().find(|event| event["kind"] == "TurnStarted").unwrap();
    let time = turn["at"].as_str().unwrap();
    for (args, because) in [
        (&["o1", "--to-time", time][..], "before the time asked for"),
        (&["o1", "--to-turn", "2"], "before turn 2"),
        (&["o1", "--before-call", "charge"], "before the call at event"),
        (&["o1", "--from-event", "3"], "before the turn of event 3"),
        (&["o1"], "before the failure that ended it"),
    ] {
        let plan = bed.shown("rewind", &with(&[args, &["--dry-run"]].concat())).await;
        assert!(plan.contains(because), "{plan}");
    }
    let failed = history.iter().find(|event| event["kind"] == "TaskFailed").unwrap();
    let result = format!("{}=\"paid by hand\"", failed["event"]);
    bed.shown("rewind", &with(&["o1", "--set-result", &result])).await;
    bed.stop_server().await;
    bed.with_engine(false, async |engine| {
        let output: String = engine.instance("o1").wait().await.unwrap();
        assert_eq!(output, "a book is reserved, paid by hand");
    })
    .await;
}

async fn inngest_another_input_for_the_activity_that_runs_again(place: Place) {
    let mut bed = Bed::failed_orders(&["o1"]).await.at(place).await;
    let history = bed.json("history", &["o1"]).await;
    let failed = history.iter().find(|event| event["kind"] == "TaskFailed").unwrap();
    let input = format!("{}=\"a pen\"", failed["event"]);
    bed.shown("rewind", &with(&["o1", "--set-input", &input])).await;
    let shown = bed.shown("history", &["o1"]).await;
    assert!(shown.contains("by ada: the bank is up; input of event 5 given by hand: \"a pen\""), "{shown}");
    bed.stop_server().await;
    bed.with_engine(true, async |engine| {
        let output: String = engine.instance("o1").wait().await.unwrap();
        assert_eq!(output, "a book is reserved, a pen is paid");
    })
    .await;
}

async fn aws_redrive_another_input_for_the_instance_and_for_a_child(place: Place) {
    let bed = Bed::after(async |engine| {
        for id in ["o1", "o2"] {
            engine.start(order, "a book".into()).id(id).await.unwrap().wait().await.unwrap_err();
        }
        engine.start(parent, ()).id("p").await.unwrap().wait().await.unwrap_err();
    });
    let mut bed = bed.await.at(place).await;
    bed.shown("rewind", &with(&["o1", "--to-beginning", "--input", "\"a hat\""])).await;
    bed.shown("rewind", &with(&["o2", "--to-beginning", "--input", "null"])).await;
    let event = bed.json("history", &["p"]).await;
    let event = event.iter().find(|event| event["kind"] == "SubOrchestrationScheduled").unwrap();
    let input = format!("{}=1", event["event"]);
    let refusal = bed.refused("rewind", &with(&["p", "--set-input", &input])).await;
    assert!(refusal.contains("rewound to its beginning with another input"), "{refusal}");
    let child = ["child", "--to-beginning", "--input", "\"a cap\"", "--with-parents"];
    bed.shown("rewind", &with(&child)).await;
    bed.stop_server().await;
    bed.with_engine(true, async |engine| {
        let output: String = engine.instance("o1").wait().await.unwrap();
        assert_eq!(output, "a hat is reserved, a hat is paid");
        let error = engine.instance("o2").wait::<String>().await.unwrap_err();
        assert!(error.to_string().contains("null"), "{error}");
        let output: String = engine.instance("p").wait().await.unwrap();
        assert_eq!(output, "a cap is reserved, a cap is paid");
    })
    .await;
}

async fn a_restart_with_results_runs_nothing_again_that_succeeded(place: Place) {
    let mut bed = Bed::failed_orders(&["o1"]).await.at(place).await;
    let plan = bed.shown("restart", &["o1", "--reuse-results"]).await;
    assert!(plan.contains("keeps 0 of") && plan.contains("to be used again: reserve"), "{plan}");
    bed.stop_server().await;
    bed.with_engine(true, async |engine| {
        let output: String = engine.instance("o1").wait().await.unwrap();
        assert_eq!(output, "a book is reserved, a book is paid");
        let history = engine.instance("o1").history().await.unwrap().unwrap();
        let handed_out = history.iter().filter(|event| event.kind.name() == "TaskScheduled").count();
        assert_eq!(handed_out, 2);
    })
    .await;
}

async fn a_child_is_refused_without_its_parent_and_takes_it_along(place: Place) {
    let bed = Bed::after(async |engine| {
        engine.start(parent, ()).id("p").await.unwrap().wait().await.unwrap_err();
    });
    let bed = bed.await.at(place).await;
    let refusal = bed.refused("rewind", &with(&["child"])).await;
    assert!(refusal.contains("rewind the parent, or take it along"), "{refusal}");
    assert_eq!(bed.statuses(&["p", "child"]).await, ["Failed", "Failed"]);
    bed.shown("rewind", &with(&["child", "--with-parents"])).await;
    assert_eq!(bed.statuses(&["child"]).await, ["Running"]);
}

async fn a_repeated_request_rewinds_once(place: Place) {
    let bed = Bed::failed_orders(&["o1"]).await.at(place).await;
    let again = with(&["--name", "order", "--status", "failed", "--status", "running", "--request-id", "r7"]);
    bed.shown("rewind", &again).await;
    bed.shown("rewind", &again).await;
    assert_eq!(bed.json("branches", &["o1"]).await.len(), 2);
}

async fn a_plan_names_the_parents_that_come_along(place: Place) {
    let bed = Bed::after(async |engine| {
        engine.start(grandparent, ()).id("g").await.unwrap().wait().await.unwrap_err();
    });
    let bed = bed.await.at(place).await;
    let along = with(&["child", "--with-parents", "--dry-run"]);
    let plan = bed.shown("rewind", &along).await;
    assert!(plan.contains("\n  parent \"p\" comes along\n  parent \"g\" comes along\n"), "{plan}");
    assert_eq!(bed.json("rewind", &along).await[0]["parents"], serde_json::json!(["p", "g"]));
    let many = bed.shown("rewind", &with(&["--name", "order", "--with-parents", "--dry-run"])).await;
    assert!(many.contains("\"child\"  would run again: charge; take along: \"p\", \"g\"; before"), "{many}");
    bed.shown("rewind", &with(&["child", "--with-parents"])).await;
}

async fn a_plan_of_a_restart_with_results_says_that_the_rest_runs_again(place: Place) {
    let bed = Bed::failed_orders(&["o1", "o2"]).await.at(place).await;
    let plan = bed.shown("restart", &["--name", "order", "--reuse-results", "--dry-run"]).await;
    let would = "\"o1\"  would run again what has no result; use results of: reserve; at the beginning\n";
    assert!(plan.contains(would), "{plan}");
}

async fn a_plan_names_what_was_given_by_hand(place: Place) {
    let bed = Bed::failed_orders(&["o1"]).await.at(place).await;
    let history = bed.json("history", &["o1"]).await;
    let failed = history.iter().find(|event| event["kind"] == "TaskFailed").unwrap()["event"].to_string();
    for (args, line) in [
        (
            &["--set-result", &format!("{failed}=\"paid\"")][..],
            format!("result of event {failed}, given by hand: \"paid\""),
        ),
        (
            &["--set-input", &format!("{failed}=\"a pen\"")],
            format!("input of event {failed}, given by hand: \"a pen\""),
        ),
        (
            &["--to-beginning", "--input", "\"a hat\""],
            "input of the instance, given by hand: \"a hat\"".into(),
        ),
    ] {
        let plan = bed.shown("rewind", &with(&[&["o1", "--dry-run"], args].concat())).await;
        assert!(plan.contains(&format!("\n  {line}\n")), "{line:?} is not in {plan}");
    }
}
