// The process is killed in the middle of the work. Contract section 4.3: every accepted event that matched ends in
// exactly one counter, across crashes; 4.1: 200 only once the event is durable.
//
// What can be claimed: an attempt answered 200 was accepted; one without an answer may have been. Each attempt has an
// id of its own and the receiver always answers 200, so the number of accepted events is the number of different ids
// that the receiver got, and the history must say just that: no more (a repeated delivery counts once) and no less.
import assert from 'node:assert/strict';
import test from 'node:test';
import { Ledger, arrived, assertSettled, publishBatch, publishOne, publishUntil } from '../lib/load.mjs';
import { Receiver } from '../lib/receiver.mjs';
import { Server } from '../lib/server.mjs';
import { eventually } from '../lib/wait.mjs';
import { shareWebhook, threeProducts } from '../lib/world.mjs';

const PER_PRODUCT = 1_000;
/** Arrivals after which the process is killed: a third of all. */
const KILL_AT = PER_PRODUCT;
/** Readings of a product that are published before the kill is waited for; three times this is above KILL_AT. */
const BEFORE_KILL = 600;
const BATCH = 40;

/** Publishes a product's readings without a pause until the server no longer answers. */
async function publishIntoTheCrash(user, event, ledger, killed) {
  const answering = () => ledger.unanswered.size === 0 && ledger.accepted.size < PER_PRODUCT;
  while (answering()) {
    for (let i = 0; i < 10 && answering(); i += 1) await publishOne(user, event, ledger);
    if (!answering()) return;
    await publishBatch(user, event, ledger, Math.min(BATCH, PER_PRODUCT - ledger.accepted.size));
    if (ledger.accepted.size >= BEFORE_KILL) await Promise.race([killed.soon, killed.done]);
  }
}

/** Kills the server when KILL_AT requests have arrived. `soon` resolves just before the kill, `done` gives its end. */
function killInTheMiddle(server, receiver, path) {
  let tell;
  const soon = new Promise((resolve) => { tell = resolve; });
  const done = (async () => {
    await receiver.waitFor(path, KILL_AT, 60_000);
    tell();
    return server.kill('SIGKILL');
  })();
  done.catch(tell);
  return { soon, done };
}

async function settled({ user, org }, hook, ledgers, receiver) {
  await eventually(async () => {
    const history = await user.api.history(org.scope, hook.id);
    let sum = 0;
    for (const ledger of ledgers) {
      const seen = arrived(receiver, hook.path, ledger.product);
      assertSettled({ ledger, seen, counted: history.of(ledger.product.id) });
      sum += seen.size;
    }
    assert.deepEqual(history.total, { success: sum, error: 0, skipped: 0 });
  }, { within: 90_000, every: 250 });
}

test('after SIGKILL in the middle nothing accepted is lost and nothing is counted twice', { timeout: 300_000 }, async (t) => {
  const server = await Server.start(t);
  const receiver = await Receiver.start(t);
  const world = await threeProducts(server.base);
  const { user, products } = world;
  const hook = await shareWebhook(world, receiver);
  const ledgers = products.map((product) => new Ledger(product));

  const killed = killInTheMiddle(server, receiver, hook.path);
  await Promise.all(ledgers.map((ledger) => publishIntoTheCrash(user, hook.event, ledger, killed)));
  assert.equal((await killed.done).signal, 'SIGKILL');
  const before = ledgers.map((ledger) => ledger.accepted.size);
  assert.ok(before.every((count) => count < PER_PRODUCT), `killed in the middle of publishing (accepted: ${before})`);

  await server.restart();
  await Promise.all(ledgers.map((ledger) => publishUntil(user, hook.event, ledger, PER_PRODUCT)));
  assert.deepEqual(ledgers.map((ledger) => ledger.accepted.size), products.map(() => PER_PRODUCT));
  await settled(world, hook, ledgers, receiver);

  // An orderly end and another start bring out whatever was still under way: the sums must stay as they are.
  assert.equal((await server.kill('SIGTERM')).code, 0);
  await server.restart();
  await settled(world, hook, ledgers, receiver);
  for (const ledger of ledgers) assert.ok(await publishOne(user, hook.event, ledger));
  await settled(world, hook, ledgers, receiver);
});

test('what was configured just before SIGKILL is there afterwards', { timeout: 60_000 }, async (t) => {
  const server = await Server.start(t);
  const receiver = await Receiver.start(t);
  const world = await threeProducts(server.base);
  const hook = await shareWebhook(world, receiver);
  await server.kill('SIGKILL');
  await server.restart();

  const ledgers = world.products.map((product) => new Ledger(product));
  for (const ledger of ledgers) assert.ok(await publishOne(world.user, hook.event, ledger));
  await settled(world, hook, ledgers, receiver);
});
