"""Orders, and checks what comes of it. Arguments: address, how, what must come of it. If the order is suspended, it says by an
event what follows, unless that is what must come of it."""

import logging
import sys
import time

from durabletask import client

address, how, expected = sys.argv[1], sys.argv[2], sys.argv[3]
VERDICTS = {
    "complete": {"complete": 42, "by": "the test"},
    "fail": {"fail": {"kind": "Refused", "message": "by the bank"}},
    "runOnceMore": {"runOnceMore": True},
}

with client.TaskHubGrpcClient(host_address=address, log_handler=logging.NullHandler()) as c:
    c.schedule_new_orchestration("order", input=how, instance_id="order")
    end = time.time() + 60
    while True:
        assert time.time() < end, "nothing comes of it"
        state = c.get_orchestration_state("order")
        status = state.runtime_status.name
        if status == "SUSPENDED":
            if expected == "suspended":
                break
            c.raise_orchestration_event("order", "perdura.resolve", data=VERDICTS[how])
        elif status == "COMPLETED":
            assert state.get_output() == (int(expected) if expected.isdigit() else expected), state
            break
        elif status == "FAILED":
            assert expected in state.failure_details.message, state
            break
        time.sleep(0.02)
