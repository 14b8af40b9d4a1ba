"""Sub-orchestrations: in parallel, failing, tried again."""

from datetime import timedelta

from durabletask import task
from program import check, end_of, running

attempts = {}


def flaky(_, name):
    attempts[name] = attempts.get(name, 0) + 1
    if attempts[name] < 3:
        raise ValueError(f"attempt {attempts[name]} of {name}")
    return attempts[name]


def child(ctx: task.OrchestrationContext, n):
    return (ctx.parent_instance_id if hasattr(ctx, "parent_instance_id") else None, n + 1)
    yield


def flaky_child(ctx: task.OrchestrationContext, name):
    return (yield ctx.call_activity(flaky, input=name))


def failing_child(ctx: task.OrchestrationContext, text):
    raise RuntimeError(text)
    yield


def parent(ctx: task.OrchestrationContext, count):
    results = yield task.when_all([ctx.call_sub_orchestrator(child, input=n) for n in range(count)])
    return [n for _, n in results]


def patient_parent(ctx: task.OrchestrationContext, name):
    retry = task.RetryPolicy(first_retry_interval=timedelta(milliseconds=50), max_number_of_attempts=5)
    return (yield ctx.call_sub_orchestrator(flaky_child, input=name, instance_id=f"{ctx.instance_id}-child", retry_policy=retry))


def careful_parent(ctx: task.OrchestrationContext, text):
    try:
        yield ctx.call_sub_orchestrator(failing_child, input=text)
    except task.TaskFailedError as error:
        return [error.details.error_type, error.details.message]


ALL = [child, flaky_child, failing_child, parent, patient_parent, careful_parent]
with running(orchestrators=ALL, activities=[flaky]) as c:
    check(end_of(c, c.schedule_new_orchestration(parent, input=20)).get_output(), list(range(1, 21)))
    # Each attempt starts the same child id again.
    check(end_of(c, c.schedule_new_orchestration(patient_parent, input="x")).get_output(), 3)
    kind, message = end_of(c, c.schedule_new_orchestration(careful_parent, input="broken")).get_output()
    assert "TaskFailedError" in kind or "RuntimeError" in kind, kind
    assert "broken" in message, message
