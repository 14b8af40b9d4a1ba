// What the programs of this folder share: an address, a worker, a client.
const assert = require("node:assert/strict");
const { NoOpLogger, TaskHubGrpcClient, TaskHubGrpcWorker } = require("@microsoft/durabletask-js");

const hostAddress = process.argv[2] ?? "localhost:4001";
const logger = new NoOpLogger();

/** Runs a program with a worker of these functions, and ends the process with what became of it. */
exports.run = async ({ orchestrators = [], activities = [] }, program) => {
  const worker = new TaskHubGrpcWorker({ hostAddress, logger });
  orchestrators.forEach((orchestrator) => worker.addOrchestrator(orchestrator));
  activities.forEach((activity) => worker.addActivity(activity));
  const client = new TaskHubGrpcClient({ hostAddress, logger });
  try {
    await worker.start();
    await program(client);
    await worker.stop();
    await client.stop();
    process.exit(0);
  } catch (error) {
    console.error(error);
    process.exit(1);
  }
};

/** The state of an instance that has ended, and its output. */
exports.endOf = async (client, id, seconds = 30) => {
  const state = await client.waitForOrchestrationCompletion(id, true, seconds);
  assert.ok(state, `${id} does not exist`);
  return { state, output: state.serializedOutput === undefined ? undefined : JSON.parse(state.serializedOutput) };
};
