// Rewind: what failed runs again, with all its tries; what had succeeded does not.
const assert = require("node:assert/strict");
const { OrchestrationStatus, RetryPolicy } = require("@microsoft/durabletask-js");
const { endOf, run } = require("./program.cjs");

const ran = { prepare: 0, ship: 0 };
let shipsFrom = 100;

const prepare = async (_, order) => {
  ran.prepare++;
  return order + 1;
};

const ship = async (_, order) => {
  ran.ship++;
  if (ran.ship < shipsFrom) {
    throw new Error(`no ship, try ${ran.ship}`);
  }
  return order * 100;
};

async function* delivery(ctx, order) {
  const prepared = yield ctx.callActivity(prepare, order);
  const retry = new RetryPolicy({ maxNumberOfAttempts: 3, firstRetryIntervalInMilliseconds: 20, backoffCoefficient: 1 });
  const shipped = yield ctx.callActivity(ship, prepared, { retry });
  return yield ctx.callActivity(prepare, shipped);
}

async function* purchase(ctx, order) {
  return yield ctx.callSubOrchestrator(delivery, order);
}

run({ orchestrators: [delivery, purchase], activities: [prepare, ship] }, async (client) => {
  const order = await client.scheduleNewOrchestration(purchase, 1);
  assert.equal((await endOf(client, order)).state.runtimeStatus, OrchestrationStatus.FAILED);
  assert.deepEqual(ran, { prepare: 1, ship: 3 });

  // Two more tries fail, and the third of the new budget is good.
  shipsFrom = 6;
  await client.rewindInstance(order, "there are ships again");
  const { state, output } = await endOf(client, order);
  assert.equal(state.runtimeStatus, OrchestrationStatus.COMPLETED);
  assert.equal(output, 201);
  assert.deepEqual(ran, { prepare: 2, ship: 6 });

  await assert.rejects(client.rewindInstance(order, "again"));
  await assert.rejects(client.rewindInstance("nobody", "again"));
});
