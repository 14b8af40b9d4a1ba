"""Rewind: a failed orchestration goes on where it failed, with its child; what had succeeded does not run again."""

import grpc
from durabletask import task
from durabletask.client import OrchestrationStatus
from program import check, end_of, running

ran = {"prepare": 0, "charge": 0}
bank_is_down = True


def prepare(_, order):
    ran["prepare"] += 1
    return order + 1


def charge(_, order):
    ran["charge"] += 1
    if bank_is_down:
        raise ConnectionError("the bank is down")
    return order * 10


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


with running(orchestrators=[payment, purchase], activities=[prepare, charge]) as c:
    order = c.schedule_new_orchestration(purchase, input=1)
    check(end_of(c, order).runtime_status, OrchestrationStatus.FAILED)

    bank_is_down = False
    c.rewind_orchestration(order, reason="the bank is up")
    state = end_of(c, order)
    check((state.runtime_status, state.get_output()), (OrchestrationStatus.COMPLETED, 20))
    check(ran, {"prepare": 1, "charge": 2})

    check(refusal(c, order), grpc.StatusCode.FAILED_PRECONDITION)
    check(refusal(c, "nobody"), grpc.StatusCode.NOT_FOUND)
