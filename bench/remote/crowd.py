"""What a server costs that has nothing to do. Arguments: its address, its process id, and

    workers N    N workers are connected and idle: CPU over 20 seconds
    waiting N    N instances wait for an event, and no worker is connected: memory, CPU over 20 seconds
"""

import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
from durabletask.internal import orchestrator_service_pb2 as pb
from durabletask.internal.orchestrator_service_pb2_grpc import TaskHubSidecarServiceStub

address, process, what, count = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
SECONDS = 20


def cpu_seconds():
    with open(f"/proc/{process}/stat") as file:
        fields = file.read().rsplit(") ", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_mib():
    with open(f"/proc/{process}/status") as file:
        line = next(line for line in file if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


def report():
    time.sleep(2)
    before = cpu_seconds()
    time.sleep(SECONDS)
    share = (cpu_seconds() - before) / SECONDS * 100
    print(f"{count} {what}: {share:.2f} % of a core, {resident_mib():.0f} MiB")


def stub():
    # A connection of its own, as another process would have.
    options = [("grpc.use_local_subchannel_pool", 1)]
    return TaskHubSidecarServiceStub(grpc.insecure_channel(address, options=options))


if what == "workers":
    streams = [stub().GetWorkItems(pb.GetWorkItemsRequest()) for _ in range(count)]
    pool = ThreadPoolExecutor(count)
    for stream in streams:
        pool.submit(lambda stream=stream: [None for _ in stream])
    report()
    for stream in streams:
        stream.cancel()
else:
    s = stub()
    items = s.GetWorkItems(pb.GetWorkItemsRequest())

    def start(n):
        s.StartInstance(pb.CreateInstanceRequest(instanceId=f"waiting-{n}", name="waits"))

    with ThreadPoolExecutor(32) as pool:
        for _ in pool.map(start, range(count)):
            pass
    # The first turn of each decides nothing: from then on it waits.
    begun = 0
    while begun < count:
        item = next(items)
        if item.HasField("orchestratorRequest"):
            request = item.orchestratorRequest
            answer = pb.OrchestratorResponse(instanceId=request.instanceId, completionToken=item.completionToken)
            s.CompleteOrchestratorTask(answer)
            begun += 1
    items.cancel()
    report()
