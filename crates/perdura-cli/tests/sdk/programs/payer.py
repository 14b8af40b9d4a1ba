"""A worker that pays, and can be killed meanwhile. Arguments: address, a file that tells what it did, seconds that a payment
takes. Nothing in it knows that payments run at most once."""

import datetime
import logging
import signal
import sys
import time

from durabletask import task, worker

address, journal, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
ANSWERS = {
    "complete": {"complete": 42},
    "fail": {"fail": {"kind": "Refused", "message": "by the bank"}},
    "runOnceMore": "runOnceMore",
    "suspend": {"suspend": "nobody knows"},
    "garbage": {"perhaps": 1},
}


def pay(_, how):
    with open(journal, "a") as file:
        file.write(f"pay {how}\n")
    time.sleep(seconds)
    return "paid"


def find(_, asked):
    assert asked["activity"] == "pay", asked
    assert [attempt["delivery"] for attempt in asked["attempts"]] == [1], asked
    return ANSWERS[asked["input"]]


def order(ctx: task.OrchestrationContext, how):
    retry = task.RetryPolicy(first_retry_interval=datetime.timedelta(milliseconds=10), max_number_of_attempts=3)
    return (yield ctx.call_activity(pay, input=how, retry_policy=retry))


with worker.TaskHubGrpcWorker(host_address=address, log_handler=logging.NullHandler()) as w:
    w.add_orchestrator(order)
    w.add_activity(pay)
    w.add_activity(find)
    w.start()
    signal.pause()
