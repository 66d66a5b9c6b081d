// A destination that fails for long is left alone, each event still ends in one counter, and a probe wakes it up.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LOOPBACK, Server } from '../lib/server.mjs';
import { Receiver } from '../lib/receiver.mjs';
import { eventually } from '../lib/wait.mjs';
import { shareWebhook, threeProducts } from '../lib/world.mjs';

const EVENTS = 60;

test('a failing destination is skipped, counts stay exact, and it is used again once it answers', { timeout: 120_000 }, async (t) => {
  const server = await Server.start(t, LOOPBACK);
  const world = await threeProducts(server.base);
  const receiver = await Receiver.start(t);
  let status = 500;
  const hook = await shareWebhook(world, receiver, () => ({ status }));
  const [product] = world.products;
  const publish = (data) => world.user.api.want(200, 'POST', `${product.scope}/events`, { name: hook.event, data });
  const total = async () => {
    const { history } = await world.user.api.want(200, 'GET', `${world.org.scope}/integrations/${hook.id}/history?days=1`);
    return history.total[0];
  };

  for (let n = 0; n < EVENTS; n += 1) await publish(`failing ${n}`);
  const ended = await eventually(async () => {
    const sums = await total();
    assert.equal(sums.error + sums.skipped, EVENTS);
    return sums;
  }, { within: 30_000 });
  assert.equal(ended.success, 0);
  assert.ok(ended.skipped > 0, `some were skipped: ${JSON.stringify(ended)}`);
  assert.ok(receiver.at(hook.path).length < EVENTS * 3, 'a sleeping destination is not asked for every attempt');
  const { integration } = await world.user.api.want(200, 'GET', `${world.org.scope}/integrations/${hook.id}`);
  const skipped = integration.logs.find((entry) => entry.outcome === 'skipped');
  assert.equal(skipped.error, 'Sleeping, too many errors, please wait and try again');

  status = 200;
  await eventually(async () => {
    await publish('is it back?');
    assert.ok((await total()).success > 0);
  }, { within: 30_000, every: 500 });
});

test('a destination that slept before a restart sleeps after it, until a probe succeeds', { timeout: 120_000 }, async (t) => {
  const server = await Server.start(t, LOOPBACK);
  const world = await threeProducts(server.base);
  const receiver = await Receiver.start(t);
  let status = 500;
  // One attempt each, so that every request that arrives is a first attempt.
  const hook = await shareWebhook(world, receiver, () => ({ status }), { retry: { delays: [] } });
  const [product] = world.products;
  const publish = (data) => world.user.api.want(200, 'POST', `${product.scope}/events`, { name: hook.event, data });
  const today = async () => (await world.user.api.want(200, 'GET', `${world.org.scope}/integrations/${hook.id}`)).integration.today;
  const publishAll = async (ended) => {
    for (let n = 0; n < EVENTS; n += 1) await publish(`failing ${n}`);
    return eventually(async () => {
      const counts = await today();
      assert.equal(counts.error + counts.skipped, ended);
      return counts;
    }, { within: 30_000 });
  };

  assert.ok((await publishAll(EVENTS)).skipped > 0);
  const before = receiver.at(hook.path).length;
  assert.ok(before >= 20 && before <= EVENTS, `an empty list of delays means one attempt: ${before} requests`);
  await server.kill('SIGKILL');
  await server.restart();
  await publishAll(2 * EVENTS);
  const after = receiver.at(hook.path).length - before;
  assert.ok(after < 20, `after the restart it was asked ${after} times, which would be 20 before it sleeps`);

  status = 200;
  await eventually(async () => {
    await publish('is it back?');
    assert.ok((await today()).success > 0);
  }, { within: 30_000, every: 500 });
});
