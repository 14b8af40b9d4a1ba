"""External events, timers, and a deadline for a human."""

import time
from datetime import timedelta

from durabletask import task
from program import check, end_of, running


def approval(ctx: task.OrchestrationContext, seconds):
    approved = ctx.wait_for_external_event("Approve")
    deadline = ctx.create_timer(timedelta(seconds=seconds))
    winner = yield task.when_any([approved, deadline])
    return approved.get_result() if winner == approved else "too late"


def both_events(ctx: task.OrchestrationContext, _):
    a = yield ctx.wait_for_external_event("A")
    b = yield ctx.wait_for_external_event("B")
    return [a, b]


def short_timers(ctx: task.OrchestrationContext, count):
    began = ctx.current_utc_datetime
    for _ in range(count):
        yield ctx.create_timer(timedelta(milliseconds=100))
    return (ctx.current_utc_datetime - began).total_seconds()


def greeter(ctx: task.OrchestrationContext, to):
    ctx.send_event(to, "A", data="from another orchestration")
    yield ctx.create_timer(timedelta(0))


with running(orchestrators=[approval, both_events, short_timers, greeter]) as c:
    approved = c.schedule_new_orchestration(approval, input=30)
    late = c.schedule_new_orchestration(approval, input=1)
    c.raise_orchestration_event(approved, "approve", data={"by": "Ada"})  # names are not told apart by case
    check(end_of(c, approved).get_output(), {"by": "Ada"})
    check(end_of(c, late).get_output(), "too late")

    # Events that come early, and in the other order, are kept.
    early = c.schedule_new_orchestration(both_events)
    c.raise_orchestration_event(early, "B", data=2)
    c.schedule_new_orchestration(greeter, input=early)
    check(end_of(c, early).get_output(), ["from another orchestration", 2])

    took = end_of(c, c.schedule_new_orchestration(short_timers, input=5)).get_output()
    assert took >= 0.5, f"five timers of 100 ms in {took} s"

    # An event for an instance that has ended is dropped, one for an instance that never was is an error.
    c.raise_orchestration_event(early, "A")
    try:
        c.raise_orchestration_event("nobody", "A")
        raise AssertionError("nobody took an event")
    except Exception as error:
        assert "NOT_FOUND" in str(error), error

    # A start that lies ahead.
    from datetime import datetime, timezone

    began = time.time()
    at = datetime.now(timezone.utc) + timedelta(seconds=1)
    scheduled = c.schedule_new_orchestration(short_timers, input=0, start_at=at)
    check(str(c.get_orchestration_state(scheduled).runtime_status), "PENDING")
    end_of(c, scheduled)
    assert time.time() - began >= 0.9, "it began early"
