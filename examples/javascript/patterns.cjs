// Chaining, fan-out, events against a deadline, sub-orchestrations, continue-as-new.
const assert = require("node:assert/strict");
const { whenAll, whenAny } = require("@microsoft/durabletask-js");
const { endOf, run } = require("./program.cjs");

const greet = async (_, city) => `Hello ${city}!`;
const square = async (_, n) => n * n;

async function* chain(ctx, cities) {
  const greetings = [];
  for (const city of cities) {
    greetings.push(yield ctx.callActivity(greet, city));
  }
  return greetings;
}

async function* fanOut(ctx, count) {
  const tasks = Array.from({ length: count }, (_, n) => ctx.callActivity(square, n));
  const results = yield whenAll(tasks);
  return results.reduce((sum, n) => sum + n, 0);
}

async function* approval(ctx, seconds) {
  const approved = ctx.waitForExternalEvent("Approve");
  const deadline = ctx.createTimer(seconds);
  const winner = yield whenAny([approved, deadline]);
  return winner === approved ? approved.getResult() : "too late";
}

async function* child(ctx, n) {
  return { parent: ctx.parent?.orchestrationInstanceId ?? ctx.parent?.instanceId, n: n + 1, id: ctx.instanceId };
}

async function* parent(ctx, count) {
  const tasks = Array.from({ length: count }, (_, n) => ctx.callSubOrchestrator(child, n));
  return yield whenAll(tasks);
}

async function* counter(ctx, seen) {
  seen.push(yield ctx.waitForExternalEvent("Count"));
  if (seen.length < 10) {
    ctx.continueAsNew(seen, true);
    return;
  }
  return seen;
}

run({ orchestrators: [chain, fanOut, approval, child, parent, counter], activities: [greet, square] }, async (client) => {
  const chained = await client.scheduleNewOrchestration(chain, ["Oslo", "Köln"]);
  assert.deepEqual((await endOf(client, chained)).output, ["Hello Oslo!", "Hello Köln!"]);

  const many = await client.scheduleNewOrchestration(fanOut, 100);
  assert.equal((await endOf(client, many)).output, 328350);

  const began = Date.now();
  const late = await client.scheduleNewOrchestration(approval, 1);
  assert.equal((await endOf(client, late)).output, "too late");
  assert.ok(Date.now() - began >= 900, "the timer fired early: the orchestration believed in another time");
  const approved = await client.scheduleNewOrchestration(approval, 30);
  await client.raiseOrchestrationEvent(approved, "Approve", { by: "Ada" });
  assert.deepEqual((await endOf(client, approved)).output, { by: "Ada" });

  const family = await client.scheduleNewOrchestration(parent, 5);
  const children = (await endOf(client, family)).output;
  assert.deepEqual(children.map(({ n }) => n), [1, 2, 3, 4, 5]);
  // The SDK makes the ids of children from the execution id.
  children.forEach(({ id }) => assert.match(id, /^[0-9a-f]{32}:[0-9a-f]{4}$/));

  const counting = await client.scheduleNewOrchestration(counter, []);
  for (let n = 0; n < 10; n++) {
    await client.raiseOrchestrationEvent(counting, "Count", n);
  }
  assert.deepEqual((await endOf(client, counting)).output, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
});
