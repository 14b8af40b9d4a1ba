"""The package for Azure (`durabletask.azuremanaged`), unchanged but for the connection string. A second argument is a token
that the server wants; the credential gives it as it would give one of Azure's."""

import asyncio
import logging
import sys
import time
from datetime import timedelta

from azure.core.credentials import AccessToken
from durabletask import task
from durabletask.azuremanaged.client import AsyncDurableTaskSchedulerClient, DurableTaskSchedulerClient
from durabletask.azuremanaged.worker import DurableTaskSchedulerWorker
from durabletask.client import OrchestrationStatus
from durabletask.entities import EntityInstanceId
from durabletask.scheduled import ScheduleCreationOptions, ScheduledTaskClient
from program import ADDRESS, check, end_of

TOKEN = sys.argv[2] if len(sys.argv) > 2 else None
CONNECTION = f"Endpoint=http://{ADDRESS};TaskHub=shop;Authentication={'DefaultAzure' if TOKEN else 'None'}"


class Credential:
    """What `DefaultAzureCredential` is in Azure."""

    def get_token(self, *scopes, **_):
        check(scopes, ("https://durabletask.io/.default",))
        return AccessToken(TOKEN, int(time.time()) + 3600)


class AsyncCredential:
    async def get_token(self, *scopes, **_):
        return AccessToken(TOKEN, int(time.time()) + 3600)


def settings(credential):
    """A connection string as arguments of the package, which reads none itself."""
    parts = dict(part.split("=", 1) for part in CONNECTION.split(";"))
    secret = credential() if parts["Authentication"] != "None" else None
    endpoint = parts["Endpoint"]
    return {
        "host_address": endpoint,
        "secure_channel": endpoint.startswith("https"),
        "taskhub": parts["TaskHub"],
        "token_credential": secret,
        "log_handler": logging.NullHandler(),
    }


attempts = {"charge": 0}


def charge(ctx: task.ActivityContext, amount):
    attempts["charge"] += 1
    if attempts["charge"] < 3:
        raise RuntimeError("the bank is busy")
    return f"{amount} is paid"


def double(ctx: task.ActivityContext, n):
    return 2 * n


def counter(ctx, amount):
    ctx.set_state(ctx.get_state(int, 0) + (amount or 0))
    return ctx.get_state(int)


def order(ctx: task.OrchestrationContext, amount):
    retry = task.RetryPolicy(first_retry_interval=timedelta(milliseconds=50), max_number_of_attempts=3)
    paid = yield ctx.call_activity(charge, input=amount, retry_policy=retry)
    doubled = yield task.when_all([ctx.call_activity(double, input=n) for n in range(10)])
    return [paid, sum(doubled)]


def approval(ctx: task.OrchestrationContext, _):
    # One timer of many days: this package cuts none into pieces.
    deadline = ctx.create_timer(timedelta(days=3650))
    answer = ctx.wait_for_external_event("Answer")
    first = yield task.when_any([answer, deadline])
    return answer.get_result() if first == answer else "too late"


def parent(ctx: task.OrchestrationContext, _):
    return (yield ctx.call_sub_orchestrator(guarded, input="kid"))


def guarded(ctx: task.OrchestrationContext, key):
    till = EntityInstanceId("counter", key)
    with (yield ctx.lock_entities([till])):
        before = yield ctx.call_entity(till, "add", 0)
        after = yield ctx.call_entity(till, "add", 5)
    return [before, after]


def eternal(ctx: task.OrchestrationContext, round_):
    if round_ < 3:
        ctx.continue_as_new(round_ + 1)
        return
    return round_
    yield


broken = {"is": True}


def fragile(ctx: task.ActivityContext, _):
    if broken["is"]:
        raise ValueError("not today")
    return "mended"


def rewound(ctx: task.OrchestrationContext, _):
    yield ctx.call_activity(double, input=1)
    return (yield ctx.call_activity(fragile))


def tick(ctx: task.OrchestrationContext, _):
    return ctx.instance_id
    yield


def until(condition, what, seconds=20):
    end = time.time() + seconds
    while not condition():
        assert time.time() < end, what
        time.sleep(0.05)


