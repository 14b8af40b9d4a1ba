"""Versions of orchestrations, workers that take only some work, and ids that are used again."""

import time

from durabletask import task, worker
from durabletask.client import OrchestrationStatus
from program import check, end_of, running


def versioned(ctx: task.OrchestrationContext, _):
    return ctx.version
    yield


def unknown(ctx: task.OrchestrationContext, _):
    return "nobody runs this"
    yield


def fail(ctx: task.OrchestrationContext, _):
    raise ValueError("no")
    yield


def strict(w):
    w.use_versioning(
        worker.VersioningOptions(
            version="2.0",
            match_strategy=worker.VersionMatchStrategy.STRICT,
            failure_strategy=worker.VersionFailureStrategy.REJECT,
        )
    )


def filtered(w):
    w.use_work_item_filters()


with running(orchestrators=[versioned, fail], configure=strict) as c:
    check(end_of(c, c.schedule_new_orchestration(versioned, version="2.0")).get_output(), "2.0")
    # A version that no worker takes waits, for as long as it needs, and costs nothing.
    refused = c.schedule_new_orchestration(versioned, version="1.0")
    time.sleep(1)
    check(c.get_orchestration_state(refused).runtime_status, OrchestrationStatus.PENDING)
    with running(orchestrators=[versioned]):
        check(end_of(c, refused).get_output(), "1.0")

with running(orchestrators=[versioned], configure=filtered) as c:
    waits = c.schedule_new_orchestration(unknown)
    check(end_of(c, c.schedule_new_orchestration(versioned)).runtime_status, OrchestrationStatus.COMPLETED)
    check(c.get_orchestration_state(waits).runtime_status, OrchestrationStatus.PENDING)
    with running(orchestrators=[unknown]):
        check(end_of(c, waits).get_output(), "nobody runs this")

    # An id that has ended may be used again; one that runs may not.
    first = c.schedule_new_orchestration(versioned, instance_id="again")
    end_of(c, first)
    check(c.schedule_new_orchestration(unknown, instance_id="again"), "again")
    try:
        c.schedule_new_orchestration(unknown, instance_id="again")
        raise AssertionError("it was started twice")
    except Exception as error:
        assert "already exists" in str(error) or "ALREADY_EXISTS" in str(error), error
