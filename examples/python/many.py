"""Many instances: query, pages, ids, purge; and task hubs by connection string."""

import logging
from datetime import datetime, timedelta, timezone

from durabletask import client, task
from durabletask.azuremanaged.client import DurableTaskSchedulerClient
from durabletask.azuremanaged.worker import DurableTaskSchedulerWorker
from durabletask.client import OrchestrationStatus
from program import ADDRESS, check, end_of, running


def quick(ctx: task.OrchestrationContext, n):
    if n % 10 == 9:
        raise ValueError("nine")
    return n
    yield


def wait(ctx: task.OrchestrationContext, _):
    yield ctx.wait_for_external_event("Go")


def child(ctx: task.OrchestrationContext, _):
    return 1
    yield


def parent(ctx: task.OrchestrationContext, _):
    return (yield ctx.call_sub_orchestrator(child, instance_id=f"{ctx.instance_id}-child"))


with running(orchestrators=[quick, wait, child, parent]) as c:
    before = datetime.now(timezone.utc) - timedelta(seconds=5)
    ids = [c.schedule_new_orchestration(quick, input=n, instance_id=f"many-{n:03}") for n in range(150)]
    waiting = c.schedule_new_orchestration(wait, instance_id="many-waits")
    for instance in ids:
        end_of(c, instance)
    c.wait_for_orchestration_start(waiting)

    def query(**conditions):
        return c.get_all_orchestration_states(client.OrchestrationQuery(**conditions))

    check([s.instance_id for s in query(instance_id_prefix="many-", created_time_from=before)], [*ids, waiting])
    check(len(query(runtime_status=[OrchestrationStatus.FAILED], instance_id_prefix="many-")), 15)
    check([s.instance_id for s in query(runtime_status=[OrchestrationStatus.RUNNING])], [waiting])
    check(query(created_time_to=before), [])
    # Page by page.
    check(len(query(max_instance_count=7, instance_id_prefix="many-")), 151)
    outputs = query(runtime_status=[OrchestrationStatus.COMPLETED], fetch_inputs_and_outputs=True)
    check({s.get_input(): s.get_output() for s in outputs}, {n: n for n in range(150) if n % 10 != 9})

    page, listed = c.list_instance_ids(page_size=40), []
    while True:
        listed.extend(page.items)
        if not page.continuation_token:
            break
        page = c.list_instance_ids(page_size=40, continuation_token=page.continuation_token)
    check(sorted(listed), ids, "what has ended, and nothing twice")

    check(c.purge_orchestration(waiting).deleted_instance_count, 0, "it has not ended")
    check(c.purge_orchestration(ids[0]).deleted_instance_count, 1)
    check(c.get_orchestration_state(ids[0]), None)
    failed = c.purge_orchestrations_by(runtime_status=[OrchestrationStatus.FAILED])
    check((failed.deleted_instance_count, failed.is_complete), (15, True))
    check(len(query(instance_id_prefix="many-")), 135)

    family = c.schedule_new_orchestration(parent, instance_id="family")
    end_of(c, family)
    check(c.purge_orchestration(family, recursive=True).deleted_instance_count, 2)
    check(c.get_orchestration_state("family-child"), None)

# The same server, another task hub, by the package for Azure.
quiet = {"log_handler": logging.NullHandler()}
hub = {"host_address": f"http://{ADDRESS}", "secure_channel": False, "token_credential": None, "taskhub": "other"}
with DurableTaskSchedulerWorker(**hub, **quiet) as w:
    w.add_orchestrator(quick)
    w.start()
    with DurableTaskSchedulerClient(**hub, **quiet) as other:
        check(other.get_orchestration_state(ids[1]), None, "hubs do not see each other")
        check(end_of(other, other.schedule_new_orchestration(quick, input=5)).get_output(), 5)
