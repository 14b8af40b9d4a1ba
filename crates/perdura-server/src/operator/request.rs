//! What operators ask, in the words of the engine.

use crate::convert::time::time_in;
use perdura_core::delivery::Answer;
use perdura_core::rewind::{Head, Replaced, RewindOrder, RewindSpec, RewindTo, Timers};
use perdura_core::{ExecutionId, Failure, Status as InstanceStatus, Timestamp};
use perdura_engine::{Bulk, Selection as Selected};
use perdura_proto::operator as v1;
use perdura_store::InstanceQuery;
use tonic::Status;

/// The kind of the failure that an operator declares.
const UNNAMED: &str = "OperatorSaidFailed";

fn time(field: &'static str, at: Option<&prost_types::Timestamp>) -> Result<Option<Timestamp>, Status> {
    let at = at.map(|at| time_in(field, at)).transpose();
    at.map_err(|error| Status::invalid_argument(error.to_string()))
}

fn status(name: &String) -> Result<InstanceStatus, Status> {
    let known = InstanceStatus::ALL.into_iter().find(|status| status.name().eq_ignore_ascii_case(name));
    known.ok_or_else(|| {
        let names = InstanceStatus::ALL.map(InstanceStatus::name).join(", ").to_lowercase();
        Status::invalid_argument(format!("there is no status {name:?}; one of {names}"))
    })
}

fn text(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

/// The selection, and how many of it in a second.
pub(super) fn selection_in(selection: v1::Selection) -> Result<(Selected, Option<u32>), Status> {
    let query = InstanceQuery {
        statuses: selection.statuses.iter().map(status).collect::<Result<_, _>>()?,
        name: text(selection.name),
        id_prefix: text(selection.id_prefix),
        created_from: time("created_from", selection.created_from.as_ref())?,
        created_before: time("created_before", selection.created_before.as_ref())?,
        ..InstanceQuery::default()
    };
    let limit = match selection.limit {
        0 => usize::MAX,
        limit => usize::try_from(limit).unwrap_or(usize::MAX),
    };
    let select = Selected {
        tags: selection.tags.into_iter().collect(),
        failure: text(selection.error),
        dead_letter: selection.dead_letter,
        ended_before: time("ended_before", selection.ended_before.as_ref())?,
        all: selection.all,
        limit,
        ..query.into()
    };
    Ok((select, (selection.per_second > 0).then_some(selection.per_second)))
}

pub(super) fn rewind_in(request: v1::RewindRequest) -> Result<RewindSpec, Status> {
    use v1::rewind_request::To;
    let timers = match request.timers() {
        v1::rewind_request::Timers::Extend => Timers::Extend,
        v1::rewind_request::Timers::Keep => Timers::Keep,
        v1::rewind_request::Timers::Restart => Timers::Restart,
    };
    let (to, branch) = match request.to {
        None | Some(To::Beginning(false)) => (RewindTo::Auto, None),
        Some(To::Event(event)) => (RewindTo::Event(event), None),
        Some(To::Turn(turn)) => (RewindTo::Turn(turn), None),
        Some(To::Time(at)) => (RewindTo::Time(time("time", Some(&at))?.unwrap_or_default()), None),
        Some(To::Call(name)) => (RewindTo::Call(name), None),
        Some(To::Beginning(true)) => (RewindTo::Beginning, None),
        Some(To::Branch(branch)) => (RewindTo::Head, Some(branch)),
    };
    let order = RewindOrder {
        by: request.by,
        reason: request.reason,
        request_id: request.request_id,
        timers: timers.into(),
        no_reuse: request.no_reuse,
        rerun: request.rerun,
        drop_events: request.drop_events,
        with_parents: request.with_parents,
    };
    let replaced = |replaced: Vec<v1::Replaced>| {
        let each = replaced.into_iter();
        each.map(|one| Replaced { event: one.event, payload: one.payload.map(Into::into) }).collect()
    };
    Ok(RewindSpec {
        order,
        to,
        branch,
        force: request.force,
        inputs: replaced(request.inputs),
        results: replaced(request.results),
        input: request.input.map(|input| Some(input.into())),
        head: request.head.map(|head| Head {
            execution: ExecutionId::from_bytes(&head.execution),
            generation: head.generation,
            branch: head.branch,
            events: head.events,
        }),
    })
}

pub(super) fn bulk_in(act: Option<v1::control_request::Act>) -> Result<Bulk, Status> {
    use v1::control_request::Act;
    Ok(match act.ok_or_else(|| Status::invalid_argument("nothing to do: name an act"))? {
        Act::Suspend(v1::Reason { reason }) => Bulk::Suspend { reason },
        Act::Resume(v1::Reason { reason }) => Bulk::Resume { reason },
        Act::Cancel(v1::Reason { reason }) => Bulk::Cancel { reason },
        Act::Terminate(v1::Terminate { reason, recursive }) => Bulk::Terminate { reason, recurse: recursive },
        Act::Purge(v1::Purge { recursive }) => Bulk::Purge { recurse: recursive },
        Act::Restart(v1::Restart {}) => Bulk::Restart,
        Act::Resolve(v1::Resolve { task, by, answer }) => {
            Bulk::Resolve { task, answer: answer_in(answer)?, by }
        }
        Act::Raise(v1::Raise { name, input }) => Bulk::Raise { name, input: input.map(Into::into) },
    })
}

fn answer_in(answer: Option<v1::resolve::Answer>) -> Result<Answer, Status> {
    Ok(match answer {
        Some(v1::resolve::Answer::Complete(output)) => Answer::Complete(output.payload.map(Into::into)),
        Some(v1::resolve::Answer::Fail(message)) => Answer::Fail(Failure::new(UNNAMED, message)),
        Some(v1::resolve::Answer::RunOnceMore(true)) => Answer::RunOnceMore,
        _ => {
            return Err(Status::invalid_argument(
                "no answer: it completed, it failed, or it may run once more",
            ));
        }
    })
}
