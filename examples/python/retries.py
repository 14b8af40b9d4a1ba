"""Retries of activities, and what a failure tells."""

import time
from datetime import timedelta

from durabletask import task
from durabletask.client import OrchestrationStatus
from program import check, end_of, running

calls = []


def sometimes(_, good_at):
    calls.append(time.time())
    if len(calls) < good_at:
        raise KeyError(f"call {len(calls)}")
    return len(calls)


def always_fails(_, text):
    raise ValueError(text)


def persistent(ctx: task.OrchestrationContext, good_at):
    retry = task.RetryPolicy(
        first_retry_interval=timedelta(milliseconds=100), max_number_of_attempts=4, backoff_coefficient=2
    )
    return (yield ctx.call_activity(sometimes, input=good_at, retry_policy=retry))


def unlucky(ctx: task.OrchestrationContext, text):
    return (yield ctx.call_activity(always_fails, input=text))


with running(orchestrators=[persistent, unlucky], activities=[sometimes, always_fails]) as c:
    check(end_of(c, c.schedule_new_orchestration(persistent, input=3)).get_output(), 3)
    waits = [after - before for before, after in zip(calls, calls[1:])]
    assert waits[0] >= 0.1 and waits[1] >= 0.2, waits

    for text in ["why", "", "ünï©ode 😀"]:
        state = end_of(c, c.schedule_new_orchestration(unlucky, input=text))
        check(state.runtime_status, OrchestrationStatus.FAILED)
        assert text in state.failure_details.message, state.failure_details.message
        assert state.failure_details.stack_trace
