//! What operators are told.

use crate::convert::time::time_out;
use perdura_core::history::Event;
use perdura_core::partition::InstanceRecord;
use perdura_core::rewind::{BranchRecord, ReturnRecord, RewindPlan, TimerPlan, WorkRef};
use perdura_core::{InstanceId, Status, Timestamp};
use perdura_engine::BatchItem;
use perdura_proto::operator as v1;
pub(super) use perdura_proto::operator::report::What;

pub(super) fn item_out(id: &InstanceId, item: &BatchItem) -> v1::Report {
    let what = match item {
        BatchItem::Rewound(done) => What::Rewound(v1::Rewound { branch: done.branch, cut: done.cut }),
        BatchItem::Planned(plan) => What::Planned(plan_out(plan)),
        BatchItem::WithParent(parent) => What::WithParent(parent.clone()),
        BatchItem::LeftAlone(status) => What::Runs(status.name().to_owned()),
        BatchItem::Done(done) => What::Done(*done),
        BatchItem::Would => What::Would(true),
        BatchItem::Refused(error) => What::Refused(error.to_string()),
    };
    v1::Report { instance: id.to_string(), what: Some(what) }
}

fn plan_out(plan: &RewindPlan) -> v1::Plan {
    let work = |work: &[WorkRef]| {
        let out = |work: &WorkRef| v1::Work {
            event: work.event,
            task: work.task,
            kind: format!("{:?}", work.kind),
            name: work.name.clone(),
        };
        work.iter().map(out).collect()
    };
    let timer = |timer: &TimerPlan| v1::Timer {
        event: timer.event,
        timer: timer.timer,
        was: Some(time_out(timer.was)),
        due: Some(time_out(timer.due)),
    };
    let head = plan.head;
    v1::Plan {
        head: Some(v1::Head {
            generation: head.generation,
            branch: head.branch,
            events: head.events,
            execution: head.execution.0.to_be_bytes().to_vec(),
        }),
        status: plan.status.name().to_owned(),
        from_branch: plan.from_branch,
        branch: plan.branch,
        cut: plan.cut,
        because: plan.because.to_string(),
        turns_kept: plan.turns_kept,
        parents: plan.parents.clone(),
        carried: plan.carried.clone(),
        rerun: work(&plan.rerun),
        in_doubt: work(&plan.in_doubt),
        reused: work(&plan.reused),
        dropped: plan.dropped.clone(),
        timers: plan.timers.iter().map(timer).collect(),
        starts: plan.starts.map(time_out),
        children: plan.children.iter().map(|child| child.instance.clone()).collect(),
        visible: plan.visible.clone(),
        children_asked_again: plan.children_asked_again.iter().map(|child| child.instance.clone()).collect(),
    }
}

pub(super) fn branch_out(branch: &BranchRecord) -> v1::Branch {
    let status = u8::try_from(branch.status).ok().and_then(Status::from_number);
    v1::Branch {
        branch: branch.branch,
        parent: branch.parent,
        cut: branch.cut,
        at: Some(time_out(Timestamp(branch.at))),
        by: branch.by.clone(),
        reason: branch.reason.clone(),
        status_before: status.map_or("?", Status::name).to_owned(),
    }
}

pub(super) fn return_out(back: &ReturnRecord) -> v1::Return {
    v1::Return {
        branch: back.branch,
        from: back.from,
        at: Some(time_out(Timestamp(back.at))),
        by: back.by.clone(),
        reason: back.reason.clone(),
    }
}

pub(super) fn instance_out(record: &InstanceRecord) -> v1::Instance {
    let ended = (record.completed_at != 0).then(|| time_out(Timestamp(record.completed_at)));
    v1::Instance {
        instance: record.id.clone(),
        name: record.name.clone(),
        version: record.version.clone(),
        status: record.status().map_or("?", Status::name).to_owned(),
        created_at: Some(time_out(Timestamp(record.created_at))),
        completed_at: ended,
        failure: record.failure.as_ref().map_or_else(String::new, ToString::to_string),
        tags: record.tags.clone().into_iter().collect(),
    }
}

pub(super) fn event_out(number: usize, event: &Event) -> v1::HistoryEvent {
    v1::HistoryEvent {
        event: number as u64,
        at: Some(time_out(event.at)),
        kind: event.kind.name().to_owned(),
        what: event.kind.in_words(),
    }
}
