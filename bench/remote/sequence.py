"""Five activities in sequence, in the Python SDK: latency and rate. Arguments: a server's address, or `in-process` for the
back end inside the SDK; how many orchestrations; how many at once."""

import contextlib
import logging
import statistics
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from durabletask import client, task, worker

where, count, at_once = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
QUIET = {"log_handler": logging.NullHandler()}


def step(_, n):
    return n + 1


def sequence(ctx: task.OrchestrationContext, n):
    for _ in range(5):
        n = yield ctx.call_activity(step, input=n)
    return n


@contextlib.contextmanager
def address():
    if where != "in-process":
        yield where
        return
    from durabletask.testing import create_test_backend

    backend = create_test_backend(port=50951)
    try:
        yield "localhost:50951"
    finally:
        backend.stop()


def one(c):
    began = time.perf_counter()
    state = c.wait_for_orchestration_completion(c.schedule_new_orchestration(sequence, input=0), timeout=60)
    assert state.serialized_output == "5", state
    return time.perf_counter() - began


with address() as host, worker.TaskHubGrpcWorker(host_address=host, **QUIET) as w:
    w.add_orchestrator(sequence)
    w.add_activity(step)
    w.start()
    c = client.TaskHubGrpcClient(host_address=host, **QUIET)
    for _ in range(20):
        one(c)
    began = time.perf_counter()
    with ThreadPoolExecutor(at_once) as pool:
        took = sorted(pool.map(lambda _: one(c), range(count)))
    total = time.perf_counter() - began
    p50, p99 = statistics.median(took) * 1000, took[int(len(took) * 0.99)] * 1000
    print(f"{where}: {at_once} at once: p50 {p50:.1f} ms, p99 {p99:.1f} ms, {count / total:.1f} orchestrations/s")
