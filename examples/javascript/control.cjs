// Suspend, resume, terminate, restart, retries, custom status, purge, history.
const assert = require("node:assert/strict");
const { OrchestrationStatus, RetryPolicy } = require("@microsoft/durabletask-js");
const { endOf, run } = require("./program.cjs");

const attempts = [];
const sometimes = async (_, goodAt) => {
  attempts.push(Date.now());
  if (attempts.length < goodAt) {
    throw new Error(`attempt ${attempts.length}`);
  }
  return attempts.length;
};

async function* wait(ctx) {
  ctx.setCustomStatus({ waiting: true });
  return yield ctx.waitForExternalEvent("Go");
}

async function* persistent(ctx, goodAt) {
  const policy = new RetryPolicy({ maxNumberOfAttempts: 5, firstRetryIntervalInMilliseconds: 200, backoffCoefficient: 1 });
  return yield ctx.callActivity(sometimes, goodAt, { retry: policy });
}

const until = async (client, id, status) => {
  for (let tries = 0; tries < 500; tries++) {
    const state = await client.getOrchestrationState(id, true);
    if (state?.runtimeStatus === status) {
      return state;
    }
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  assert.fail(`${id} is not ${OrchestrationStatus[status]}`);
};

run({ orchestrators: [wait, persistent], activities: [sometimes] }, async (client) => {
  const held = await client.scheduleNewOrchestration(wait);
  await client.waitForOrchestrationStart(held, false, 10);
  const running = await until(client, held, OrchestrationStatus.RUNNING);
  assert.deepEqual(JSON.parse(running.serializedCustomStatus), { waiting: true });
  await client.suspendOrchestration(held);
  await until(client, held, OrchestrationStatus.SUSPENDED);
  await client.raiseOrchestrationEvent(held, "Go", 42);
  await client.resumeOrchestration(held);
  assert.equal((await endOf(client, held)).output, 42);

  const ended = await client.scheduleNewOrchestration(wait);
  await client.waitForOrchestrationStart(ended, false, 10);
  await client.terminateOrchestration(ended, "enough");
  const { state, output } = await endOf(client, ended);
  assert.equal(state.runtimeStatus, OrchestrationStatus.TERMINATED);
  assert.equal(output, "enough");

  const retried = await client.scheduleNewOrchestration(persistent, 3);
  assert.equal((await endOf(client, retried)).output, 3);
  assert.ok(attempts[1] - attempts[0] >= 200, "the second attempt came early");

  assert.equal(await client.restartOrchestration(held), held);
  await client.raiseOrchestrationEvent(held, "Go", 43);
  assert.equal((await endOf(client, held)).output, 43);
  await assert.rejects(client.restartOrchestration("nobody"));

  const kinds = (await client.getOrchestrationHistory(retried)).map((event) => event.type);
  assert.equal(kinds[0], "OrchestratorStarted");
  assert.equal(kinds.at(-1), "ExecutionCompleted");
  assert.ok(!kinds.includes("OrchestratorCompleted"));

  assert.equal((await client.purgeOrchestration(held)).deletedInstanceCount, 1);
  assert.equal(await client.getOrchestrationState(held, false), undefined);
});
