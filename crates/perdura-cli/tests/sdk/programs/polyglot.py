"""A worker in Python among others: its orchestration calls activities in Rust and JavaScript by name. Argument: address."""

import logging
import signal
import sys

from durabletask import task, worker


def report(ctx: task.OrchestrationContext, words):
    counts = yield task.when_all([ctx.call_activity("count_letters", input=word) for word in words])  # Rust
    loud = yield ctx.call_activity("shout", input=" ".join(words))  # JavaScript
    doubled = yield ctx.call_sub_orchestrator("doubled", input=sum(counts))  # Rust
    return f"{loud} {doubled}"


def double(_, n):
    return n * 2


with worker.TaskHubGrpcWorker(host_address=sys.argv[1], log_handler=logging.NullHandler()) as w:
    w.add_orchestrator(report)
    w.add_activity(double)
    w.use_work_item_filters()
    w.start()
    signal.pause()