def of_a_client(c):
    check(end_of(c, c.schedule_new_orchestration(order, input=5)).get_output(), ["5 is paid", 90])
    check(attempts["charge"], 3)

    waiting = c.schedule_new_orchestration(approval, instance_id="waits", tags={"shop": "books"})
    c.wait_for_orchestration_start(waiting)
    check(c.get_orchestration_state(waiting).runtime_status, OrchestrationStatus.RUNNING)
    c.suspend_orchestration(waiting)
    until(lambda: c.get_orchestration_state(waiting).runtime_status == OrchestrationStatus.SUSPENDED, "suspended")
    c.raise_orchestration_event(waiting, "Answer", data="yes")
    c.resume_orchestration(waiting)
    check(end_of(c, waiting).get_output(), "yes")

    check(end_of(c, c.schedule_new_orchestration(parent)).get_output(), [0, 5])
    check(c.get_entity(EntityInstanceId("counter", "kid")).get_state(int), 5)
    check(end_of(c, c.schedule_new_orchestration(eternal, input=0)).get_output(), 3)

    failed = c.schedule_new_orchestration(rewound, instance_id="fails")
    check(end_of(c, failed).runtime_status, OrchestrationStatus.FAILED)
    broken["is"] = False
    c.rewind_orchestration(failed, reason="it works again")
    check(end_of(c, failed).get_output(), "mended")
    check(end_of(c, c.restart_orchestration(failed, restart_with_new_instance_id=True)).get_output(), "mended")
    history = c.get_orchestration_history(failed)
    assert len(history) > 4, history

    ended = c.schedule_new_orchestration(approval)
    c.terminate_orchestration(ended, output="enough")
    check(end_of(c, ended).runtime_status, OrchestrationStatus.TERMINATED)
    check(c.purge_orchestration(ended).deleted_instance_count, 1)
    check(c.get_orchestration_state(ended), None)


def of_schedules(c):
    schedules = ScheduledTaskClient(c)
    every = ScheduleCreationOptions(
        schedule_id="each", orchestration_name="tick", interval=timedelta(seconds=1), start_immediately_if_late=True)
    schedule = schedules.create_schedule(every)
    until(lambda: schedule.describe().last_run_at is not None, "the schedule runs")
    schedule.pause()
    schedule.delete()
    until(lambda: schedules.get_schedule("each") is None, "the schedule is gone")


async def of_an_async_client():
    async with AsyncDurableTaskSchedulerClient(**settings(AsyncCredential)) as c:
        started = await asyncio.gather(*(c.schedule_new_orchestration(eternal, input=n) for n in range(4)))
        ends = await asyncio.gather(*(c.wait_for_orchestration_completion(id, timeout=30) for id in started))
        check([end.get_output() for end in ends], [3, 3, 3, 3])


def refused():
    """Nobody gets in with another token."""
    global TOKEN
    right, TOKEN = TOKEN, "another-token-entirely"
    try:
        with DurableTaskSchedulerClient(**settings(Credential)) as c:
            c.get_orchestration_state("waits")
    except Exception as error:
        assert "UNAUTHENTICATED" in str(error), error
    else:
        raise AssertionError("it was let in")
    finally:
        TOKEN = right


with DurableTaskSchedulerWorker(**settings(Credential)) as w:
    for orchestrator in [order, approval, parent, guarded, eternal, rewound, tick]:
        w.add_orchestrator(orchestrator)
    for activity in [charge, double, fragile]:
        w.add_activity(activity)
    w.add_entity(counter)
    w.configure_scheduled_tasks()
    w.use_work_item_filters()
    w.start()
    with DurableTaskSchedulerClient(**settings(Credential)) as c:
        of_a_client(c)
        of_schedules(c)
        asyncio.run(of_an_async_client())
        # Work that nobody here takes waits, and is not failed.
        elsewhere = c.schedule_new_orchestration("elsewhere")
        time.sleep(0.2)
        check(c.get_orchestration_state(elsewhere).runtime_status, OrchestrationStatus.PENDING)
if TOKEN:
    refused()
