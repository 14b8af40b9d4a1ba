"""Rewind: a failed orchestration goes on where it failed, with its child; what had succeeded does not run again. One that
was tried several times, with timers between, gets all its tries again."""

from datetime import timedelta

import grpc
from durabletask import task
from durabletask.client import OrchestrationStatus
from program import check, end_of, running

ran = {"prepare": 0, "charge": 0, "ship": 0}
bank_is_down = True
ships_from = 100


def prepare(_, order):
    ran["prepare"] += 1
    return order + 1


def charge(_, order):
    ran["charge"] += 1
    if bank_is_down:
        raise ConnectionError("the bank is down")
    return order * 10


def ship(_, order):
    ran["ship"] += 1
    if ran["ship"] < ships_from:
        raise ConnectionError(f"no ship, try {ran['ship']}")
    return order * 100


def delivery(ctx: task.OrchestrationContext, order):
    prepared = yield ctx.call_activity(prepare, input=order)
    retry = task.RetryPolicy(first_retry_interval=timedelta(milliseconds=20), max_number_of_attempts=3)
    shipped = yield ctx.call_activity(ship, input=prepared, retry_policy=retry)
    # Something after it, so that every number that follows has to fit.
    yield ctx.create_timer(timedelta(milliseconds=10))
    return (yield ctx.call_activity(prepare, input=shipped))


def payment(ctx: task.OrchestrationContext, order):
    return (yield ctx.call_activity(charge, input=order))


def purchase(ctx: task.OrchestrationContext, order):
    prepared = yield ctx.call_activity(prepare, input=order)
    return (yield ctx.call_sub_orchestrator(payment, input=prepared))


def refusal(c, instance_id):
    try:
        c.rewind_orchestration(instance_id, reason="again")
    except grpc.RpcError as error:
        return error.code()
    return None


with running(orchestrators=[payment, purchase, delivery], activities=[prepare, charge, ship]) as c:
    order = c.schedule_new_orchestration(purchase, input=1)
    check(end_of(c, order).runtime_status, OrchestrationStatus.FAILED)

    bank_is_down = False
    c.rewind_orchestration(order, reason="the bank is up")
    state = end_of(c, order)
    check((state.runtime_status, state.get_output()), (OrchestrationStatus.COMPLETED, 20))
    check(ran, {"prepare": 1, "charge": 2, "ship": 0})

    check(refusal(c, order), grpc.StatusCode.FAILED_PRECONDITION)
    check(refusal(c, "nobody"), grpc.StatusCode.NOT_FOUND)

    # Three tries fail. After the rewind two more fail, and the third of the new budget is good.
    parcel = c.schedule_new_orchestration(delivery, input=1)
    check(end_of(c, parcel).runtime_status, OrchestrationStatus.FAILED)
    check(ran["ship"], 3)
    ships_from = 6
    c.rewind_orchestration(parcel, reason="there are ships again")
    state = end_of(c, parcel)
    check((state.runtime_status, state.get_output()), (OrchestrationStatus.COMPLETED, 201))
    check(ran, {"prepare": 3, "charge": 2, "ship": 6})
