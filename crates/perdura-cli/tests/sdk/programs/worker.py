"""A worker that can be killed. Arguments: address, a file that tells what it did, seconds that each activity takes."""

import logging
import os
import signal
import sys
import time

from durabletask import task, worker

address, journal, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])


def step(_, n):
    with open(journal, "a") as file:
        file.write(f"began {n} {os.getpid()}\n")
    time.sleep(seconds)
    return n + 1


def chain(ctx: task.OrchestrationContext, n):
    for _ in range(5):
        n = yield ctx.call_activity(step, input=n)
    return n


with worker.TaskHubGrpcWorker(host_address=address, log_handler=logging.NullHandler()) as w:
    w.add_orchestrator(chain)
    w.add_activity(step)
    w.start()
    signal.pause()
