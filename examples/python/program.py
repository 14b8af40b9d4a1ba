"""What the programs of this folder share: an address, a worker, a client, and checks with a reason."""

import contextlib
import logging
import sys

from durabletask import client, worker

ADDRESS = sys.argv[1] if len(sys.argv) > 1 else "localhost:4001"


@contextlib.contextmanager
def running(*, orchestrators=(), activities=(), configure=None, start=True):
    """A worker that runs these functions, and a client."""
    with worker.TaskHubGrpcWorker(host_address=ADDRESS, log_handler=logging.NullHandler()) as w:
        for orchestrator in orchestrators:
            w.add_orchestrator(orchestrator)
        for activity in activities:
            w.add_activity(activity)
        if configure:
            configure(w)
        if start:
            w.start()
        with client.TaskHubGrpcClient(host_address=ADDRESS, log_handler=logging.NullHandler()) as c:
            yield c


def end_of(c, instance_id, timeout=30):
    """The state of an instance that has ended."""
    state = c.wait_for_orchestration_completion(instance_id, timeout=timeout)
    assert state is not None, f"{instance_id} does not exist"
    return state


def check(actual, expected, what=""):
    assert actual == expected, f"{what}: expected {expected!r}, got {actual!r}"
