"""Continue-as-new: a new history with each round, and events that are carried over."""

from durabletask import task
from program import check, end_of, running


def counter(ctx: task.OrchestrationContext, seen):
    seen.append((yield ctx.wait_for_external_event("Count")))
    if len(seen) < 20:
        ctx.continue_as_new(seen, save_events=True)
        return
    return seen


def tick(_, n):
    return n + 1


def loop(ctx: task.OrchestrationContext, n):
    n = yield ctx.call_activity(tick, input=n)
    if n < 50:
        ctx.continue_as_new(n)
        return
    return n


with running(orchestrators=[counter, loop], activities=[tick]) as c:
    instance = c.schedule_new_orchestration(counter, input=[])
    for n in range(20):
        c.raise_orchestration_event(instance, "Count", data=n)
    check(end_of(c, instance).get_output(), list(range(20)), "in order, none twice, none lost")

    looping = c.schedule_new_orchestration(loop, input=0)
    check(end_of(c, looping).get_output(), 50)
    assert len(c.get_orchestration_history(looping)) < 10, "each round begins a new history"
