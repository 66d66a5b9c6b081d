// A product leaves a shared integration while events flow. Contract section 1, points 7 and 8, and its model.
import assert from 'node:assert/strict';
import test from 'node:test';
import { Ledger, arrived, publishBatch } from '../lib/load.mjs';
import { Receiver } from '../lib/receiver.mjs';
import { Server } from '../lib/server.mjs';
import { eventually } from '../lib/wait.mjs';
import { shareWebhook, threeProducts } from '../lib/world.mjs';

const BATCH = 20;
/** Events of each product before and after the separation, at least. */
const ENOUGH = 200;

/** Publishes in small batches until told to stop. */
async function keepPublishing(user, event, ledger, flow) {
  while (flow.on) {
    assert.equal(await publishBatch(user, event, ledger, BATCH), BATCH);
  }
}

/**
 * Reads the organization's list and the history of each of its integrations again and again, and fails when a sum
 * falls. Integrations are only ever added here, so a later sum covers at least what an earlier one did.
 */
async function watchSums({ user, org }, flow) {
  const last = new Map();
  let lastSum = 0;
  let reads = 0;
  while (flow.on) {
    let sum = 0;
    for (const { id } of (await user.js.listIntegrations({ org: org.id })).body) {
      const { success, error, skipped } = (await user.api.history(org.scope, id)).total;
      const count = success + error + skipped;
      assert.ok(count >= (last.get(id) ?? 0), `the history of ${id} fell from ${last.get(id)} to ${count}`);
      last.set(id, count);
      sum += count;
    }
    assert.ok(sum >= lastSum, `the sum over the organization fell from ${lastSum} to ${sum}`);
    lastSum = sum;
    reads += 1;
  }
  return reads;
}

const enough = (ledgers, count) => eventually(() => {
  assert.ok(ledgers.every((ledger) => ledger.accepted.size >= count), 'each product has published enough');
}, { within: 60_000, every: 20 });

/** Runs `work` while all products publish and the sums are watched. */
async function whileEventsFlow(world, hook, ledgers, work) {
  const flow = { on: true };
  const running = Promise.all([
    watchSums(world, flow),
    ...ledgers.map((ledger) => keepPublishing(world.user, hook.event, ledger, flow)),
  ]);
  // A failure on either side ends the other.
  const stop = () => { flow.on = false; };
  running.catch(stop);
  try {
    await Promise.race([work(), running.then(() => { throw new Error('the traffic ended too early'); })]);
  } finally {
    stop();
  }
  const [reads] = await running;
  return reads;
}

test('a product separates with only a new name: its id and history stay, the others stay shared, no sum falls', { timeout: 180_000 }, async (t) => {
  const server = await Server.start(t);
  const receiver = await Receiver.start(t);
  const world = await threeProducts(server.base);
  const { user, org, products } = world;
  const [one, two, three] = products;
  const hook = await shareWebhook(world, receiver);
  const member = hook.memberOf(two);
  const ledgers = products.map((product) => new Ledger(product));
  const separate = (body) => user.api.req('POST', `${two.scope}/integrations/${member}/separate`, { json: body });

  let own;
  let past;
  const reads = await whileEventsFlow(world, hook, ledgers, async () => {
    await enough(ledgers, ENOUGH);
    const unchanged = await separate(hook.config);
    assert.deepEqual([unchanged.status, unchanged.body.error], [400, 'nothing_changed']);

    past = (await user.api.history(two.scope, member)).total;
    const done = await separate({ ...hook.config, name: 'Ours alone' });
    assert.equal(done.status, 201, done.text);
    own = done.body.integration;
    assert.deepEqual([own.id, own.name, own.event, own.url], [member, 'Ours alone', hook.event, hook.config.url]);
    assert.deepEqual([own.shared, own.product_ids], [false, [two.id]]);
    assert.notEqual(own.org_integration_id, hook.id);
    const now = (await user.api.history(two.scope, member)).total;
    assert.ok(now.success >= past.success, `the product's history went on from ${past.success} with ${now.success}`);

    await enough(ledgers, Math.max(...ledgers.map((ledger) => ledger.accepted.size)) + ENOUGH);
  });
  assert.ok(reads > 1, 'the sums were read while events flowed');

  const shared = await user.api.integration(org.scope, hook.id);
  assert.deepEqual([...shared.product_ids].sort(), [one.id, three.id].sort());
  for (const product of [one, three]) {
    const copy = await user.api.integration(product.scope, hook.memberOf(product));
    assert.deepEqual([copy.shared, copy.org_integration_id], [true, hook.id]);
  }

  // Every accepted event is counted once, as the integration that it ran as.
  await eventually(async () => {
    const sharedHistory = await user.api.history(org.scope, hook.id);
    const ownHistory = await user.api.history(org.scope, own.org_integration_id);
    const accepted = ledgers.reduce((sum, ledger) => sum + ledger.accepted.size, 0);
    assert.equal(sharedHistory.total.success + ownHistory.total.success, accepted);
    for (const ledger of ledgers) {
      const { product } = ledger;
      const copy = await user.api.history(product.scope, hook.memberOf(product));
      assert.deepEqual(copy.total, { success: ledger.accepted.size, error: 0, skipped: 0 });
      assert.deepEqual(arrived(receiver, hook.path, product), ledger.accepted);
    }
  }, { within: 60_000, every: 250 });
});

test('after separating, an edit of the shared integration leaves the separate one alone, and the other way round', { timeout: 60_000 }, async (t) => {
  const server = await Server.start(t);
  const receiver = await Receiver.start(t);
  const world = await threeProducts(server.base);
  const { user, org, products: [one, two] } = world;
  const hook = await shareWebhook(world, receiver);
  const member = hook.memberOf(two);
  const own = { ...hook.config, name: 'Ours alone' };
  await user.api.want(201, 'POST', `${two.scope}/integrations/${member}/separate`, own);

  await user.api.want(200, 'PUT', `${org.scope}/integrations/${hook.id}`, { ...hook.config, url: receiver.url('/theirs') });
  await user.api.want(200, 'PUT', `${two.scope}/integrations/${member}`, { ...own, url: receiver.url('/ours') });
  const [left, mine] = [new Ledger(one), new Ledger(two)];
  for (const ledger of [left, mine]) assert.equal(await publishBatch(user, hook.event, ledger, BATCH), BATCH);
  await eventually(() => {
    assert.deepEqual(arrived(receiver, '/theirs', one), left.accepted);
    assert.deepEqual(arrived(receiver, '/ours', two), mine.accepted);
  });
  assert.deepEqual([arrived(receiver, '/theirs', two).size, arrived(receiver, '/ours', one).size], [0, 0]);
  assert.equal(receiver.at(hook.path).length, 0, 'nobody uses the old address');
});
