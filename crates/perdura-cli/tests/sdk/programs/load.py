"""A client that does not give up: starts chains and waits for all of them. Arguments: address, how many."""

import logging
import sys
import time

import grpc
from durabletask import client

address, count = sys.argv[1], int(sys.argv[2])
END = time.time() + 120


def insist(call):
    """What an application does when its server is away for a moment."""
    while True:
        try:
            return call()
        except (grpc.RpcError, TimeoutError, client.OrchestrationFailedError) as error:
            if isinstance(error, grpc.RpcError) and error.code() == grpc.StatusCode.ALREADY_EXISTS:
                return None
            assert time.time() < END, error
            time.sleep(0.1)


with client.TaskHubGrpcClient(host_address=address, log_handler=logging.NullHandler()) as c:
    for n in range(count):
        insist(lambda: c.schedule_new_orchestration("chain", input=n * 10, instance_id=f"chain-{n}"))
    for n in range(count):
        state = insist(lambda: c.wait_for_orchestration_completion(f"chain-{n}", timeout=20))
        assert state is not None, f"chain-{n} was acknowledged and is gone"
        assert state.get_output() == n * 10 + 5, state
