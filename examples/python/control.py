"""What an operator does: suspend, resume, terminate, restart, look at the history."""

import time
from datetime import timedelta

import grpc
from durabletask import task
from durabletask.client import OrchestrationStatus
from program import check, end_of, running


def wait(ctx: task.OrchestrationContext, _):
    return (yield ctx.wait_for_external_event("Go"))


def sleeper(ctx: task.OrchestrationContext, _):
    yield ctx.create_timer(timedelta(hours=1))


def tree(ctx: task.OrchestrationContext, depth):
    if depth == 0:
        yield ctx.wait_for_external_event("Never")
    else:
        yield ctx.call_sub_orchestrator(tree, input=depth - 1, instance_id=f"{ctx.instance_id}-{depth}")


def until(c, instance, status, seconds=10):
    end = time.time() + seconds
    while time.time() < end:
        state = c.get_orchestration_state(instance)
        if state is not None and state.runtime_status == status:
            return state
        time.sleep(0.02)
    raise AssertionError(f"{instance} is {state and state.runtime_status}, not {status}")


with running(orchestrators=[wait, sleeper, tree]) as c:
    # What arrives while it is suspended is kept.
    held = c.schedule_new_orchestration(wait)
    c.wait_for_orchestration_start(held)
    c.suspend_orchestration(held)
    c.suspend_orchestration(held)
    until(c, held, OrchestrationStatus.SUSPENDED)
    c.raise_orchestration_event(held, "Go", data=42)
    time.sleep(0.3)
    check(c.get_orchestration_state(held).runtime_status, OrchestrationStatus.SUSPENDED)
    c.resume_orchestration(held)
    check(end_of(c, held).get_output(), 42)

    # Terminated, even while suspended; the reason is the output.
    ended = c.schedule_new_orchestration(sleeper)
    c.wait_for_orchestration_start(ended)
    c.suspend_orchestration(ended)
    c.terminate_orchestration(ended, output={"why": "enough"})
    state = end_of(c, ended)
    check(state.runtime_status, OrchestrationStatus.TERMINATED)
    check(state.get_output(), {"why": "enough"})
    c.terminate_orchestration(ended)
    c.resume_orchestration(ended)
    try:
        c.terminate_orchestration("nobody")
        raise AssertionError("who does not exist was terminated")
    except grpc.RpcError as error:
        check(error.code(), grpc.StatusCode.NOT_FOUND)

    # With its children, to the leaves.
    root = c.schedule_new_orchestration(tree, input=2, instance_id="root")
    until(c, "root-2-1", OrchestrationStatus.RUNNING)
    c.terminate_orchestration(root, recursive=True)
    for instance in ["root", "root-2", "root-2-1"]:
        check(end_of(c, instance).runtime_status, OrchestrationStatus.TERMINATED, instance)

    # Again, with the input it had.
    again = c.restart_orchestration(held)
    check(again, held)
    assert c.get_orchestration_state(held).runtime_status not in (OrchestrationStatus.COMPLETED,)
    c.raise_orchestration_event(held, "Go", data=43)
    check(end_of(c, held).get_output(), 43)
    other = c.restart_orchestration(held, restart_with_new_instance_id=True)
    assert other != held
    c.raise_orchestration_event(other, "Go", data=44)
    check(end_of(c, other).get_output(), 44)
    for instance, code in [("nobody", "NOT_FOUND"), (c.schedule_new_orchestration(wait), "FAILED_PRECONDITION")]:
        try:
            c.restart_orchestration(instance)
            raise AssertionError(f"{instance} was restarted")
        except Exception as error:
            assert code in f"{error!r} {error.__cause__!r}" or "not" in str(error), repr(error)
